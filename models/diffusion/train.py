"""Training of a text- and pose-conditioned latent diffusion model: autoencoder, decoder, denoiser, ControlNet; or of a
ControlNet alone beside a pipeline that is there (`train_controlnet`).

Rombach et al. 2022; Zhang et al. 2023. Every step draws its own random numbers from (seed, phase, step) on the processor, so
that a training that is cut off and goes on equals one that was not, and one on several devices learns from the same draws.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.cuda_graph import capture
from models.curves import append_row
from models.diffusion.checkpoint import Averaged, load_checkpoint, save_checkpoint
from models.diffusion.learners import Autoencoder, Decoder, Denoiser, autoencoder_loss, pixel_loss
from models.diffusion.networks import GeneratorShape, Networks, build_networks, build_tokenizer, save_pipeline
from models.diffusion.objectives import Noised, Objective, denoising_error, make_noise_schedule
from models.diffusion.train_settings import MAY_CHANGE, TrainSettings, rate_share
from models.diffusion.training_images import TrainingImages, drawn_people, latent_means, pixels, token_ids
from models.stop_signals import Stopping, stop_signals
from models.train_config import make_accelerator

Report = Callable[[str, int, int, float], None]  # phase, step, steps, loss averaged over the last steps
CURVE = ("phase", "step", "loss", "seconds")


class Stopped(Exception):
    """A training that was told to stop, or whose time was over; it goes on from its checkpoint."""


def train_generator(
    data: TrainingImages, shape: GeneratorShape, settings: TrainSettings, folder: Path, report: Report = lambda *_: None
) -> tuple[Networks, Any]:
    """Train all phases, going on from the checkpoints in `folder`; returns the averaged networks and the tokenizer.

    Raises ValueError when the checkpoints belong to other settings or data, or when the loss is no longer finite; Stopped.
    """
    tokenizer = build_tokenizer(data.captions, shape.max_tokens)
    networks = build_networks(shape, tokenizer, settings.seed)
    objective = Objective.of(make_noise_schedule(settings.objective), settings.min_snr)
    training = Training(data, settings, objective, Path(folder), digest_of(shape.to_dict(), settings, data), report)
    training.autoencoder(networks.vae)
    latents = training.latents(networks.vae)
    if settings.decoder_steps:
        training.decoder(networks.vae, latents)
    scale = 1 / max(float(latents.std()), 1e-6)  # to unit spread, which the noise is made for
    networks.vae.register_to_config(scaling_factor=scale)
    training.denoiser(networks, latents * scale, token_ids(tokenizer, data.captions))
    _start_controlnet(networks)
    training.controlnet(networks, latents * scale, token_ids(tokenizer, data.captions))
    return networks, tokenizer


def train_controlnet(
    data: TrainingImages, base: Networks, tokenizer: Any, scheduler: Any, settings: TrainSettings, folder: Path,
    base_digest: str = "", report: Report = lambda *_: None,
) -> Networks:  # fmt: skip
    """Train the ControlNet of `base` on images, its denoiser where `settings.controlnet_denoiser_rate` is not 0, its
    decoder for `settings.decoder_steps`; all else stays as it is. Goes on from the checkpoint in `folder`.

    scheduler: the base's own, which says what its denoiser predicts. Raises as `train_generator`.
    """
    objective = Objective.of(scheduler, settings.min_snr)
    training = Training(data, settings, objective, Path(folder), digest_of(base_digest, settings, data), report)
    latents = training.latents(base.vae)
    if settings.decoder_steps:
        training.decoder(base.vae, latents)
    training.controlnet(base, latents * base.vae.config.scaling_factor, token_ids(tokenizer, data.captions))
    return base


def write_generator(networks: Networks, tokenizer: Any, folder: Path, objective: str = "v") -> None:
    """Write the trained networks as a float16 diffusers folder."""
    save_pipeline(networks, tokenizer, folder, objective=objective)


@dataclass(frozen=True, eq=False)
class Training:
    """One run: its data, settings, checkpoint folder and listener."""

    data: TrainingImages
    settings: TrainSettings
    objective: Objective
    folder: Path
    digest: str
    report: Report

    def __post_init__(self) -> None:
        processes, parts = self.accelerator.num_processes, self.settings.accumulate
        for name, size, shares in (
            ("batch", self.settings.batch, parts * processes),
            ("autoencoder_batch", self.settings.autoencoder_batch, processes),
        ):
            if size % shares:
                raise ValueError(f"{name}: expected a multiple of {shares} ({processes} processes, {parts} parts), got {size}")

    @cached_property
    def stopping(self) -> Stopping:
        """Told to stop by a signal, or when the time is over, which begins with the first phase."""
        return Stopping(self.settings.seconds)

    @cached_property
    def accelerator(self) -> Any:
        """accelerate's view of the devices."""
        return make_accelerator(self.settings.precision, self.settings.device)

    def latents(self, vae: Any) -> Tensor:
        """Latents (2, N, c, h, w) of the images and their mirror images, made on the device of the training."""
        means = latent_means(vae.to(self.accelerator.device), self.data)
        vae.to("cpu")
        return means

    def autoencoder(self, vae: Any) -> None:
        """Images to latents and back: absolute error of pixels and of their differences, and a light pull to a normal law."""
        images, size = pixels(self.data.images), self.settings.autoencoder_batch
        side = images.shape[-1] // 2 ** (len(vae.config.block_out_channels) - 1)

        def batches(draw: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
            pick = torch.randint(len(images), (size,), generator=draw)
            flip = torch.rand(size, generator=draw) < 0.5
            batch = torch.where(flip[:, None, None, None], images[pick].flip(-1), images[pick])
            yield batch, torch.randn((size, vae.config.latent_channels, side, side), generator=draw)

        def loss(model: nn.Module, images: Tensor, noise: Tensor) -> Tensor:
            back, divergence = model(images, noise)
            return autoencoder_loss(back, divergence, images, self.settings)

        self._phase("autoencoder", Autoencoder(vae), {"vae": self.settings.autoencoder_rate}, batches, loss)

    def decoder(self, vae: Any, latents: Tensor) -> None:
        """The decoder alone: from latents a little off, which stay what they are for the denoiser."""
        far, size = self.settings.decoder_noise * float(latents.std()), (self.settings.batch,)

        def batches(draw: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
            mirror, pick = torch.randint(2, size, generator=draw), torch.randint(len(self.data), size, generator=draw)
            off = far * torch.rand((*size, 1, 1, 1), generator=draw) * torch.randn((*size, *latents.shape[2:]), generator=draw)
            images = pixels(self.data.images[pick.numpy()])  # of a batch: as floats, all of them take four times the memory
            seen = torch.where(mirror.bool()[:, None, None, None], images.flip(-1), images)
            yield latents[mirror, pick] + off, seen, self._conditions(mirror, pick)

        def loss(model: nn.Module, latents: Tensor, images: Tensor, condition: Tensor) -> Tensor:
            where = 1 + self.settings.person_weight * drawn_people(condition, latents.shape[-1])
            return pixel_loss(model(latents), images, self.settings, interpolate(where, images.shape[-2:]))

        rate = self.settings.decoder_rate
        self._phase("decoder", Decoder(vae), {"decoder": rate, "post_quant_conv": rate}, batches, loss)

    def denoiser(self, networks: Networks, latents: Tensor, tokens: Tensor) -> None:
        """The UNet and the text encoder learn to take noise away, without poses."""
        rates = {"unet": self.settings.denoiser_rate, "text_encoder": self.settings.denoiser_rate}
        self._denoise("denoiser", Denoiser(networks.unet, networks.text_encoder), rates, latents, tokens)

    def controlnet(self, networks: Networks, latents: Tensor, tokens: Tensor) -> None:
        """ControlNet learns to steer the denoiser by the pose map."""
        slow = self.settings.controlnet_denoiser_rate
        rates = {"controlnet": self.settings.controlnet_rate, "unet": slow, "text_encoder": slow}
        model = Denoiser(networks.unet, networks.text_encoder, networks.controlnet)
        self._denoise("controlnet", model, rates, latents, tokens)

    def _denoise(self, name: str, model: Denoiser, rates: Mapping[str, float], latents: Tensor, tokens: Tensor) -> None:
        size = (self.settings.batch,)

        def batches(draw: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
            mirror, pick = torch.randint(2, size, generator=draw), torch.randint(len(self.data), size, generator=draw)
            dropped = torch.rand(size, generator=draw) < self.settings.drop_caption
            noised = self.objective.noised(latents[mirror, pick], draw)
            ids = torch.where(dropped[:, None], tokens[-1], tokens[pick])
            parts = (noised.x, noised.times, ids, self._conditions(mirror, pick), noised.target, noised.weight)
            yield from zip(*(part.chunk(self.settings.accumulate) for part in parts), strict=True)

        def loss(model: nn.Module, x: Tensor, times: Tensor, ids: Tensor, condition: Tensor, target: Tensor,
                 weight: Tensor) -> Tensor:  # fmt: skip
            where = 1 + self.settings.person_weight * drawn_people(condition, x.shape[-1])
            return denoising_error(model(x, times, ids, condition), Noised(x, times, target, weight), where)

        if self.settings.checkpointing:
            model.enable_checkpointing()
        self._phase(name, model, rates, batches, loss)

    def _conditions(self, mirror: Tensor, pick: Tensor) -> Tensor:
        """Pose maps uint8 (B, S, S, 3) of the images picked, as their mirror images have them where mirror is 1."""
        maps = (self.data.pose_maps, self.data.mirrored_maps)
        return torch.from_numpy(np.stack([maps[m][p] for m, p in zip(mirror.tolist(), pick.tolist(), strict=True)]))

    def _phase(
        self,
        name: str,
        model: Autoencoder | Decoder | Denoiser,
        rates: Mapping[str, float],
        batches: Callable[[torch.Generator], Iterator[tuple[Tensor, ...]]],
        loss: Callable[..., Tensor],
    ) -> None:
        steps = getattr(self.settings, f"{name}_steps")
        for part, network in model.named_children():
            network.requires_grad_(rates.get(part, 0) > 0)
        modules = {part: getattr(model, part) for part, rate in rates.items() if rate > 0}
        ready = self.accelerator.prepare(model)
        groups = [{"params": list(module.parameters()), "lr": rates[part]} for part, module in modules.items()]
        optimiser = torch.optim.AdamW(groups, weight_decay=1e-2, betas=(0.9, 0.99))
        average, path = Averaged(modules, self.settings.average_limit), self.folder / f"{name}.safetensors"
        begun = load_checkpoint(path, self.digest, modules, average, optimiser)
        if begun < steps:
            self._capture(ready, next(iter(batches(self._draw(name, begun)))), model.INPUTS)
        recent, since = [], time.monotonic()
        with stop_signals(self.stopping.stop):
            for step in range(begun, steps):
                for group, part in zip(optimiser.param_groups, modules, strict=True):
                    group["lr"] = rates[part] * rate_share(step, steps)
                recent.append(self._step(ready, batches(self._draw(name, step)), loss, modules, optimiser))
                average.update(modules, step)
                stop = self.stopping.everywhere(self.accelerator)
                if (step + 1) % self.settings.save_every == 0 or step + 1 == steps or stop:
                    mean = self._mean(recent, f"{name} step {step}")
                    self._keep(path, step + 1, modules, average, optimiser)
                    self._tell(name, step + 1, steps, mean, time.monotonic() - since)
                    recent, since = [], time.monotonic()
                if stop:
                    raise Stopped(f"stopped at step {step + 1} of {steps} of the {name}; the same command goes on from there")
        average.copy_to(modules)
        model.to("cpu").requires_grad_(True)

    def _capture(self, model: nn.Module, example: tuple[Tensor, ...], inputs: int) -> None:
        """On one GPU: networks of this size compute faster than Python queues their kernels. The first `inputs` tensors of a
        batch are the model's."""
        device = self.accelerator.device
        if device.type == "cuda" and self.accelerator.num_processes == 1 and not self.settings.checkpointing:
            capture(model, *(tensor.to(device) for tensor in example[:inputs]))

    def _step(
        self,
        model: nn.Module,
        batches: Iterator[tuple[Tensor, ...]],
        loss: Callable[..., Tensor],
        modules: Mapping[str, nn.Module],
        optimiser: torch.optim.Optimizer,
    ) -> Tensor:
        """One optimiser step over the parts of a batch; returns its loss, on its device."""
        optimiser.zero_grad()
        total = torch.zeros((), device=self.accelerator.device)
        mine, of = self.accelerator.process_index, self.accelerator.num_processes
        parts = list(batches)
        for part in parts:
            value = loss(model, *(tensor[mine::of].to(self.accelerator.device) for tensor in part)) / len(parts)
            self.accelerator.backward(value)
            total += value.detach()
        for module in modules.values():
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        return total

    def _mean(self, losses: list[Tensor], where: str) -> float:
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise ValueError(f"{where}: the loss is {mean}; begin again in another folder with a lower learning rate")
        return mean

    def _keep(
        self, path: Path, step: int, modules: dict[str, nn.Module], average: Averaged, optimiser: torch.optim.Optimizer
    ) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(path, step, self.digest, modules, average, optimiser)
        self.accelerator.wait_for_everyone()

    def _tell(self, phase: str, step: int, steps: int, loss: float, seconds: float) -> None:
        if self.accelerator.is_main_process:
            row = {"phase": phase, "step": step, "loss": round(loss, 6), "seconds": round(seconds, 1)}
            append_row(self.folder / "curve.csv", CURVE, row)
            self.report(phase, step, steps, loss)

    def _draw(self, phase: str, step: int) -> torch.Generator:
        key = f"{self.settings.seed} {phase} {step}".encode()
        return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1)


def _start_controlnet(networks: Networks) -> None:
    """ControlNet's encoder becomes a copy of the trained denoiser's (`from_unet`); its zero convolutions stay zero."""
    for part in ("time_embedding", "conv_in", "down_blocks", "mid_block"):
        getattr(networks.controlnet, part).load_state_dict(getattr(networks.unet, part).state_dict())


def digest_of(networks: Any, settings: TrainSettings, data: TrainingImages) -> str:
    """What a training is of: networks (anything JSON can say), data, and settings but for those of memory, time and length."""
    kept = {name: value for name, value in asdict(settings).items() if name not in MAY_CHANGE}
    digest = hashlib.sha256(json.dumps([networks, kept, data.captions]).encode())
    for array in (data.images, data.pose_maps, data.mirrored_maps):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
