"""What a bundle adjustment sees and moves: view blocks, the state of all poses and lenses, and exact derivatives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from calibration.board_set import Target
from calibration.camera import LENSES, Camera
from calibration.planar import corners_seen
from calibration.rig import Rig
from calibration.transforms import Rigid

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

# A corner behind its camera has no projection; it counts as this far off and pulls nothing.
BEHIND_PX = 1e3
MIN_DEPTH_M = 1e-6


@dataclass(frozen=True, eq=False)
class View:
    """V view blocks: camera (V,), frame (V,) index into frames (F used,), xy_px (V, M, 2), observed and seen (V, M).

    `observed` are the corners found, `seen` those the adjustment still uses.
    """

    camera: Ints
    frame: Ints
    frames: Ints
    xy_px: Array
    observed: Mask
    seen: Mask
    board_m: Array

    @property
    def frame_id(self) -> Ints:
        """Frame number of every view block in the original observations."""
        return self.frames[self.frame]

    def keeping(self, wanted: Mask) -> View:
        """The same views with fewer corners in use."""
        return replace(self, seen=self.seen & wanted)


@dataclass(frozen=True, eq=False)
class State:
    """All unknowns: poses of cameras (from world) and boards (to world), lens rows (fx, fy, cx, cy, dist..., zeros)."""

    cam_R: Array
    cam_t: Array
    board_R: Array
    board_t: Array
    lens: Array
    kinds: tuple[str, ...]

    def lens_of(self, camera: int) -> tuple[Array, Array]:
        """K (3, 3) and dist (n,) of one camera."""
        fx, fy, cx, cy = self.lens[camera, :4]
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        return K, self.lens[camera, 4 : 4 + LENSES[self.kinds[camera]]].copy()


@dataclass(frozen=True, eq=False)
class Step:
    """A move of the unknowns: cameras (C, 6) and boards (F, 6) as (rotation rad, translation m), lenses (C, L)."""

    cam: Array
    board: Array
    lens: Array


def initial_state(
    rig: Rig, observations: Array, board: Target, world_from_board: tuple[Rigid | None, ...]
) -> tuple[View, State]:
    """View blocks and start state of observations (C, F, M, 2); frames without a board pose are left out."""
    seen = corners_seen(observations)
    posed = np.array([pose is not None for pose in world_from_board])
    frames = np.flatnonzero(np.any(seen, axis=(0, 2)) & posed)
    camera, frame = np.nonzero(np.any(seen[:, frames], axis=2))
    observed = seen[camera, frames[frame]]
    xy_px = np.where(observed[..., None], observations[camera, frames[frame]], 0.0)
    view = View(camera, frame, frames, xy_px, observed, observed.copy(), board.corners_m)
    poses = [pose for frame_id in frames if (pose := world_from_board[frame_id]) is not None]
    state = State(
        cam_R=np.stack([item.cam_from_world.R for item in rig.cameras]),
        cam_t=np.stack([item.cam_from_world.t for item in rig.cameras]),
        board_R=np.stack([pose.R for pose in poses]),
        board_t=np.stack([pose.t for pose in poses]),
        lens=lens_rows(rig.cameras),
        kinds=tuple(item.lens for item in rig.cameras),
    )
    return view, state


def lens_rows(cameras: tuple[Camera, ...]) -> Array:
    """Lenses as rows (C, L): fx, fy, cx, cy, distortion, then zeros where another camera of the rig has more."""
    lens = np.zeros((len(cameras), 4 + max(LENSES[camera.lens] for camera in cameras)))
    for row, camera in zip(lens, cameras, strict=True):
        row[:4] = camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]
        row[4 : 4 + camera.dist.size] = camera.dist
    return lens


def _camera_points_m(view: View, state: State) -> Array:
    """Corners of every view in its camera's frame (V, M, 3), metres."""
    world_m = view.board_m @ state.board_R[view.frame].transpose(0, 2, 1) + state.board_t[view.frame][:, None]
    return world_m @ state.cam_R[view.camera].transpose(0, 2, 1) + state.cam_t[view.camera][:, None]


