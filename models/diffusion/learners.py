"""What is trained together, as one module that accelerate can wrap, and the autoencoder's loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

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
    """L1 + square_weight * L2 of pixels, edge_weight * L1 of their differences, kl_weight * KL to N(0, 1).

    L1 alone is content with grey people for hundreds of steps: the square makes few pixels of a wrong colour count.
    """
    edges = l1_loss(back.diff(dim=-1), images.diff(dim=-1)) + l1_loss(back.diff(dim=-2), images.diff(dim=-2))
    pixels = l1_loss(back, images) + settings.square_weight * mse_loss(back, images)
    return pixels + settings.edge_weight * edges + settings.kl_weight * divergence
