import numpy as np
import pytest
import torch
from torch import Tensor

from models.losses import associative_embedding_loss, detector_loss, heatmap_loss


def plain_loss(tags: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Newell 2017, equation 1, person by person."""
    pulls, pushes = [], []
    for image_tags, image_joints in zip(tags, joints, strict=True):
        means, pull = [], image_tags.sum() * 0
        for person in image_joints:
            seen = [
                image_tags[j, int(torch.round(y)), int(torch.round(x))]
                for j, (x, y, visible) in enumerate(person)
                if visible > 0
            ]
            if not seen:
                continue
            mean = torch.stack(seen).mean(0)
            pull = pull + torch.stack([(h - mean).square().sum() for h in seen]).mean()
            means.append(mean)
        push = image_tags.sum() * 0
        for n, a in enumerate(means):
            for m, b in enumerate(means):
                if n != m:
                    push = push + torch.exp(-(a - b).square().sum())
        count = len(means)
        pulls.append(pull / max(count, 1))
        pushes.append(push / max(2 * count * (count - 1), 1))
    return torch.stack(pulls).mean(), torch.stack(pushes).mean()


def random_scene(dims: int, people: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    tags = torch.tensor(rng.normal(size=(3, 7, 12, 10, dims)), requires_grad=True)
    xy = rng.uniform((0, 0), (9, 11), (3, people, 7, 2))
    joints = torch.tensor(np.concatenate([xy, rng.random((3, people, 7, 1)) < 0.6], -1))
    joints[1, 2:, :, 2] = 0  # images with fewer people than rows
    joints[2, :, :, 2] = 0
    joints[2, 0, 3, 2] = 1  # one person, one joint
    return tags, joints


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_the_gathered_loss_equals_the_plain_loop_with_gradients(dims: int) -> None:
    tags, joints = random_scene(dims)
    for fast, plain in zip(associative_embedding_loss(tags, joints), plain_loss(tags, joints), strict=True):
        assert abs(float((fast - plain).detach())) < 1e-6
        gradient, expected = (torch.autograd.grad(x, tags, retain_graph=True)[0] for x in (fast, plain))
        assert float((gradient - expected).abs().max()) < 1e-6


def test_a_missing_tag_axis_means_one_dimension() -> None:
    tags, joints = random_scene(1)
    assert associative_embedding_loss(tags[..., 0], joints) == associative_embedding_loss(tags, joints)


def test_the_order_of_people_does_not_matter() -> None:
    tags, joints = random_scene(2)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(associative_embedding_loss(tags, joints), associative_embedding_loss(tags, joints[:, order]))


def test_an_image_without_people_costs_nothing_and_has_zero_gradient() -> None:
    tags, joints = random_scene(1)
    joints[..., 2] = 0
    pull, push = associative_embedding_loss(tags, joints)
    (pull + push).backward()
    assert float(pull) == float(push) == 0
    assert float(tags.grad.abs().max()) == 0  # type: ignore[union-attr]


def test_joints_outside_the_map_or_unknown_are_not_visible() -> None:
    tags, joints = random_scene(1)
    outside = joints.clone()
    outside[0, 0, :, :2] = torch.tensor([50.0, -3.0])
    outside[0, 1, :, :2] = torch.nan
    hidden = joints.clone()
    hidden[0, :2, :, 2] = 0
    torch.testing.assert_close(associative_embedding_loss(tags, outside), associative_embedding_loss(tags, hidden))


def test_shapes_that_do_not_fit_are_named() -> None:
    tags, joints = random_scene(1)
    with pytest.raises(ValueError, match=r"J=7.*\(3, 5, 6, 3\)"):
        associative_embedding_loss(tags, joints[:, :, :6])
    for wrong in (joints[:2], joints[0], joints[..., :2]):
        with pytest.raises(ValueError, match=r"need joints \(B=3, N, J=7, 3\), got \("):
            associative_embedding_loss(tags, wrong)


def test_masked_pixels_do_not_count_and_have_no_gradient() -> None:
    pred = torch.zeros(1, 2, 4, 4, requires_grad=True)
    target = torch.zeros(1, 2, 4, 4)
    target[0, 0, 1, 1], target[0, 1, 2, 2] = 1.0, 3.0
    mask = torch.ones(1, 2, 4, 4)
    mask[0, 1] = 0
    loss = heatmap_loss(pred, target, mask)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(1 / 32)
    assert pred.grad is not None and float(pred.grad[0, 1].abs().max()) == 0
    assert float(heatmap_loss(pred, target).detach()) == pytest.approx(10 / 32)


def test_the_detectors_loss_sums_the_stacks_and_weighs_foreground_and_tags() -> None:
    batch = {
        "target": torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]]),  # (B=1, J=2, H=1, W=2)
        "weight": torch.tensor([[[[1.0, 0.5]], [[0.0, 1.0]]]]),
        "joints": torch.tensor([[[[0.0, 0, 1], [0, 0, 1]], [[1, 0, 1], [1, 0, 1]]]]),
    }
    tags = torch.tensor([[[[0.0, 2.0]], [[1.0, 2.0]]]])  # means 0.5 and 2; the first person's joints lie 0.5 off
    off = torch.tensor([[[[0.0, 2.0]], [[5.0, 1.0]]]], requires_grad=True)
    total, parts = detector_loss([(off, tags), (batch["target"], torch.zeros_like(tags))], batch, 3.0, 0.1)
    heat = (1 * (1 + 3) * 1 + 0.5 * 2**2 + 0 * 5**2 + 1 * 1**2) / 4
    pull, push = 0.5**2 / 2, 2 * np.exp(-(1.5**2)) / 4
    assert float(total.detach()) == pytest.approx(heat + 0.1 * (pull + push) + 0 + 0.1 * (0 + 2 / 4))
    assert total.requires_grad
    assert {name: float(part) for name, part in parts.items()} == pytest.approx({"heatmap": 0, "pull": 0, "push": 0.5})
    _, parts = detector_loss([(off, tags.requires_grad_())], batch, 3.0, 0.1)
    assert not any(part.requires_grad for part in parts.values())
    assert {name: float(part) for name, part in parts.items()} == pytest.approx({"heatmap": heat, "pull": pull, "push": push})


def test_one_person_alone_is_pulled_together() -> None:
    tags = torch.tensor([[[[0.0, 5.0]], [[1.0, 5.0]], [[2.0, 7.0]]]])  # (B=1, J=3, H=1, W=2)
    pull, push = associative_embedding_loss(tags, torch.tensor([[[[0.0, 0, 1], [0, 0, 1], [1, 0, 0]]]]))
    assert (float(pull), float(push)) == pytest.approx((0.5**2, 0.0))


@pytest.mark.parametrize("x_y", [(-0.6, 5), (9.6, 5), (5, -0.6), (5, 11.6), (9, 50), (50, 11), (-50, 0), (0, -50)])
def test_a_joint_just_outside_the_map_is_not_visible(x_y: tuple[float, float]) -> None:
    tags, joints = random_scene(1)  # maps of 12 rows and 10 columns
    joints[0, 0, :, 2] = 1
    outside, hidden = joints.clone(), joints.clone()
    outside[0, 0, 2, :2], hidden[0, 0, 2, 2] = torch.tensor(x_y), 0
    torch.testing.assert_close(associative_embedding_loss(tags, outside), associative_embedding_loss(tags, hidden))
    inside = joints.clone()
    inside[0, 0, 2, :2] = torch.tensor(x_y).clamp(torch.tensor([-0.4, -0.4]), torch.tensor([9.4, 11.4]))
    assert associative_embedding_loss(tags, inside) != associative_embedding_loss(tags, hidden)
