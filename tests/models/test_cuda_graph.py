"""On a GPU, the captured network computes what the plain one does; CPU machines skip this."""

import copy

import pytest
import torch

from models.cuda_graph import capture
from models.hourglass import HourglassConfig, StackedHourglass, build_hourglass
from models.losses import heatmap_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")


def _plain_and_captured() -> tuple[StackedHourglass, StackedHourglass]:
    torch.manual_seed(0)
    plain = build_hourglass(HourglassConfig(channels=16, depth=2)).cuda()
    captured = copy.deepcopy(plain)
    capture(captured, torch.zeros(2, 3, 64, 64, device="cuda"))
    return plain, captured


def test_a_captured_network_gives_the_outputs_gradients_and_statistics_of_the_plain_one() -> None:
    plain, captured = _plain_and_captured()
    for _ in range(3):  # a replay must not remember the one before
        images, target = torch.rand(2, 3, 64, 64, device="cuda"), torch.rand(2, 17, 16, 16, device="cuda")
        for net in (plain, captured):
            net.zero_grad()
            sum(heatmap_loss(heat, target) + tags.square().mean() for heat, tags in net(images)).backward()  # type: ignore[union-attr]
        for a, b in zip(plain.parameters(), captured.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-5)
    for (name, a), b in zip(plain.named_buffers(), captured.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5, msg=name)


def test_it_is_evaluated_as_before() -> None:
    plain, captured = _plain_and_captured()
    images = torch.rand(5, 3, 32, 96, device="cuda")  # of any shape
    with torch.inference_mode():
        torch.testing.assert_close(captured.eval()(images)[-1][0], plain.eval()(images)[-1][0])
