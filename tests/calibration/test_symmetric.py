"""The closed forms against numpy's general ones."""

from __future__ import annotations

import numpy as np

from calibration import symmetric

SINGULAR = 1e-9


def drawn(n: int) -> np.ndarray:
    """(n, 3, 3) positive definite matrices."""
    half = np.random.default_rng(0).normal(size=(n, 3, 5))
    return half @ half.transpose(0, 2, 1)


def six(matrices: np.ndarray) -> np.ndarray:
    return matrices[:, *np.triu_indices(3)].T


def test_inverses_and_products_equal_numpys() -> None:
    A, b = drawn(200), np.random.default_rng(1).normal(size=(200, 3))
    np.testing.assert_allclose(symmetric.full(symmetric.inverse(six(A), SINGULAR)), np.linalg.inv(A), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(symmetric.times(six(A), b.T).T, np.einsum("nij,nj->ni", A, b), atol=1e-12)


def test_what_has_no_inverse_is_nan() -> None:
    flat = np.stack([np.diag([1.0, 1.0, 0.0]), np.zeros((3, 3)), np.full((3, 3), np.nan), np.eye(3)])
    assert np.isnan(symmetric.inverse(six(flat), SINGULAR)).all(0).tolist() == [True, True, True, False]
    assert symmetric.least_homogeneous(np.zeros((10, 0)), SINGULAR).shape == (3, 0)


def test_the_homogeneous_solution_is_the_smallest_eigenvector() -> None:
    rows = np.random.default_rng(2).normal(size=(100, 8, 4))
    rows[..., 3] = -(rows[..., :3] @ [0.3, -0.2, 1.0]) + np.random.default_rng(3).normal(size=(100, 8)) * 1e-3
    M = rows.transpose(0, 2, 1) @ rows
    vectors = np.linalg.eigh(M)[1][..., 0]
    expected = vectors[:, :3] / vectors[:, 3:]
    found = symmetric.least_homogeneous(M[:, *np.triu_indices(4)].T, SINGULAR)
    np.testing.assert_allclose(found.T, expected, atol=1e-9)
