"""Where the cameras of a rig stand, from one board carried through their views.

Start: corners off their view's homography are dropped, both planar poses of every view are kept, each pair of cameras votes
over all shared instants for the relative pose most of them agree on, and the pairs with most votes form a spanning tree.
Then every board pose is the candidate the whole rig agrees with, and `bundle.refine` finishes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.bundle import BundleReport, LensPrior, lens_covariance, refine, rvec_covariance, score
from calibration.camera import Camera
from calibration.consensus import Edge, components, film_next, pair_edges, spanning_poses
from calibration.errors import CalibrationError
from calibration.intrinsics import IntrinsicsReport, calibrate_intrinsics
from calibration.planar import MIN_CORNERS, all_candidates, corners_seen, filter_corners, place_boards
from calibration.quality import (
    CameraStatistics,
    Gate,
    camera_statistics,
    check_image_size,
    failures,
)
from calibration.rig import Rig
from calibration.solution_gates import solution_gates, unseen_gates
from calibration.transforms import Rigid, rotation_angle_rad
from calibration.world import world_from_rig

Array = NDArray[np.float64]

# Lenses solved from the rig's own views: focal length and radial distortion as the corners say, the principal point near
# the image centre and no decentring (p1, p2), as lenses are made. Free, these two trade places with the camera's rotation,
# so decentring is let in only where the corners ask for it by more than Schwarz's criterion (1978).
LENS_PRIOR = LensPrior(focal=0.2, centre=0.01, radial=0.5, tangent=1e-3, frozen_dist=(2, 3, 4))
DECENTRED = (4,)
# A board pose that turns by more than this against the refined rig was the mirrored solution.
FLIP_RAD = np.deg2rad(10.0)


@dataclass(frozen=True, eq=False)
class CalibrationReport:
    """A rig's calibration: RMS and corner sigma (px), statistics and 1-sigma pose errors per camera, votes per pair.

    centre_sigma_mm and rotation_sigma_mrad are relative to the first camera (the gauge), zero for itself. corners_dropped
    were off their view's homography. world_from_board (F) in the rig's world. gates hold the checks, `failed` those that
    did not pass: such a rig must not be used. lenses is empty when intrinsics were given.
    """

    rms_px: float
    sigma_px: float
    cameras: tuple[CameraStatistics, ...]
    centre_sigma_mm: tuple[float, ...]
    rotation_sigma_mrad: tuple[float, ...]
    edges: tuple[Edge, ...]
    lenses: tuple[IntrinsicsReport, ...]
    corners_dropped: int
    world_from_board: tuple[Rigid | None, ...]
    bundle: BundleReport
    gates: tuple[Gate, ...]
    cpu_s: float

    @property
    def failed(self) -> tuple[Gate, ...]:
        """The gates that did not pass."""
        return failures(self.gates)


def calibrate_rig(
    observations: Array,
    board: Target,
    sizes_wh: Sequence[tuple[int, int]],
    names: Sequence[str] | None = None,
    intrinsics: Sequence[Camera] | None = None,
    stereo_pairs: Sequence[tuple[str, str]] = (),
    world: str = "cameras",
    lens: str = "brown",
    start: Sequence[Camera] | None = None,
) -> tuple[Rig, CalibrationReport]:
    """Rig of C cameras from corners (C, F, M, 2) px, NaN unseen; F are the same instants in all cameras.

    intrinsics: cameras in the same order, taken as they are (their poses are ignored); None solves lenses from the same
    views, beginning with those of `start` where they are known roughly. world: see `world.world_from_rig`. A stereo pair is
    a rig of two. Raises CalibrationError naming the camera without a board, or the groups of cameras that share no view and
    which pair should film the board next. Check `report.failed` before the rig is used.
    """
    start_s = time.process_time()
    observations, labels = _checked(observations, board, sizes_wh, names)
    cameras, lenses = _lenses(observations, board, sizes_wh, labels, intrinsics or start, lens)
    cameras = cameras if intrinsics is not None else tuple(map(_centred, cameras))
    clean = filter_corners(observations, board, cameras)
    _require_boards(clean, labels)
    rig, edges, placed = _start(clean, board, cameras, labels)
    shared = _shared_only(clean) if intrinsics is not None else clean
    prior = None if intrinsics is not None else as_made(cameras)
    rig, bundle = _refined(rig, shared, board, placed, prior)
    if prior is not None and decentred(rig, shared, board, bundle, prior):
        prior = replace(prior, frozen_dist=DECENTRED)
        rig, bundle = refine(rig, shared, board, bundle.world_from_board, prior)
    rig, bundle = _in_world(replace(rig, stereo_pairs=tuple(stereo_pairs)), bundle, world)
    dropped = int(corners_seen(observations).sum() - corners_seen(clean).sum())
    gates = (*solution_gates(rig, board, bundle), *unseen_gates(rig, observations, shared, board, bundle, prior))
    return rig, _report(rig, bundle, gates, edges, lenses, dropped, start_s)


def _checked(
    observations: Array, board: Target, sizes_wh: Sequence[tuple[int, int]], names: Sequence[str] | None
) -> tuple[Array, tuple[str, ...]]:
    observed = np.asarray(observations, dtype=np.float64)
    corners = len(board.corners_m)
    if observed.ndim != 4 or observed.shape[2:] != (corners, 2):
        raise CalibrationError(f"observations: expected (C, F, M={corners}, 2) for this board, got {observed.shape}")
    labels = tuple(names) if names is not None else tuple(f"cam{index + 1}" for index in range(len(observed)))
    if len(observed) < 2 or len(labels) != len(observed) or len(sizes_wh) != len(observed):
        raise CalibrationError(
            f"observations: expected two or more cameras with a name and a size each, got {len(observed)} cameras, "
            f"{len(labels)} names, {len(sizes_wh)} sizes"
        )
    observed = np.where(corners_seen(observed)[..., None], observed, np.nan)
    _require_boards(observed, labels)
    return observed, labels


def _require_boards(observations: Array, names: tuple[str, ...]) -> None:
    views = (corners_seen(observations).sum(-1) >= MIN_CORNERS).sum(1)
    blind = [name for name, count in zip(names, views, strict=True) if count == 0]
    if len(blind) == len(names):
        raise CalibrationError(
            f"no camera sees the board in any of {observations.shape[1]} instants; check the board's kind, size, dictionary "
            "and whether it is printed inverted"
        )
    if blind:
        raise CalibrationError(
            f"camera {', '.join(blind)}: not a single board with {MIN_CORNERS} corners in {observations.shape[1]} instants; "
            "film the board where this camera and a neighbour see it together"
        )


def _lenses(
    observations: Array,
    board: Target,
    sizes_wh: Sequence[tuple[int, int]],
    names: tuple[str, ...],
    known: Sequence[Camera] | None,
    lens: str,
) -> tuple[tuple[Camera, ...], tuple[IntrinsicsReport, ...]]:
    if known is not None:
        if len(known) != len(names):
            raise CalibrationError(f"intrinsics: expected {len(names)} cameras, got {len(known)}")
        for camera, size in zip(known, sizes_wh, strict=True):
            check_image_size(camera, size)
        return tuple(replace(camera, name=name) for camera, name in zip(known, names, strict=True)), ()
    solved = [
        calibrate_intrinsics(views, board, size, lens=lens, name=name)
        for views, size, name in zip(observations, sizes_wh, names, strict=True)
    ]
    return tuple(camera for camera, _ in solved), tuple(report for _, report in solved)


def _centred(camera: Camera) -> Camera:
    """The same lens without decentring: what `LENS_PRIOR` holds still is held there."""
    if camera.lens == "fisheye":
        return camera
    dist = camera.dist.copy()
    dist[2:4] = 0.0
    return replace(camera, dist=dist)


def decentred(rig: Rig, observations: Array, board: Target, bundle: BundleReport, prior: LensPrior) -> bool:
    """Whether the corners ask for decentred lenses: the score of p1 and p2 against ln(corner coordinates) each (BIC)."""
    numbers = 2 * len(rig) * np.log(max(2 * int(bundle.used.sum()), 2))
    return score(rig, observations, board, bundle, replace(prior, frozen_dist=DECENTRED)) > numbers


def as_made(cameras: tuple[Camera, ...]) -> LensPrior:
    """`LENS_PRIOR` about lenses centred in their images and without decentring."""
    means = []
    for camera in cameras:
        K = camera.K.copy()
        K[:2, 2] = 0.5 * (np.array(camera.size_wh) - 1)
        means.append(_centred(replace(camera, K=K)))
    return replace(LENS_PRIOR, cameras=tuple(means))


def _start(
    clean: Array, board: Target, cameras: tuple[Camera, ...], names: tuple[str, ...]
) -> tuple[Rig, tuple[Edge, ...], tuple[Rigid | None, ...]]:
    candidates = all_candidates(clean, board, cameras)
    edges = pair_edges(candidates, names)
    groups = components(len(names), edges)
    if len(groups) > 1:
        told = " and ".join("{" + ", ".join(names[index] for index in group) + "}" for group in groups)
        first, second = film_next(clean, groups)
        raise CalibrationError(
            f"the cameras fall into groups that never see the board together: {told}; next film the board where "
            f"{names[first]} and {names[second]} see it at the same time"
        )
    poses = spanning_poses(len(names), edges)
    rig = Rig(tuple(camera.with_pose(pose) for camera, pose in zip(cameras, poses, strict=True)))
    return rig, edges, place_boards(rig, clean, board, candidates)


def _shared_only(observations: Array) -> Array:
    """Instants that one camera alone sees tell nothing about poses between cameras once the lenses are known."""
    out = observations.copy()
    out[:, corners_seen(out).any(2).sum(0) < 2] = np.nan
    return out


def _refined(
    rig: Rig, observations: Array, board: Target, placed: tuple[Rigid | None, ...], prior: LensPrior | None
) -> tuple[Rig, BundleReport]:
    """Adjust; if the refined rig prefers another planar solution somewhere, adjust once more from there."""
    refined, bundle = refine(rig, observations, board, placed, prior)
    again = place_boards(refined, observations, board)
    pairs = [(new, old) for new, old in zip(again, bundle.world_from_board, strict=True) if new is not None]
    flipped = any(old is not None and rotation_angle_rad(new.R, old.R) > FLIP_RAD for new, old in pairs)
    return refine(refined, observations, board, again, prior) if flipped else (refined, bundle)


def _in_world(rig: Rig, bundle: BundleReport, world: str) -> tuple[Rig, BundleReport]:
    world_from_start = world_from_rig(rig, bundle.world_from_board, world)
    back = world_from_start.inverse()
    cameras = tuple(camera.with_pose(camera.cam_from_world @ back) for camera in rig.cameras)
    boards = tuple(None if pose is None else world_from_start @ pose for pose in bundle.world_from_board)
    covariance = rvec_covariance(cameras, bundle.pose_covariance)
    lenses = lens_covariance(cameras, bundle.joint_covariance)
    return Rig(cameras, rig.stereo_pairs, covariance, lenses), replace(bundle, world_from_board=boards)


def _report(
    rig: Rig,
    bundle: BundleReport,
    gates: tuple[Gate, ...],
    edges: tuple[Edge, ...],
    lenses: tuple[IntrinsicsReport, ...],
    dropped: int,
    start_s: float,
) -> CalibrationReport:
    statistics = camera_statistics(rig.names, bundle.residual_px, bundle.used)
    variance = np.diag(bundle.pose_covariance).reshape(len(rig), 6)
    return CalibrationReport(
        rms_px=bundle.rms_px,
        sigma_px=bundle.sigma_px,
        cameras=statistics,
        centre_sigma_mm=tuple(float(v) for v in 1e3 * np.sqrt(variance[:, 3:].sum(1))),
        rotation_sigma_mrad=tuple(float(v) for v in 1e3 * np.sqrt(variance[:, :3].sum(1))),
        edges=edges,
        lenses=lenses,
        corners_dropped=dropped,
        world_from_board=bundle.world_from_board,
        bundle=bundle,
        gates=gates,
        cpu_s=time.process_time() - start_s,
    )
