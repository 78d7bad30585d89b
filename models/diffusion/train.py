"""Training of a small text- and pose-conditioned latent diffusion model: autoencoder, then denoiser, then ControlNet.

Rombach et al. 2022; Zhang et al. 2023; velocity prediction of Salimans and Ho 2022. Every step draws its own random numbers
from (seed, phase, step), so that a training that is cut off and goes on equals one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from models.diffusion.checkpoint import Averaged, load_checkpoint, save_checkpoint
from models.diffusion.networks import (
    GeneratorShape,
    Networks,
    build_networks,
    build_tokenizer,
    noise_schedule,
    save_pipeline,
)

Report = Callable[[str, int, int, float], None]  # phase, step, steps, loss averaged over the last steps
PHASES = ("autoencoder", "denoiser", "controlnet")


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """N square images with what they show. images, pose_maps, mirrored_maps: RGB uint8 (N, S, S, 3); captions: N texts.

    mirrored_maps are the pose maps of the images seen in a mirror: flipped, and with left and right limbs exchanged.
    """

    images: NDArray[np.uint8]
    pose_maps: NDArray[np.uint8]
    mirrored_maps: NDArray[np.uint8]
    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        shapes = {self.images.shape, self.pose_maps.shape, self.mirrored_maps.shape}
        if len(shapes) > 1 or len(self.captions) != len(self.images) or not len(self.images):
            raise ValueError(f"TrainingImages: expected N > 0 images, maps and captions of one size, got {shapes}")

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class TrainSettings:
    """Lengths in steps, rates of AdamW (cosine to a tenth), and the shares of a loss.

    controlnet_denoiser_rate: rate of the denoiser while ControlNet learns; 0 keeps it as it is (Zhang et al.), more lets a
    small model learn to use the pose in fewer steps. drop_caption: share of empty captions, for classifier-free guidance.
    """

    autoencoder_steps: int = 1000
    denoiser_steps: int = 3000
    controlnet_steps: int = 5000
    batch: int = 16
    autoencoder_batch: int = 4
    autoencoder_rate: float = 3e-3
    denoiser_rate: float = 1e-3
    controlnet_rate: float = 1e-3
    controlnet_denoiser_rate: float = 5e-4
    square_weight: float = 4.0
    edge_weight: float = 0.5
    kl_weight: float = 1e-6
    drop_caption: float = 0.1
    average_limit: float = 0.999
    save_every: int = 200
    seed: int = 0


def train_generator(
    data: TrainingImages, shape: GeneratorShape, settings: TrainSettings, folder: Path, report: Report = lambda *_: None
) -> tuple[Networks, Any]:
    """Train all phases, going on from the checkpoints in `folder`; returns the averaged networks and the tokenizer.

    Raises ValueError when the checkpoints belong to other settings or data, or when the loss is no longer finite.
    """
    tokenizer = build_tokenizer(data.captions, shape.max_tokens)
    networks = build_networks(shape, tokenizer, settings.seed)
    training = Training(data, settings, Path(folder), _digest(data, shape, settings), report)
    training.autoencoder(networks)
    latents = encode_images(networks, data)
    training.denoiser(networks, latents, _tokens(tokenizer, data.captions))
    _start_controlnet(networks)
    training.controlnet(networks, latents, _tokens(tokenizer, data.captions))
    return networks, tokenizer


def write_generator(networks: Networks, tokenizer: Any, folder: Path) -> None:
    """Write the trained networks as a float16 diffusers folder."""
    save_pipeline(networks, tokenizer, folder)


@dataclass(frozen=True, eq=False)
class Training:
    """One run: its data, settings, checkpoint folder and listener."""

    data: TrainingImages
    settings: TrainSettings
    folder: Path
    digest: str
    report: Report

    def autoencoder(self, networks: Networks) -> None:
        """Images to latents and back: absolute error of pixels and of their differences, and a light pull to a normal law."""
        images = _pixels(self.data.images)

        def loss(draw: torch.Generator) -> Tensor:
            pick = torch.randint(len(images), (self.settings.autoencoder_batch,), generator=draw)
            batch = _maybe_flipped(images[pick], draw)
            return autoencoder_loss(networks.vae, batch, self.settings, draw)

        self._phase("autoencoder", {"vae": networks.vae}, [self.settings.autoencoder_rate], loss)

    def denoiser(self, networks: Networks, latents: Tensor, tokens: Tensor) -> None:
        """The UNet and the text encoder learn to take noise away, without poses."""

        def loss(draw: torch.Generator) -> Tensor:
            batch, ids, _ = self._batch(latents, tokens, draw)
            return denoising_loss(networks, batch, ids, None, draw)

        modules = {"unet": networks.unet, "text_encoder": networks.text_encoder}
        self._phase("denoiser", modules, [self.settings.denoiser_rate] * 2, loss)

    def controlnet(self, networks: Networks, latents: Tensor, tokens: Tensor) -> None:
        """ControlNet learns to steer the denoiser by the pose map."""
        maps = np.stack([self.data.pose_maps, self.data.mirrored_maps])

        def loss(draw: torch.Generator) -> Tensor:
            batch, ids, (mirror, pick) = self._batch(latents, tokens, draw)
            condition = torch.from_numpy(maps[mirror.numpy(), pick.numpy()]).movedim(-1, 1).float() / 255
            return denoising_loss(networks, batch, ids, condition, draw)

        modules = {"controlnet": networks.controlnet, "unet": networks.unet, "text_encoder": networks.text_encoder}
        slow = self.settings.controlnet_denoiser_rate
        self._phase("controlnet", modules, [self.settings.controlnet_rate, slow, slow], loss)

    def _batch(self, latents: Tensor, tokens: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Latents (B, c, h, w), token ids (B, L) with some captions left out, and (mirrored, index) of each."""
        size = (self.settings.batch,)
        mirror, pick = torch.randint(2, size, generator=draw), torch.randint(len(self.data), size, generator=draw)
        dropped = torch.rand(size, generator=draw) < self.settings.drop_caption
        return latents[mirror, pick], torch.where(dropped[:, None], tokens[-1], tokens[pick]), (mirror, pick)

    def _phase(
        self, name: str, modules: dict[str, nn.Module], rates: Sequence[float], loss: Callable[[torch.Generator], Tensor]
    ) -> None:
        steps = getattr(self.settings, f"{name}_steps")
        groups = [{"params": list(m.parameters()), "lr": rate} for m, rate in zip(modules.values(), rates, strict=True)]
        optimiser = torch.optim.AdamW(groups, weight_decay=1e-2, betas=(0.9, 0.99))
        average, path = Averaged(modules, self.settings.average_limit), self.folder / f"{name}.safetensors"
        begun = load_checkpoint(path, self.digest, modules, average, optimiser)
        recent: list[float] = []
        for step in range(begun, steps):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * rate_share(step, steps)
            recent.append(_step(loss(self._draw(name, step)), modules, optimiser, f"{name} step {step}"))
            average.update(modules, step)
            if (step + 1) % self.settings.save_every == 0 or step + 1 == steps:
                save_checkpoint(path, step + 1, self.digest, modules, average, optimiser)
                self.report(name, step + 1, steps, float(np.mean(recent)))
                recent.clear()
        average.copy_to(modules)

    def _draw(self, phase: str, step: int) -> torch.Generator:
        key = f"{self.settings.seed} {phase} {step}".encode()
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1)


