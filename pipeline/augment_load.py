"""What augment loads: the generator with all that goes on top of it, the detector that checks, and the one that guides."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from models.diffusion.digest import folder_digest
from models.shipped import weights_folder, weights_path
from pipeline.config import AugmentConfig
from pipeline.detect import FindsPeople, told_of_weights
from pipeline.errors import InputError
from pipeline.session import resolve
from pipeline.sources import read_image
from pipeline.store import Store

if TYPE_CHECKING:
    from models.diffusion.controlnet import Generator
    from models.diffusion.guidance import Guide

SHIPPED = "studio-diffusion"  # below data/weights
SINGLE_FILE_PX = 512
WITHOUT = "To go on without generated images: --set augment.enabled=false"

# Form of the pipeline, and share of the noise, of every mode; None: as augment.strength says.
FORMS: dict[str, tuple[str, float | None]] = {
    "new_scene": ("text", 1.0),
    "keep_background": ("inpaint", 1.0),
    "change_person": ("inpaint", None),
    "restyle": ("image", None),
}

Image = NDArray[np.uint8]


def pictures_of(store: Store, config: AugmentConfig) -> list[Image]:
    """The pictures that the IP-Adapter shows, RGB. Raises InputError for a file that is no image."""
    return [_picture(resolve(store.root, name)) for name in config.identities]


def _picture(path: Path) -> Image:
    try:
        return read_image(path)
    except InputError as error:
        raise InputError(f"augment.identities: {error}") from error


def generator_folder(store: Store, config: AugmentConfig) -> Path:
    """The folder, or single file, that config.model names, relative to the session, or fetched as a hub id; or the shipped one.

    Raises InputError for a hub id that cannot be fetched.
    """
    return _located(store, config.model) if config.model else weights_folder() / SHIPPED


def sized(store: Store, config: AugmentConfig) -> AugmentConfig:
    """The settings with the size that the model was trained at, where they leave it open; a single file is taken for SD 1.5.

    Raises InputError for a model that is not whole.
    """
    from models.diffusion.folder import trained_size_px
    from models.weights import WeightsError

    if config.size_px is not None:
        return config
    folder = generator_folder(store, config)
    try:
        size_px = SINGLE_FILE_PX if folder.is_file() else trained_size_px(folder)
    except WeightsError as error:
        raise InputError(f"{error}. {WITHOUT}") from error
    return config.model_copy(update={"size_px": size_px})


def _located(store: Store, name: str) -> Path:
    from models.diffusion.recipe import located
    from models.weights import WeightsError

    path = resolve(store.root, name)
    if path.exists():
        return path
    try:
        fetched = located(name)
        return fetched if fetched.exists() else path
    except WeightsError as error:
        raise InputError(f"{error}. {WITHOUT}") from error


def _files(store: Store, config: AugmentConfig) -> list[Path]:
    """Everything that is loaded beside the detectors."""
    names = [*config.controlnets, *(text.partition("=")[0] for text in config.loras), *config.identities]
    return [generator_folder(store, config), *(_located(store, name) for name in (*names, config.ip_adapter) if name)]


def told_of(store: Store, config: AugmentConfig) -> dict[str, Any]:
    """What decides the result beside the config: session name, generator and checking detector. Nothing when turned off."""
    if not config.enabled:
        return {}
    guides = [config.guidance_weights] if config.detector_guidance else []
    detectors = [weights_path(name) for name in (config.weights, *guides)]
    return {
        "session": store.session.name,
        "generator": [folder_digest(path) if path.exists() else "" for path in _files(store, config)],
        "detector": [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in detectors],
    }


def networks_of(store: Store, config: AugmentConfig) -> dict[str, Any]:
    """What takes part, for the dataset card: the generator with its digest and licence, and the detector that checks."""
    folder = generator_folder(store, config)
    name = f"{config.model or SHIPPED}@{folder_digest(folder)[:16]}"
    return {"generator": name, "generator_licence": licence_of(folder), **told_of_weights(config.weights)}


def licence_of(folder: Path) -> str:
    """The licence in a model card's front matter (README.md), or that it is not stated."""
    card = folder / "README.md"
    text = card.read_text(errors="replace") if card.is_file() else ""
    head = text.split("---")[1] if text.startswith("---") and text.count("---") > 1 else ""
    try:
        return str((yaml.safe_load(head) or {}).get("license", "not stated"))
    except (yaml.YAMLError, AttributeError):
        return "not stated"


def load(store: Store, config: AugmentConfig) -> tuple[Generator, FindsPeople, Guide | None]:
    """Generator, checking detector, and the guide if any. Raises InputError saying what is missing or does not fit."""
    from models.detector import load_detector
    from models.diffusion.controlnet import load_generator
    from models.weights import WeightsError

    if bool(config.ip_adapter) != bool(config.identities):
        raise InputError(
            "augment.ip_adapter and augment.identities go together: the adapter shows people from pictures, and needs one at "
            f"least; got {config.ip_adapter or 'no adapter'} and {len(config.identities)} pictures"
        )
    loras = [f"{_located(store, name)}{equals}{weight}" for name, equals, weight in (t.partition("=") for t in config.loras)]
    try:
        generator = load_generator(
            generator_folder(store, config), config.device, [_located(store, name) for name in config.controlnets],
            config.scheduler, FORMS[config.mode][0], config.conditions, loras,
            str(_located(store, config.ip_adapter)) if config.ip_adapter else "",
        )  # fmt: skip
        detector = load_detector(config.weights, config.device, flip=True, size_px=config.check_size_px)
        guide = load_guide(config)
    except WeightsError as error:
        raise InputError(f"{error}. {WITHOUT}") from error
    if config.size_px and config.size_px % generator.stride_px:
        raise InputError(
            f"augment.size_px: {generator.name} makes images whose sides are multiples of {generator.stride_px} px (it was "
            f"trained at {generator.size_px}), got {config.size_px}"
        )
    return generator, detector, guide


def load_guide(config: AugmentConfig) -> Guide | None:
    """The detector that guides, if any. Raises WeightsError, and InputError for a sampler that cannot be guided."""
    from models.detector import load_network
    from models.diffusion.guidance import Guide
    from models.diffusion.schedulers import GUIDABLE

    if not config.detector_guidance:
        return None
    if config.scheduler not in GUIDABLE:
        raise InputError(
            f"augment.detector_guidance needs the scheduler {' or '.join(GUIDABLE)}, got {config.scheduler}; set one of them: "
            "augment.scheduler=ddim, or augment.detector_guidance=0"
        )
    network, _ = load_network(config.guidance_weights)
    if config.guidance_size_px % network.config.stride_px:
        raise InputError(
            f"augment.guidance_size_px: expected a multiple of {network.config.stride_px}, which {config.guidance_weights} "
            f"asks for, got {config.guidance_size_px}"
        )
    frozen = network.to(config.device).eval().requires_grad_(False)
    return Guide(frozen, config.detector_guidance, config.guidance_size_px)
