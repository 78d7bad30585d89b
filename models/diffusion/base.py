"""A pipeline that is there, as something to train a ControlNet beside."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.diffusion.digest import folder_digest
from models.diffusion.folder import check_part, check_pipeline, is_xl, pipeline_variant, trained_size_px
from models.diffusion.networks import Networks, quiet_libraries
from models.weights import WeightsError

# Channels of the layers that bring a pose map to the size of the latents: as many levels as the autoencoder has.
CONDITION_CHANNELS = (16, 32, 96, 256)


@dataclass(frozen=True, eq=False)
class Base:
    """networks: with the ControlNet to train; tokenizer and scheduler of the pipeline; digest: of all files; size_px: the side
    of the images that the pipeline was trained on."""

    networks: Networks
    tokenizer: Any
    scheduler: Any
    digest: str
    size_px: int


def load_base(folder: Path, controlnet: Path | None = None, seed: int = 0) -> Base:
    """A diffusers folder of Stable Diffusion's layout, and a ControlNet to go on from; without one it begins as a copy of the
    UNet's encoder with zero convolutions (Zhang et al. 2023), what has no counterpart there drawn from `seed`.

    Raises WeightsError naming the file that is missing, half there, of another layout or of another base; XL pipelines and
    unions are not trained.
    """
    import diffusers
    import torch
    from transformers import CLIPTextModel, CLIPTokenizer

    check_pipeline(folder, [controlnet] if controlnet else [], needs_controlnet=False)
    if is_xl(folder):
        raise WeightsError(f"{folder}: an XL pipeline; ControlNets are trained for Stable Diffusion 1.5 and 2.1 layouts alone")
    told: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "variant": pipeline_variant(folder)}
    with quiet_libraries():
        unet: Any = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", **told).float()
        vae: Any = diffusers.AutoencoderKL.from_pretrained(folder / "vae", **told).float()
        text_encoder: Any = CLIPTextModel.from_pretrained(folder / "text_encoder", **told).float()
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        control: Any = load_controlnet(controlnet) if controlnet else None
    if control is None:
        channels = CONDITION_CHANNELS[: len(vae.config.block_out_channels)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            control = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
    elif not isinstance(control, diffusers.ControlNetModel):
        raise WeightsError(f"{controlnet}: a union of ControlNets cannot be trained further; name a single one")
    digest = folder_digest(folder) + (folder_digest(controlnet) if controlnet else "")
    networks = Networks(vae, text_encoder, unet, control.float())
    return Base(networks, tokenizer, _scheduler(folder), digest, trained_size_px(folder))


def load_controlnet(folder: Path, **told: Any) -> Any:
    """A ControlNet, or a union of several, of a folder of its own, in half precision where it has no other.

    Raises WeightsError for a folder that is not whole.
    """
    import diffusers

    check_part(folder)
    union = json.loads((folder / "config.json").read_text()).get("_class_name") == "ControlNetUnionModel"
    kind: Any = diffusers.ControlNetUnionModel if union else diffusers.ControlNetModel
    names = [file.name for file in folder.glob("*.safetensors")]
    variant = "fp16" if all(".fp16" in name for name in names) else None
    return kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, variant=variant, **told)


def _scheduler(folder: Path) -> Any:
    import diffusers

    path = folder / "scheduler" / "scheduler_config.json"
    kind = getattr(diffusers, str(json.loads(path.read_text()).get("_class_name")), None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise WeightsError(f"{path}: names no scheduler of diffusers {diffusers.__version__}")
    return kind.from_pretrained(path.parent)
