from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.diffusion.base import load_base
from models.diffusion.controlnet import load_generator
from models.diffusion.learners import Autoencoder, autoencoder_loss, pixel_loss
from models.diffusion.networks import Networks, build_networks, build_tokenizer
from models.diffusion.objectives import Objective
from models.diffusion.train import Stopped, train_controlnet, train_generator, write_generator
from models.diffusion.train_settings import TrainSettings, rate_share
from models.diffusion.training_images import TrainingImages, drawn_people, latent_means, pixels
from models.weights import WeightsError
from tests.models.diffusion.tiny import TINY, make_tiny_pipeline
from tests.models.diffusion.tiny_xl import make_tiny_xl

SETTINGS = TrainSettings(autoencoder_steps=6, denoiser_steps=4, controlnet_steps=4, batch=2, save_every=2)


def squares(count: int = 8) -> TrainingImages:
    """Images of a bright square on dark ground; the pose map is the square's outline in red."""
    images = np.full((count, 32, 32, 3), 40, np.uint8)
    maps = np.zeros_like(images)
    for n, (y, x) in enumerate(np.random.default_rng(0).integers(0, 20, (count, 2))):
        images[n, y : y + 10, x : x + 10] = 220
        maps[n, y : y + 10, x : x + 10, 0] = 255
    return TrainingImages(images, maps, maps[:, :, ::-1].copy(), ("a person in a red top",) * count)


def weights(networks: Networks) -> dict[str, torch.Tensor]:
    return {f"{part}.{k}": v.clone() for part, net in networks.named().items() for k, v in net.state_dict().items()}


def test_a_training_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, _ = train_generator(squares(), TINY, SETTINGS, tmp_path / "whole")

    def stop(phase: str, step: int, steps: int, loss: float) -> None:
        if (phase, step) == ("controlnet", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_generator(squares(), TINY, SETTINGS, tmp_path / "cut", stop)
    resumed, _ = train_generator(squares(), TINY, SETTINGS, tmp_path / "cut")
    expected = weights(whole)
    assert all((value == expected[name]).all() for name, value in weights(resumed).items())


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train_generator(squares(), TINY, SETTINGS, tmp_path)
    with pytest.raises(ValueError, match="other settings or data"):
        train_generator(squares(), TINY, replace(SETTINGS, batch=3), tmp_path)
    with pytest.raises(ValueError, match="other settings or data"):
        train_generator(squares(6), TINY, SETTINGS, tmp_path)


def test_a_training_whose_time_is_over_says_so_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="step 1 of 6 of the autoencoder"):
        train_generator(squares(), TINY, replace(SETTINGS, seconds=0.0), tmp_path)
    whole, _ = train_generator(squares(), TINY, SETTINGS, tmp_path / "whole")
    resumed, _ = train_generator(squares(), TINY, SETTINGS, tmp_path)
    expected = weights(whole)
    assert all((value == expected[name]).all() for name, value in weights(resumed).items())


def losses(folder: Path) -> list[float]:
    return [float(row.split(",")[2]) for row in (folder / "curve.csv").read_text().splitlines()[1:]]


def test_checkpointing_learns_the_same_bit_for_bit(tmp_path: Path) -> None:
    plain, _ = train_generator(squares(), TINY, SETTINGS, tmp_path / "plain")
    other, _ = train_generator(squares(), TINY, replace(SETTINGS, checkpointing=True), tmp_path / "spared")
    expected = weights(plain)
    assert all(torch.equal(value, expected[name]) for name, value in weights(other).items())


def test_a_batch_in_parts_teaches_what_the_whole_teaches(tmp_path: Path) -> None:
    exact = replace(SETTINGS, precision="fp32")  # 16 bits round each sum
    train_generator(squares(), TINY, exact, tmp_path / "plain")
    train_generator(squares(), TINY, replace(exact, accumulate=2), tmp_path / "parts")
    # sums are taken in another order; AdamW makes the most of that where gradients are near zero
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)


@pytest.mark.parametrize("objective", ["v", "epsilon", "flow"])
def test_the_written_folder_loads_in_the_stock_pipeline(tmp_path: Path, objective: str) -> None:
    from diffusers import StableDiffusionControlNetPipeline

    networks, tokenizer = train_generator(squares(), TINY, replace(SETTINGS, objective=objective), tmp_path / "run")
    scale = networks.vae.config.scaling_factor
    write_generator(networks, tokenizer, tmp_path / "out", objective)
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert pipeline.vae.config.scaling_factor == pytest.approx(scale)
    condition = torch.from_numpy(squares(1).pose_maps).movedim(-1, 1).float() / 255
    made = pipeline("a person", image=condition, num_inference_steps=2, output_type="np").images
    assert made.shape == (1, 32, 32, 3) and np.isfinite(made).all()
    assert Objective.of(pipeline.scheduler).name == objective


def test_a_controlnet_is_trained_beside_a_pipeline_that_stays_as_it_is(tmp_path: Path) -> None:
    folder = make_tiny_pipeline(tmp_path / "base", half=True)
    settings = replace(SETTINGS, controlnet_steps=6, controlnet_denoiser_rate=0.0)
    base = load_base(folder)
    before = weights(base.networks)
    assert not any(value.any() for name, value in before.items() if "controlnet_down_blocks" in name)  # zero convolutions
    networks = train_controlnet(
        squares(), base.networks, base.tokenizer, base.scheduler, settings, tmp_path / "run", base.digest
    )
    changed = {name.split(".")[0] for name, value in weights(networks).items() if not torch.equal(value, before[name])}
    assert changed == {"controlnet"}
    networks.controlnet.half().save_pretrained(tmp_path / "trained")
    again = load_base(folder, tmp_path / "trained")
    assert again.digest.startswith(base.digest) and again.digest != base.digest
    loaded = load_generator(folder, controlnets=[tmp_path / "trained"])
    assert loaded.generate(squares(1).pose_maps, ["a person"], [0], steps=2).images.shape == (1, 32, 32, 3)


