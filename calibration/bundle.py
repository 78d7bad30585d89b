"""Bundle adjustment of a rig and a moving board: view blocks, exact derivatives, robust loss, Schur complement.

Unknowns are the pose of every camera but the first (that fixes the gauge), the pose of the board at every instant and, with
a `LensPrior`, the lenses. All corners of one camera are linearised by one call of `cv2.projectPoints` with the identity
pose: its derivative by the translation is d px / d xyz_cam, exactly, for every lens OpenCV knows, and the chain rule over
left perturbations of camera poses and right perturbations of board poses is a cross product. Board poses are eliminated
view block by view block (Triggs et al. 2000, "Bundle adjustment: a modern synthesis", section 6), so a step costs
O(views) and one dense system of the cameras. Levenberg-Marquardt with Marquardt's scaling (1963).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from calibration.board_set import Target
from calibration.bundle_blocks import State, View, initial_state, linearise, residuals_px, stepped
from calibration.bundle_schur import Blocks, LensPrior
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.planar import corners_seen, place_boards
from calibration.rig import Rig
from calibration.transforms import Rigid

Array = NDArray[np.float64]

# The median length of a 2D Gaussian error is 1.1774 sigma (Rayleigh).
RAYLEIGH_MEDIAN = 1.1774
# Loss width in sigma: at 3 sigma of a 2D error Cauchy keeps over 95 % efficiency on clean corners.
LOSS_SIGMA = 3.0
MIN_SIGMA_PX = 1e-3
ROUNDS, ROUND_STEPS, FINAL_STEPS = 4, 8, 60


@dataclass(frozen=True, eq=False)
class BundleReport:
    """What the adjustment did. rms_px and sigma_px are over the corners used (sigma per coordinate, from the residuals).

    residual_px (C, F, M) length of the error of every seen corner, NaN unseen; residual_xy_px (C, F, M, 2) the error itself,
    projected minus seen; xy_px (C, F, M, 2) the corners; used (C, F, M); world_from_board (F) or None;
    pose_covariance (6C, 6C) of left perturbations (rotation rad, translation m) of cam_from_world, the first camera's being
    zero because it is the gauge; joint_covariance (C k, C k) the same with the lens (fx, fy, cx, cy, dist..., zeros) after each
    camera's pose where lenses were adjusted too, k = 6 where not; steps taken; converged; cpu_s.
    """

    rms_px: float
    sigma_px: float
    residual_px: Array
    residual_xy_px: Array
    xy_px: Array
    used: NDArray[np.bool_]
    world_from_board: tuple[Rigid | None, ...]
    pose_covariance: Array
    joint_covariance: Array
    steps: int
    converged: bool
    cpu_s: float


def refine(
    rig: Rig,
    observations: Array,
    board: Target,
    world_from_board: tuple[Rigid | None, ...] | None = None,
    lens_prior: LensPrior | None = None,
    loss: str = "cauchy",
    trim_sigma: float = 4.0,
) -> tuple[Rig, BundleReport]:
    """Adjust camera poses, board poses and (with a prior) lenses to corners (C, F, M, 2) px, NaN unseen.

    Rounds of a robust loss ("cauchy" or "huber") whose width follows the residuals; then corners beyond trim_sigma are left
    out and the rest is fitted by least squares (trim_sigma = inf keeps all). The first camera does not move. Raises
    CalibrationError when shapes disagree or a camera has no corner.
    """
    start_s = time.process_time()
    observations = np.asarray(observations, dtype=np.float64)
    _check(rig, observations, board)
    if world_from_board is None:
        world_from_board = place_boards(rig, observations, board)
    view, state = initial_state(rig, observations, board, world_from_board)
    _check_views(rig, view)
    blocks = Blocks(view, state, lens_prior, [camera.size_wh for camera in rig.cameras])
    state, steps = _robust_rounds(view, state, blocks, loss)
    residual = residuals_px(view, state)
    sigma_px = max(_sigma_px(view, residual), MIN_SIGMA_PX)
    view = view.keeping(np.linalg.norm(residual, axis=-1) <= trim_sigma * sigma_px)
    _check_views(rig, view)
    state, more, converged = _minimise(view, state, blocks, "squared", 1.0, FINAL_STEPS)
    report = _report(observations.shape[:3], view, state, blocks, steps + more, converged, start_s)
    return _adjusted_rig(rig, state, report), report


def fit_boards(rig: Rig, observations: Array, board: Target, loss: str = "cauchy") -> BundleReport:
    """Only the board poses of corners (C, F, M, 2) px, the rig taken as it is: how well it explains views it was not made from.

    `used` are the corners within 4 sigma, pose_covariance is zero. Raises CalibrationError as `refine`.
    """
    start_s = time.process_time()
    _check(rig, observations, board)
    view, state = initial_state(rig, observations, board, place_boards(rig, observations, board))
    blocks = Blocks(view, state, None, [camera.size_wh for camera in rig.cameras])
    blocks.free[:] = False
    state, steps = _robust_rounds(view, state, blocks, loss)
    residual = residuals_px(view, state)
    kept = view.keeping(np.linalg.norm(residual, axis=-1) <= 4.0 * max(_sigma_px(view, residual), MIN_SIGMA_PX))
    return _report(observations.shape[:3], kept, state, blocks, steps, True, start_s)


def score(rig: Rig, observations: Array, board: Target, report: BundleReport, lens_prior: LensPrior) -> float:
    """Rao's score statistic of a finished adjustment against a wider lens prior: chi-square, one degree per number freed.

    It says by how much (in sigma^2) the cost would fall if what `lens_prior` leaves free moved too, without adjusting again.
    """
    view, state = initial_state(rig, observations, board, report.world_from_board)
    view = view.keeping(report.used[view.camera, view.frame_id])
    blocks = Blocks(view, state, lens_prior, [camera.size_wh for camera in rig.cameras])
    residual, jacobians = linearise(view, state, blocks.with_lens)
    blocks.fill(residual, jacobians, view.seen.astype(np.float64), state)
    return blocks.gain() / report.sigma_px**2


def _check(rig: Rig, observations: Array, board: Target) -> None:
    wanted = (len(rig), len(board.corners_m), 2)
    if observations.ndim != 4 or (observations.shape[0], *observations.shape[2:]) != wanted:
        raise CalibrationError(f"bundle: observations: expected (C={wanted[0]}, F, M={wanted[1]}, 2), got {observations.shape}")
    for name, views in zip(rig.names, observations, strict=True):
        if not corners_seen(views).any():
            raise CalibrationError(f"bundle: camera {name} sees no board corner; film the board in its view")


def _check_views(rig: Rig, view: View) -> None:
    corners = np.bincount(view.camera, weights=view.seen.sum(1), minlength=len(rig))
    for name, count in zip(rig.names, corners, strict=True):
        if count == 0:
            raise CalibrationError(
                f"bundle: no corner of camera {name} agrees with the rest of the rig; check its recording (another board, "
                "mirrored image, wrong time) or film the board again in its view"
            )


def _sigma_px(view: View, residual: Array) -> float:
    return float(np.median(np.linalg.norm(residual[view.seen], axis=-1)) / RAYLEIGH_MEDIAN)


def _robust_rounds(view: View, state: State, blocks: Blocks, loss: str) -> tuple[State, int]:
    total = 0
    for _ in range(ROUNDS):
        width = LOSS_SIGMA * max(_sigma_px(view, residuals_px(view, state)), MIN_SIGMA_PX)
        state, steps, _ = _minimise(view, state, blocks, loss, width, ROUND_STEPS)
        total += steps
        if steps < ROUND_STEPS:
            break
    return state, total


def _loss(name: str, width_px: float, error_px: Array) -> tuple[Array, Array]:
    """Loss values and weights (derivative by the squared error) of error lengths, in px^2."""
    if name == "squared":
        return error_px**2, np.ones_like(error_px)
    if name == "cauchy":
        ratio = (error_px / width_px) ** 2
        return width_px**2 * np.log1p(ratio), 1.0 / (1.0 + ratio)
    if name == "huber":
        near = error_px <= width_px
        far = np.maximum(error_px, width_px)
        return np.where(near, error_px**2, 2 * width_px * far - width_px**2), np.where(near, 1.0, width_px / far)
    raise CalibrationError(f"bundle: loss: expected cauchy or huber, got {name!r}")


def _cost(view: View, state: State, blocks: Blocks, loss: str, width_px: float) -> float:
    error = np.linalg.norm(residuals_px(view, state), axis=-1)
    return float((_loss(loss, width_px, error)[0] * view.seen).sum() + blocks.prior_cost(state))


def _attempt(view: View, state: State, blocks: Blocks, loss: str, width_px: float, damping: float) -> tuple[State, float]:
    try:
        trial = stepped(state, blocks.solve(damping))
    except LinAlgError:
        return state, np.inf  # singular at this damping: ask for more
    return trial, _cost(view, trial, blocks, loss, width_px)


def _minimise(view: View, state: State, blocks: Blocks, loss: str, width_px: float, max_steps: int) -> tuple[State, int, bool]:
    """Levenberg-Marquardt on a fixed loss; ends when a step lowers the cost by less than one part in 10^12."""
    cost, damping = _cost(view, state, blocks, loss, width_px), 1e-4
    for step in range(1, max_steps + 1):
        residual, jacobians = linearise(view, state, blocks.with_lens)
        weight = _loss(loss, width_px, np.linalg.norm(residual, axis=-1))[1] * view.seen
        blocks.fill(residual, jacobians, weight, state)
        while damping < 1e8:
            trial, trial_cost = _attempt(view, state, blocks, loss, width_px, damping)
            if trial_cost <= cost:
                break
            damping *= 8.0
        else:
            return state, step, True  # no downhill step left at any damping: the minimum to rounding
        gain, state, cost, damping = cost - trial_cost, trial, trial_cost, max(damping / 8.0, 1e-12)
        if gain <= 1e-12 * cost + 1e-30:
            return state, step, True
    return state, max_steps, False


def _report(
    shape: tuple[int, ...], view: View, state: State, blocks: Blocks, steps: int, converged: bool, start_s: float
) -> BundleReport:
    residual, jacobians = linearise(view, state, blocks.with_lens)
    blocks.fill(residual, jacobians, view.seen.astype(np.float64), state)
    squared = float((residual[view.seen] ** 2).sum())
    count = int(view.seen.sum())
    sigma = np.sqrt(squared / max(2 * count - blocks.unknowns, 1))
    error, xy_px = (np.full((*shape, 2), np.nan) for _ in range(2))
    error[view.camera, view.frame_id] = np.where(view.observed[..., None], residual, np.nan)
    xy_px[view.camera, view.frame_id] = np.where(view.observed[..., None], view.xy_px, np.nan)
    used = np.zeros(shape, dtype=bool)
    used[view.camera, view.frame_id] = view.seen
    boards: list[Rigid | None] = [None] * shape[1]
    for index, frame in enumerate(view.frames):
        boards[frame] = Rigid(state.board_R[index], state.board_t[index])
    joint = blocks.covariance() * sigma**2
    return BundleReport(
        rms_px=float(np.sqrt(squared / max(count, 1))),
        sigma_px=float(sigma),
        residual_px=np.linalg.norm(error, axis=-1),
        residual_xy_px=error,
        xy_px=xy_px,
        used=used,
        world_from_board=tuple(boards),
        pose_covariance=blocks.pose_part(joint),
        joint_covariance=joint,
        steps=steps,
        converged=converged,
        cpu_s=time.process_time() - start_s,
    )


def _adjusted_rig(rig: Rig, state: State, report: BundleReport) -> Rig:
    cameras = []
    for index, camera in enumerate(rig.cameras):
        K, dist = state.lens_of(index)
        pose = Rigid(state.cam_R[index], state.cam_t[index])
        cameras.append(replace(camera, K=K, dist=dist, cam_from_world=pose))
    covariance = rvec_covariance(tuple(cameras), report.pose_covariance)
    return Rig(tuple(cameras), rig.stereo_pairs, covariance, lens_covariance(tuple(cameras), report.joint_covariance))


def rvec_covariance(cameras: tuple[Camera, ...], local: Array) -> Array:
    """Covariance (6C, 6C) of (rvec rad, t m) from that of left perturbations of the same poses (`pose_covariance`).

    R' = exp(w) R and t' = exp(w) t + u, so d rvec = Jl^-1(rvec) w and d t = -[t]x w + u (Sola 2018, eq. 144).
    """
    chain = np.zeros_like(local)
    for index, camera in enumerate(cameras):
        block = slice(6 * index, 6 * index + 6)
        pose = camera.cam_from_world
        chain[block, block] = np.block([[_left_jacobian_inverse(pose.rvec), np.zeros((3, 3))], [-_hat(pose.t), np.eye(3)]])
    return chain @ local @ chain.T


def lens_covariance(cameras: tuple[Camera, ...], joint: Array) -> tuple[Array, ...] | None:
    """Per camera (n, n) of (fx, fy, cx, cy, dist...) out of `BundleReport.joint_covariance`; None when lenses were given."""
    width = len(joint) // len(cameras)
    if width == 6:
        return None
    ends = [(index * width + 6, index * width + 10 + camera.dist.size) for index, camera in enumerate(cameras)]
    return tuple(joint[begin:end, begin:end] for begin, end in ends)


def _hat(v: Array) -> Array:
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def _left_jacobian_inverse(rvec: Array) -> Array:
    angle = float(np.linalg.norm(rvec))
    hat = _hat(rvec)
    if angle < 1e-8:
        return np.eye(3) - 0.5 * hat
    factor = (1 - 0.5 * angle / np.tan(0.5 * angle)) / angle**2
    return np.eye(3) - 0.5 * hat + factor * hat @ hat