def _project(state: State, camera: int, xyz_m: Array) -> tuple[Array, Array, Array]:
    """Pixels (N, 2), d px / d xyz_cam (N, 2, 3) and d px / d lens (N, 2, L) of points in the frame of one camera."""
    K, dist = state.lens_of(camera)
    still, points = np.zeros(3), np.ascontiguousarray(xyz_m.reshape(-1, 1, 3))
    if state.kinds[camera] == "fisheye":
        xy, table = cv2.fisheye.projectPoints(points, still, still, K, dist)
        lens, point = table[:, :8], table[:, 11:14]
    else:
        xy, table = cv2.projectPoints(points, still, still, K, dist)
        lens, point = table[:, 6 : 10 + dist.size], table[:, 3:6]
    full = np.zeros((len(xyz_m), 2, state.lens.shape[1]))
    full[..., : lens.shape[1]] = lens.reshape(len(xyz_m), 2, -1)
    return np.asarray(xy, dtype=np.float64).reshape(-1, 2), np.asarray(point, dtype=np.float64).reshape(-1, 2, 3), full


def residuals_px(view: View, state: State) -> Array:
    """Projected minus seen, (V, M, 2) px; zero where a corner was not observed."""
    xyz_m = _camera_points_m(view, state)
    residual = np.zeros(view.xy_px.shape)
    for camera in range(len(state.cam_R)):
        rows = np.flatnonzero(view.camera == camera)
        if rows.size:
            K, dist = state.lens_of(camera)
            project = cv2.fisheye.projectPoints if state.kinds[camera] == "fisheye" else cv2.projectPoints
            points = np.ascontiguousarray(xyz_m[rows].reshape(-1, 1, 3))
            xy = project(points, np.zeros(3), np.zeros(3), K, dist)[0]
            residual[rows] = xy.reshape(rows.size, -1, 2) - view.xy_px[rows]
    residual[xyz_m[..., 2] < MIN_DEPTH_M] = BEHIND_PX
    residual[~view.observed] = 0.0
    return residual


def linearise(view: View, state: State, with_lens: bool) -> tuple[Array, Array]:
    """Residuals (V, M, 2) and their derivatives (V, M, 2, 12 [+ L]) by camera pose, board pose and lens, in that order.

    Camera: X_cam' = exp(w) X_cam + u. Board: X_world' = R (exp(w) X_board + u) + t.
    """
    xyz_m = _camera_points_m(view, state)
    residual = np.zeros(view.xy_px.shape)
    by_point = np.zeros((*view.xy_px.shape, 3))
    lens_size = state.lens.shape[1] if with_lens else 0
    jacobian = np.zeros((*view.xy_px.shape, 12 + lens_size))
    for camera in range(len(state.cam_R)):
        rows = np.flatnonzero(view.camera == camera)
        if rows.size:
            xy, point, lens = _project(state, camera, xyz_m[rows].reshape(-1, 3))
            residual[rows] = xy.reshape(rows.size, -1, 2) - view.xy_px[rows]
            by_point[rows] = point.reshape(rows.size, -1, 2, 3)
            jacobian[rows, ..., 12:] = lens.reshape(rows.size, -1, 2, lens.shape[-1])[..., :lens_size]
    behind = xyz_m[..., 2] < MIN_DEPTH_M
    residual[behind], by_point[behind], jacobian[behind] = BEHIND_PX, 0.0, 0.0
    cam_from_board = state.cam_R[view.camera] @ state.board_R[view.frame]
    by_board_point = by_point @ cam_from_board[:, None]
    # a . (w x X) = w . (X x a): the derivative by a small rotation is a cross product.
    _cross(xyz_m[:, :, None], by_point, jacobian[..., 0:3])
    jacobian[..., 3:6] = by_point
    _cross(view.board_m[None, :, None], by_board_point, jacobian[..., 6:9])
    jacobian[..., 9:12] = by_board_point
    residual[~view.observed] = 0.0
    return residual, jacobian


def _cross(a: Array, b: Array, out: Array) -> None:
    """a x b along the last axis into out; several times faster than numpy.cross."""
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def stepped(state: State, step: Step) -> State:
    """The state after a step."""
    turn_cam = Rotation.from_rotvec(step.cam[:, :3]).as_matrix()
    turn_board = Rotation.from_rotvec(step.board[:, :3]).as_matrix()
    return replace(
        state,
        cam_R=turn_cam @ state.cam_R,
        cam_t=np.einsum("cij,cj->ci", turn_cam, state.cam_t) + step.cam[:, 3:],
        board_R=state.board_R @ turn_board,
        board_t=state.board_t + np.einsum("fij,fj->fi", state.board_R, step.board[:, 3:]),
        lens=state.lens + step.lens if step.lens.size else state.lens,
    )
