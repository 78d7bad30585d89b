"""The pictures of the calibration report: what each shows, what good looks like, and what to do when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html import escape

import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.board_set import boards_of
from calibration.camera import Camera
from calibration.uncertainty import point_covariance, worst_sigma_m
from pipeline.calibrated import Calibrated
from pipeline.calibration_figures import Corners, corner_picture, covariance_picture, uncertainty_picture
from pipeline.calibration_scene import scene_html
from pipeline.capture_volume import median_sigma_mm, slices, volume

Array = NDArray[np.float64]

# Pictures are drawn for detections of this scatter: the reader multiplies by the one their detector has.
NOISE_PX = 1.0
HEIGHT_M = 1.0  # of the view from above, over a known floor
CORNER_GUIDE = (
    (
        "Coverage",
        "every cell where a board corner was used is coloured, the darker the more corners. Good: corners nearly everywhere, "
        "edges and image corners included. If parts stay white, film the board there: the lens is a guess where it was never "
        "seen.",
    ),
    (
        "Residuals",
        "each arrow leads from where a corner was found to where the model puts it, drawn many times as long. Good: short "
        "arrows in random directions. If neighbours point the same way, the lens model does not fit or the board is not flat; "
        "red crosses are corners left out as misread.",
    ),
    (
        "Residuals against radius",
        "each dot is a corner, from the middle of the lens to the edge. Good: a flat blue line, and an orange band that holds "
        "zero all along. If they bend away towards the edge, film more views there or choose another lens model "
        "(calibrate.lens).",
    ),
)


def uncertainty_mm(made: Calibrated) -> float:
    """Median worst-axis 1 sigma (mm) of a point in the capture volume when every view is off by 1 px; NaN if none is shared."""
    return median_sigma_mm(lambda xyz_m: made.point_sigma_m(xyz_m, NOISE_PX), *_volume(made))


def scene(made: Calibrated) -> str:
    """The rig in 3D."""
    boards = board_outlines_m(made)
    sheets = ", orange sheets are the board wherever it was filmed" if boards else ""
    filmed = ", and the board was everywhere people will be" if boards else ""
    guide = (
        f"Blue pyramids are cameras (the little roof is on their upper side){sheets}. Good: cameras stand and look as in your "
        f"room{filmed}. If a camera stands or looks wrong, check that its file is its own and synchronised. Drag to turn the "
        "picture, click it to zoom with the wheel; the arrow keys, + and - do the same."
    )
    return f"<section><h2>The rig in 3D</h2><p>{guide} {_floor(made)}</p>{scene_html(made.rig, boards)}</section>"


def _floor(made: Calibrated) -> str:
    if made.filmed is None:
        return "The grid (1 m) lies at z = 0 of the imported rig, which is taken to be the floor."
    if _floor_known(made):
        return "The grid (1 m) lies on the floor, where the board lay."
    return (
        "The grid (1 m) lies at z = 0; the height of the floor is unknown: name an instant of the board clip at which the "
        "board lies on it (calibrate.floor_instant)."
    )


def uncertainty(made: Calibrated) -> str:
    """The capture volume in colours of predicted error."""
    low_m, high_m = _volume(made)
    height_m = HEIGHT_M if _floor_known(made) else float(0.5 * (low_m + high_m)[2])
    level, upright = slices(made.rig, lambda xyz_m: made.point_sigma_m(xyz_m, NOISE_PX), low_m, high_m, height_m)
    guide = (
        f"How far off, 1 sigma along its worst direction, a point will be that every camera finds to {NOISE_PX:g} px. Good: "
        "light colours wherever people move; nothing is drawn where fewer than two cameras look. If your place is dark or "
        "empty, turn the cameras towards it, bring them nearer or spread them further apart."
    )
    return _figure(
        "Predicted error in space",
        f"{guide} {_shares(made, 0.5 * (low_m + high_m))}",
        uncertainty_picture(made.rig, level, upright),
        f"Maps of predicted error from above and from the side; {_median_told(made)}",
    )


def covariance(made: Calibrated) -> str:
    """How certain the poses are, and how their errors hang together; empty for imported poses."""
    if made.poses is None:
        return ""
    guide = (
        f"Left: how far each camera may be off, 1 sigma, counted from {made.rig.names[0]}, which is held fixed and so has "
        "no error of its own; lenses solved with the poses add theirs to the directions. Good: short bars of similar "
        "length. If one camera's bars stand out, film the board where that camera and a neighbour both see it, near and "
        "far. Right: which errors hang together; red rise and fall together, blue trade places. In each camera's block: "
        "turn about right, down, forward, then move right, down, forward. Strong colours between two cameras are usual: "
        "their errors against the fixed camera are shared, and largely cancel between neighbours."
    )
    told = "; ".join(f"{name} {mm:.2f} mm, {mrad:.3f} mrad" for name, (mm, mrad) in made.sigma.items())
    picture = covariance_picture(made.rig.names, made.poses.bundle.pose_covariance)
    return _figure("Certainty of the poses", guide, picture, f"1 sigma of every camera and correlations: {told}")


def corner_pictures(made: Calibrated) -> str:
    """Coverage, residuals and residuals against radius of every camera that was solved here."""
    pictures = list(_corner_figures(made))
    if not pictures:
        return ""
    guide = "".join(f"<li><b>{escape(title)}:</b> {escape(text)}</li>" for title, text in CORNER_GUIDE)
    return f"<section><h2>Corners of each camera</h2><ul>{guide}</ul>{''.join(pictures)}</section>"


def _corner_figures(made: Calibrated) -> Iterator[str]:
    for index, camera in enumerate(made.rig.cameras):
        lens = made.lenses.get(camera.name)
        report = lens.report if lens else None
        # A lens that came from the board clip itself rests on the corners of the poses; its own photos are shown apart.
        if lens and report and report.xy_px is not None and (made.poses is None or report.figures):
            yield _corner_figure(camera, f"lens from {lens.origin}", report.xy_px, report.residual_xy_px)
        if made.poses:
            bundle = made.poses.bundle
            yield _corner_figure(
                camera, "poses from the board clip", bundle.xy_px[index], bundle.residual_xy_px[index], bundle.used[index]
            )


def _corner_figure(camera: Camera, origin: str, xy_px: Array, error_px: Array | None, used: Array | None = None) -> str:
    error_px = np.full_like(xy_px, np.nan) if error_px is None else error_px
    seen = np.isfinite(error_px).all(-1)
    chosen = np.ones(int(seen.sum()), dtype=bool) if used is None else np.asarray(used, dtype=bool)[seen]
    corners = Corners(camera.size_wh, (camera.K[0, 2], camera.K[1, 2]), xy_px[seen], error_px[seen], chosen)
    squared = (corners.error_px[chosen] ** 2).sum(1)
    rms = f"RMS {np.sqrt(squared.mean()):.2f} px" if squared.size else "no corner used"
    told = f"{int(chosen.sum())} of {chosen.size} corners used, in {corners.covered:.0%} of the image's cells, {rms}"
    return (
        f"<figure><h3>{escape(camera.name)}: {escape(origin)}</h3>"
        f"<img alt='{escape(f'{camera.name}: coverage, residual arrows, residuals against radius; {told}')}' "
        f"src='{corner_picture(corners)}'><figcaption>{escape(told)}</figcaption></figure>"
    )


def _figure(title: str, guide: str, picture: str, alt: str) -> str:
    return f"<section><h2>{title}</h2><p>{escape(guide)}</p><img alt='{escape(alt)}' src='{picture}'></section>"


def board_outlines_m(made: Calibrated) -> list[Array]:
    """The four outer corners (4, 3) of the board's pattern at every instant it was placed, world metres."""
    if made.poses is None or made.filmed is None:
        return []
    outlines = [_outline_m(board) for board in boards_of(made.filmed.board)]
    placed = enumerate(made.poses.world_from_board)
    return [pose.apply(outlines[view % len(outlines)]) for view, pose in placed if pose is not None]


