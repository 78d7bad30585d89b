"""OKS-AP and AR of a detector on labelled photos, by COCO's protocol and its judge, for sets that label any of the joints.

Only joints that the set labels somewhere are judged, and of a person only those labelled there. People whose joints nobody
labelled, crowds and `ignore_boxes` are crowds to the judge. Detections of which half stands in such a box and which are no
labelled person's are left out: with few joints found, the judge's similarity to a box would not tell that they stand there.
Where the annotated area is that of the box, it is replaced by 0.53 of the box, the mean share of outlines in COCO.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.photos import Photo
from models.skeleton import Topology
from pipeline.evaluate import oks_ap, oks_ap_by_height
from pipeline.labelled_photos import Seen, in_ignore_box, outline_px2, owners
from pipeline.types import Array


def oks_figures(
    seen: Sequence[Seen], topology: Topology, ranges_px: dict[str, tuple[float, float]]
) -> tuple[dict[str, float], dict[str, float]]:
    """COCO's ten figures (evaluate.OKS_FIGURES), and AP for ranges of the height of people's boxes in px."""
    joints = set_joints([each.photo for each in seen])
    truth = coco_truth([each.photo for each in seen], joints)
    people = {number: judged_people(each, topology, joints) for number, each in enumerate(seen)}
    sigmas = topology.sigmas[joints]
    return oks_ap(people, truth, sigmas), oks_ap_by_height(people, truth, ranges_px, sigmas)


def set_joints(photos: Sequence[Photo]) -> NDArray[np.int64]:
    """Indices of the joints that are labelled in anybody."""
    return np.flatnonzero(np.any([person.labelled for photo in photos for person in photo.people], axis=0))


def judged_people(seen: Seen, topology: Topology, joints: NDArray[np.int64]) -> tuple[Array, Array]:
    """Detected people (P, J', 2) with scores (P, J') of the judged joints, without those who stand in an ignore box."""
    judged = (owners(seen, topology) >= 0) | ~in_ignore_box(seen)
    return seen.xy_px[judged][:, joints].astype(np.float64), seen.score[judged][:, joints].astype(np.float64)


def coco_truth(photos: Sequence[Photo], joints: NDArray[np.int64]) -> dict[str, Any]:
    """A COCO keypoint dictionary of the labelled people and ignore boxes; image ids are positions in `photos`."""
    rows: list[dict[str, Any]] = []
    for number, photo in enumerate(photos):
        for person in photo.people:
            table = np.column_stack([np.nan_to_num(person.xy_px), 2.0 * person.labelled])[joints]
            rows.append(_row(number, person.box, table, outline_px2(person), crowd=0))
        for box in photo.ignore_boxes:
            rows.append(_row(number, box, np.zeros((len(joints), 3)), float(box[2] * box[3]), crowd=1))
    return {
        "images": [{"id": number} for number in range(len(photos))],
        "annotations": [row | {"id": k + 1} for k, row in enumerate(rows)],
    }


def _row(image: int, box: Array, table: Array, area_px2: float, crowd: int) -> dict[str, Any]:
    flat = {"keypoints": table.ravel().tolist(), "bbox": box.tolist(), "area": area_px2, "iscrowd": crowd}
    return {"image_id": image, **flat}
