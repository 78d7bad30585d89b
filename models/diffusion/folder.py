"""Is a folder a whole diffusers model? Found out, file by file, before anything is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.weights import WeightsError

# The parts of a Stable Diffusion ControlNet pipeline that hold weights; what a downloaded folder may carry beside them
# (safety checker, feature extractor, image encoder) is not loaded.
WEIGHT_PARTS = ("unet", "vae", "text_encoder")
CONFIG_FILES = {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}
SUMS = "SHA256SUMS"
LIBRARIES = {None, "diffusers", "transformers", "stable_diffusion"}  # the last is diffusers' old name for its safety checker
_MAX_HEADER_BYTES = 100 << 20  # the format's own limit


def check_pipeline(folder: Path, controlnets: Sequence[Path] = (), needs_controlnet: bool = True) -> None:
    """Raises WeightsError naming the file that is missing, unfinished or of another layout.

    controlnets: folders of their own, for pipelines that bring none, or whose own is not wanted.
    """
    index = _read_json(_model_index(folder))
    check_sums(folder)
    _check_libraries(folder, index)
    second = [f"{part}_2" for part in ("text_encoder", "tokenizer") if f"{part}_2" in index]  # XL
    for part in (*WEIGHT_PARTS, *second[:1]):
        check_part(folder / part)
    for part, name in [*CONFIG_FILES.items(), *((part, CONFIG_FILES["tokenizer"]) for part in second[1:])]:
        if not (folder / part / name).is_file():
            raise WeightsError(f"{folder / part / name}: missing; {part} of the pipeline is not whole, fetch it again")
    if not controlnets and needs_controlnet and not isinstance(index.get("controlnet"), list):
        raise WeightsError(
            f"{folder}: a {index.get('_class_name')} without a ControlNet; name the folder of one too (its config.json says "
            "_class_name ControlNetModel)"
        )
    for control in controlnets or ([folder / "controlnet"] if needs_controlnet else []):
        check_part(control)
        _check_base(folder / "unet" / "config.json", control / "config.json")


def _check_libraries(folder: Path, index: dict[str, Any]) -> None:
    """Parts name the library that makes them, which is imported; and a folder may bring code of its own, which never runs."""
    for part, maker in index.items():
        if isinstance(maker, list) and maker and maker[0] not in LIBRARIES:
            raise WeightsError(
                f"{folder}: model_index.json: {part} is of {str(maker[0])[:80]!r}, expected diffusers or transformers"
            )
    if code := next(folder.rglob("*.py"), None):
        raise WeightsError(
            f"{code}: code in a model's folder is never run, so this model would not be what it was; take another"
        )


def check_sums(folder: Path) -> None:
    """Compare the files of a folder that has SHA256SUMS (as `sha256sum` writes it) with their sums.

    Raises WeightsError naming a file that changed or is gone.
    """
    sums = folder / SUMS
    for line in sums.read_text(errors="replace").splitlines() if sums.is_file() else []:
        expected, _, name = line.partition("  ")
        found = _sha256(folder / name) if name and (folder / name).is_file() else "none"
        if found != expected:
            raise WeightsError(
                f"{folder / name}: {SUMS} names SHA-256 {expected[:64]}, found {found}: it was changed; fetch it again"
            )


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_part(folder: Path) -> None:
    """One network: config.json, and whole safetensors files (single, half-precision variant or shards)."""
    _read_json(folder / "config.json")
    for shard_list in sorted(folder.glob("*.safetensors.index*.json")):
        for name in sorted(set(_read_json(shard_list).get("weight_map", {}).values())):
            if not (folder / name).is_file():
                raise WeightsError(f"{folder / name}: missing, but {shard_list.name} names it; fetch it again")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        others = [f.name for f in sorted(folder.iterdir()) if f.suffix in (".bin", ".pt", ".ckpt", ".incomplete")]
        hint = f"found only {', '.join(others)}: pickled or unfinished files are never loaded" if others else "found none"
        raise WeightsError(f"{folder}: expected weights as .safetensors, {hint}; fetch or convert them")
    for file in files:
        check_safetensors(file)


def check_safetensors(path: Path) -> None:
    """Compare a file's length with what its header promises: a half-downloaded file is shorter."""
    found = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(header_size)) if 0 < header_size < min(found, _MAX_HEADER_BYTES) else None
        except (ValueError, RecursionError):
            header = None
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: {found} bytes that are no safetensors file; it is half-downloaded or of another format")
    try:
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (LookupError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its header does not say where the tensors lie ({error!r:.200}); fetch it again") from error
    expected = 8 + header_size + max(ends, default=0)
    if found != expected:
        raise WeightsError(f"{path}: expected {expected} bytes, found {found}; it is half-downloaded, fetch it again")


def trained_size_px(folder: Path) -> int:
    """The side of the images that a pipeline was trained on. Raises WeightsError for a folder without UNet and autoencoder."""
    _model_index(folder)
    unet, vae = (_read_json(folder / part / "config.json") for part in ("unet", "vae"))
    # what a configuration leaves out is Stable Diffusion's: latents of 64, an autoencoder of four levels
    return int(unet.get("sample_size", 64)) * 2 ** (len(vae.get("block_out_channels", range(4))) - 1)


def is_xl(model: Path) -> bool:
    """Whether a pipeline, or a single-file checkpoint, is of the XL layout: it has a second text encoder."""
    if model.is_dir():
        return "text_encoder_2" in _read_json(_model_index(model))
    from safetensors import safe_open

    with safe_open(model, framework="numpy") as file:
        return any(name.startswith("conditioner.embedders.1.") for name in file.keys())  # noqa: SIM118  (safe_open is no dict)


def pipeline_variant(folder: Path) -> str | None:
    """``fp16`` where a network's weights are there in that variant alone, else None."""
    names = [file.name for file in sorted((folder / "unet").glob("*.safetensors"))]
    return "fp16" if names and all(".fp16" in name for name in names) else None


def _model_index(folder: Path) -> Path:
    if not folder.is_dir():
        raise WeightsError(f"{folder}: no such folder; expected a diffusers pipeline (a folder with model_index.json)")
    path = folder / "model_index.json"
    if path.is_file():
        return path
    single = [f.name for f in sorted(folder.glob("*.safetensors"))]
    found = f"a single-file checkpoint ({single[0]})" if single else f"{len(list(folder.iterdir()))} other entries"
    raise WeightsError(
        f"{folder}: expected a diffusers pipeline with model_index.json, found {found}; convert it to that layout"
    )


def _check_base(unet: Path, controlnet: Path) -> None:
    """A ControlNet adds to the UNet's own feature maps, so both must be of one base."""
    ours, theirs = _read_json(unet), _read_json(controlnet)
    base = "the pipeline's UNet has"
    for key in ("block_out_channels", "cross_attention_dim", "layers_per_block"):
        if ours.get(key) != theirs.get(key):
            raise WeightsError(
                f"{controlnet}: a ControlNet of another base: {key} is {theirs.get(key)}, {base} {ours.get(key)}"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: missing; the model is not whole, fetch it again") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a JSON object ({error}); the model is damaged, fetch it again") from error