def test_people_are_where_the_pose_map_is_drawn_and_one_latent_pixel_around() -> None:
    maps = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    maps[0, 5, 6, 1] = 9
    found = drawn_people(maps, 4)
    assert found.shape == (2, 1, 4, 4) and not found[1].any()
    expected = torch.zeros(4, 4)
    expected[0:3, 0:3] = 1
    assert torch.equal(found[0, 0], expected)


def test_a_fresh_controlnet_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    folder = make_tiny_pipeline(tmp_path / "base")
    first, again, other = (load_base(folder, seed=seed).networks.controlnet.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="an XL pipeline; ControlNets are trained for Stable Diffusion 1.5 and 2.1"):
        load_base(make_tiny_xl(tmp_path / "xl"))


def test_a_controlnet_begins_where_the_one_given_stands(tmp_path: Path) -> None:
    folder = make_tiny_pipeline(tmp_path / "base")
    begun = load_base(folder, folder / "controlnet")
    assert begun.networks.controlnet.controlnet_mid_block.weight.abs().mean() > 0.1
    with pytest.raises(WeightsError, match=r"nowhere.config.json: missing"):
        load_base(folder, tmp_path / "nowhere")


def test_processes_that_would_get_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", 8)
    with pytest.raises(ValueError, match=r"autoencoder_batch: expected a multiple of 8 \(8 processes, 1 parts\), got 4"):
        train_generator(squares(), TINY, replace(SETTINGS, batch=8), tmp_path)


def test_a_batch_that_cannot_be_cut_into_its_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="a multiple of its 3 parts"):
        TrainSettings(batch=16, accumulate=3)
    with pytest.raises(ValueError, match="objective: expected one of v, epsilon, flow"):
        TrainSettings(objective="score")


def test_the_autoencoder_learns() -> None:
    data, steps = squares(), 60
    networks = build_networks(TINY, build_tokenizer(data.captions, TINY.max_tokens))
    images = torch.from_numpy(data.images).movedim(-1, 1).float() / 127.5 - 1
    model = Autoencoder(networks.vae)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        noise = torch.randn((8, TINY.latent_channels, 16, 16), generator=torch.Generator().manual_seed(step))
        loss = autoencoder_loss(*model(images, noise), images, SETTINGS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_the_decoder_alone_learns_from_latents_that_stay(tmp_path: Path) -> None:
    base, images = load_base(make_tiny_pipeline(tmp_path / "base")), pixels(squares().images)
    weights_before = {name: value.clone() for name, value in base.networks.vae.state_dict().items()}

    def decoded() -> torch.Tensor:
        with torch.no_grad():
            return base.networks.vae.decode(base.networks.vae.encode(images).latent_dist.mean).sample

    before = decoded()
    settings = replace(SETTINGS, decoder_steps=60, controlnet_steps=0, batch=4, person_weight=2.0, average_limit=0.8)
    train_controlnet(squares(), base.networks, base.tokenizer, base.scheduler, settings, tmp_path / "run")
    assert float((decoded() - images).abs().mean()) < 0.7 * float((before - images).abs().mean())
    after = base.networks.vae.state_dict()
    moved = {name.split(".")[0] for name, value in weights_before.items() if not torch.equal(value, after[name])}
    assert moved == {"decoder", "post_quant_conv"}
    curve = (tmp_path / "run" / "curve.csv").read_text()
    assert "decoder,60," in curve and "controlnet" not in curve


def test_an_error_counts_more_where_it_weighs_more() -> None:
    image, where = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    wrong = image.clone()
    wrong[..., 2, 2] = 0.5
    settings = replace(SETTINGS, edge_weight=0.0)
    assert float(pixel_loss(wrong, image, settings)) == pytest.approx((0.5 + 4 * 0.25) / 16)
    where[..., 2, 2] = 3.0
    assert float(pixel_loss(wrong, image, settings, where)) == pytest.approx(3 * (0.5 + 4 * 0.25) / 16)
    edges = replace(SETTINGS, edge_weight=1.0)  # two edges across and two down, of 12 each, half of them at the pixel itself
    more = pixel_loss(wrong, image, edges, where) - pixel_loss(wrong, image, settings, where)
    assert float(more) == pytest.approx(2 * 0.5 * (3 + 1) / 12)


def test_the_mirror_images_are_encoded_too() -> None:
    data = squares()
    networks = build_networks(TINY, build_tokenizer(data.captions, TINY.max_tokens))
    latents = latent_means(networks.vae, data)
    assert latents.shape == (2, 8, TINY.latent_channels, 16, 16)
    flipped = replace(data, images=data.images[:, :, ::-1].copy())
    assert torch.equal(latent_means(networks.vae, flipped)[0], latents[1])


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="autoencoder step [0-9]+: the loss is"):
        train_generator(squares(), TINY, replace(SETTINGS, autoencoder_steps=400, autoencoder_rate=1e12), tmp_path)


def test_the_rate_rises_then_falls_to_a_tenth() -> None:
    shares = [rate_share(step, 2000) for step in range(2000)]
    assert max(shares) == pytest.approx(1.0, abs=0.01)
    assert np.argmax(shares) == 99
    assert shares[-1] == pytest.approx(0.1, abs=1e-3)


def test_images_without_captions_are_refused() -> None:
    data = squares()
    with pytest.raises(ValueError, match="one size"):
        replace(data, captions=data.captions[1:])
