"""Poses of a flat board: outlier corners by homography consensus, both planar solutions, and the one the rig agrees with."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.camera import Camera
from calibration.rig import Rig
from calibration.transforms import Rigid

Array = NDArray[np.float64]

# A homography has 8 unknowns: 4 corners fit any wrong detection exactly, 6 leave 4 equations to disagree.
MIN_CORNERS = 6
# Consensus distance at 1920 px image width; corners are good to about 0.3 px and a misread one is off by tens.
FILTER_PX_AT_1920 = 3.0


@dataclass(frozen=True)
class Candidate:
    """One possible pose of the board in one view, and its RMS reprojection error in px."""

    cam_from_board: Rigid
    rms_px: float


def corners_seen(xy_px: Array) -> NDArray[np.bool_]:
    """True (...) where both coordinates of (..., 2) are finite."""
    return np.asarray(np.all(np.isfinite(xy_px), axis=-1), dtype=np.bool_)


def straighten(camera: Camera, xy_px: Array) -> Array:
    """Distorted pixels (..., 2) to those of the same camera without lens distortion and with the mean focal length."""
    flat = camera.undistort(xy_px.reshape(-1, 2)).reshape(xy_px.shape)
    return flat * _focal_px(camera)


def _focal_px(camera: Camera) -> float:
    return float(np.sqrt(camera.K[0, 0] * camera.K[1, 1]))


def threshold_px(size_wh: tuple[int, int]) -> float:
    """Consensus distance of the corner filter for an image of this size."""
    return FILTER_PX_AT_1920 * max(size_wh) / 1920.0


def consistent_corners(plane: Array, xy_px: Array, limit_px: float) -> NDArray[np.bool_]:
    """(M,) True for corners that one homography from the board plane (M, 2) explains within limit_px (RANSAC).

    xy_px (M, 2), NaN unseen. All False when fewer than MIN_CORNERS agree or the corners are nearly on one line.
    """
    keep = corners_seen(xy_px)
    if keep.sum() < MIN_CORNERS or np.linalg.matrix_rank(plane[keep] - plane[keep].mean(0), tol=1e-9) < 2:
        return np.zeros(len(keep), dtype=bool)
    model, inlier = cv2.findHomography(plane[keep], xy_px[keep], cv2.RANSAC, limit_px, maxIters=1000, confidence=0.9999)
    out = np.zeros(len(keep), dtype=bool)
    if model is not None:
        out[np.flatnonzero(keep)[inlier.ravel() > 0]] = True
    still_flat = np.linalg.matrix_rank(plane[out] - plane[out].mean(0), tol=1e-9) >= 2 if out.any() else False
    return out if out.sum() >= MIN_CORNERS and still_flat else np.zeros(len(keep), dtype=bool)


def filter_corners(observations: Array, board: Target, cameras: tuple[Camera, ...]) -> Array:
    """Observations (C, F, M, 2) px with corners off their view's homography set to NaN; a view without consensus vanishes."""
    plane = board.corners_m[:, :2]
    out = np.array(observations, dtype=np.float64)
    for camera, views in zip(cameras, out, strict=True):
        flat = straighten(camera, views)
        for frame in np.flatnonzero(corners_seen(views).any(-1)):
            views[frame, ~consistent_corners(plane, flat[frame], threshold_px(camera.size_wh))] = np.nan
    return out


def board_candidates(camera: Camera, board: Target, xy_px: Array) -> list[Candidate]:
    """Both planar poses (IPPE, Collins and Bartoli 2014) of the corners (M, 2) px, better one first; [] below MIN_CORNERS."""
    seen = corners_seen(xy_px)
    if seen.sum() < MIN_CORNERS:
        return []
    focal = _focal_px(camera)
    flat = straighten(camera, xy_px[seen])
    intrinsic = np.diag([focal, focal, 1.0])
    count, rvecs, tvecs, errors = cv2.solvePnPGeneric(board.corners_m[seen], flat, intrinsic, None, flags=cv2.SOLVEPNP_IPPE)
    poses = [(r, t, e) for r, t, e in zip(rvecs, tvecs, errors.ravel(), strict=True) if np.isfinite(r).all() and t[2] > 0]
    return [Candidate(Rigid.from_rvec(r.ravel(), t.ravel()), float(e)) for r, t, e in poses[:count]]


def all_candidates(observations: Array, board: Target, cameras: tuple[Camera, ...]) -> list[list[list[Candidate]]]:
    """`board_candidates` of every view, indexed [camera][frame]."""
    return [
        [board_candidates(camera, board, view) for view in views] for camera, views in zip(cameras, observations, strict=True)
    ]


def place_boards(
    rig: Rig, observations: Array, board: Target, candidates: list[list[list[Candidate]]] | None = None
) -> tuple[Rigid | None, ...]:
    """world_from_board per frame (F): of all candidates of all cameras the one that the other cameras confirm best.

    A frame is judged by the median over corners of the reprojection error, summed with a cap over its cameras. None where
    no camera has enough corners.
    """
    found = candidates or all_candidates(observations, board, rig.cameras)
    frames, options = [], []
    for camera, views in zip(rig.cameras, found, strict=True):
        world_from_cam = camera.cam_from_world.inverse()
        for frame, view in enumerate(views):
            frames += [frame] * len(view)
            options += [world_from_cam @ candidate.cam_from_board for candidate in view]
    placed: list[Rigid | None] = [None] * observations.shape[1]
    if options:
        cost, of_frame = _disagreement_px(rig, board, observations, options, frames), np.array(frames)
        for frame in set(frames):
            mine = np.flatnonzero(of_frame == frame)
            placed[frame] = options[mine[np.argmin(cost[mine])]]
    return tuple(placed)


def _disagreement_px(rig: Rig, board: Target, observations: Array, options: list[Rigid], frames: list[int]) -> Array:
    """(O,) cost of world_from_board options, each for its frame."""
    corners_m, total = board.corners_m, np.zeros(len(options))
    world_m = np.stack([option.apply(corners_m) for option in options])
    for camera, views in zip(rig.cameras, observations, strict=True):
        seen = corners_seen(views[frames])
        shown = np.flatnonzero(seen.any(1))
        if shown.size:
            xy_px = camera.project(world_m[shown].reshape(-1, 3)).reshape(shown.size, -1, 2)
            miss = np.linalg.norm(xy_px - views[frames][shown], axis=-1)
            # A corner behind the camera, or one a tenth of the image off, is simply wrong: it counts no more than that.
            cap = 0.1 * max(camera.size_wh)
            capped = np.where(seen[shown], np.minimum(np.nan_to_num(miss, nan=cap), cap), np.nan)
            total[shown] += np.nanmedian(capped, axis=1)
    return total