def autoencoder_loss(vae: Any, images: Tensor, settings: TrainSettings, draw: torch.Generator) -> Tensor:
    """L1 + square_weight * L2 of pixels, edge_weight * L1 of their differences, kl_weight * KL to N(0, 1).

    L1 alone is content with grey people for hundreds of steps: the square makes few pixels of a wrong colour count.
    """
    posterior = vae.encode(images).latent_dist
    back = vae.decode(posterior.sample(generator=draw)).sample
    edges = l1_loss(back.diff(dim=-1), images.diff(dim=-1)) + l1_loss(back.diff(dim=-2), images.diff(dim=-2))
    pixels = l1_loss(back, images) + settings.square_weight * mse_loss(back, images)
    return pixels + settings.edge_weight * edges + settings.kl_weight * posterior.kl().mean()


def denoising_loss(networks: Networks, latents: Tensor, ids: Tensor, condition: Tensor | None, draw: torch.Generator) -> Tensor:
    """Mean squared error of the velocity v = alpha * noise - sigma * x0 at random times, with or without a pose map."""
    schedule = noise_schedule()
    noise = torch.randn(latents.shape, generator=draw)
    times = torch.randint(schedule.config.num_train_timesteps, (len(latents),), generator=draw)
    noisy = schedule.add_noise(latents, noise, times)
    text = networks.text_encoder(ids).last_hidden_state
    extra: dict[str, Any] = {}
    if condition is not None:
        down, mid = networks.controlnet(noisy, times, text, condition, return_dict=False)
        extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
    guess = networks.unet(noisy, times, text, **extra).sample
    return mse_loss(guess, schedule.get_velocity(latents, noise, times))


