"""Figures of merit by their published definitions: OKS-AP, PCK, PCP, MPJPE, PA-MPJPE.

Missing predictions are NaN. They count as wrong in AP, PCK and PCP; MPJPE is a mean over what was found, so always report
`share_found` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.skeleton import BOX_MARGIN, COCO17
from pipeline.errors import InputError

Array = NDArray[np.float64]
Results = list[dict[str, Any]]
Predictions = Mapping[int, tuple[ArrayLike, ArrayLike]] | Sequence[dict[str, Any]]

# Keys of the summary in the order of COCO's ten keypoint figures (pycocotools, COCOeval.summarize).
OKS_FIGURES = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")

# What faster-coco-eval multiplies a box by for its area when it is told to use no other.
JUDGE_OUTLINE_SHARE = 0.53


def oks_ap(predictions: Predictions, truth: dict[str, Any], sigmas: ArrayLike = COCO17.sigmas) -> dict[str, float]:
    """COCO's average precision over object keypoint similarity 0.50:0.95, at most 20 people an image (by faster-coco-eval).

    predictions: image id to (xy_px (P, J, 2), score (P, J)), or a COCO-results list; truth: a COCO keypoint dictionary
    (images, annotations with keypoints, area, bbox); sigmas (J,) of the joints of both. Returns OKS_FIGURES in 0..1, NaN for a
    size range without people. Raises InputError when truth lacks a field or a prediction names an image that truth does not
    hold.
    """
    checked, results = _coco_truth(truth), _results(predictions)
    _refuse_unknown_images(results, checked)
    people = [a for a in checked["annotations"] if not a["iscrowd"] and a["num_keypoints"] > 0]
    if not results or not people:
        return dict.fromkeys(OKS_FIGURES, 0.0 if people else float("nan"))
    judge = _judge(results, checked, sigmas)
    judge.run()
    stats = judge.stats[: len(OKS_FIGURES)]
    return {name: float(value) if value >= 0 else float("nan") for name, value in zip(OKS_FIGURES, stats, strict=True)}


def oks_ap_by_height(
    predictions: Predictions,
    truth: dict[str, Any],
    ranges_px: Mapping[str, tuple[float, float]],
    sigmas: ArrayLike = COCO17.sigmas,
) -> dict[str, float]:
    """AP as `oks_ap`, for each range (least, most) of the height of people's boxes; NaN where a range holds nobody.

    By COCO's rule for its ranges of area: people outside the range, and detections outside it that match nobody, count neither
    for nor against.
    """
    checked, results = _coco_truth(truth), _results(predictions)
    _refuse_unknown_images(results, checked)
    heights = [a["bbox"][3] for a in checked["annotations"] if not a["iscrowd"] and a["num_keypoints"] > 0]
    nobody = {name: float("nan") if not _any_within(heights, ends) else 0.0 for name, ends in ranges_px.items()}
    if not results or not heights:
        return nobody
    judge = _judge(results, _height_as_area(checked), sigmas, use_area=False)
    for found in judge.cocoDt.anns.values():
        found["area"] = _height_px(found["keypoints"])
    judge.params.areaRng, judge.params.areaRngLbl = [list(ends) for ends in ranges_px.values()], list(ranges_px)
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][:, :, 0, :, -1]  # thresholds, recalls, ranges
    return {name: nobody[name] + max(float(precision[..., k].mean()), 0.0) for k, name in enumerate(ranges_px)}


def _any_within(values: Sequence[float], ends: tuple[float, float]) -> bool:
    return any(ends[0] <= value <= ends[1] for value in values)


def _height_as_area(truth: dict[str, Any]) -> dict[str, Any]:
    """People with their height where the judge looks for the area, and a box of which the judge's own share is their area."""
    people = []
    for each in truth["annotations"]:
        x, y, _, height = each["bbox"]
        box = [x, y, each["area"] / (JUDGE_OUTLINE_SHARE * max(height, 1e-6)), max(height, 1e-6)]
        # a box is used for nothing else, except where no joint is labelled: there it is the place to stand in
        people.append(each | {"area": height, "bbox": box if each["num_keypoints"] else each["bbox"]})
    return truth | {"annotations": people}


def _height_px(keypoints: Sequence[float]) -> float:
    table = np.asarray(keypoints, dtype=np.float64).reshape(-1, 3)
    return float(np.ptp(table[table[:, 2] > 0, 1]) * (1 + 2 * BOX_MARGIN))


