"""Losses of the associative-embedding detector (Newell, Huang, Deng 2017, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import mse_loss


def detector_loss(
    outputs: list[tuple[Tensor, Tensor]], batch: Mapping[str, Tensor], foreground: float, tag_weight: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over the stacks of heatmap and tag losses; the parts (of the last stack) as detached scalars."""
    mask = batch["weight"] * (1 + foreground * batch["target"])
    total, parts = torch.zeros((), device=mask.device), {}
    for heatmaps, tags in outputs:
        heat = heatmap_loss(heatmaps, batch["target"], mask)
        pull, push = associative_embedding_loss(tags, batch["joints"])
        total = total + heat + tag_weight * (pull + push)
        parts = {"heatmap": heat.detach(), "pull": pull.detach(), "push": push.detach()}
    return total, parts


def heatmap_loss(pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean squared error of heatmaps (B, J, H, W), each pixel weighted by `mask` (B, J, H, W) or broadcastable to it.

    Weight 0 marks what nobody labelled. The mean runs over all B*J*H*W pixels, so that a picture with few labels
    counts less than a fully labelled one.
    """
    if mask is None:
        return mse_loss(pred, target)
    return (mse_loss(pred, target, reduction="none") * mask).mean()


def associative_embedding_loss(tags: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Pull and push of Newell 2017, equation 1, averaged over the batch; any tag dimension.

    tags: (B, J, H, W) or (B, J, H, W, K). joints: (B, N, J, 3) as x, y in heatmap pixels and visible > 0; joints outside
    the map count as not visible; x, y are rounded to the nearest pixel. People without a visible joint are ignored.

    pull = mean over people of the mean over their joints of |h - m|^2, m the mean tag of the person.
    push = 1 / (2 N (N - 1)) * sum over n != n' of exp(-|m_n - m_n'|^2); 0 for fewer than two people.
    Returns two scalars. Raises ValueError on shapes that do not fit.
    """
    if tags.dim() == 4:
        tags = tags.unsqueeze(-1)
    batch, count, height, width, dims = tags.shape
    if joints.dim() != 4 or joints.shape[0] != batch or joints.shape[2:] != (count, 3):
        raise ValueError(f"associative_embedding_loss: tags {tuple(tags.shape)} need joints (B={batch}, N, "
                         f"J={count}, 3), got {tuple(joints.shape)}")  # fmt: skip
    at_joints, visible = _gather(tags, joints)
    seen = visible.sum(2)  # (B, N)
    means = (at_joints * visible[..., None]).sum(2) / seen.clamp(min=1)[..., None]  # (B, N, K)
    deviation = (at_joints - means[:, :, None]).square().sum(-1) * visible
    present = (seen > 0).to(tags.dtype)
    people = present.sum(1)  # (B,)
    pull = (deviation.sum(2) / seen.clamp(min=1)).sum(1) / people.clamp(min=1)
    return pull.mean(), _push(means, present, people).mean()


def _gather(tags: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Tags at the joints (B, N, J, K) and visibility (B, N, J), by one gather over a flat index."""
    batch, count, height, width, dims = tags.shape
    xy = joints[..., :2].nan_to_num(nan=-1.0).round().long()
    inside = (xy[..., 0] >= 0) & (xy[..., 0] < width) & (xy[..., 1] >= 0) & (xy[..., 1] < height)
    visible = ((joints[..., 2] > 0) & inside).to(tags.dtype)
    pixel = (xy[..., 1].clamp(0, height - 1) * width + xy[..., 0].clamp(0, width - 1)).transpose(1, 2)  # (B, J, N)
    flat = tags.reshape(batch, count, height * width, dims)
    picked = flat.gather(2, pixel[..., None].expand(-1, -1, -1, dims))
    return picked.transpose(1, 2), visible


def _push(means: Tensor, present: Tensor, people: Tensor) -> Tensor:
    """(B,) repulsion between the mean tags (B, N, K) of different people of one image."""
    distance = (means[:, :, None] - means[:, None]).square().sum(-1)
    pairs = present[:, :, None] * present[:, None]
    pairs = pairs * (1 - torch.eye(means.shape[1], dtype=means.dtype, device=means.device))
    total = (torch.exp(-distance) * pairs).sum((1, 2))
    return total / (2 * people * (people - 1)).clamp(min=1)