@torch.no_grad()
def encode_images(networks: Networks, data: TrainingImages, batch: int = 64) -> Tensor:
    """Latents (2, N, c, h, w) of the images and of their mirror images, scaled to unit spread; the scale goes into the VAE."""
    both = []
    for images in (data.images, data.images[:, :, ::-1]):
        parts = [networks.vae.encode(_pixels(images[i : i + batch])).latent_dist.mean for i in range(0, len(images), batch)]
        both.append(torch.cat(parts))
    latents = torch.stack(both)
    scale = 1 / max(float(latents.std()), 1e-6)
    networks.vae.register_to_config(scaling_factor=scale)
    return latents * scale


def rate_share(step: int, steps: int, warm_up: int = 100) -> float:
    """Share of the full learning rate: linear rise over `warm_up` steps, then a cosine down to a tenth."""
    rise = min(1.0, (step + 1) / max(1, min(warm_up, steps // 10)))
    return rise * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))


def _start_controlnet(networks: Networks) -> None:
    """ControlNet's encoder becomes a copy of the trained denoiser's (`from_unet`); its zero convolutions stay zero."""
    for part in ("time_embedding", "conv_in", "down_blocks", "mid_block"):
        getattr(networks.controlnet, part).load_state_dict(getattr(networks.unet, part).state_dict())


def _step(loss: Tensor, modules: dict[str, nn.Module], optimiser: torch.optim.Optimizer, where: str) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ValueError(f"{where}: the loss is {value}; remove the last checkpoint and go on with a lower rate")
    optimiser.zero_grad()
    loss.backward()
    for module in modules.values():
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimiser.step()
    return value


def _pixels(images: NDArray[np.uint8]) -> Tensor:
    """RGB uint8 (N, S, S, 3) as float32 (N, 3, S, S) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1).float() / 127.5 - 1


def _maybe_flipped(images: Tensor, draw: torch.Generator) -> Tensor:
    flip = torch.rand(len(images), generator=draw) < 0.5
    return torch.where(flip[:, None, None, None], images.flip(-1), images)


def _tokens(tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """Token ids (N + 1, L); the last row is the empty caption."""
    texts = [*captions, ""]
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def _digest(data: TrainingImages, shape: GeneratorShape, settings: TrainSettings) -> str:
    """What the training is of. Lengths of phases and saving are left out: a training may be made longer."""
    kept = {k: v for k, v in asdict(settings).items() if not k.endswith("_steps") and k != "save_every"}
    digest = hashlib.sha256(json.dumps([shape.to_dict(), kept, data.captions]).encode())
    for array in (data.images, data.pose_maps, data.mirrored_maps):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
