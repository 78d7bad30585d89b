"""Normal equations of the bundle adjustment and the Schur complement that eliminates the board poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from calibration.bundle_blocks import State, Step, View, lens_rows
from calibration.camera import LENSES, Camera

Array = NDArray[np.float64]

# A lens prior is weighed against corners of this noise; nothing but the balance of prior and data depends on it.
PRIOR_SIGMA_PX = 0.5


@dataclass(frozen=True)
class LensPrior:
    """How far lenses may move from the prior's mean, 1 sigma: focal as a fraction of itself, centre of the longer side.

    radial and tangent are in units of the coefficients. `frozen_dist` lists coefficients of the brown and rational lenses
    held still, by their place in OpenCV's order (2 and 3 are p1 and p2, 4 is k3). cameras: the means, in rig order; None
    means the lenses the adjustment starts from.
    """

    focal: float = 0.02
    centre: float = 0.01
    radial: float = 0.1
    tangent: float = 1e-3
    frozen_dist: tuple[int, ...] = ()
    cameras: tuple[Camera, ...] | None = None


class Blocks:
    """Normal equations of one problem by blocks: cameras (pose and lens together), boards, and what couples them."""

    def __init__(self, view: View, state: State, prior: LensPrior | None, sizes_wh: list[tuple[int, int]]) -> None:
        self.view, self.with_lens = view, prior is not None
        self.mean = lens_rows(prior.cameras) if prior and prior.cameras else state.lens
        cameras, lens = state.lens.shape
        self.width = 6 + (lens if self.with_lens else 0)
        self.free = np.ones((cameras, self.width), dtype=bool)
        self.free[0, :6] = False  # the gauge: the first camera stands still
        self.pull: Array = np.zeros((cameras, lens))
        if prior is not None:
            self._hold_lenses(prior, state, sizes_wh)

    def _hold_lenses(self, prior: LensPrior, state: State, sizes_wh: list[tuple[int, int]]) -> None:
        for camera, (kind, size) in enumerate(zip(state.kinds, sizes_wh, strict=True)):
            known = 4 + LENSES[kind]
            frozen = [4 + index for index in prior.frozen_dist if kind != "fisheye"]
            self.free[camera, 6 + known :] = False
            self.free[camera, [6 + index for index in frozen]] = False
            sigma = np.full(known, prior.radial)
            if kind != "fisheye":
                sigma[6:8] = prior.tangent  # p1, p2
            sigma[:2], sigma[2:4] = prior.focal * self.mean[camera, :2], prior.centre * max(size)
            self.pull[camera, :known] = (PRIOR_SIGMA_PX / sigma) ** 2

    @property
    def unknowns(self) -> int:
        """How many numbers the adjustment estimates."""
        return int(self.free.sum()) + 6 * len(self.view.frames)

    def prior_cost(self, state: State) -> float:
        """What the lens prior adds to the cost, px^2."""
        return float((self.pull * (state.lens - self.mean) ** 2).sum())

    def fill(self, residual: Array, jacobian: Array, weight: Array, state: State) -> None:
        """Sum the weighted view blocks into the normal equations."""
        root = np.sqrt(weight)[..., None]
        views, corners = residual.shape[:2]
        J = (jacobian * root[..., None]).reshape(views, 2 * corners, -1)
        r = (residual * root).reshape(views, 2 * corners, 1)
        order = np.r_[0:6, 12 : 6 + self.width, 6:12]  # camera pose, lens, board
        hessian = (J.transpose(0, 2, 1) @ J)[:, order[:, None], order]
        slope = (J.transpose(0, 2, 1) @ r)[:, order, 0]
        k, cameras, frames = self.width, len(self.free), len(self.view.frames)
        self.cam = np.zeros((cameras, k, k))
        self.board = np.zeros((frames, 6, 6))
        self.cross = np.zeros((frames, cameras, k, 6))
        self.slope_cam, self.slope_board = np.zeros((cameras, k)), np.zeros((frames, 6))
        np.add.at(self.cam, self.view.camera, hessian[:, :k, :k])
        np.add.at(self.board, self.view.frame, hessian[:, k:, k:])
        np.add.at(self.slope_cam, self.view.camera, slope[:, :k])
        np.add.at(self.slope_board, self.view.frame, slope[:, k:])
        self.cross[self.view.frame, self.view.camera] = hessian[:, :k, k:]
        if self.with_lens:
            diagonal = np.arange(6, k)
            self.cam[:, diagonal, diagonal] += self.pull
            self.slope_cam[:, 6:] += self.pull * (state.lens - self.mean)

    def _reduced(self, damping: float) -> tuple[Array, Array, Array, Array]:
        """Schur complement of the free camera unknowns, its right side, and the eliminated boards' inverse and coupling."""
        cameras, k = self.free.shape
        board = self.board + _damped_diagonal(self.board, damping)
        cam = self.cam + _damped_diagonal(self.cam, damping)
        inverse = np.asarray(np.linalg.inv(board), dtype=np.float64)
        cross = self.cross.reshape(len(board), cameras * k, 6)
        carried: Array = cross @ inverse
        flat = cross.transpose(1, 0, 2).reshape(cameras * k, -1)
        system: Array = -carried.transpose(1, 0, 2).reshape(cameras * k, -1) @ flat.T
        for camera in range(cameras):
            block = slice(camera * k, camera * k + k)
            system[block, block] += cam[camera]
        right: Array = -self.slope_cam.ravel() + np.einsum("fij,fj->i", carried, self.slope_board)
        return system, right, inverse, cross

    def solve(self, damping: float) -> Step:
        """The Levenberg-Marquardt step; raises LinAlgError when the damped system is still singular."""
        system, right, inverse, cross = self._reduced(damping)
        free = np.flatnonzero(self.free)
        cam = np.zeros(self.free.size)
        if free.size:
            cam[free] = cho_solve(cho_factor(system[np.ix_(free, free)]), right[free])
        board = -np.einsum("fij,fj->fi", inverse, self.slope_board + np.einsum("fij,i->fj", cross, cam))
        cam = cam.reshape(self.free.shape)
        return Step(cam[:, :6], board, cam[:, 6:])

    def gain(self) -> float:
        """How much a full Gauss-Newton step would lower the quadratic model of the cost, px^2 (Rao's score statistic)."""
        step, slope = self.solve(0.0), self.slope_cam * self.free
        cam = np.concatenate([step.cam, step.lens], axis=1) if self.with_lens else step.cam
        return float(-(slope * cam).sum() - (self.slope_board * step.board).sum())

    def covariance(self) -> Array:
        """Inverse (C k, C k) of the reduced system for unit corner noise, k = 6 of the pose and those of a lens that is free.

        Zero rows for what is held still, the gauge camera's pose among it. Infinite variances where the corners do not
        determine a camera.
        """
        system = self._reduced(0.0)[0]
        free = np.flatnonzero(self.free)
        full = np.zeros((self.free.size, self.free.size))
        try:
            if free.size:
                full[np.ix_(free, free)] = cho_solve(cho_factor(system[np.ix_(free, free)]), np.eye(free.size))
        except LinAlgError:
            full[free, free] = np.inf
        return full

    def pose_part(self, covariance: Array) -> Array:
        """The poses' (6C, 6C) of `covariance`."""
        pose = (np.arange(self.free.size).reshape(self.free.shape)[:, :6]).ravel()
        return covariance[np.ix_(pose, pose)]


def _damped_diagonal(blocks: Array, damping: float) -> Array:
    """damping * diag(blocks), with a floor of 1e-12 so that a board without corners stays invertible."""
    size = blocks.shape[-1]
    diagonal = np.einsum("...ii->...i", blocks)
    return (damping * diagonal + 1e-12 * (1.0 + diagonal))[..., None] * np.eye(size)
