"""A pipeline folder of Stable Diffusion 1.5's shape written as one file, under the names of its first publication.

diffusers reads that layout and has no writer of it. The names are those of the released checkpoints (CompVis, 2022).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from models.diffusion.networks import build_tokenizer
from models.diffusion.objectives import make_noise_schedule

LEVELS = 4
MIDDLE = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}
UNET_PLAIN = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def make_small_sd15(folder: Path, seed: int = 0) -> Path:
    """Random weights in the published shape, four levels of two blocks, a few channels wide; images of 64 px."""
    torch.manual_seed(seed)
    unet: Any = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16, 16), norm_num_groups=4, attention_head_dim=2, cross_attention_dim=16
    )
    vae: Any = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), down_block_types=("DownEncoderBlock2D",) * LEVELS, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * LEVELS, layers_per_block=2, sample_size=64,
    )  # fmt: skip
    tokenizer = build_tokenizer(["a person in a red top"], 12)
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=len(tokenizer),
        max_position_embeddings=12,
    )  # fmt: skip
    controlnet = diffusers.ControlNetModel.from_unet(unet)
    for layer in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, 0, 0.5)
    pipeline: Any = diffusers.StableDiffusionControlNetPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet, controlnet=controlnet,
        scheduler=make_noise_schedule("epsilon"), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    return folder


def write_single_file(folder: Path, path: Path) -> Path:
    """UNet, autoencoder and text encoder of a folder as one file of safetensors."""
    from safetensors.torch import load_file, save_file

    read = {part: load_file(next((folder / part).glob("*.safetensors"))) for part in ("unet", "vae", "text_encoder")}
    tensors = {f"model.diffusion_model.{unet_name(name)}": tensor for name, tensor in read["unet"].items()}
    tensors |= {f"first_stage_model.{vae_name(name)}": as_convolution(name, t) for name, t in read["vae"].items()}
    tensors |= {f"cond_stage_model.transformer.{text_name(name)}": tensor for name, tensor in read["text_encoder"].items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def unet_name(name: str) -> str:
    """A UNet's tensor by its published name: blocks are numbered through, three a level."""
    if found := re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name):
        way, level, kind, number, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        side, first = ("input_blocks", 1) if way == "down" else ("output_blocks", 0)
        if kind == "downsamplers":
            return f"input_blocks.{3 * level + 3}.0.{rest.replace('conv', 'op', 1)}"
        if kind == "upsamplers":  # behind the attention, which the first level up has not
            return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}.{rest}"
        return f"{side}.{3 * level + number + first}.{int(kind == 'attentions')}.{_begun(rest, RESNET)}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        return f"middle_block.{MIDDLE[found[1], found[2]]}.{_begun(found[3], RESNET)}"
    return _begun(name, UNET_PLAIN)


def vae_name(name: str) -> str:
    """An autoencoder's tensor by its published name: the levels of the decoder are numbered from the finest."""
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"mid_block\.attentions\.0\.(.*)\.", lambda m: f"mid.attn_1.{ATTENTION[m[1]]}.", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{LEVELS - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{LEVELS - 1 - int(m[1])}.upsample", name)
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def text_name(name: str) -> str:
    """A text encoder's tensor by its published name, whichever version of transformers wrote it."""
    return name if name.startswith("text_model.") else f"text_model.{name}"


def as_convolution(name: str, tensor: Tensor) -> Tensor:
    """The published autoencoder attends by convolutions of one pixel where diffusers has matrices."""
    matrix = "mid_block.attentions" in name and tensor.ndim == 2
    return tensor[..., None, None] if matrix else tensor


def _begun(name: str, table: dict[str, str]) -> str:
    """The name with the entry of the table that it begins with replaced; attentions begin with none of a block's."""
    for ours, theirs in table.items():
        if name.startswith(f"{ours}."):
            return theirs + name.removeprefix(ours)
    return name
