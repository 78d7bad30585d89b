"""Optimizers of the detector's training: Muon (momentum, orthogonalised, for matrices: Jordan et al. 2024) and AdamW.

torch.optim.Muon takes matrices alone and multiplies in bfloat16, which processors without that type emulate slowly; a detector
is made of convolutions, and is trained on processors too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from models.train_config import TrainConfig

# Newton-Schulz iteration of Jordan et al.: singular values end between 0.7 and 1.2 after five steps.
QUINTIC, STEPS = (3.4445, -4.7750, 2.0315), 5
# Orthogonal updates are scaled to the root mean square of AdamW's, so that one learning rate serves both (Liu et al. 2025).
ADAMW_RMS = 0.2


def make_optimizer(parameters: Iterable[Tensor], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of a configuration: Muon, or AdamW in one fused kernel."""
    if config.optimizer == "muon":
        return Muon(parameters, config.learning_rate, config.weight_decay)
    return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay, fused=True)


class Muon(torch.optim.Optimizer):
    """Parameters of two dimensions and more, flattened to (out, in), move along their orthogonalised Nesterov momentum; the
    others as in AdamW (Loshchilov & Hutter 2019). Both decay their weights."""

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.01, momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8,
    ) -> None:  # fmt: skip
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas, "eps": eps}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step along the gradients; a closure, where given, is called first."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if not moved:
                continue
            torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            self._move_matrices([p for p in moved if p.dim() > 1], group)
            self._move_others([p for p in moved if p.dim() < 2], group)
        return loss

    def _move_matrices(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        same: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for p in parameters:
            same[p.shape].append(p)
        for alike in same.values():  # one batch of matrices instead of many small products
            gradients = _gradients(alike)
            momenta = [self._state(p, "momentum") for p in alike]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
            update = orthogonal(torch.stack([a.flatten(1) for a in ahead]))
            rate = group["lr"] * ADAMW_RMS * max(update.shape[1:]) ** 0.5
            torch._foreach_add_(alike, [u.view(p.shape) for u, p in zip(update, alike, strict=True)], alpha=-rate)

    def _move_others(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        if not parameters:
            return
        first, second = group["betas"]
        gradients = _gradients(parameters)
        means, squares = ([self._state(p, name) for p in parameters] for name in ("mean", "square"))
        steps = [self._state(p, "step", torch.zeros(())) for p in parameters]
        torch._foreach_add_(steps, 1)
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_lerp_(squares, [g * g for g in gradients], 1 - second)
        step = float(steps[0])
        roots = torch._foreach_sqrt(torch._foreach_div(squares, 1 - second**step))
        torch._foreach_add_(roots, group["eps"])
        torch._foreach_addcdiv_(parameters, means, roots, -group["lr"] / (1 - first**step))

    def _state(self, parameter: Tensor, name: str, start: Tensor | None = None) -> Tensor:
        state = self.state[parameter]
        if name not in state:
            state[name] = torch.zeros_like(parameter) if start is None else start
        found: Tensor = state[name]
        return found


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (B, M, N) with all singular values near 1 and the same singular vectors, by Newton-Schulz iteration."""
    turned = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if turned else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if turned else x
