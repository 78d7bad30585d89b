"""Settings of a generator's training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from models.diffusion.objectives import PREDICTIONS
from models.train_config import PRECISIONS

# Settings of memory, time and length: a training may go on with others.
MAY_CHANGE = (
    "accumulate", "checkpointing", "device", "precision", "seconds", "save_every", "autoencoder_steps", "decoder_steps",
    "denoiser_steps", "controlnet_steps",
)  # fmt: skip


@dataclass(frozen=True)
class TrainSettings:
    """Lengths in steps, rates of AdamW (cosine to a tenth), and the shares of a loss.

    decoder_steps: of the decoder alone, once the latents are what they stay; decoder_noise: how far off, in their spread, they
    are given to it, as denoisers leave them. controlnet_denoiser_rate: rate of the denoiser while ControlNet learns; 0 keeps it
    as it is (Zhang et al.), more lets a small model learn to use the pose in fewer steps. drop_caption: share of empty
    captions, for classifier-free guidance.
    objective: v, epsilon or flow; min_snr: gamma of the loss weights, None for none. batch: images a step, over all processes,
    taken in `accumulate` parts one after the other. checkpointing: compute activations again instead of keeping them. seconds:
    stop cleanly after this long. person_weight: by how much more an error counts where the pose map draws people, who fill
    little of a picture and are what labels are about. Raises ValueError for settings that do not fit together.
    """

    autoencoder_steps: int = 1000
    decoder_steps: int = 0
    denoiser_steps: int = 3000
    controlnet_steps: int = 5000
    batch: int = 16
    autoencoder_batch: int = 4
    autoencoder_rate: float = 3e-3
    decoder_rate: float = 1e-3
    decoder_noise: float = 0.3
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
    objective: str = "v"
    min_snr: float | None = None
    person_weight: float = 0.0
    accumulate: int = 1
    checkpointing: bool = False
    device: str = "cpu"
    precision: str = "auto"
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, known in (("objective", PREDICTIONS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.batch % self.accumulate:
            raise ValueError(f"batch: expected a multiple of its {self.accumulate} parts (accumulate), got {self.batch}")


def rate_share(step: int, steps: int, warm_up: int = 100) -> float:
    """Share of the full learning rate: linear rise over `warm_up` steps, then a cosine down to a tenth."""
    rise = min(1.0, (step + 1) / max(1, min(warm_up, steps // 10)))
    return rise * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))
