"""Coupling layers (Dinh et al. 2017, RealNVP): some coordinates are shifted and scaled by what the others and a context say.

Several flows are computed side by side as a group T, each with its own weights: one small flow for every joint of a body.
Parameters begin with that axis, so that `flows` picks some of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Scales of one layer stay between exp(-LARGEST) and exp(LARGEST).
LARGEST = 2.0
ALL = slice(None)


class CouplingFlow(nn.Module):
    """T flows of D numbers given contexts of C: `forward` takes data to N(0, I), `inverse` back.

    moved (L, D): which coordinates each of the L layers moves; the others tell it how far. Begins as the identity.
    """

    moved: Tensor

    def __init__(self, flows: int, moved: Tensor, context: int, hidden: int) -> None:
        super().__init__()
        layers, dims = moved.shape
        self.register_buffer("moved", moved.float())
        self.told = nn.Parameter(torch.randn(flows, context, layers * hidden) / context**0.5)
        self.told_bias = nn.Parameter(torch.zeros(flows, 1, layers * hidden))
        self.kept = nn.Parameter(torch.randn(flows, layers, dims, hidden) / dims**0.5)
        self.out = nn.Parameter(torch.zeros(flows, layers, hidden, 2 * dims))
        self.out_bias = nn.Parameter(torch.zeros(flows, layers, 1, 2 * dims))

    def forward(self, y: Tensor, context: Tensor, flows: slice = ALL) -> tuple[Tensor, Tensor]:
        """Data (T, N, D) with contexts (T, N, C) -> latents (T, N, D) and log |dz/dy| (T, N)."""
        gained = torch.zeros_like(y[..., 0])
        for layer, told in enumerate(self._told(context, flows)):
            scale, shift = self._layer(layer, y, told, flows)
            y = torch.addcmul(shift, y, scale.exp())
            gained = gained + scale.sum(-1)
        return y, gained

    def inverse(self, z: Tensor, context: Tensor, flows: slice = ALL) -> Tensor:
        """Latents (T, N, D) -> data (T, N, D)."""
        told = self._told(context, flows)
        for layer in reversed(range(len(told))):
            scale, shift = self._layer(layer, z, told[layer], flows)
            z = (z - shift) * torch.exp(-scale)
        return z

    def _told(self, context: Tensor, flows: slice) -> tuple[Tensor, ...]:
        # All that is computed here lies in memory as (T, D, N): planes of one coordinate each are what is fast.
        return torch.baddbmm(self.told_bias[flows].mT, self.told[flows].mT, context.mT).chunk(len(self.moved), 1)

    def _layer(self, layer: int, y: Tensor, told: Tensor, flows: slice) -> tuple[Tensor, Tensor]:
        """Log scale and shift (T, N, D), both 0 for what the layer keeps."""
        moved = self.moved[layer]
        kept = self.kept[flows, layer] * (1 - moved)[:, None]
        hidden = torch.relu(torch.baddbmm(told, kept.mT, y.mT))
        out, bias = (
            value * torch.cat([moved / LARGEST, moved]) for value in (self.out[flows, layer], self.out_bias[flows, layer])
        )
        scale, shift = torch.baddbmm(bias.mT, out.mT, hidden).mT.chunk(2, -1)
        return LARGEST * torch.tanh(scale), shift


class GroupedPerceptron(nn.Module):
    """T perceptrons side by side, ReLU after every layer: (T, N, sizes[0]) -> (T, N, sizes[-1])."""

    def __init__(self, flows: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        ends = list(zip(sizes[:-1], sizes[1:], strict=True))
        self.weights = nn.ParameterList(torch.randn(flows, a, b) / a**0.5 for a, b in ends)
        self.biases = nn.ParameterList(torch.zeros(flows, 1, b) for _, b in ends)

    def forward(self, x: Tensor, flows: slice = ALL) -> Tensor:
        """(T, N, sizes[0]) -> (T, N, sizes[-1])."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.bmm(x, weight[flows]).add_(bias[flows]).relu_()
        return x
