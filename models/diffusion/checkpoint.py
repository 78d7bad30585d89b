"""Checkpoints of a training phase: weights, their moving average and AdamW's state in one safetensors file, never a pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.atomic import replacing


class Averaged:
    """Exponential moving average of parameters; young averages follow faster: decay = min(limit, (1 + n) / (10 + n))."""

    def __init__(self, modules: dict[str, nn.Module], limit: float) -> None:
        self.limit = limit
        self.values = {name: value.detach().clone() for name, value in named_parameters(modules).items()}

    @torch.no_grad()
    def update(self, modules: dict[str, nn.Module], step: int) -> None:
        """Take in the parameters as they are after `step` steps."""
        weight = 1 - min(self.limit, (1 + step) / (10 + step))
        fresh = named_parameters(modules)
        torch._foreach_lerp_(list(self.values.values()), [fresh[name].detach() for name in self.values], weight)

    @torch.no_grad()
    def copy_to(self, modules: dict[str, nn.Module]) -> None:
        """Put the average into the networks."""
        for name, parameter in named_parameters(modules).items():
            parameter.copy_(self.values[name])


def named_parameters(modules: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Every parameter of several networks as ``network.parameter``."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.named_parameters()}


def save_checkpoint(
    path: Path, step: int, digest: str, modules: dict[str, nn.Module], average: Averaged, optimiser: torch.optim.Optimizer
) -> None:
    """Write atomically. digest: of the settings and data, so that another training does not go on from here."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, parameter in named_parameters(modules).items():
        tensors[f"weight/{name}"] = parameter.detach()
        tensors[f"average/{name}"] = average.values[name]
        for key in ("exp_avg", "exp_avg_sq"):
            if key in optimiser.state[parameter]:
                tensors[f"{key}/{name}"] = optimiser.state[parameter][key]
    # a tensor held twice, as under tied weights, must be written as two
    ready = {k: v.contiguous().clone() for k, v in tensors.items()}
    with replacing(path) as temporary:
        save_file(ready, temporary, {"step": str(step), "digest": digest})


def load_checkpoint(
    path: Path, digest: str, modules: dict[str, nn.Module], average: Averaged, optimiser: torch.optim.Optimizer
) -> int:
    """Go on from a checkpoint; returns its step, 0 without a file. Raises ValueError when it is of another training."""
    from safetensors import safe_open

    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
        if said.get("digest") != digest:
            raise ValueError(f"{path}: belongs to a training with other settings or data; choose another folder or remove it")
        step = int(said["step"])
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (safe_open is no dict)
    with torch.no_grad():
        for name, parameter in named_parameters(modules).items():
            parameter.copy_(stored[f"weight/{name}"])
            average.values[name].copy_(stored[f"average/{name}"])
            if f"exp_avg/{name}" in stored:
                moments = {key: stored[f"{key}/{name}"].to(parameter.device) for key in ("exp_avg", "exp_avg_sq")}
                optimiser.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step
