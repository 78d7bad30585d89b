"""The detector's loss against a plain loop over people and joints, written by the equations of Newell 2017.

Run: ``python -m tests.benchmarks.bench_loss``. Forward and backward of one training batch, one thread, values and gradients
compared. The heatmap term is the same tensor operation in both (the paper has no loop there), so the ratio that matters is that
of the tag terms; the ratio with the heatmap term in both is printed beside it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.losses import associative_embedding_loss, heatmap_loss
from tests.benchmarks.timing import cpu_seconds

BATCH, PEOPLE, JOINTS = 8, 30, 17
SIDES = (64, 128)  # maps of 256 px images, as the shipped network is trained on, and of 512 px ones
TAG_WEIGHT = 1e-3  # Newell 2017: 1e-3 pull + 1e-3 push
RATIO, EQUAL = 200, 1e-6
Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def plain_loss(tags: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Pull and push, picture by picture, person by person, joint by joint, pair by pair."""
    pull, push = tags.new_zeros(()), tags.new_zeros(())
    for image, people in zip(tags, joints.tolist(), strict=True):
        means = []
        image_pull, image_push = tags.new_zeros(()), tags.new_zeros(())
        for person in people:
            at_joints = [image[j, round(y), round(x)] for j, (x, y, visible) in enumerate(person) if visible > 0]
            if not at_joints:
                continue
            mean = sum(at_joints) / len(at_joints)  # type: ignore[operator]
            means.append(mean)
            image_pull = image_pull + sum(((h - mean) ** 2).sum() for h in at_joints) / len(at_joints)
        for n, a in enumerate(means):
            for m, b in enumerate(means):
                if n != m:
                    image_push = image_push + torch.exp(-((a - b) ** 2).sum())
        pull = pull + image_pull / max(len(means), 1)
        push = push + image_push / max(2 * len(means) * (len(means) - 1), 1)
    return pull / len(tags), push / len(tags)


def batch(dtype: torch.dtype, dims: int, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heatmaps and their targets (B, J, H, W), tags (B, J, H, W, K), joints (B, N, J, 3), nine of ten visible."""
    rng = np.random.default_rng(0)
    shape = (BATCH, JOINTS, side, side)
    heatmaps, targets, tags = (torch.tensor(rng.normal(size=s), dtype=dtype) for s in (shape, shape, (*shape, dims)))
    xy = rng.uniform(0, side - 1, (BATCH, PEOPLE, JOINTS, 2))
    visible = rng.random((BATCH, PEOPLE, JOINTS, 1)) < 0.9
    return heatmaps, targets, tags, torch.tensor(np.concatenate([xy, visible], -1), dtype=dtype)


def tag_step(loss: Loss, tags: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Value and gradient of pull + push, unweighted: the weight of 1e-3 would hide a thousandth of every difference."""
    leaf = tags.detach().requires_grad_()
    value = sum(loss(leaf, joints))
    (gradient,) = torch.autograd.grad(value, leaf)  # type: ignore[arg-type]
    return value.detach(), gradient  # type: ignore[union-attr]


def whole_step(loss: Loss, heatmaps: Tensor, targets: Tensor, tags: Tensor, joints: Tensor) -> None:
    leaves = heatmaps.detach().requires_grad_(), tags.detach().requires_grad_()
    value = heatmap_loss(leaves[0], targets) + TAG_WEIGHT * sum(loss(leaves[1], joints))
    torch.autograd.grad(value, leaves)


def largest_differences(dtype: torch.dtype, dims: int) -> tuple[float, float]:
    _, _, tags, joints = batch(dtype, dims, SIDES[-1])
    (value, gradient), (expected, expected_gradient) = (
        tag_step(f, tags, joints) for f in (associative_embedding_loss, plain_loss)
    )
    return float((value - expected).abs()), float((gradient - expected_gradient).abs().max())


def compare(side: int) -> None:
    heatmaps, targets, tags, joints = batch(torch.float32, 1, side)
    rows: tuple[tuple[str, Callable[[Loss], object]], ...] = (
        ("pull + push", lambda loss: tag_step(loss, tags, joints)),
        ("heatmap + pull + push", lambda loss: whole_step(loss, heatmaps, targets, tags, joints)),
    )
    for name, step in rows:
        ours = cpu_seconds(lambda step=step: step(associative_embedding_loss), 15)
        plain = cpu_seconds(lambda step=step: step(plain_loss), 3)
        ratio = f"ratio {plain / ours:6.0f}   (bar {RATIO})"
        print(f"{side:4} px {name:22} ours {ours * 1e3:7.2f} ms   loop {plain * 1e3:8.1f} ms   {ratio}")


def main() -> None:
    torch.set_num_threads(1)
    print(f"batch {BATCH}, {PEOPLE} people, {JOINTS} joints, forward + backward, one thread, median CPU time")
    for side in SIDES:
        compare(side)
    for dtype in (torch.float32, torch.float64):
        for dims in (1, 2):
            value, gradient = largest_differences(dtype, dims)
            print(f"{str(dtype):14} K={dims}  value differs {value:.1e}, gradient {gradient:.1e}   (bar {EQUAL:.0e})")


if __name__ == "__main__":
    main()
