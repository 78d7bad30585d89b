"""A pipeline folder with random weights, small enough to load and run in a test."""

from __future__ import annotations

from pathlib import Path

import torch

from models.diffusion.networks import GeneratorShape, build_networks, build_tokenizer, save_pipeline

TINY = GeneratorShape(
    size_px=32,
    vae_channels=(8, 16),
    unet_channels=(8, 16),
    condition_channels=(8, 16),
    heads=2,
    norm_groups=4,
    text_width=16,
    text_layers=1,
    max_tokens=12,
)
CAPTIONS = ("a person in a red top, even light", "two people in a blue top, dim light")


def make_tiny_pipeline(folder: Path, seed: int = 0, half: bool = False, objective: str = "v") -> Path:
    """Write a random Stable Diffusion + ControlNet folder of 32 px images; the ControlNet's zero convolutions are filled."""
    tokenizer = build_tokenizer(CAPTIONS, TINY.max_tokens)
    networks = build_networks(TINY, tokenizer, seed)
    control, draw = networks.controlnet, torch.Generator().manual_seed(seed)
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block, control.controlnet_cond_embedding.conv_out):
        layer.weight.data.normal_(0, 0.5, generator=draw)
    save_pipeline(networks, tokenizer, folder, half, objective)
    return folder