def _outline_m(board: Board) -> Array:
    (x0, y0, _), (x1, y1, _) = (edge(board.corners_m, axis=0) for edge in (np.min, np.max))
    return np.array([[x0, y0, 0.0], [x1, y0, 0.0], [x1, y1, 0.0], [x0, y1, 0.0]])


def _floor_known(made: Calibrated) -> bool:
    """An imported world is taken to stand on its floor; a solved one does when the board lay there."""
    return made.filmed is None or made.filmed.world.startswith("board:")


def _volume(made: Calibrated) -> tuple[Array, Array]:
    boards = board_outlines_m(made)
    return volume(made.rig, np.concatenate(boards) if boards else np.zeros((0, 3)), _floor_known(made))


def _shares(made: Calibrated, middle_m: Array) -> str:
    """What of the error in the middle comes from the detections and what from the calibration."""
    both_mm = 1e3 * float(made.point_sigma_m(middle_m[None], NOISE_PX)[0])
    pixels_mm = 1e3 * float(worst_sigma_m(point_covariance(replace(made.rig, covariance=None), middle_m[None], NOISE_PX))[0])
    if not np.isfinite(both_mm):
        return "Fewer than two cameras see the middle of the volume."
    if made.poses is None:
        return f"In the middle of the volume: {both_mm:.2f} mm, of the detections alone; an imported rig counts as exact."
    with_lens = len(made.poses.bundle.joint_covariance) > 6 * len(made.rig)
    return (
        f"In the middle of the volume: {both_mm:.2f} mm; with an exact calibration it would be {pixels_mm:.2f} mm, and that "
        f"share grows with the scatter of the detections: three times as much at 3 px. Errors are counted from "
        f"{made.rig.names[0]}; "
        f"{'the lenses, solved with the poses, have their share in it' if with_lens else 'lenses count as exact'}."
    )


def _median_told(made: Calibrated) -> str:
    sigma_mm = uncertainty_mm(made)
    return f"median over the volume {sigma_mm:.2f} mm" if np.isfinite(sigma_mm) else "no two cameras share any of the volume"
