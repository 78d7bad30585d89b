from itertools import permutations

import numpy as np
import pytest

from pipeline.identities import Instant, assign, distances_m, identity_figures

LIMIT_M = 0.5


def _instant(predicted: dict[int, float], true: dict[int, float]) -> Instant:
    """People on a line: identity -> place in m."""
    distance = np.abs(np.array(list(predicted.values()))[:, None] - np.array(list(true.values()))[None])
    return np.array(list(predicted), np.int64), np.array(list(true), np.int64), distance


def _random_recording(seed: int) -> list[Instant]:
    rng = np.random.default_rng(seed)
    recording = []
    for _ in range(60):
        true = {who: rng.uniform(0, 2) for who in range(4) if rng.random() < 0.9}
        predicted = {int(rng.choice([who, 3 - who])): x + rng.normal(0, 0.2) for who, x in true.items() if rng.random() < 0.8}
        recording.append(_instant(predicted, true))
    return recording


@pytest.mark.parametrize("seed", range(5))
def test_no_other_assignment_of_identities_is_better(seed: int) -> None:
    recording = _random_recording(seed)
    near = np.zeros((4, 4))
    for predicted, true, distance in recording:
        for p, q in np.argwhere(distance <= LIMIT_M):
            near[predicted[p], true[q]] += 1
    best = max(near[list(order), range(4)].sum() for order in permutations(range(4)))
    n_pred, n_true = (sum(len(instant[side]) for instant in recording) for side in (0, 1))
    figures = identity_figures(recording, LIMIT_M)
    assert figures.idf1 == pytest.approx(2 * best / (n_pred + n_true))
    assert (figures.idp, figures.idr) == (pytest.approx(best / n_pred), pytest.approx(best / n_true))


def test_as_many_pairs_as_there_can_be_then_the_nearest() -> None:
    assert assign(np.array([[0.1, 0.4], [0.4, 9.0]]), LIMIT_M) == [(0, 1), (1, 0)]
    assert assign(np.array([[0.1, 0.4], [0.4, 0.1]]), LIMIT_M) == [(0, 0), (1, 1)]
    assert assign(np.array([[np.inf, 0.6]]), LIMIT_M) == []
    assert assign(np.zeros((0, 3)), LIMIT_M) == []


def test_a_match_holds_while_it_is_within_the_limit_though_another_comes_nearer() -> None:
    apart, close = {0: 0.0, 1: 1.0}, {0: 0.4, 1: 0.6}
    recording = [_instant(apart, apart), _instant({0: 0.6, 1: 0.4}, close), _instant(apart, apart)]
    assert identity_figures(recording, LIMIT_M).switches == {0: 0, 1: 0}


def test_an_identity_that_comes_back_to_its_person_after_a_gap_is_no_switch() -> None:
    recording = [_instant({5: 0.0}, {0: 0.0}), _instant({}, {0: 0.0}), _instant({5: 0.1}, {0: 0.0})]
    assert identity_figures(recording, LIMIT_M).switches == {0: 0}
    recording[2] = _instant({6: 0.1}, {0: 0.0})
    assert identity_figures(recording, LIMIT_M).switches == {0: 1}


def test_nobody_at_all_has_no_figures() -> None:
    assert np.isnan(identity_figures([], LIMIT_M).idf1)
    figures = identity_figures([_instant({}, {0: 0.0})], LIMIT_M)
    assert figures.idf1 == 0.0 and np.isnan(figures.idp) and figures.identity == {0: -1}


def test_people_without_a_joint_in_common_are_infinitely_apart() -> None:
    one, other = np.zeros((1, 2, 3)), np.zeros((1, 2, 3))
    one[0, 0], other[0, 1] = np.nan, np.nan
    assert distances_m(one, other) == np.inf
    other[0] = [[np.nan] * 3, [0.0, 3.0, 4.0]]
    assert distances_m(one, other) == 5.0
