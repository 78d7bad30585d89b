"""Which pipeline of diffusers to load, and from where: a folder, a single file or a hub id; Stable Diffusion 1.5, 2.1 or XL;
one ControlNet, several or a union; text, image or inpainting; LoRA and IP-Adapter on top."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

from models.diffusion.base import load_controlnet
from models.diffusion.folder import check_part, check_pipeline, check_safetensors, is_xl, pipeline_variant
from models.weights import WeightsError

FORMS = {"text": "", "image": "Img2Img", "inpaint": "Inpaint"}  # what an image begins as, and diffusers' word for it
UNION_MODES = {"pose": 0, "depth": 1, "mask": 5}  # numbers of a union ControlNet's conditions; a mask is a segmentation
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
HUB_FILES = ("*.json", "*.txt", "*.safetensors")
# Weights take this share of the memory before something is switched on to spare it.
ROOMY, TIGHT = 0.4, 0.8


def located(model: str | Path) -> Path:
    """A folder or file that is there, or the local copy of a hub id, fetched where there is none yet.

    Raises WeightsError when it is neither, or cannot be fetched.
    """
    path = Path(model)
    if path.exists() or not HUB_ID.fullmatch(str(model)):
        return path
    from huggingface_hub import snapshot_download

    patterns = list(HUB_FILES)
    try:
        return Path(snapshot_download(str(model), allow_patterns=patterns, local_files_only=True))
    except (OSError, ValueError):
        pass  # not fetched before
    try:
        return Path(snapshot_download(str(model), allow_patterns=patterns))
    except Exception as error:  # whatever a broken network raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{model}: no such folder here, and it cannot be fetched as a hub id ({reason}); check the name and the network, "
            "or name a folder"
        ) from error


def load_pipeline(
    model: Path,
    controlnets: Sequence[Path] = (),
    form: str = "text",
    loras: Sequence[str] = (),
    ip_adapter: str = "",
    device: str = "cpu",
) -> Any:
    """The pipeline, on its device. loras: FILE[=WEIGHT]; ip_adapter: a folder with its weights and image_encoder/.

    Raises WeightsError naming the file that is missing, half there, of another layout or of another base.
    """
    import diffusers
    from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

    if form not in FORMS:
        raise WeightsError(f"form: expected one of {', '.join(FORMS)}, got {form!r}")
    single = model.suffix == ".safetensors"
    if single:
        _check_single(model, controlnets)
    else:
        check_pipeline(model, controlnets)
    settings: dict[str, Any] = {"dtype": torch.float32 if device == "cpu" else torch.float16, "local_files_only": True}
    loaded = [load_controlnet(folder, dtype=settings["dtype"]) for folder in controlnets]
    if loaded:
        settings["controlnet"] = loaded[0] if len(loaded) == 1 else MultiControlNetModel(loaded)
    kind = getattr(diffusers, pipeline_class(model, controlnets, form))
    pipeline = _from_file(kind, model, settings) if single else _from_folder(kind, model, settings)
    _add_loras(pipeline, loras)
    if ip_adapter:
        _add_ip_adapter(pipeline, Path(ip_adapter))
    return spared(pipeline, device)


def pipeline_class(model: Path, controlnets: Sequence[Path], form: str) -> str:
    """The name of diffusers' class for a model with these ControlNets. Raises WeightsError for a union beside others."""
    large = is_xl(model)
    controls = controlnets or (model / "controlnet",)
    names = [json.loads((folder / "config.json").read_text()).get("_class_name") for folder in controls]
    union = "ControlNetUnionModel" in names
    if union and (len(names) > 1 or not large):
        raise WeightsError(
            f"{controls[names.index('ControlNetUnionModel')]}: a union ControlNet goes alone, with an XL pipeline"
        )
    return f"StableDiffusion{'XL' if large else ''}ControlNet{'Union' if union else ''}{FORMS[form]}Pipeline"


