"""The detector's gradient moves people towards their labels, whatever is being sampled."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.detector import load_network
from models.diffusion.controlnet import Generator, load_generator
from models.diffusion.guidance import Guide, Look, noise_share, one_step_x0
from models.diffusion.objectives import make_noise_schedule
from models.diffusion.schedulers import GUIDABLE, make_scheduler, noise_levels
from models.hourglass import HourglassConfig
from models.skeleton import COCO17
from tests.models.diffusion.tiny import make_tiny_pipeline


class Bright(nn.Module):
    """A detector whose every heatmap is the picture's brightness."""

    config = HourglassConfig()

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        heat = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4).expand(-1, 17, -1, -1)
        return [(heat, heat[..., None])]


class Pixels(nn.Module):
    """An autoencoder whose latents are the pixels."""

    class config:  # noqa: N801
        scaling_factor = 1.0

    dtype = torch.float32

    def decode(self, latents: Tensor) -> "Pixels":
        self.sample = latents
        return self


def guide(strength: float = 0.5, jitter: float = 0.0) -> Guide:
    return Guide(Bright(), strength, size_px=64, jitter=jitter)  # type: ignore[arg-type]


def standing_at(x: float, y: float) -> np.ndarray:
    return np.full((1, 17, 2), (x, y), np.float64)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return load_generator(make_tiny_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny"))


@pytest.mark.parametrize("name", GUIDABLE)
def test_a_step_tells_where_it_went(name: str) -> None:
    config = make_noise_schedule("flow" if name == "flow" else "epsilon").config
    scheduler = make_scheduler(name, config)
    scheduler.set_timesteps(10)
    draw = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 1, 4, 8, 8, generator=draw)
    t = scheduler.timesteps[3]
    (alpha, sigma), after = noise_levels(scheduler, 3)
    before = alpha * x0 + sigma * noise
    stepped = scheduler.step(noise - x0 if name == "flow" else noise, t, before).prev_sample
    torch.testing.assert_close(stepped, after[0] * x0 + after[1] * noise, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(one_step_x0(before, stepped, (alpha, sigma), after), x0, rtol=1e-3, atol=1e-3)


def test_targets_stand_at_the_labels_of_each_image_and_nowhere_else() -> None:
    two = [standing_at(10, 20), np.concatenate([standing_at(40, 8), np.full((1, 17, 2), np.nan)])]
    targets = torch.from_numpy(guide().aimed_at(two).callback(64).targets(Look()))
    assert targets.shape == (2, 17, 16, 16)
    peaks = targets[:, 0].flatten(1).argmax(1)
    assert [(int(p) % 16, int(p) // 16) for p in peaks] == [(2, 5), (10, 2)]  # (x + .5) / 4 - .5
    assert float(targets[1].sum()) == pytest.approx(17 * 2 * np.pi * 1.5**2, rel=0.1)
    assert not guide().aimed_at([np.zeros((0, 17, 2))]).callback(64).targets(Look()).any()


@pytest.mark.parametrize("look", [Look(), Look(1.2, (0.1, -0.05)), Look(0.9, (0.0, 0.1), mirrored=True)])
def test_labels_move_with_what_is_looked_at(look: Look) -> None:
    picture = torch.zeros(1, 3, 64, 64)
    picture[:, :, 38:42, 18:22] = 1.0  # its middle is a label at 19.5, 39.5
    label = np.full((1, 17, 2), np.nan)
    left, right = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    label[0, left] = (np.array([19.5, 39.5]) + 0.5) / 64 * 2 - 1
    seen, maps = look.at(picture, 64)[0, 0].numpy(), look.heatmaps(label, 64)
    rows, columns = np.mgrid[:64, :64]
    where = maps[right if look.mirrored else left]
    for grid in (columns, rows):  # a twentieth of a pixel: looking resamples a picture, a Gaussian is drawn anew
        assert (seen * grid).sum() / seen.sum() == pytest.approx((where * grid).sum() / where.sum(), abs=0.05)
    assert (maps.sum((1, 2)) > 0).sum() == 1  # a mirrored left wrist is a right one, and nobody else's
    assert Look.drawn(3, 0.0) == Look()


def test_looks_differ_by_step_and_are_the_same_again() -> None:
    looks = [Look.drawn(step, 0.15) for step in range(40)]
    assert looks == [Look.drawn(step, 0.15) for step in range(40)] and len(set(looks)) == 40
    assert {look.mirrored for look in looks} == {True, False}
    assert all(0.96 < look.zoom < 1.12 and max(map(abs, look.shift)) <= 0.06 for look in looks)


def test_the_shift_makes_what_the_detector_sees_fit_the_labels_better() -> None:
    guidance = guide(0.2).aimed_at([standing_at(20, 40)]).callback(64)
    x0 = torch.zeros(1, 3, 64, 64) + 0.1 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    moved = x0 + guidance.shift(Pixels(), x0)
    assert guidance.heatmap_error(moved) < guidance.heatmap_error(x0)
    assert float((moved - x0).square().mean().sqrt()) == pytest.approx(0.2 * float(x0.std()), rel=1e-4)
    change = (moved - x0).mean((0, 1))
    assert change[40, 20] > change.mean() + 3 * change.std()  # brighter where somebody should stand


def test_less_is_moved_the_less_noise_is_left() -> None:
    scheduler = make_scheduler("ddim", make_noise_schedule("v").config)
    scheduler.set_timesteps(10)
    pipeline = SimpleNamespace(vae=Pixels(), scheduler=scheduler)
    draw = torch.Generator().manual_seed(2)
    latents, moves = torch.randn(1, 3, 64, 64, generator=draw), []
    for step in (1, 8):
        guidance = guide(0.5).aimed_at([standing_at(20, 40)]).callback(64)
        before = guidance(pipeline, step - 1, scheduler.timesteps[step - 1], {"latents": latents})["latents"]
        assert before is latents  # of a first step nobody knows where it went
        after = guidance(pipeline, step, scheduler.timesteps[step], {"latents": 0.9 * latents})["latents"]
        x0 = one_step_x0(latents, 0.9 * latents, *noise_levels(scheduler, step))
        alpha = noise_levels(scheduler, step)[1][0]
        moves.append(float((after - 0.9 * latents).square().mean().sqrt() / alpha / x0.std()))
    shares = [noise_share(noise_levels(scheduler, step)[0]) for step in (1, 8)]
    assert moves == pytest.approx([0.5 * share for share in shares], rel=1e-3)
    assert shares[0] > 0.95 and shares[1] < 0.6


def test_the_share_of_noise_does_not_depend_on_how_a_sampler_scales() -> None:
    assert noise_share((1.0, 0.0)) == 0 and noise_share((0.0, 1.0)) == 1
    assert noise_share((0.6, 0.8)) == pytest.approx(0.8) == pytest.approx(noise_share((1.0, 0.8 / 0.6)))


@pytest.mark.parametrize("sampler", GUIDABLE)
def test_images_are_guided_each_by_its_own_labels(tmp_path: Path, sampler: str) -> None:
    objective = "flow" if sampler == "flow" else "v"
    generator = load_generator(make_tiny_pipeline(tmp_path / "tiny", objective=objective), scheduler=sampler)
    maps = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    labels = [standing_at(8, 8), standing_at(24, 24)]
    prompts, seeds = ["a person"] * 2, [1, 2]
    plain = generator.generate(maps, prompts, seeds, steps=3).images
    guided = generator.generate(maps, prompts, seeds, steps=3, guided=guide().aimed_at(labels)).images
    assert (plain != guided).any(axis=(1, 2, 3)).all()
    alone = generator.generate(maps[1:], prompts[1:], seeds[1:], steps=3, guided=guide().aimed_at(labels[1:])).images
    assert (alone[0] == guided[1]).all()
    nowhere = generator.generate(maps, prompts, seeds, steps=3, guided=guide(0.0).aimed_at(labels)).images
    assert (nowhere == plain).all()


def test_what_cannot_be_guided_is_refused(generator: Generator, tmp_path: Path) -> None:
    maps = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(ValueError, match="labels of 2 for 1 images"):
        generator.generate(maps, [""], [1], guided=guide().aimed_at([standing_at(1, 1)] * 2))
    solver = load_generator(make_tiny_pipeline(tmp_path / "tiny"), scheduler="dpm++")
    with pytest.raises(ValueError, match=r"needs the sampler ddim or euler or flow.*got dpm\+\+"):
        solver.generate(maps, [""], [1], guided=guide().aimed_at([standing_at(1, 1)]))


def test_the_shipped_detector_can_guide() -> None:
    network = load_network("studio")[0].eval().requires_grad_(False)
    guidance = Guide(network, 0.1).aimed_at([standing_at(32, 32)]).callback(64)
    shift = guidance.shift(Pixels(), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5)
    assert torch.isfinite(shift).all() and float(shift.abs().max()) > 0
