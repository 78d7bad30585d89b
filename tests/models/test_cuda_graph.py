"""On a GPU, the captured network computes what the plain one does; CPU machines skip this."""

import copy

import pytest
import torch

from models.cuda_graph import capture
from models.diffusion.learners import Denoiser
from models.diffusion.networks import build_networks, build_tokenizer
from models.diffusion.training_images import token_ids
from models.hourglass import HourglassConfig, StackedHourglass, build_hourglass
from models.losses import heatmap_loss
from tests.models.diffusion.tiny import CAPTIONS, TINY

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


def test_a_captured_generator_in_training_gives_the_gradients_of_the_plain_one() -> None:
    tokenizer = build_tokenizer(CAPTIONS, TINY.max_tokens)
    networks = build_networks(TINY, tokenizer)
    plain = Denoiser(networks.unet, networks.text_encoder, networks.controlnet).cuda().train()
    captured = copy.deepcopy(plain)
    ids = token_ids(tokenizer, CAPTIONS).cuda()[:2]
    examples = torch.zeros(2, 8, 16, 16, device="cuda"), torch.tensor([5, 900], device="cuda"), ids
    condition = torch.zeros(2, 32, 32, 3, dtype=torch.uint8, device="cuda")
    capture(captured, *examples, condition)
    for _ in range(2):
        x, maps = torch.randn_like(examples[0]), torch.randint_like(condition, 256)
        for net in (plain, captured):
            net.zero_grad()
            net(x, examples[1], ids, maps).square().mean().backward()
        for a, b in zip(plain.parameters(), captured.parameters(), strict=True):
            assert a.grad is not None
            # cuDNN may choose another algorithm when it is captured, and multiplies with the 11 bits of TF32.
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-2, atol=1e-5)
