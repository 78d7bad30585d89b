"""Joints between the instants that show them, with their uncertainty: a Kalman filter and smoother over each joint's track.

A joint's velocity changes by white noise of density q (m^2/s^3); measurements have the covariance that triangulation gives
them, wider where they contradict the motion. Rauch, Tung & Striebel 1965; Bar-Shalom, Li & Kirubarajan 2001, section 6.2.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Array

# Densities tried for each joint, m^2/s^3: from hips that glide to hands that hit.
DENSITIES = np.array([0.1, 1.0, 10.0, 100.0])
# Instants that the density is told from.
TOLD_FROM = 300
# Squared Mahalanobis distance above which a measurement counts less: three degrees of freedom exceed it once in a thousand.
CONFLICT = 16.3
# What is known of a joint before its first measurement, 1 sigma.
START_M, START_M_S = 10.0, 3.0


def densities(t_s: Array, xyz_m: Array, covariance_m2: Array) -> Array:
    """(J,) the density of DENSITIES under which joints (F, J, 3) with covariances (F, J, 3, 3) are most likely."""
    part, tried = slice(0, TOLD_FROM), len(DENSITIES)
    joints = xyz_m.shape[1]
    measured = np.tile(xyz_m[part], (1, tried, 1)), np.tile(covariance_m2[part], (1, tried, 1, 1))
    likelihood = _forward(t_s[part], *measured, np.repeat(DENSITIES, joints))[-1]
    return np.asarray(DENSITIES[likelihood.reshape(tried, joints).argmax(0)])


def smoothed(t_s: Array, xyz_m: Array, covariance_m2: Array, density: Array) -> tuple[Array, Array]:
    """Means (F, J, 3) and covariances (F, J, 3, 3) of joints at every instant given all measurements (F, J, 3), NaN for none.

    covariance_m2 (F, J, 3, 3) of the measurements, density (J,). A joint that is never measured stays NaN.
    """
    x, P, predicted_x, predicted_P, _ = _forward(t_s, xyz_m, covariance_m2, density)
    for f in range(len(t_s) - 2, -1, -1):
        gain = P[f] @ _step(t_s[f + 1] - t_s[f]).T @ np.linalg.inv(predicted_P[f + 1])
        x[f] += (gain @ (x[f + 1] - predicted_x[f + 1])[..., None])[..., 0]
        P[f] += gain @ (P[f + 1] - predicted_P[f + 1]) @ gain.swapaxes(-1, -2)
    never = ~np.isfinite(xyz_m).all(-1).any(0)
    x[:, never] = P[:, never] = np.nan
    return x[..., :3], P[..., :3, :3]


def _forward(t_s: Array, xyz_m: Array, covariance_m2: Array, density: Array) -> tuple[Array, Array, Array, Array, Array]:
    """States (F, J, 6), position and velocity, and covariances (F, J, 6, 6) after and before each measurement; and the
    log-likelihood (J,) of all measurements."""
    instants, joints = xyz_m.shape[:2]
    x, P = np.zeros((joints, 6)), np.tile(np.diag([START_M**2] * 3 + [START_M_S**2] * 3), (joints, 1, 1))
    seen = np.asarray(np.isfinite(xyz_m).all(-1) & np.isfinite(covariance_m2).all((-1, -2)))
    x[:, :3] = xyz_m[seen.argmax(0), np.arange(joints)]
    x[~seen.any(0)] = 0.0
    out = [np.empty((instants, joints, 6)), np.empty((instants, joints, 6, 6))]
    out += [np.empty_like(out[0]), np.empty_like(out[1])]
    likelihood = np.zeros(joints)
    for f in range(instants):
        if f:
            seconds = t_s[f] - t_s[f - 1]
            A = _step(seconds)
            x, P = x @ A.T, A @ P @ A.T + density[:, None, None] * _noise(seconds)
        out[2][f], out[3][f] = x, P
        if seen[f].any():
            x, P, gained = _measure(x, P, xyz_m[f], covariance_m2[f], seen[f])
            likelihood += gained
        out[0][f], out[1][f] = x, P
    return out[0], out[1], out[2], out[3], likelihood


def _measure(x: Array, P: Array, xyz_m: Array, covariance_m2: Array, seen: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """States (J, 6) and (J, 6, 6) with the measurements (J, 3) seen, and the log-likelihood (J,) of each up to a constant."""
    off = np.where(seen[:, None], xyz_m - x[:, :3], 0.0)
    R = np.where(seen[:, None, None], covariance_m2, np.eye(3))
    inverse = np.linalg.inv(P[:, :3, :3] + R)
    distance = np.einsum("ja,jab,jb->j", off, inverse, off)
    likelihood = 0.5 * (np.linalg.slogdet(inverse)[1] - np.minimum(distance, CONFLICT))
    if (distance > CONFLICT).any():
        inverse = np.linalg.inv(P[:, :3, :3] + R * np.maximum(distance / CONFLICT, 1.0)[:, None, None])
    gain = np.where(seen[:, None, None], P[:, :, :3] @ inverse, 0.0)
    return x + (gain @ off[..., None])[..., 0], np.asarray(P - gain @ P[:, :3]), np.where(seen, likelihood, 0.0)


def _step(seconds: float) -> Array:
    """(6, 6) a state so many seconds later."""
    A = np.eye(6)
    A[:3, 3:] = seconds * np.eye(3)
    return A


def _noise(seconds: float) -> Array:
    """(6, 6) what white noise of density 1 adds to a state's covariance."""
    return np.kron(np.array([[seconds**3 / 3, seconds**2 / 2], [seconds**2 / 2, seconds]]), np.eye(3))
