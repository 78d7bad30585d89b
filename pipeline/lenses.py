"""Lenses of a session's cameras: imported, from photos of a board, or from the board clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.board import find_corners_thorough
from calibration.board_set import Target, find_views
from calibration.errors import CalibrationError
from calibration.intrinsics import calibrate_from_images, calibrate_intrinsics
from calibration.intrinsics_report import DetectorFigure
from pipeline.boards import no_board
from pipeline.calibrated import Lens
from pipeline.config import CalibrateConfig
from pipeline.probe import Image

Array = NDArray[np.float64]


def lens_from_photos(
    images: Sequence[Image],
    board: Target,
    config: CalibrateConfig,
    name: str,
    folder: str,
    labels: Sequence[str] | None = None,
) -> Lens:
    """Intrinsics from photos of a board, told apart by `labels`. Raises StageError when none shows the board,
    CalibrationError when they do not suffice."""
    try:
        camera, report = calibrate_from_images(images, board, config.lens, config.fix_k3, name, labels)
    except CalibrationError as error:
        if any(np.isfinite(find_views(board, image, find_corners_thorough)).any() for image in images):
            raise CalibrationError(f"{error} (photos in {folder})") from error
        raise no_board(board, images, f"camera {name}: photos in {folder}", len(images)) from error
    return Lens(camera, f"{len(images)} photos", len(images), report)


def clip_lenses(
    corners: Array,
    board: Target,
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
    lenses: Mapping[str, Lens],
    config: CalibrateConfig,
    labels: Sequence[str],
) -> dict[str, Lens]:
    """The lens of every camera: those known already, the others from their own views of the board clip (C, F, M, 2) px.

    Marked `joint` where the rig's adjustment may solve them once more with the poses: none was known before, no third
    radial coefficient was asked for, and fisheyes are not mixed with others.
    """
    found = dict(lenses)
    for xy_px, size, name in zip(corners, sizes, names, strict=True):
        if name not in found:
            camera, report = calibrate_intrinsics(xy_px, board, size, config.lens, config.fix_k3, name, labels)
            found[name] = Lens(camera, "board clip", len(xy_px), report)
    kinds = {lens.camera.lens for lens in found.values()}
    k3_asked = config.lens == "brown" and not config.fix_k3
    joint = not lenses and not k3_asked and (len(kinds) == 1 or "fisheye" not in kinds)
    return {name: replace(lens, joint=True) for name, lens in found.items()} if joint else found


def joint_kind(lenses: Mapping[str, Lens]) -> str:
    """The lens that most cameras have: the one the adjustment solves for all, so that one camera's chance does not decide."""
    return Counter(lens.camera.lens for lens in lenses.values()).most_common(1)[0][0]


def told(figure: DetectorFigure) -> str:
    """A detector's figures in one line."""
    text = f"{figure.detector}: {figure.views} views, fx {figure.fx_px:.1f}, rms {figure.rms_px:.3f} px, {figure.lens}"
    without = ", ".join(view.label for view in figure.dropped)
    return text + (f"; fx {figure.kept_fx_px:.1f} without {without}" if without else "")
