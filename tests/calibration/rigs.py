"""A rig of three cameras with everything a Rig can hold, and what must be the same after a round trip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from calibration.camera import LENSES, Camera
from calibration.rig import Rig
from calibration.transforms import Rigid

NAMES = ("left", "right", "caméra 3")


def some_rig() -> Rig:
    """One camera of each lens, a stereo pair and both covariances."""
    return _rig(tuple(LENSES), NAMES)


def rig_of_lens(lens: str, names: Sequence[str] = ("left", "right", "cam-7")) -> Rig:
    """Three cameras of one lens; "brown without k3" is a brown lens that Kalibr can hold."""
    return _rig((lens,) * 3, names)


def _rig(lenses: Sequence[str], names: Sequence[str]) -> Rig:
    rng = np.random.default_rng(0)
    cameras = tuple(_camera(name, lens, rng) for name, lens in zip(names, lenses, strict=True))
    A = rng.normal(size=(18, 18)) * 1e-4
    sizes = [4 + LENSES[camera.lens] for camera in cameras]
    blocks = tuple(B @ B.T for B in (rng.normal(size=(n, n)) * 1e-3 for n in sizes))
    return Rig(cameras, ((names[0], names[1]),), A @ A.T, blocks)


def _camera(name: str, lens: str, rng: np.random.Generator) -> Camera:
    count = LENSES[lens.split()[0]]
    dist = rng.normal(0, 1e-2, count) * 10.0 ** -np.arange(count)  # also numbers that need an exponent
    if lens == "brown without k3":
        dist[4] = 0.0
    K = np.array([[1681.2 + rng.random(), 0, 532.9], [0, 1680.1 + rng.random(), 948.1], [0, 0, 1]])
    return Camera(name, (1088, 1920), K, dist, lens.split()[0], Rigid.from_rvec(rng.normal(size=3), rng.normal(size=3) * 3))


def assert_equal(a: Rig, b: Rig, atol: float, parts: Sequence[str] | set[str] = ("stereo_pairs", "covariance")) -> None:
    """Bit for bit, but for the numbers of a pose, which may differ by atol (1 m and 1 being the scale)."""
    assert a.names == b.names
    for one, two in zip(a.cameras, b.cameras, strict=True):
        assert (one.size_wh, one.lens) == (two.size_wh, two.lens)
        np.testing.assert_array_equal(one.K, two.K)
        np.testing.assert_array_equal(one.dist, two.dist)
        np.testing.assert_allclose(one.cam_from_world.t, two.cam_from_world.t, rtol=0, atol=10 * atol)
        np.testing.assert_allclose(one.cam_from_world.R, two.cam_from_world.R, rtol=0, atol=atol)
    assert b.stereo_pairs == (a.stereo_pairs if "stereo_pairs" in parts else ())
    for part in ("covariance", "lens_covariance"):
        before, after = getattr(a, part) if part in parts else None, getattr(b, part)
        assert (before is None) == (after is None)
        for x, y in zip(before if before is not None else (), after if after is not None else (), strict=True):
            np.testing.assert_array_equal(x, y)


def projections(rig: Rig) -> np.ndarray:
    """Pixels (C, N, 2) of world points spread over each camera's view, the same for equal rigs only."""
    rng = np.random.default_rng(1)
    rays = np.c_[rng.uniform(-0.3, 0.3, (50, 2)), np.ones(50)] * rng.uniform(1, 5, (50, 1))
    placed = [Rigid.from_rvec(camera.cam_from_world.rvec.round(6), camera.cam_from_world.t.round(6)) for camera in rig.cameras]
    return np.stack([c.project(pose.inverse().apply(rays)) for c, pose in zip(rig.cameras, placed, strict=True)])


def uncertain(rig: Rig, seed: int = 0) -> Rig:
    """The rig with correlated pose errors of about 1 mrad and 3 mm, but for the first camera."""
    width = 6 * (len(rig) - 1)
    factor = np.tile([1e-3] * 3 + [3e-3] * 3, len(rig) - 1)[:, None] * np.random.default_rng(seed).normal(size=(width, width))
    covariance = np.zeros((6 * len(rig), 6 * len(rig)))
    covariance[6:, 6:] = factor @ factor.T / width
    return replace(rig, covariance=covariance)


def drawn(rig: Rig, rng: np.random.Generator) -> Rig:
    """A rig off by an error of the stated covariance."""
    assert rig.covariance is not None
    off = rng.multivariate_normal(np.zeros(len(rig.covariance)), rig.covariance, method="eigh").reshape(-1, 6)
    poses = [
        Rigid.from_rvec(c.cam_from_world.rvec + d[:3], c.cam_from_world.t + d[3:])
        for c, d in zip(rig.cameras, off, strict=True)
    ]
    return Rig(tuple(c.with_pose(pose) for c, pose in zip(rig.cameras, poses, strict=True)))
