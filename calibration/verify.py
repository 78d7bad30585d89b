"""Gates that a low reprojection error cannot buy: does a rig explain board views that it was not made from?

A wrong rig can have a low RMS: a mirrored planar pose, one recording given twice, a handful of views that any lens fits.
What it cannot do is place a board in views it has not seen, give its squares their printed size, or keep it in front of the
cameras with its printed side towards them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.bundle import BundleReport, fit_boards
from calibration.camera import Camera
from calibration.planar import corners_seen, filter_corners, straighten
from calibration.quality import Gate, boards_behind, check_cameras
from calibration.rig import Rig
from calibration.triangulate import triangulate_robust

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Corners of unseen views may miss the rig by this many times what they miss their own homography, or what those of seen
# views miss the rig, or by so many px at 1920 px image width: 1 beside seen views, else what hand-held boards and software
# synchronisation leave.
OVER_OWN, OVER_SEEN = 4.0, 2.5
MISS_BESIDE_SEEN_PX, MISS_PX = 1.0, 3.0
# A lens that leaves more than this of a flat board bent is the wrong lens.
LENS_MISS_AT_1920_PX = 2.0
# Squares are printed and measured to half a percent; beside that, four standard errors of what was measured.
SIZE_TOLERANCE, SIZE_SIGMAS = 0.005, 4.0
# Lenses sit within a few percent of the middle of their sensor; a crop that was not told moves this point further.
CENTRE_SHARE = 0.12
# Corners all over the top left quarter of the image (and a margin), and nowhere else, belong to smaller images than was said.
QUARTER = 0.55
# Two cameras whose corners agree to this all the time were given one recording.
SAME_PX = 0.5
BASELINE_M = (0.01, 200.0)
BEHIND_SHARE = 0.9
FILM = "film the board again in this camera and its neighbours, synchronised, tilted and at several distances"
SYNC = "check that the recordings start together and belong to these cameras, and that the board is rigid; then film it again"


def verify_rig(
    rig: Rig,
    observations: Array,
    board: Target,
    seen_px: Array | None = None,
    measured_m: Mapping[tuple[str, str], float] | None = None,
) -> tuple[Gate, ...]:
    """Gates on a rig by board views (C, F, M, 2) px, NaN unseen, that it was not solved from.

    seen_px (C,): median miss of the views it was solved from, where known. measured_m: distances between cameras that were
    measured. Raises CalibrationError when shapes disagree or a camera sees no board: then nothing can be said.
    """
    observations = np.asarray(observations, dtype=np.float64)
    clean = filter_corners(observations, board, rig.cameras)
    fitted = fit_boards(rig, clean, board)
    return (
        *check_cameras(rig),
        *_lens_gates(rig),
        *_image_gates(rig, clean),
        *_recording_gates(rig, observations),
        _baseline_gate(rig),
        *distance_gates(rig, measured_m or {}),
        *_reprojection_gates(rig, clean, board, fitted, seen_px),
        *_placement_gates(rig, board, fitted, np.any(corners_seen(clean), axis=2)),
        _size_gate(rig, clean, board),
    )


def _lens_gates(rig: Rig) -> Iterator[Gate]:
    for camera in rig.cameras:
        middle = 0.5 * (np.array(camera.size_wh) - 1)
        off = np.abs(camera.K[:2, 2] - middle) / max(camera.size_wh)
        found = f"({camera.K[0, 2]:.0f}, {camera.K[1, 2]:.0f}) px in {camera.size_wh[0]}x{camera.size_wh[1]}"
        advice = "the images were cropped or are of another size than was said; state it, or calibrate at this size"
        near = bool((off < CENTRE_SHARE).all())
        yield Gate(f"centre of {camera.name}", near, found, f"within {CENTRE_SHARE:.0%} of the middle", advice)


def _image_gates(rig: Rig, clean: Array) -> Iterator[Gate]:
    """Corners inside their image, and not all within one quarter of it."""
    for camera, views in zip(rig.cameras, clean, strict=True):
        xy_px = views[corners_seen(views)]
        low, high = xy_px.min(0) / camera.size_wh, xy_px.max(0) / camera.size_wh
        outside = bool((low < -0.01).any() or (high > 1.01).any())
        quarter = bool((high < QUARTER).all() and (low < 0.5 * QUARTER).all())
        found = f"corners from {low[0]:.0%}, {low[1]:.0%} to {high[0]:.0%}, {high[1]:.0%} of the image"
        advice = (
            f"the images may not be {camera.size_wh[0]}x{camera.size_wh[1]}; if they are, film the board all over the image"
        )
        yield Gate(f"coverage of {camera.name}", not outside and not quarter, found, "inside, and beyond its top left quarter",
                   advice)  # fmt: skip


def _recording_gates(rig: Rig, observations: Array) -> Iterator[Gate]:
    for first, (a, one) in enumerate(zip(rig.cameras, observations, strict=True)):
        for b, other in zip(rig.cameras[first + 1 :], observations[first + 1 :], strict=True):
            apart_px = np.linalg.norm(one - other, axis=-1)
            apart_px = apart_px[np.isfinite(apart_px)]
            if apart_px.size and np.median(apart_px) < SAME_PX:
                found = f"corners {np.median(apart_px):.2f} px apart"
                yield Gate(f"recordings of {a.name} and {b.name}", False, found, "two recordings",
                           "both were given one recording; check the session's sources")  # fmt: skip


def _baseline_gate(rig: Rig) -> Gate:
    centres_m = np.stack([camera.centre_m for camera in rig.cameras])
    apart_m = np.linalg.norm(centres_m[:, None] - centres_m[None], axis=-1)[np.triu_indices(len(rig), 1)]
    low, high = BASELINE_M
    found = f"cameras {apart_m.min():.3f} to {apart_m.max():.1f} m apart"
    advice = "check the board's square size (in metres) and that no camera is given twice"
    return Gate("baselines", bool(low <= apart_m.min() and apart_m.max() <= high), found, f"{low:g} to {high:g} m", advice)


def distance_gates(rig: Rig, measured_m: Mapping[tuple[str, str], float]) -> Iterator[Gate]:
    """Distances between two cameras each that were measured: where one board is all there is, its size shows in nothing else.

    A tape is read to 2 mm, and where a lens's centre lies in its housing is known to 1 %.
    """
    for (first, second), measured in measured_m.items():
        solved = float(np.linalg.norm(rig[first].centre_m - rig[second].centre_m))
        close = abs(solved - measured) <= 0.01 * measured + 0.002
        yield Gate(f"distance from {first} to {second}", close, f"{solved:.4f} m", f"{measured:.4f} m as measured",
                   "measure the board's square on the print, and the distance again")  # fmt: skip


def _reprojection_gates(rig: Rig, clean: Array, board: Target, fitted: BundleReport, seen_px: Array | None) -> Iterator[Gate]:
    lens = "its lens is another one (focus, zoom, recording mode) or the board is not flat; calibrate it again"
    seen = np.zeros(len(rig)) if seen_px is None else seen_px
    floor_px = MISS_PX if seen_px is None else MISS_BESIDE_SEEN_PX
    for camera, views, residual_px, seen_px_here in zip(rig.cameras, clean, fitted.residual_px, seen, strict=True):
        scale, own_px = max(camera.size_wh) / 1920.0, _own_miss_px(camera, views, board)
        yield _at_most(f"flat board in {camera.name}", own_px, LENS_MISS_AT_1920_PX * scale, lens)
        limit_px = max(OVER_OWN * own_px, OVER_SEEN * seen_px_here, floor_px * scale)
        yield _at_most(f"unseen views of {camera.name}", float(np.nanmedian(residual_px)), limit_px, SYNC)


def _at_most(name: str, found_px: float, limit_px: float, advice: str) -> Gate:
    return Gate(name, found_px <= limit_px, f"median miss of {found_px:.2f} px", f"at most {limit_px:.1f} px", advice)


def _own_miss_px(camera: Camera, views: Array, board: Target) -> float:
    """Median miss of the corners from the homography of their own view, px: what the lens and the corner finder leave."""
    misses = []
    for view in views[corners_seen(views).any(1)]:
        keep = corners_seen(view)
        flat = straighten(camera, view[keep])
        model, _ = cv2.findHomography(board.corners_m[keep, :2], flat)
        if model is not None:
            plane = cv2.perspectiveTransform(board.corners_m[keep, None, :2], model)[:, 0]
            misses.append(np.linalg.norm(plane - flat, axis=1))
    return float(np.median(np.concatenate(misses))) if misses else float("nan")


def _placement_gates(rig: Rig, board: Target, fitted: BundleReport, seen: Mask) -> Iterator[Gate]:
    """Boards before the cameras, printed side towards them: all of them from behind is a mirrored world."""
    poses, back, shown = fitted.world_from_board, 0, 0
    for camera, visible in zip(rig.cameras, seen, strict=True):
        behind = boards_behind(camera, board, poses, visible)
        yield Gate(f"unseen boards before {camera.name}", behind == 0, f"{behind} behind it", "none", FILM)
        for pose in (pose for pose, there in zip(poses, visible, strict=True) if pose is not None and there):
            shown += 1
            # z runs into the sheet: away from the camera where the printed side is seen.
            back += int(pose.R[:, 2] @ (pose.t - camera.centre_m) < 0)
    share = back / max(shown, 1)
    yield Gate("printed side", share < BEHIND_SHARE, f"{share:.0%} of the boards seen from behind", f"below {BEHIND_SHARE:.0%}",
               "the images are mirrored: record them as they are, or flip them before they are given")  # fmt: skip


def _size_gate(rig: Rig, clean: Array, board: Target) -> Gate:
    """The board's size as the rig triangulates it, over all distances between its corners (Umeyama 1991, equation 42)."""
    frames = clean.shape[1]
    points = triangulate_robust(rig, clean.reshape(len(rig), -1, 2)).xyz_m.reshape(frames, -1, 3)
    scales = np.array([_scale(board.corners_m, xyz_m) for xyz_m in points])
    scales = scales[np.isfinite(scales)]
    advice = "check the board's square size on the print, or film it where two cameras see it well"
    if scales.size < 2:
        return Gate("size of the board", False, "nothing triangulated", "two cameras that see it", advice)
    scale, error = float(np.median(scales)), float(1.2533 * scales.std() / np.sqrt(scales.size))  # of a median
    within = max(SIZE_TOLERANCE, SIZE_SIGMAS * error)
    found = f"squares of {1e3 * board.square_m * scale:.2f} mm"
    expected = f"{1e3 * board.square_m:.2f} mm to {within:.1%}"
    return Gate("size of the board", abs(scale - 1) <= within and within < 0.05, found, expected, advice)


def _scale(corners_m: Array, xyz_m: Array) -> float:
    known = corners_seen(xyz_m)
    if known.sum() < 4:
        return float("nan")
    a, b = corners_m[known] - corners_m[known].mean(0), xyz_m[known] - xyz_m[known].mean(0)
    u, singular, vt = np.linalg.svd(b.T @ a)
    singular[2] *= np.sign(np.linalg.det(u @ vt))
    return float(singular.sum() / (a**2).sum())
