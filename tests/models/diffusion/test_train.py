from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.diffusion.controlnet import load_generator
from models.diffusion.networks import Networks, build_networks, build_tokenizer
from models.diffusion.train import (
    TrainingImages,
    TrainSettings,
    autoencoder_loss,
    encode_images,
    rate_share,
    train_generator,
    write_generator,
)
from tests.models.diffusion.tiny import TINY

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


def test_the_written_folder_loads_in_the_stock_pipeline(tmp_path: Path) -> None:
    networks, tokenizer = train_generator(squares(), TINY, SETTINGS, tmp_path / "run")
    scale = networks.vae.config.scaling_factor
    write_generator(networks, tokenizer, tmp_path / "out")
    loaded = load_generator(tmp_path / "out")
    assert loaded.pipeline.vae.config.scaling_factor == pytest.approx(scale)
    assert loaded.generate(squares(1).pose_maps, ["a person"], [0], steps=2).images.shape == (1, 32, 32, 3)


def test_the_autoencoder_learns() -> None:
    data, steps = squares(), 60
    networks = build_networks(TINY, build_tokenizer(data.captions, TINY.max_tokens))
    images = torch.from_numpy(data.images).movedim(-1, 1).float() / 127.5 - 1
    optimiser = torch.optim.AdamW(networks.vae.parameters(), lr=3e-3)
    losses = []
    for step in range(steps):
        loss = autoencoder_loss(networks.vae, images, SETTINGS, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_latents_have_unit_spread_and_the_mirror_images_are_encoded_too() -> None:
    data = squares()
    networks = build_networks(TINY, build_tokenizer(data.captions, TINY.max_tokens))
    latents = encode_images(networks, data)
    assert latents.shape == (2, 8, TINY.latent_channels, 16, 16)
    assert float(latents.std()) == pytest.approx(1.0, abs=1e-4)
    flipped = replace(data, images=data.images[:, :, ::-1].copy())
    assert torch.equal(encode_images(networks, flipped)[0], latents[1])


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
