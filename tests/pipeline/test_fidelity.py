import numpy as np
import pytest

from models.skeleton import COCO17
from pipeline.fidelity import Gates, area_px2, check_labels, oks_matrix
from tests.pipeline.test_conditions import standing

GATES = Gates()
MIRROR = list(COCO17.mirror)


def two_people() -> np.ndarray:
    return np.concatenate([standing(40), standing(100)])


def test_people_found_where_they_were_drawn_are_accepted_in_any_order() -> None:
    check = check_labels(two_people(), two_people()[::-1], GATES)
    assert check.accepted
    assert check.reasons == ()
    assert np.allclose(check.oks, 1)
    assert np.allclose(check.drift_px, 0)


def test_oks_of_one_joint_follows_the_published_formula() -> None:
    moved = standing()
    knee = COCO17.index("left_knee")
    moved[0, knee, 0] += 5.0
    expected = np.exp(-25 / (2 * area_px2(standing())[0] * (2 * COCO17.sigmas[knee]) ** 2))
    assert oks_matrix(standing(), moved)[0, 0] == pytest.approx((16 + expected) / 17)


def test_detector_noise_of_two_percent_is_accepted() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02 * 95, (1, 17, 2))  # 95 px tall
    assert check_labels(standing(), standing() + noise, GATES).accepted


@pytest.mark.parametrize(("found", "count"), [(np.zeros((0, 17, 2)), 0), (two_people(), 2)])
def test_another_number_of_people_is_rejected(found: np.ndarray, count: int) -> None:
    check = check_labels(standing(40), found, GATES)
    assert not check.accepted
    assert check.reasons[0] == f"found {count} people, expected 1"


def test_swapped_left_and_right_is_rejected_by_name() -> None:
    check = check_labels(standing(), standing()[:, MIRROR], GATES)
    assert [("swapped" in reason) for reason in check.reasons] == [True]


def test_one_swapped_person_of_two_is_the_one_named() -> None:
    found = two_people()
    found[1] = found[1, MIRROR]
    check = check_labels(two_people(), found, GATES)
    assert len(check.reasons) == 1
    assert check.reasons[0].startswith("person 1: left and right swapped")


def test_a_shifted_person_is_rejected() -> None:
    check = check_labels(standing(), standing() + (30.0, 0.0), GATES)
    assert any("OKS" in reason for reason in check.reasons)
    assert np.allclose(check.drift_px, 30)


def test_a_drifted_joint_is_named_with_its_distance() -> None:
    found = standing()
    found[0, COCO17.index("right_wrist")] += (-40.0, 0.0)
    check = check_labels(standing(), found, GATES)
    assert [reason.split(" px")[0] for reason in check.reasons] == ["person 0: right_wrist drifted 40.0"]


def test_joints_without_a_label_do_not_count_and_those_not_found_do() -> None:
    labels, found = standing(), standing()
    found[0, 9] += 500
    labels[0, 9] = np.nan
    assert check_labels(labels, found, GATES).oks[0] == pytest.approx(1.0)
    found = standing()
    found[0, :11] = np.nan
    check = check_labels(standing(), found, GATES)
    assert check.oks[0] == pytest.approx(6 / 17)
    assert not check.accepted


def test_a_person_of_a_single_labelled_joint_is_judged_without_dividing_by_nothing() -> None:
    labels = np.full((1, 17, 2), np.nan)
    labels[0, 0] = (5, 5)
    assert np.isfinite(check_labels(labels, standing(), GATES).oks).all()


def test_a_joint_that_was_guessed_contradicts_no_label() -> None:
    found, score = standing(), np.full((1, 17), 0.9)
    wrist = COCO17.index("left_wrist")
    found[0, wrist] += 60.0
    score[0, wrist] = 0.2
    assert check_labels(standing(), found, GATES, score=score).accepted
    score[0, wrist] = 0.8
    [reason] = check_labels(standing(), found, GATES, score=score).reasons
    assert reason.startswith("person 0: left_wrist drifted")
