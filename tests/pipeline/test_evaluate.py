"""Each figure gives the number its definition gives by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.transforms import Rigid
from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.evaluate import coco_results, mpjpe, mpjpe_per_joint, oks_ap, pa_mpjpe, pck, pcp, share_found

AREA_PX2 = 20_000.0


def truth_of(people: dict[int, np.ndarray], visible: int = 2) -> dict[str, Any]:
    annotations = [
        {
            "id": 10 * image_id + n + 1,
            "image_id": image_id,
            "category_id": 1,
            "iscrowd": 0,
            "area": AREA_PX2,
            "bbox": [0.0, 0.0, 100.0, 200.0],
            "keypoints": np.c_[xy, np.full(17, visible)].ravel().tolist(),
        }
        for image_id, group in people.items()
        for n, xy in enumerate(group)
    ]
    return {"images": [{"id": image_id} for image_id in people], "annotations": annotations}


def some_people() -> dict[int, np.ndarray]:
    rng = np.random.default_rng(0)
    return {1: rng.uniform(50, 400, (2, 17, 2)), 2: rng.uniform(50, 400, (1, 17, 2)), 3: np.zeros((0, 17, 2))}


def shifted_to_oks(people: dict[int, np.ndarray], oks: float) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Every joint displaced by the distance at which its own similarity exp(-d^2 / (2 area (2 sigma)^2)) is `oks`."""
    distance_px = np.sqrt(-2.0 * np.log(oks) * AREA_PX2) * 2.0 * COCO17.sigmas
    return {i: (xy + [1.0, 0.0] * distance_px[:, None], np.full(xy.shape[:2], 0.9)) for i, xy in people.items()}


@pytest.mark.parametrize(("oks", "ap"), [(1.0, 1.0), (0.97, 1.0), (0.77, 0.6), (0.62, 0.3), (0.49, 0.0)])
def test_average_precision_is_the_share_of_thresholds_below_the_similarity(oks: float, ap: float) -> None:
    people = some_people()
    figures = oks_ap(shifted_to_oks(people, oks), truth_of(people))
    assert figures["AP"] == pytest.approx(ap, abs=1e-6) and figures["AR"] == pytest.approx(ap, abs=1e-6)
    assert figures["AP50"] == float(oks > 0.5) and figures["AP75"] == float(oks > 0.75)
    assert figures["APl"] == pytest.approx(ap, abs=1e-6) and np.isnan(figures["APm"])  # everybody is larger than 96^2


def test_a_missing_person_costs_recall_and_a_better_scored_ghost_costs_precision() -> None:
    people = some_people()
    found = shifted_to_oks(people, 1.0)
    half = {**found, 2: (np.zeros((0, 17, 2)), np.zeros((0, 17)))}
    assert oks_ap(half, truth_of(people))["AR"] == pytest.approx(2 / 3)
    ghost = {**found, 3: (np.full((1, 17, 2), 900.0), np.ones((1, 17)))}
    # Sorted by score: ghost, then three right: precision 1/2, 2/3, 3/4 raised to 3/4 at every recall.
    assert oks_ap(ghost, truth_of(people))["AP"] == pytest.approx(0.75, abs=1e-6)


def test_a_missing_joint_scores_as_far_off() -> None:
    people = {1: some_people()[2]}
    xy, score = people[1].copy(), np.full((1, 17), 0.9)
    xy[0, :9], score[0, :9] = np.nan, 0.0
    # 8 of 17 joints right: similarity 0.47.
    assert oks_ap({1: (xy, score)}, truth_of(people))["AP"] == 0.0
    entry = coco_results({1: (xy, score)})[0]
    assert entry["keypoints"][:3] == [0.0, 0.0, 0.0] and entry["score"] == pytest.approx(0.9)


def test_no_prediction_is_zero_and_no_truth_is_undefined() -> None:
    people = some_people()
    assert oks_ap({}, truth_of(people))["AP"] == 0.0 and oks_ap([], truth_of(people))["AR"] == 0.0
    assert np.isnan(oks_ap(shifted_to_oks(people, 1.0), truth_of(people, visible=0))["AP"])


def test_truth_without_area_and_predictions_of_other_images_are_refused() -> None:
    people = some_people()
    broken = truth_of(people)
    del broken["annotations"][1]["area"]
    with pytest.raises(InputError, match="annotation 1: missing area"):
        oks_ap({}, broken)
    with pytest.raises(InputError, match="no image 99"):
        oks_ap({99: (people[2], np.ones((1, 17)))}, truth_of(people))
    with pytest.raises(InputError, match="images and annotations, found people"):
        oks_ap({}, {"people": []})


