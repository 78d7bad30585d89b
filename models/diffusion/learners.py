"""What is trained together, as one module that accelerate can wrap, and the loss of what is decoded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.diffusion.train_settings import TrainSettings


class Autoencoder(nn.Module):
    """Images (B, 3, S, S) in -1..1 to latents and back."""

    INPUTS = 2  # what `forward` takes

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The images again, from latents with their posterior's noise (B, c, h, w), and the mean KL to N(0, 1)."""
        posterior = self.vae.encode(images).latent_dist
        return self.vae.decode(posterior.mean + posterior.std * noise).sample, posterior.kl().mean()


class Decoder(nn.Module):
    """The half of an autoencoder that makes images (B, 3, S, S) in -1..1 of latents (B, c, h, w)."""

    INPUTS = 1  # what `forward` takes

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv or nn.Identity()

    def forward(self, latents: Tensor) -> Tensor:
        """Images of latents as the encoder gives them, not scaled."""
        return self.decoder(self.post_quant_conv(latents))


class Denoiser(nn.Module):
    """The prediction of a denoiser with its text encoder, and with a ControlNet where there is one."""

    INPUTS = 4  # what `forward` takes

    def __init__(self, unet: Any, text_encoder: Any, controlnet: Any = None) -> None:
        super().__init__()
        self.unet, self.text_encoder, self.controlnet = unet, text_encoder, controlnet

    def forward(self, x: Tensor, times: Tensor, ids: Tensor, condition: Tensor) -> Tensor:
        """Noisy latents x (B, c, h, w), times (B,), token ids (B, L), pose maps uint8 (B, S, S, 3) -> (B, c, h, w)."""
        text = self.text_encoder(ids).last_hidden_state
        if self.controlnet is None:
            return self.unet(x, times, text).sample
        image = condition.movedim(-1, 1).float() / 255
        down, mid = self.controlnet(x, times, text, image, return_dict=False)
        return self.unet(x, times, text, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample

    def enable_checkpointing(self) -> None:
        """Activations of UNet and ControlNet are computed again on the way back."""
        for network in (self.unet, self.controlnet):
            if network is not None:
                network.enable_gradient_checkpointing()


def autoencoder_loss(back: Tensor, divergence: Tensor, images: Tensor, settings: TrainSettings) -> Tensor:
    """`pixel_loss` + kl_weight * KL to N(0, 1)."""
    return pixel_loss(back, images, settings) + settings.kl_weight * divergence


def pixel_loss(back: Tensor, images: Tensor, settings: TrainSettings, where: Tensor | None = None) -> Tensor:
    """L1 + square_weight * L2 of pixels (B, 3, S, S) + edge_weight * L1 of their differences; where: weights (B, 1, S, S).

    L1 alone is content with grey people for hundreds of steps: the square makes few pixels of a wrong colour count.
    """
    off = back - images
    weight = torch.ones_like(off[:, :1]) if where is None else where
    edges = (off.diff(dim=-1).abs() * weight[..., 1:]).mean() + (off.diff(dim=-2).abs() * weight[..., 1:, :]).mean()
    return ((off.abs() + settings.square_weight * off.square()) * weight).mean() + settings.edge_weight * edges