def _from_folder(kind: Any, folder: Path, settings: dict[str, Any]) -> Any:
    # The checker blanks whole images that it takes for nudity, people in sports clothes among them; prompts and poses are
    # the user's own here, and every image is checked against its labels afterwards.
    left_out = {"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None, "image_encoder": None}
    if "XL" in kind.__name__:
        left_out = {"feature_extractor": None, "image_encoder": None, "add_watermarker": False}
    return kind.from_pretrained(folder, use_safetensors=True, variant=pipeline_variant(folder), **left_out, **settings)


def _from_file(kind: Any, path: Path, settings: dict[str, Any]) -> Any:
    """A single-file checkpoint, with the configuration of its parts from a folder of the same name beside it, or the cache."""
    config = path.with_suffix("")
    told: dict[str, Any] = {"config": str(config)} if config.is_dir() else {}
    if "XL" not in kind.__name__:
        told["safety_checker"] = None  # as in a folder
    try:
        return kind.from_single_file(str(path), **told, **settings)
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path}: a single-file checkpoint says nothing of its tokenizer and the sizes of its parts, and the folder "
            f"{config} with them (model_index.json and the parts' config.json) is not there or does not fit: {error}"
        ) from error


def _check_single(path: Path, controlnets: Sequence[Path]) -> None:
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected a single-file checkpoint")
    check_safetensors(path)
    if not controlnets:
        raise WeightsError(f"{path}: a single-file checkpoint without a ControlNet; name the folder of one too")
    for folder in controlnets:
        check_part(folder)


def _add_loras(pipeline: Any, loras: Sequence[str]) -> None:
    """Low-rank additions (Hu et al. 2022), each with its weight."""
    weights = {}
    for number, text in enumerate(loras):
        name, _, weight = text.partition("=")
        path = Path(name)
        if not path.is_file() or path.suffix != ".safetensors":
            raise WeightsError(
                f"LoRA {path}: no such file of safetensors; expected FILE.safetensors or FILE.safetensors=WEIGHT"
            )
        check_safetensors(path)
        try:
            weights[f"lora{number}"] = float(weight or 1)
            pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name=f"lora{number}", local_files_only=True)
        except (ValueError, KeyError, RuntimeError) as error:
            raise WeightsError(f"LoRA {text}: does not fit the model: {str(error).splitlines()[0]}") from error
    if weights:
        pipeline.set_adapters(list(weights), list(weights.values()))


def _add_ip_adapter(pipeline: Any, folder: Path) -> None:
    """A picture as a prompt (Ye et al. 2023)."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightsError(f"IP-Adapter {folder}: expected one .safetensors file and image_encoder/, found {len(files)} files")
    check_safetensors(files[0])
    check_part(folder / "image_encoder")
    try:
        pipeline.load_ip_adapter(
            str(folder), subfolder="", weight_name=files[0].name, image_encoder_folder="image_encoder", local_files_only=True
        )
    except (ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"IP-Adapter {folder}: does not fit the model: {str(error).splitlines()[0]}") from error


def spared(pipeline: Any, device: str) -> Any:
    """The pipeline on its device, with what the device's memory asks for switched on."""
    switches = memory_switches(_weight_bytes(pipeline), _free_bytes(device), device)
    if getattr(pipeline.vae.config, "force_upcast", False) and pipeline.vae.dtype == torch.float16:
        pipeline.vae.to(torch.float32)  # XL's decoder overflows in half precision
    if "offload" in switches:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    if "attention slicing" in switches and pipeline.unet.encoder_hid_proj is None:  # it would put an IP-Adapter out of action
        pipeline.enable_attention_slicing()
    if switches:
        logging.getLogger(__name__).info("%s: memory is short: %s", type(pipeline).__name__, ", ".join(switches))
    return pipeline


def memory_switches(weight_bytes: int, free_bytes: int, device: str) -> tuple[str, ...]:
    """What spares memory where weights take a large share of it: attention in slices, then, on a GPU, parts that wait in main
    memory until they are called. Decoding goes image by image anyway, and precision follows the device."""
    if weight_bytes <= ROOMY * free_bytes:
        return ()
    return ("attention slicing", "offload") if device != "cpu" and weight_bytes > TIGHT * free_bytes else ("attention slicing",)


def _weight_bytes(pipeline: Any) -> int:
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return sum(p.numel() * p.element_size() for network in networks for p in network.parameters())


def _free_bytes(device: str) -> int:
    return int(torch.cuda.mem_get_info(device)[0]) if device.startswith("cuda") else int(psutil.virtual_memory().available)