def test_official_coco_labels_score_one_against_themselves(shared_data: Path) -> None:
    truth = json.loads((shared_data / "coco_mini" / "annotations.json").read_text())
    predictions: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for image in truth["images"]:
        own = [a for a in truth["annotations"] if a["image_id"] == image["id"] and not a.get("iscrowd")]
        triplets = np.array([a["keypoints"] for a in own], dtype=float).reshape(-1, 17, 3)
        order = np.argsort([-a["area"] for a in own])[:20]
        predictions[image["id"]] = (triplets[order, :, :2], (triplets[order, :, 2] > 0) * 0.9)
    assert oks_ap(predictions, truth)["AP"] > 0.98  # crowds of more than twenty lose the rest


def test_pck_counts_distances_within_the_threshold_of_each_persons_reference() -> None:
    truth = np.zeros((2, 3, 2))
    pred = truth.copy()
    pred[0, :, 0] = [19.9, 20.1, 0.0]  # reference 100 px: 20 px allowed
    pred[1, :, 0] = [9.9, np.nan, 11.0]  # reference 50 px: 10 px allowed; the second is missing
    mean, per_joint = pck(pred, truth, np.ones((2, 3)), [100.0, 50.0])
    assert mean == pytest.approx(3 / 6)
    assert per_joint.tolist() == [1.0, 0.0, 0.5]


def test_pck_leaves_out_what_has_no_truth_or_no_reference() -> None:
    truth = np.zeros((3, 2, 2))
    truth[0, 1] = np.nan
    visible = np.ones((3, 2))
    visible[1, 1] = 0
    mean, per_joint = pck(np.zeros((3, 2, 2)), truth, visible, [10.0, 10.0, np.nan])
    assert mean == 1.0 and per_joint[0] == 1.0 and np.isnan(per_joint[1])
    with pytest.raises(ValueError, match=r"reference_px \(3,\)"):
        pck(truth, truth, visible, [1.0])


def test_pcp_compares_the_mean_end_error_with_half_the_limb() -> None:
    truth = np.array([[[0.0, 0, 0], [0.4, 0, 0], [0.4, 0.3, 0]]])
    pred = truth.copy()
    pred[0, 0, 2] = 0.35  # limb (0, 1): mean error 0.175 <= 0.2; limb (1, 2) untouched
    mean, per_limb = pcp(pred, truth, [(0, 1), (1, 2)])
    assert mean == 1.0 and per_limb.tolist() == [1.0, 1.0]
    pred[0, 0, 2] = 0.41  # 0.205 > 0.2
    assert pcp(pred, truth, [(0, 1), (1, 2)])[1].tolist() == [0.0, 1.0]
    pred[0, 2] = np.nan
    assert pcp(pred, truth, [(0, 1), (1, 2)])[0] == 0.0
    truth[0, 0] = np.nan
    assert np.isnan(pcp(pred, truth, [(0, 1), (1, 2)])[1][0])


def test_mpjpe_is_in_millimetres_over_the_joints_found() -> None:
    truth = np.zeros((2, 2, 3))
    pred = truth + [0.003, 0.004, 0.0]  # 5 mm
    pred[1, 1] = np.nan
    pred[0, 0] = [0.0, 0.0, 0.011]
    assert mpjpe(pred, truth) == pytest.approx((11 + 5 + 5) / 3)
    np.testing.assert_allclose(mpjpe_per_joint(pred, truth), [8.0, 5.0])
    assert share_found(pred, truth) == 0.75
    assert np.isnan(mpjpe(pred * np.nan, truth)) and share_found(pred * np.nan, truth) == 0.0


def test_pa_mpjpe_forgives_a_similarity_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(5, 17, 3))
    moved = np.stack([Rigid.from_rvec(rng.normal(size=3) * 2, rng.normal(size=3)).apply(1.3 * person) for person in truth])
    moved[1, 4] = np.nan
    assert mpjpe(moved, truth) > 100.0
    assert pa_mpjpe(moved, truth) < 1e-9
    mirrored = truth * [-1.0, 1.0, 1.0]
    assert pa_mpjpe(mirrored, truth) > 100.0  # a reflection is no similarity


def test_pa_mpjpe_of_noise_stays_below_mpjpe_and_near_it() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(200, 17, 3))
    pred = truth + rng.normal(0, 0.01, truth.shape)
    # Seven of 51 degrees of freedom are fitted away.
    assert pa_mpjpe(pred, truth) == pytest.approx(mpjpe(pred, truth) * np.sqrt(44 / 51), rel=0.02)


def test_people_with_too_few_joints_do_not_count_in_pa_mpjpe() -> None:
    truth = np.random.default_rng(2).normal(size=(1, 17, 3))
    pred = np.full_like(truth, np.nan)
    pred[0, :2] = truth[0, :2]
    assert np.isnan(pa_mpjpe(pred, truth))


def test_arrays_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, J, 3\), got \(2, 17, 3\) and \(2, 16, 3\)"):
        mpjpe(np.zeros((2, 17, 3)), np.zeros((2, 16, 3)))
