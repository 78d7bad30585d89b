"""Images under conditions: diffusers' Stable Diffusion pipelines with ControlNet, one seed per image."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion.digest import folder_digest
from models.diffusion.guidance import Guided
from models.diffusion.networks import quiet_libraries
from models.diffusion.order import Captured, Order, Shared
from models.diffusion.recipe import UNION_MODES, load_pipeline, located
from models.diffusion.schedulers import GUIDABLE, make_scheduler, sampler_name
from models.weights import WeightsError

__all__ = ["Captured", "Generated", "Generator", "Shared", "load_generator"]

SMALL_PARAMETERS = 100_000_000  # networks below this gain nothing from more threads
DECODER_MAPS = 8  # feature maps of full size that an autoencoder's decoder holds at once, about


@dataclass(frozen=True, eq=False)
class Generated:
    """images RGB uint8 (N, H, W, 3); index (N,) the request each answers; dropped_seeds: of images whose latents were NaN."""

    images: NDArray[np.uint8]
    index: NDArray[np.int64]
    dropped_seeds: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Generator:
    """A loaded pipeline. name: of its folder; digest: of its files; size_px: the image side it was trained for.

    form: what images begin as, one of `recipe.FORMS`; kinds: the conditions it takes, in the order of its ControlNets.
    """

    pipeline: Any
    name: str
    digest: str
    size_px: int
    device: str
    form: str = "text"
    kinds: tuple[str, ...] = ("pose",)

    @property
    def stride_px(self) -> int:
        """Image sides must be multiples of this: autoencoder and UNet both halve."""
        return int(self.pipeline.vae_scale_factor * 2 ** (len(self.pipeline.unet.config.block_out_channels) - 1))

    def generate(
        self,
        conditions: NDArray[np.uint8],
        prompts: Sequence[str],
        seeds: Sequence[int],
        negative_prompt: str = "",
        steps: int = 20,
        guidance_scale: float = 5.0,
        guided: Guided | None = None,
        captured: Captured | None = None,
        shared: Shared | None = None,
    ) -> Generated:
        """Conditions RGB uint8 (B, H, W, 3), or (B, K, H, W, 3) for K kinds, B prompts and B seeds -> images of the same size.

        guided: a detector that draws people to their labels on the way, which needs a sampler of GUIDABLE and square images.
        captured: what images begin as, for the forms image and inpaint. shared: noise that several images have in common.

        Each image has a random generator of its own, so it can be made again alone. An image whose latents are not finite is
        dropped and its seed named. Raises ValueError on shapes that do not fit.
        """
        maps = conditions[:, None] if conditions.ndim == 4 else conditions
        order = Order(maps, tuple(prompts), tuple(seeds), guided, captured, shared)
        self._check(order)
        chunk = chunk_size(self.pipeline, order.size_hw, self.device)
        told = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
        with _threads(self.pipeline, self.device):
            parts = [order.part(slice(i, i + chunk)) for i in range(0, len(order), chunk)]
            latents = [self._latents(part, negative_prompt, told) for part in parts]
            return self._decode(latents, order)

    def _check(self, order: Order) -> None:
        order.check(self.form, len(self.kinds))
        height, width = order.size_hw
        if height % self.stride_px or width % self.stride_px:
            raise ValueError(f"generate: sides must be multiples of {self.stride_px} px for {self.name}, got {order.size_hw}")
        sampler = sampler_name(self.pipeline.scheduler)
        if order.guided is not None and (sampler not in GUIDABLE or height != width):
            raise ValueError(
                f"generate: guidance by the detector needs the sampler {' or '.join(GUIDABLE)} and square images, got "
                f"{sampler} and {width}x{height} px"
            )

    def _latents(self, order: Order, negative: str, told: dict[str, Any]) -> Tensor:
        """Sampled latents (B, c, h, w) of some images; halves them and tries again when the device's memory is full."""
        callback = {} if order.guided is None else {"callback_on_step_end": order.guided.callback(order.size_hw[0])}
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in order.seeds]
        try:
            return self.pipeline(
                list(order.prompts),
                negative_prompt=[negative] * len(order),
                latents=self._noise(order, generators),
                generator=generators,
                output_type="latent",
                **self._images(order),
                **self._identities(order, told["guidance_scale"]),
                **told,
                **callback,
            ).images
        except torch.OutOfMemoryError:
            if len(order) == 1:
                raise
            logging.getLogger(__name__).warning("%s: out of memory with %d images at once; halving", self.name, len(order))
            torch.cuda.empty_cache()
            middle = len(order) // 2
            halves = (order.part(slice(0, middle)), order.part(slice(middle, len(order))))
            return torch.cat([self._latents(half, negative, told) for half in halves])

    def _noise(self, order: Order, generators: list[torch.Generator]) -> Tensor | None:
        """The first noise (B, c, h, w) of images that begin as noise; None where the pipeline adds it to a captured image."""
        if self.form == "image" or (order.captured is not None and order.captured.strength < 1):
            return None
        factor = self.pipeline.vae_scale_factor
        shape = (self.pipeline.vae.config.latent_channels, *(side // factor for side in order.size_hw))
        own = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        noise = own if order.shared is None else order.shared.mixed(own)
        return noise.to(self.device, self.pipeline.unet.dtype)

    def _images(self, order: Order) -> dict[str, Any]:
        """The conditions, and what images begin as, by the names that the pipeline's class has for them."""
        union = "Union" in type(self.pipeline).__name__
        maps = [self._tensor(order.conditions[:, kind]) for kind in range(len(self.kinds))]
        control: Any = maps if union or len(maps) > 1 else maps[0]
        told: dict[str, Any] = {"control_mode": [UNION_MODES[kind] for kind in self.kinds]} if union else {}
        if order.captured is None:
            return {("control_image" if union else "image"): control} | told
        told |= {"control_image": control, "image": self._tensor(order.captured.images), "strength": order.captured.strength}
        if order.captured.masks is not None:
            told["mask_image"] = torch.from_numpy(order.captured.masks[:, None].astype(np.float32)).to(self.device)
        return told

    def _identities(self, order: Order, guidance_scale: float) -> dict[str, Any]:
        """The pictures that an IP-Adapter takes as prompts, encoded here so that every image of a batch has its own."""
        if order.shared is None or order.shared.pictures is None:
            return {}
        from diffusers.models.embeddings import ImageProjection

        plain = isinstance(self.pipeline.unet.encoder_hid_proj.image_projection_layers[0], ImageProjection)
        picked = [order.shared.pictures[index] for index in order.shared.picture]
        found, without = self.pipeline.encode_image(picked, self.device, 1, None if plain else True)
        pair = (without[:, None], found[:, None]) if guidance_scale > 1 else (found[:, None],)
        return {"ip_adapter_image_embeds": [torch.cat(pair)]}

    def _tensor(self, images: NDArray[np.uint8]) -> Tensor:
        """RGB uint8 (B, H, W, 3) as (B, 3, H, W) in 0..1 on the device."""
        unit = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1).float() / 255
        return unit.to(self.device, self.pipeline.unet.dtype)

    @torch.no_grad()
    def _decode(self, latents: list[Tensor], order: Order) -> Generated:
        """Latents to pixels, one image at a time; those that are not finite are left out."""
        images, kept, dropped = [np.zeros((0, *order.size_hw, 3), np.uint8)], [], []
        vae = self.pipeline.vae
        for number, latent in enumerate(one for chunk in latents for one in chunk):
            ready = (latent[None] / vae.config.scaling_factor).to(vae.dtype)
            pixels = vae.decode(ready).sample if latent.isfinite().all() else latent
            if not pixels.isfinite().all():
                dropped.append(int(order.seeds[number]))
                continue
            unit = (pixels.float() / 2 + 0.5).clamp(0, 1)
            images.append((unit * 255).round().byte().movedim(1, -1).cpu().numpy())
            kept.append(number)
        return Generated(np.concatenate(images), np.array(kept, dtype=np.int64), tuple(dropped))


def load_generator(
    model: str | Path,
    device: str = "cpu",
    controlnets: Sequence[str | Path] = (),
    scheduler: str = "ddim",
    form: str = "text",
    kinds: Sequence[str] = ("pose",),
    loras: Sequence[str] = (),
    ip_adapter: str = "",
) -> Generator:
    """Load a diffusers folder, a single file or a hub id: a ControlNet pipeline, or a plain one and `controlnets`.

    Only safetensors are read. scheduler: a name of SCHEDULERS; form: one of FORMS; kinds: the conditions, one per ControlNet,
    or several for a union; loras: FILE[=WEIGHT]. Raises WeightsError naming the file that is missing, half there, of another
    layout or of another base, or what does not fit together.
    """
    path, controls = located(model), [located(folder) for folder in controlnets]
    with quiet_libraries():
        pipeline = load_pipeline(path, controls, form, loras, ip_adapter, device)
        pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
    _check_kinds(pipeline, kinds)
    pipeline.set_progress_bar_config(disable=True)
    digests = [folder_digest(folder) for folder in (path, *controls, *map(Path, _files(loras, ip_adapter)))]
    # whoever reads the first digits of it must see that a LoRA or another ControlNet took part
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    size_px = int(pipeline.unet.config.sample_size) * pipeline.vae_scale_factor
    return Generator(pipeline, path.resolve().name, digest, size_px, device, form, tuple(kinds))


def _files(loras: Sequence[str], ip_adapter: str) -> list[str]:
    return [text.partition("=")[0] for text in loras] + ([ip_adapter] if ip_adapter else [])


def _check_kinds(pipeline: Any, kinds: Sequence[str]) -> None:
    """A ControlNet takes one kind of condition, a union all that it knows."""
    if unknown := [kind for kind in kinds if kind not in UNION_MODES]:
        raise WeightsError(f"conditions: expected some of {', '.join(UNION_MODES)}, got {', '.join(unknown)}")
    nets = len(getattr(pipeline.controlnet, "nets", [pipeline.controlnet]))
    if "Union" not in type(pipeline).__name__ and nets != len(kinds):
        raise WeightsError(f"conditions: {len(kinds)} ({', '.join(kinds)}) for {nets} ControlNets; name one for each, in order")


def chunk_size(pipeline: Any, shape_hw: tuple[int, ...], device: str) -> int:
    """How many images at once. On a processor one: batching gains little there, and results do not depend on free memory.

    On a GPU as many as fit in half of its free memory, by the decoder's feature maps, which are the largest.
    """
    if not device.startswith("cuda"):
        return 1
    free_bytes, _ = torch.cuda.mem_get_info(device)
    each = DECODER_MAPS * 2 * max(pipeline.vae.config.block_out_channels) * shape_hw[0] * shape_hw[1] * 2
    return int(max(1, min(64, free_bytes // 2 // each)))


@contextmanager
def _threads(pipeline: Any, device: str) -> Iterator[None]:
    """One thread for small networks on a processor: as fast, and sums are taken in the same order on every machine size."""
    small = sum(p.numel() for p in pipeline.unet.parameters()) < SMALL_PARAMETERS
    before = torch.get_num_threads()
    if device == "cpu" and small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
