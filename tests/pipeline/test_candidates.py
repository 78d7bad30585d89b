"""Part candidates become people by their limbs."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.candidates import Candidates, group_candidates

LIMBS = ((0, 1), (1, 2), (2, 3))
PEOPLE_PX = np.arange(16.0).reshape(2, 4, 2) * 10.0


def seen(order: list[list[int]], wrong: float = 0.0) -> Candidates:
    """Two people of four joints whose candidates stand in the given orders; `wrong` is the affinity of different people."""
    parts = tuple(np.column_stack([PEOPLE_PX[who, j], np.full(len(who), 0.9)]) for j, who in enumerate(order))
    affinity = tuple(np.where(np.array(order[a])[:, None] == np.array(order[b]), 0.8, wrong).astype(float) for a, b in LIMBS)
    return Candidates(parts, LIMBS, affinity)


@pytest.mark.parametrize("order", [[[0, 1]] * 4, [[1, 0], [0, 1], [1, 0], [0, 1]]])
def test_people_come_together_whatever_the_order(order: list[list[int]]) -> None:
    xy_px, score = group_candidates(seen(order, 0.5))
    assert sorted(xy_px[:, 0, 0].tolist()) == [0.0, 80.0]
    np.testing.assert_array_equal(xy_px[np.argsort(xy_px[:, 0, 0])], PEOPLE_PX)
    assert (score == 0.9).all()


def test_a_person_has_one_candidate_of_a_joint() -> None:
    order = [[0, 1], [0], [0, 1], [0, 1]]  # joint 1 of the second person is hidden, and the first person's lies near
    given = seen(order)
    affinity = (np.array([[0.8], [0.7]]), *given.affinity[1:])
    xy_px, score = group_candidates(Candidates(given.parts, LIMBS, affinity), least_joints=2)
    np.testing.assert_array_equal(xy_px[0], PEOPLE_PX[0])
    np.testing.assert_array_equal(xy_px[1, 2:], PEOPLE_PX[1, 2:])
    assert np.isnan(xy_px[1, :2]).all() and (score[1, :2] == 0).all()


def test_strays_and_what_is_not_finite_are_nobody() -> None:
    given = seen([[0], [0], [0], [0]])
    lost = tuple(np.full_like(part, np.nan) if j < 2 else part for j, part in enumerate(given.parts))
    assert group_candidates(Candidates(lost, LIMBS, given.affinity))[0].shape == (0, 4, 2)
    nothing = Candidates(tuple(np.zeros((0, 3)) for _ in range(4)), LIMBS, tuple(np.zeros((0, 0)) for _ in LIMBS))
    assert group_candidates(nothing)[1].shape == (0, 4)


def test_an_affinity_of_another_shape_is_refused() -> None:
    given = seen([[0, 1]] * 4)
    with pytest.raises(ValueError, match=r"expected affinity \(2, 2\) of limb \(1, 2\), got \(2, 3\)"):
        Candidates(given.parts, LIMBS, (given.affinity[0], np.zeros((2, 3)), given.affinity[2]))
    with pytest.raises(ValueError, match=r"joint 0 \(N, 3: x, y, score\)"):
        Candidates((np.zeros((2, 2)), *given.parts[1:]), LIMBS, given.affinity)
