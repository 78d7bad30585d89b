"""Cutting tiled and stereo files into cameras, by the layout told or by the one their seams show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.credentials import redacted
from pipeline.errors import InputError
from pipeline.seams import FRAMES, STEREO, TILED, layout_of
from pipeline.session import Source
from pipeline.sources import layout_crops, open_source

STEREO_LAYOUTS = {"side-by-side": "2x1", "top-bottom": "1x2"}


def cut_tiled(root: Path, whole: Source, layout: str, names: Sequence[str]) -> tuple[dict[str, Source], str]:
    """The cameras of a tiled file, one crop each, and what to note of them. layout COLUMNSxROWS, "" for that of its seams."""
    return _cut(root, whole, layout, TILED, "--layout", names)


def cut_stereo(root: Path, whole: Source, layout: str, names: Sequence[str]) -> tuple[dict[str, Source], str]:
    """The two cameras of a stereo file, and what to note of them. layout: side-by-side, top-bottom, "" for that of its seam."""
    return _cut(root, whole, stereo_columns(layout), STEREO, "--stereo-layout", names)


def stereo_columns(layout: str) -> str:
    """COLUMNSxROWS of a stereo layout, "" for "". Raises InputError naming those known."""
    if layout and layout not in STEREO_LAYOUTS:
        raise InputError(f"--stereo-layout: expected {' or '.join(STEREO_LAYOUTS)}, got {layout!r}")
    return STEREO_LAYOUTS.get(layout, "")


def refuse_miscount(path: str, layout: str, names: Sequence[str], tiles: int) -> None:
    """Raise InputError where there is not one name for each tile."""
    if len(names) != tiles:
        raise InputError(f"--camera-names: {redacted(path)} cut into {layout} has {tiles} tiles, got {len(names)} names")


def _cut(
    root: Path, whole: Source, layout: str, candidates: Sequence[str], option: str, names: Sequence[str]
) -> tuple[dict[str, Source], str]:
    reader = open_source(root, whole)
    probe, note = reader.probe(), ""
    if not layout:
        numbers = sorted({round(at) for at in np.linspace(0, probe.frames - 1, FRAMES)})
        proposal = layout_of((shot.image for shot in reader.shots(numbers)), candidates, whole.path, option)
        layout, note = proposal.layout, f"{proposal.layout} by its seams, {proposal.change:.1f} times the change beside them"
    crops = layout_crops(probe.size_wh, layout, whole.path)
    names = names or tuple(f"cam{number + 1}" for number in range(len(crops)))
    refuse_miscount(whole.path, layout, names, len(crops))
    return {name: whole.model_copy(update={"crop_px": crop}) for name, crop in zip(names, crops, strict=True)}, note
