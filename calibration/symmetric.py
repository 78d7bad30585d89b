"""Symmetric 3x3 matrices in closed form, N at a time: rows (6, N) xx xy xz yy yz zz, each row contiguous."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A step, in metres, of the cubic iteration below which the next moves no point of a body-sized volume by 1e-9 m.
CLOSE = 3e-5
FULL = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])  # where an entry of the 3x3 matrix stands among the six


def full(A: Array) -> Array:
    """Matrices (N, 3, 3) of (6, N)."""
    return np.ascontiguousarray(np.moveaxis(A[FULL], 2, 0))


def adjugate(A: Array) -> tuple[Array, Array]:
    """Cofactors (6, N) and determinants (N,) of matrices (6, N)."""
    xx, xy, xz, yy, yz, zz = A
    out = np.empty_like(A)
    out[0], out[1], out[2] = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    out[3], out[4], out[5] = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    return out, xx * out[0] + xy * out[1] + xz * out[2]


def inverse(A: Array, singular: float) -> Array:
    """Inverses (6, N); NaN where the determinant is not above singular * (trace / 3)^3 or anything is not finite."""
    with np.errstate(all="ignore"):
        cofactors, det = adjugate(A)
        return cofactors * np.where(det > singular * ((A[0] + A[3] + A[5]) / 3.0) ** 3, 1.0 / det, np.nan)


def times(A: Array, b: Array) -> Array:
    """Products (3, N) of matrices (6, N) and vectors (3, N)."""
    xx, xy, xz, yy, yz, zz = A
    x, y, z = b
    out = np.empty_like(b)
    out[0], out[1], out[2] = xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z
    return out


def least_homogeneous(normal: Array, singular: float) -> Array:
    """Points (3, N) that minimise v' M v / v' v, v = (x, 1), for upper triangles (10, N) of M.

    NaN where M's 3x3 block is singular (as in `inverse`). M v = s v splits into (A - s I) x = -b: the inhomogeneous solution
    gives s as its Rayleigh quotient, and two more closed-form 3x3 solves reach the smallest singular vector to rounding (the
    iteration converges cubically).
    """
    A, b, c = normal[[0, 1, 2, 4, 5, 7]], -normal[[3, 6, 8]], normal[9]
    with np.errstate(all="ignore"):
        x = times(inverse(A, singular), b)
        for _ in range(2):
            shifted = _solve_shifted(A, b, _rayleigh(A, b, c, x), singular)
            step = np.abs(shifted - x).max(initial=0.0)
            if step < CLOSE:
                return shifted
            x = np.where(np.isfinite(shifted), shifted, x)  # gross outliers can push the shift past A's own spectrum
    return x


def _rayleigh(A: Array, b: Array, c: Array, x: Array) -> Array:
    Ax = times(A, x)
    return ((x * (Ax - 2.0 * b)).sum(0) + c) / (1.0 + (x * x).sum(0))


def _solve_shifted(A: Array, b: Array, shift: Array, singular: float) -> Array:
    """x (3, N) of (A - shift I) x = b; NaN where that is singular on the scale of A."""
    moved = A.copy()
    moved[[0, 3, 5]] -= shift
    cofactors, det = adjugate(moved)
    scale = (A[0] + A[3] + A[5]) / 3.0
    return times(cofactors, b) * np.where(det > singular * scale**3, 1.0 / det, np.nan)