def _results(predictions: Predictions) -> Results:
    return coco_results(predictions) if isinstance(predictions, Mapping) else [dict(entry) for entry in predictions]


def coco_results(predictions: Mapping[int, tuple[ArrayLike, ArrayLike]]) -> Results:
    """COCO-results entries of people per image: xy_px (P, J, 2), score (P, J).

    A person's score is the mean over its found joints (Newell et al. 2017). The format knows no missing joint: it is written at
    (0, 0), where it scores nothing.
    """
    entries: Results = []
    for image_id, (xy_px, score) in predictions.items():
        xy, confidence = np.asarray(xy_px, dtype=np.float64), np.asarray(score, dtype=np.float64)
        for person, joint_score in zip(xy, confidence, strict=True):
            found = np.isfinite(person).all(-1) & (joint_score > 0)
            if found.any():
                triplets = np.where(found[:, None], np.c_[person, joint_score], 0.0)
                value = float(joint_score[found].mean())
                entries.append({"image_id": image_id, "category_id": 1, "keypoints": triplets.ravel().tolist(), "score": value})
    return entries


def _coco_truth(truth: dict[str, Any]) -> dict[str, Any]:
    """A copy of the truth with the fields that the judge reads; every person is category 1."""
    if "images" not in truth or "annotations" not in truth:
        raise InputError(
            f"truth: expected a COCO dictionary with images and annotations, found {', '.join(truth) or 'nothing'}"
        )
    annotations = []
    for number, annotation in enumerate(truth["annotations"]):
        missing = [key for key in ("image_id", "keypoints", "area", "bbox") if key not in annotation]
        if missing:
            raise InputError(f"truth: annotation {number}: missing {', '.join(missing)} (OKS scales with the person's area)")
        visible = np.asarray(annotation["keypoints"], dtype=np.float64)[2::3] > 0
        given = {"id": number + 1, "iscrowd": 0, **annotation, "category_id": 1, "num_keypoints": int(visible.sum())}
        annotations.append(given)
    return {"images": truth["images"], "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}


def _refuse_unknown_images(results: Results, truth: dict[str, Any]) -> None:
    known = {image["id"] for image in truth["images"]}
    unknown = sorted({str(entry["image_id"]) for entry in results if entry["image_id"] not in known})
    if unknown:
        raise InputError(
            f"predictions: truth holds no image {', '.join(unknown[:5])} ({len(unknown)} unknown of {len(known)} images)"
        )


def _judge(results: Results, truth: dict[str, Any], sigmas: ArrayLike, use_area: bool = True) -> Any:
    from faster_coco_eval import COCO, COCOeval_faster  # 1 s

    judge_truth = COCO(truth)
    return COCOeval_faster(
        judge_truth,
        judge_truth.loadRes(results),
        "keypoints",
        print_function=lambda *_: None,
        kpt_oks_sigmas=np.asarray(sigmas, dtype=np.float64).tolist(),
        use_area=use_area,
    )


def pck(
    pred: ArrayLike, truth: ArrayLike, visible: ArrayLike, reference_px: ArrayLike, threshold: float = 0.2
) -> tuple[float, Array]:
    """Share of correct keypoints: within threshold * reference_px of the truth (Yang & Ramanan 2013).

    pred, truth (N, J, 2) px; visible (N, J) which joints count; reference_px (N,) the person's torso, head or box size: a
    person whose reference is not a positive number does not count. A missing prediction (NaN) is wrong. Returns the share over
    all counted joints pooled (as MPII's evaluation weighs them) and per joint (J,), NaN where none counts. Raises ValueError on
    shapes.
    """
    p, t = _pair(pred, truth, 2)
    reference = np.asarray(reference_px, dtype=np.float64).reshape(-1)
    counts = np.asarray(visible).astype(bool)
    if counts.shape != p.shape[:2] or reference.shape != p.shape[:1]:
        raise ValueError(
            f"pck: expected visible {p.shape[:2]} and reference_px {p.shape[:1]}, got {counts.shape}, {reference.shape}"
        )
    counts = counts & _known(t) & (np.isfinite(reference) & (reference > 0))[:, None]
    right = np.linalg.norm(p - t, axis=-1) <= threshold * reference[:, None]  # False for NaN
    return _share(right, counts), _share_per_column(right, counts)


def pcp(pred: ArrayLike, truth: ArrayLike, limbs: Sequence[tuple[int, int]], alpha: float = 0.5) -> tuple[float, Array]:
    """Percentage of correct parts as a share: mean error of a limb's two ends at most alpha times its true length.

    pred, truth (N, J, 2 or 3) in one unit; limbs: L joint pairs. A limb counts where its truth is finite; a missing prediction
    is wrong. Returns the share over all counted limbs and per limb (L,). Source: Belagiannis et al. 2014 (3D pictorial
    structures), the definition behind the Shelf and Campus tables. Raises ValueError on shapes.
    """
    p, t = _pair(pred, truth, np.shape(truth)[-1])
    ends = np.asarray(limbs, dtype=np.int64).reshape(-1, 2)
    error = np.linalg.norm(p - t, axis=-1)[:, ends].mean(-1)
    length = np.linalg.norm(t[:, ends[:, 0]] - t[:, ends[:, 1]], axis=-1)
    counts = np.isfinite(length)
    return _share(error <= alpha * length, counts), _share_per_column(error <= alpha * length, counts)


def mpjpe(pred: ArrayLike, truth: ArrayLike) -> float:
    """Mean per-joint position error in MILLIMETRES of joints (N, J, 3) in metres, over the joints found in both.

    Nothing is aligned (Ionescu et al. 2014, Human3.6M, protocol 1 without root alignment). NaN when no joint is found.
    """
    return _mean(_error_mm(*_pair(pred, truth, 3)))


def mpjpe_per_joint(pred: ArrayLike, truth: ArrayLike) -> Array:
    """(J,) as `mpjpe`, joint by joint; NaN for a joint that is never found."""
    error = _error_mm(*_pair(pred, truth, 3))
    return np.array([_mean(column) for column in error.T])


def pa_mpjpe(pred: ArrayLike, truth: ArrayLike) -> float:
    """As `mpjpe` in millimetres after each person's best similarity (rotation, translation, scale; Gower 1975): pose alone.

    A person with fewer than three joints found does not count.
    """
    p, t = _pair(pred, truth, 3)
    found = _known(p) & _known(t)
    people = found.sum(1) >= 3
    if not people.any():
        return float("nan")
    aligned = _similar(p[people], t[people], found[people])
    return _mean(_error_mm(aligned, t[people]))


def share_found(pred: ArrayLike, truth: ArrayLike) -> float:
    """Share of the true joints (N, J, D) that were predicted at all; NaN without truth."""
    p, t = _pair(pred, truth, np.shape(truth)[-1])
    return _share(_known(p), _known(t))


def _similar(p: Array, t: Array, found: NDArray[np.bool_]) -> Array:
    """p (N, J, 3) moved, turned and scaled onto t over the joints found; the others become NaN."""
    w = found[..., None] / found.sum(1)[:, None, None]
    p0, t0 = np.where(found[..., None], p, 0.0), np.where(found[..., None], t, 0.0)
    p_mean, t_mean = (p0 * w).sum(1, keepdims=True), (t0 * w).sum(1, keepdims=True)
    a, b = p0 - p_mean, t0 - t_mean
    u, s, vt = np.linalg.svd(np.einsum("nji,njk->nik", b * w, a))
    s[:, 2] *= np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    spread = (a * a * w).sum((1, 2))
    scale = np.divide(s.sum(1), spread, out=np.ones_like(spread), where=spread > 0)
    moved = scale[:, None, None] * np.einsum("nik,njk->nji", u @ vt, a) + t_mean
    return np.where(found[..., None], moved, np.nan)


def _pair(pred: ArrayLike, truth: ArrayLike, width: int) -> tuple[Array, Array]:
    p, t = np.asarray(pred, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if p.shape != t.shape or p.ndim != 3 or p.shape[-1] != width:
        raise ValueError(f"expected pred and truth of one shape (N, J, {width}), got {p.shape} and {t.shape}")
    return p, t


def _known(xyz: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(xyz).all(-1))


def _error_mm(p_m: Array, t_m: Array) -> Array:
    return np.linalg.norm(p_m - t_m, axis=-1) * 1000.0


def _mean(values: Array) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _share(right: NDArray[np.bool_], counts: NDArray[np.bool_]) -> float:
    return float((right & counts).sum() / counts.sum()) if counts.any() else float("nan")


def _share_per_column(right: NDArray[np.bool_], counts: NDArray[np.bool_]) -> Array:
    return np.array([_share(r, c) for r, c in zip(right.T, counts.T, strict=True)])


def defined(value: Any) -> Any:
    """Numbers that are not numbers as None, wherever they stand."""
    if isinstance(value, dict):
        return {name: defined(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [defined(each) for each in value]
    return None if isinstance(value, float) and np.isnan(value) else value
