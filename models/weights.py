"""Weights on disk: safetensors only, written atomically, with their configuration and a hash inside. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.atomic import replacing
from models.eight_bits import restored, stored
from models.shipped import weights_folder

FORMAT = "posemill-weights-1"
_CARD_HASH = re.compile(r"File hash \(SHA-256\):\s*`([0-9a-f]{64})`")


class WeightsError(ValueError):
    """Weights that are missing, tampered with, or made for something else."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able metadata atomically; the hash of the tensors goes into the metadata."""
    from safetensors.torch import save_file

    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {
        "format": FORMAT,
        "sha256": tensors_sha256(ready),
        **{key: json.dumps(value, sort_keys=True) for key, value in metadata.items()},
    }
    with replacing(path) as temporary:
        save_file(ready, str(temporary), metadata=header)
        temporary.chmod(0o644)  # safetensors writes it readable by its owner alone


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata written by `save_tensors`; weights that were shipped in 8 bits as floating numbers.

    Raises WeightsError when the file is missing, is no safetensors file of this project, or its hash does not fit.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file. Shipped weights: {', '.join(_shipped()) or 'none'}; "
                           "others come from `posemill train detector`")  # fmt: skip
    _check_card(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: expected a safetensors file, found something unreadable ({error})") from error
    if header.get("format") != FORMAT:
        raise WeightsError(f"{path}: expected metadata format={FORMAT}, found {header.get('format')!r}: "
                           "not weights of this project")  # fmt: skip
    found = tensors_sha256(tensors)
    if found != header.get("sha256"):
        raise WeightsError(f"{path}: the tensors do not fit their recorded hash (expected {header.get('sha256')}, "
                           f"found {found}): the file was changed or damaged; fetch it again")  # fmt: skip
    try:
        return restored(tensors), {k: json.loads(v) for k, v in header.items() if k not in ("format", "sha256")}
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: it cannot be read ({error}): the file was changed; fetch it again") from error


def _check_card(path: Path) -> None:
    """Raises WeightsError when shipped weights are not the file that their card names: the hash inside says nothing of what is
    recorded with the tensors, and whoever changes both changes it too."""
    card = path.with_suffix(".md")
    if path.resolve().parent != weights_folder() or not card.is_file():
        return
    named = _CARD_HASH.search(card.read_text(encoding="utf-8"))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if named and found != named[1]:
        raise WeightsError(f"{path}: its card {card.name} names the file of SHA-256 {named[1]}, found {found}: the file was "
                           "changed or damaged; fetch it again")  # fmt: skip


def ship_weights(source: Path, target: Path, bits: int = 16, **about: Any) -> None:
    """Write trained weights in 16 or 8 bits, a half or a quarter, with what a user must know beside what training recorded.

    about: `licence` (what the weights may be used for) and `inference` (options of the detector that was measured), JSON-able.
    Raises ValueError for another number of bits.
    """
    if bits not in (8, 16):
        raise ValueError(f"bits: expected 8 or 16, got {bits}")
    tensors, recorded = load_tensors(source)
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    save_tensors(target, stored(tensors) if bits == 8 else halved, {**recorded, **about})


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hash over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _shipped() -> list[str]:
    return sorted(p.stem for p in weights_folder().glob("*.safetensors"))
