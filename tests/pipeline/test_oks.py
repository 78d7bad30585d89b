"""OKS figures of a detector: the judge against pycocotools, known mixtures, sets with few joints, ignore boxes and sizes."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest

from models.photos import Person, Photo
from models.skeleton import COCO17
from pipeline.evaluate import OKS_FIGURES, coco_results, oks_ap, oks_ap_by_height
from pipeline.labelled_photos import Seen, outline_px2
from pipeline.oks import coco_truth, oks_figures, set_joints
from tests.models.scenes import standing

RANGES = {"<100": (0.0, 100.0), ">100": (100.0, 1e5)}
LEEDS = [j for j in range(17) if j >= 5]  # the sports sets label no face


def person(height_px: float = 200.0, at: tuple[float, float] = (20.0, 20.0), joints: list[int] | None = None) -> Person:
    size = np.array([height_px / 2, height_px])
    labelled = np.isin(np.arange(17), range(17) if joints is None else joints)
    xy = np.where(labelled[:, None], standing((1, 1), np.random.default_rng(1)) * size + at, np.nan)
    return Person(xy, labelled, np.array([*at, *size]), 0.4 * float(np.prod(size)))


def photo(*people: Person, ignore: Any = ()) -> Photo:
    return Photo("a.png", b"", people, np.array(ignore, dtype=np.float64).reshape(-1, 4))


def whole(height_px: float = 200.0, at: tuple[float, float] = (20.0, 20.0)) -> np.ndarray:
    return person(height_px, at).xy_px


def seen(of: Photo, *found: np.ndarray, scores: list[float] | None = None) -> Seen:
    xy = np.array(found, dtype=np.float64).reshape(-1, 17, 2)
    score = np.isfinite(xy).all(-1) * np.array(scores or [0.9] * len(xy))[:, None]
    return Seen(of, xy, score)


def figures(*photos: Seen) -> dict[str, float]:
    return oks_figures(photos, COCO17, RANGES)[0]


def test_perfect_detections_have_an_ap_of_one_whatever_joints_the_set_labels() -> None:
    for joints in (None, LEEDS, [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0]):
        perfect = figures(seen(photo(person(joints=joints)), whole()), seen(photo(person(90, joints=joints)), whole(90)))
        assert perfect["AP"] == pytest.approx(1) and perfect["AR"] == pytest.approx(1)


def test_joints_nobody_labelled_are_not_judged() -> None:
    faces_wrong = whole()
    faces_wrong[:5] = 900.0
    assert figures(seen(photo(person(joints=LEEDS)), faces_wrong))["AP"] == pytest.approx(1)
    assert figures(seen(photo(person()), faces_wrong))["AP75"] == 0  # 12 of 17 joints right: 0.71
    only_a_face = np.full((17, 2), np.nan)
    only_a_face[:5] = whole()[:5] + 300
    # A better scored detection without any judged joint is no false alarm of this set.
    assert figures(seen(photo(person(joints=LEEDS)), only_a_face, whole(), scores=[0.99, 0.5]))["AP"] == pytest.approx(1)


def test_a_mixture_of_right_wrong_and_missed_has_its_ap() -> None:
    ghost = whole(at=(600.0, 600.0))
    mixture = [
        seen(photo(person()), whole(), scores=[0.9]),
        seen(photo(person()), ghost, scores=[0.8]),
        seen(photo(person()), whole(), scores=[0.7]),
        seen(photo(person())),
    ]
    # By score: right (precision 1 to recall 1/4), wrong, right (2/3 to recall 1/2), then nothing. Of 101 recalls 0, .01, ..., 1
    # 26 lie up to 1/4 and 25 more up to 1/2.
    found = figures(*mixture)
    assert found["AP"] == pytest.approx((26 + 25 * 2 / 3) / 101) and found["AR"] == pytest.approx(0.5)


def test_detections_in_ignore_boxes_are_nobodys_mistake() -> None:
    crowd = (600.0, 600.0, 100.0, 200.0)
    inside, half_found = whole(at=(600.0, 600.0)), whole(at=(600.0, 600.0))
    half_found[7:] = np.nan
    for ghost in (inside, half_found):
        assert figures(seen(photo(person(), ignore=crowd), ghost, whole(), scores=[0.99, 0.5]))["AP"] == pytest.approx(1)
        assert figures(seen(photo(person()), ghost, whole(), scores=[0.99, 0.5]))["AP"] == pytest.approx(0.5, abs=0.01)
    assert figures(seen(photo(person(), ignore=(0.0, 0.0, 900.0, 900.0)), whole()))["AP"] == pytest.approx(1)


def test_people_are_judged_in_the_range_of_their_height() -> None:
    small, tall = person(80), person(300, (200.0, 20.0))
    ap = oks_figures([seen(photo(small, tall), whole(300, (200.0, 20.0)))], COCO17, RANGES)[1]
    assert ap["<100"] == 0 and ap[">100"] == pytest.approx(1)
    ghost = whole(80, (600.0, 600.0))
    ap = oks_figures([seen(photo(tall), ghost, whole(300, (200.0, 20.0)), scores=[0.99, 0.5])], COCO17, RANGES)[1]
    assert np.isnan(ap["<100"]) and ap[">100"] == pytest.approx(1)  # a small false alarm is no tall person's
    assert oks_figures([seen(photo(small))], COCO17, RANGES)[1]["<100"] == 0


def test_ap_over_all_heights_is_the_ap() -> None:
    truth, people = crowded(np.random.default_rng(3))
    # Around a crowd's box the judge is a little less lenient here: 0.53 of the box's area is the scale, not all of it.
    truth["annotations"] = [row for row in truth["annotations"] if not row["iscrowd"]]
    everybody = oks_ap_by_height(people, truth, {"all": (0.0, 1e5)})
    assert everybody["all"] == pytest.approx(oks_ap(people, truth)["AP"], abs=1e-9)


def test_an_area_that_fills_the_box_is_no_outline() -> None:
    box = np.array([0.0, 0.0, 10.0, 20.0])
    told = {area: outline_px2(Person(np.zeros((17, 2)), np.ones(17, bool), box, area)) for area in (90.0, 200.0)}
    assert told == {90.0: 90.0, 200.0: pytest.approx(106.0)}
    assert outline_px2(Person(np.zeros((17, 2)), np.ones(17, bool), box)) == pytest.approx(106.0)


def crowded(rng: np.random.Generator, photos: int = 25) -> tuple[dict[str, Any], dict[int, tuple[np.ndarray, np.ndarray]]]:
    """COCO truth and people found: jitter of all sizes, joints and people missing, false alarms, crowds, joints unlabelled."""
    truth, people = [], {}
    for number in range(photos):
        labelled, found = [], []
        for k in range(rng.integers(0, 4)):
            height, at = rng.uniform(40, 400), (rng.uniform(0, 300) + 400 * k, rng.uniform(0, 300))
            joints = [j for j in range(17) if rng.random() < 0.8] or [5]
            labelled.append(person(height, at, joints))
            if rng.random() < 0.9:
                found.append(whole(height, at) + rng.normal(0, 0.03 * height * rng.random(), (17, 2)))
        found += [rng.uniform(0, 900, (17, 2)) for _ in range(rng.integers(0, 3))]
        truth.append(photo(*labelled, ignore=[0.0, 600.0, 300.0, 300.0] if rng.random() < 0.3 else ()))
        xy = np.array(found).reshape(-1, 17, 2)
        missing = rng.random(xy.shape[:2]) < 0.05
        xy[missing] = np.nan
        people[number] = (xy, np.where(missing, 0.0, rng.uniform(0.1, 1, xy.shape[:2])))
    return coco_truth(truth, np.arange(17)), people


@pytest.mark.parametrize("joints", [list(range(17)), LEEDS])
def test_the_judge_agrees_with_pycocotools(joints: list[int]) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools (of the dev extra) is the reference of this test")
    from pycocotools.cocoeval import COCOeval

    truth, people = crowded(np.random.default_rng(7))
    for row in truth["annotations"]:
        table = np.array(row["keypoints"]).reshape(17, 3)[joints]
        row |= {"keypoints": table.ravel().tolist(), "num_keypoints": int((table[:, 2] > 0).sum()), "category_id": 1}
    people = {k: (xy[:, joints], score[:, joints]) for k, (xy, score) in people.items()}
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco.COCO()
        reference.dataset = {**truth, "categories": [{"id": 1, "name": "person"}]}
        reference.createIndex()
        judge = COCOeval(reference, reference.loadRes(coco_results(people)), "keypoints")
        judge.params.kpt_oks_sigmas = COCO17.sigmas[joints]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    ours = oks_ap(people, truth, COCO17.sigmas[joints])
    np.testing.assert_allclose([ours[name] for name in OKS_FIGURES], judge.stats, atol=1e-9)
    assert 0.2 < ours["AP"] < 0.9  # a mixture worth comparing


def test_joints_of_a_set_are_those_labelled_in_anybody() -> None:
    assert set_joints([photo(person(joints=[3])), photo(), photo(person(joints=[5, 6]))]).tolist() == [3, 5, 6]
