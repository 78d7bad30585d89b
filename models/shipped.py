"""Where the shipped weights are; without torch, so that asking costs nothing."""

from __future__ import annotations

from pathlib import Path

# The weights of the detector that "default" stands for.
DEFAULT = "photo"


def weights_folder() -> Path:
    """Folder of the shipped weights: data/weights beside the packages (an editable install or a checkout)."""
    return Path(__file__).resolve().parent.parent / "data" / "weights"


def weights_path(weights: str | Path) -> Path:
    """File of weights: "default" for the detector, a shipped name ("photo", "studio", "prior"), or a path to .safetensors."""
    text = str(weights)
    if text.endswith(".safetensors"):
        return Path(text)
    return weights_folder() / f"{DEFAULT if text == 'default' else text}.safetensors"
