"""The four networks and the tokenizer of a small latent diffusion model with ControlNet, in diffusers' own classes.

Rombach et al. 2022 (latent diffusion); Zhang et al. 2023 (ControlNet). Sizes are ours, the layout is Stable Diffusion 1.5's.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.diffusion.objectives import make_noise_schedule

BEGIN, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"


@dataclass(frozen=True)
class GeneratorShape:
    """Sizes of the networks. size_px: side of the images; channels of each level of autoencoder and UNet, finest first."""

    size_px: int = 64
    vae_channels: tuple[int, ...] = (8, 16, 32)
    latent_channels: int = 8
    unet_channels: tuple[int, ...] = (32, 64, 96)
    condition_channels: tuple[int, ...] = (8, 16, 32)
    heads: int = 4
    norm_groups: int = 8
    text_width: int = 96
    text_layers: int = 2
    max_tokens: int = 24

    def __post_init__(self) -> None:
        if len(self.condition_channels) != len(self.vae_channels):
            raise ValueError(
                "GeneratorShape.condition_channels: expected one entry per level of the autoencoder "
                f"({len(self.vae_channels)}), got {len(self.condition_channels)}"
            )
        if self.size_px % self.stride_px:
            raise ValueError(f"GeneratorShape.size_px: expected a multiple of {self.stride_px}, got {self.size_px}")

    @property
    def downsampling(self) -> int:
        """Image pixels per latent pixel."""
        return 2 ** (len(self.vae_channels) - 1)

    @property
    def stride_px(self) -> int:
        """Image sides must be multiples of this: autoencoder and UNet both halve."""
        return self.downsampling * 2 ** (len(self.unet_channels) - 1)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Networks:
    """What is trained: `vae` images to latents, `text_encoder` tokens to context, `unet` denoises, `controlnet` adds poses."""

    vae: Any
    text_encoder: Any
    unet: Any
    controlnet: Any

    def named(self) -> dict[str, nn.Module]:
        """The networks by the name of their folder."""
        return {name: getattr(self, name) for name in ("vae", "text_encoder", "unet", "controlnet")}


def build_tokenizer(captions: Iterable[str], max_tokens: int) -> Any:
    """A CLIP tokenizer (byte-level BPE) in which each word of the captions is one token; any other text still has tokens."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    merges: Any = learn_merges({word for caption in captions for word in re.findall(r"[a-z]+", caption.lower())})
    words = [*letters, *(letter + WORD_END for letter in letters), *("".join(pair) for pair in merges), BEGIN, END]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=max_tokens)


def learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, commonest pair first, until every word is one token (Sennrich et al. 2016).

    Ties go by alphabet: the trainer of the tokenizers library breaks them at random, and token numbers would differ each time.
    """
    spelt = [[*word[:-1], word[-1] + WORD_END] for word in sorted(set(words))]
    merges: list[tuple[str, str]] = []
    while pairs := Counter(pair for pieces in spelt for pair in pairwise(pieces)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelt = [_merge_pair(pieces, best) for pieces in spelt]
    return merges


def _merge_pair(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged


def build_networks(shape: GeneratorShape, tokenizer: Any, seed: int = 0) -> Networks:
    """The networks with random weights from `seed`; ControlNet starts as the UNet's encoder with zero convolutions."""
    from diffusers import ControlNetModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae, text_encoder, unet = _autoencoder(shape), _text_encoder(shape, tokenizer), _unet(shape)
        controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=shape.condition_channels)
    return Networks(vae, text_encoder, unet, controlnet)


def _autoencoder(shape: GeneratorShape) -> Any:
    from diffusers import AutoencoderKL

    levels = len(shape.vae_channels)
    # one channel a group would be instance normalisation, which takes the colours out of a picture
    groups = max(1, min(shape.norm_groups, min(shape.vae_channels) // 4))
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.vae_channels,
        layers_per_block=1,
        latent_channels=shape.latent_channels,
        norm_num_groups=groups,
        sample_size=shape.size_px,
        mid_block_add_attention=False,
    )
    _start_plain(vae)
    return vae


def _start_plain(vae: Any) -> None:
    """Let residual branches begin at zero (Goyal et al. 2017) and latents with little noise: small networks learn sooner.

    The encoder's last convolution gives means, then log variances; exp(-6 / 2) = 0.05 of their spread.
    """
    from diffusers.models.resnet import ResnetBlock2D

    blocks: list[Any] = [module for module in vae.modules() if isinstance(module, ResnetBlock2D)]
    for block in blocks:
        torch.nn.init.zeros_(block.conv2.weight)
        torch.nn.init.zeros_(block.conv2.bias)
    half = vae.config.latent_channels
    torch.nn.init.zeros_(vae.quant_conv.weight[half:])
    torch.nn.init.constant_(vae.quant_conv.bias[half:], -6.0)


def _text_encoder(shape: GeneratorShape, tokenizer: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.text_width,
        intermediate_size=2 * shape.text_width,
        num_hidden_layers=shape.text_layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.max_tokens,
        projection_dim=shape.text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _unet(shape: GeneratorShape) -> Any:
    from diffusers import UNet2DConditionModel

    coarse = len(shape.unet_channels) - 1  # attention everywhere but at the finest level, where it costs most
    return UNet2DConditionModel(
        sample_size=shape.size_px // shape.downsampling,
        in_channels=shape.latent_channels,
        out_channels=shape.latent_channels,
        block_out_channels=shape.unet_channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * coarse),
        up_block_types=(*("CrossAttnUpBlock2D",) * coarse, "UpBlock2D"),
        cross_attention_dim=shape.text_width,
        attention_head_dim=shape.heads,  # diffusers reads this as the number of heads
        norm_num_groups=shape.norm_groups,
    )


def save_pipeline(networks: Networks, tokenizer: Any, folder: Path, half: bool = True, objective: str = "v") -> None:
    """Write a folder that `StableDiffusionControlNetPipeline.from_pretrained` loads, in float16 where `half`.

    objective: what the denoiser was trained to predict, one of `objectives.PREDICTIONS`.
    """
    from diffusers import StableDiffusionControlNetPipeline

    pipeline: Any = StableDiffusionControlNetPipeline(
        vae=networks.vae,
        text_encoder=networks.text_encoder,
        tokenizer=tokenizer,
        unet=networks.unet,
        controlnet=networks.controlnet,
        scheduler=make_noise_schedule(objective),
        safety_checker=None,  # trained on rendered people alone; there is nothing it could be asked to hide
        feature_extractor=None,
        requires_safety_checker=False,
    )
    with quiet_libraries():
        pipeline.to(dtype=torch.float16 if half else torch.float32)
        pipeline.save_pretrained(folder, safe_serialization=True)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No progress bars and no advice from the libraries while a folder is read or written; their errors still come through."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries: tuple[Any, ...] = (diffusers_logging, transformers_logging)
    before = [(library, library.get_verbosity()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in before:
            library.set_verbosity(level)
            library.enable_progress_bar()
