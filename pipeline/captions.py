"""Words for what an image shows: how many people, the colours of their clothes, the light; and templates filled with words."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from models.skeleton import COCO17, Topology
from pipeline.errors import InputError
from pipeline.types import Array

COUNTS = ("nobody", "a person", "two people", "three people", "four people")
COLOURS = ("black", "grey", "white", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink")
LIGHTS = ("dim light", "even light", "bright light")

# Upper ends of hue ranges in degrees of the HSV wheel; what lies beyond the last is red again.
_HUES = (
    (15, "red"),
    (45, "orange"),
    (70, "yellow"),
    (165, "green"),
    (255, "blue"),
    (315, "purple"),
    (345, "pink"),
    (361, "red"),
)


def count_words(people: int) -> str:
    """How a caption names so many people."""
    return COUNTS[people] if people < len(COUNTS) else "a group of people"


def colour_word(rgb: Array) -> str:
    """One of COLOURS for an RGB colour (3,) in 0..255."""
    pixel = np.clip(np.asarray(rgb, dtype=np.float32), 0, 255).reshape(1, 1, 3) / 255
    hue_deg, saturation, value = cv2.cvtColor(pixel, cv2.COLOR_RGB2HSV)[0, 0]
    if value < 0.2:
        return "black"
    if saturation < 0.2:
        return "white" if value > 0.75 else "grey"
    word = next(name for end, name in _HUES if hue_deg < end)
    return "brown" if word == "orange" and value < 0.55 else word


def light_word(image: NDArray[np.uint8]) -> str:
    """One of LIGHTS by the mean brightness of an RGB image (H, W, 3)."""
    brightness = float(image.mean())
    return LIGHTS[0] if brightness < 75 else LIGHTS[1] if brightness < 140 else LIGHTS[2]


def describe(image: NDArray[np.uint8], xy_px: Array, topology: Topology = COCO17) -> str:
    """The caption of an image (H, W, 3) with people at joints (P, J, 2) in px, NaN where unseen; clothes: the first's."""
    words = [count_words(len(xy_px))]
    top = _patch(image, xy_px, topology, ("left_shoulder", "right_shoulder", "right_hip", "left_hip"))
    bottoms = _patch(image, xy_px, topology, ("left_hip", "left_knee", "right_knee", "right_hip"))
    clothes = [f"{word} {piece}" for word, piece in ((top and f"a {top}", "top"), (bottoms, "trousers")) if word]
    if clothes:
        words.append("in " + " and ".join(clothes))
    edge = np.concatenate([image[0], image[:, 0], image[:, -1]])  # the lower edge is floor
    return f"{' '.join(words)}, {light_word(image)}, {colour_word(np.median(edge, axis=0))} background"


def _patch(image: NDArray[np.uint8], xy_px: Array, topology: Topology, corners: Sequence[str]) -> str:
    """Colour word of the middle of a four-sided body part of the first person; empty where its corners are not seen."""
    if len(xy_px) == 0:
        return ""
    outline = xy_px[0, [topology.index(name) for name in corners]]
    if not np.isfinite(outline).all():
        return ""
    inner = outline.mean(0) + 0.6 * (outline - outline.mean(0))
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(inner).astype(np.int32)], 1)
    return colour_word(np.median(image[mask > 0], axis=0)) if mask.any() else ""


def fill_template(template: str, choices: Mapping[str, Sequence[str]], people: int, draw: np.random.Generator) -> str:
    """A prompt: `{people}` says how many, every other field is drawn from `choices`, in the order of the template.

    Raises InputError naming the field and the known ones.
    """
    words = {"people": count_words(people)}
    for field in template_fields(template):
        if field not in words:
            if not choices.get(field):
                known = ", ".join(sorted({"people", *choices}))
                raise InputError(f"augment.prompts: {template!r} has a field {{{field}}} without values; known fields: {known}")
            words[field] = choices[field][int(draw.integers(len(choices[field])))]
    return template.format(**words)


def template_fields(template: str) -> list[str]:
    """The names in braces, in order. Raises InputError when the template cannot be read."""
    try:
        return [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InputError(f"augment.prompts: {template!r} cannot be read as a template: {error}") from error
