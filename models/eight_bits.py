"""Matrices of weights in 8 bits: whole numbers and a scale for every 64 of them, which halves what 16 bits take.

Block-wise absolute-maximum quantisation (Dettmers et al. 2022, section 2). Networks compute with the numbers restored.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 64
SCALE = "|scale"  # behind a tensor's name: the tensor of its scales


def stored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating tensors of two dimensions and more as int8 with scales (rows, blocks) in float16, other floating ones in
    float16."""
    ready: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.dim() < 2:
            ready[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        blocks = _blocks(tensor.float())
        scale = (blocks.abs().amax(2) / 127).half()
        whole = (blocks / scale.float().clamp(min=1e-12)[..., None]).round().clamp(-127, 127)
        ready[name] = _unblocked(whole, tensor.shape).to(torch.int8)
        ready[name + SCALE] = scale
    return ready


def restored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `stored` made, as floating tensors again; tensors without scales as they are.

    Raises ValueError naming a tensor whose scales do not fit.
    """
    ready = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for name in tensors.keys() - ready.keys():
        whole, scale = tensors.get(name.removesuffix(SCALE)), tensors[name].float()
        if whole is None or whole.dim() < 2 or _blocks(whole).shape[:2] != scale.shape:
            raise ValueError(f"{name}: scales {tuple(scale.shape)} without the weights that they are of")
        ready[name.removesuffix(SCALE)] = _unblocked(_blocks(whole.float()) * scale[..., None], whole.shape)
    return ready


def _blocks(tensor: Tensor) -> Tensor:
    """(rows, blocks, BLOCK), the last block of a row filled up with zeros."""
    rows = tensor.flatten(1)
    return pad(rows, (0, -rows.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))


def _unblocked(blocks: Tensor, shape: torch.Size) -> Tensor:
    return blocks.flatten(1)[:, : shape[1:].numel()].reshape(shape)
