"""Detections made by other tools, read as COCO-17: OpenPose JSON folders and COCO-results JSON.

Both number their frames; the number is the frame index in the camera's own clip, counted from 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.plain_text import json_of

Array = NDArray[np.float64]
People = tuple[Array, Array]

_FEET = (
    "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
_NECK_DOWN = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_HIPS_FIRST_RIGHT = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
NUMBER = re.compile(r"(?<!\d)\d{1,18}(?!\d)")  # of a frame; more digits are none that 64 bits hold
_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
# Joint orders of OpenPose's body models (OpenPose, doc/02_output.md; BODY_25B: openpose_train, experimental_models).
# BODY_25B begins with COCO-17's own order; `head` is the top of the head.
LAYOUTS: dict[str, tuple[str, ...]] = {
    "BODY_25": (*_NECK_DOWN, "mid_hip", *_HIPS_FIRST_RIGHT, *_FACE, *_FEET),
    "BODY_25B": (*COCO17.joints, "neck", "head", *_FEET),
    "COCO_18": (*_NECK_DOWN, *_HIPS_FIRST_RIGHT, *_FACE),
    "COCO_17": COCO17.joints,
}


@dataclass(frozen=True, eq=False)
class Detections:
    """People per frame of one camera. frames: index to (xy_px (P, 17, 2) with NaN for missing, score (P, 17) in 0..1).

    layout: what the file held before it was mapped to COCO-17.
    """

    source: Path
    layout: str
    frames: dict[int, People]

    def at(self, index: int) -> People:
        """The people of a frame; none where the files do not hold that frame."""
        return self.frames.get(index, (np.zeros((0, 17, 2)), np.zeros((0, 17))))

    @property
    def last_index(self) -> int:
        """The highest frame index that was read."""
        return max(self.frames)


def read_detections(path: Path, layout: str = "auto") -> Detections:
    """A folder of OpenPose JSON files, or one COCO-results JSON file. Raises InputError naming the file that cannot be read."""
    path = Path(path)
    if path.is_dir():
        return read_openpose(path, layout)
    if path.is_file():
        return read_coco_results(path)
    raise InputError(f"{path}: expected a folder of OpenPose JSON files or a COCO-results .json file; there is nothing here")


def read_openpose(folder: Path, layout: str = "auto") -> Detections:
    """OpenPose JSON, one file per frame, as COCO-17. Raises InputError as `read_openpose_raw` and `guess_layout` do."""
    raw = read_openpose_raw(folder)
    named = guess_layout(raw, folder) if layout == "auto" else layout
    if named not in LAYOUTS:
        raise InputError(f"{folder}: unknown keypoint layout {named!r}; known are {', '.join(LAYOUTS)}")
    picks = [LAYOUTS[named].index(joint) for joint in COCO17.joints]
    for index, people in raw.items():
        if people.shape[1] not in (0, len(LAYOUTS[named])):
            raise InputError(
                f"{folder}: frame {index}: {named} has {len(LAYOUTS[named])} keypoints, found {people.shape[1]}; "
                "name the layout that these files hold"
            )
    return Detections(folder, named, {index: _people(p[:, picks] if len(p) else None) for index, p in raw.items()})


def read_openpose_raw(folder: Path) -> dict[int, Array]:
    """Frame index to keypoints (P, K, 3: x px, y px, score) as OpenPose wrote them: 0, 0, 0 for a joint it did not find.

    The index is the last number in the file's name (`clip_000000000012_keypoints.json`, `cam.00012.json`). Raises InputError
    for a folder without JSON files, broken JSON, a keypoint list whose length is no multiple of three, or a frame twice.
    """
    frames: dict[int, Array] = {}
    for path in sorted(folder.glob("*.json")):
        index = _frame_index(path)
        if index in frames:
            raise InputError(f"{path}: a second file for frame {index}; keep one camera's files in one folder")
        frames[index] = _openpose_file(path)
    if not frames:
        found = len(list(folder.iterdir()))
        raise InputError(f"{folder}: expected OpenPose files (*.json, one per frame), found none among {found} entries")
    return frames


def guess_layout(raw: dict[int, Array], source: Path) -> str:
    """The layout of OpenPose keypoints. BODY_25 and BODY_25B both have 25: joints 15, 16 are eyes in one, ankles in the other.

    Raises InputError when the count is none of the known ones, when frames differ, or when no person shows which it is.
    """
    counts = sorted({people.shape[1] for people in raw.values() if len(people)})
    by_count = {17: "COCO_17", 18: "COCO_18"}
    if not counts:
        return "BODY_25"  # nobody in any frame: nothing to map
    if len(counts) > 1 or counts[0] not in (17, 18, 25):
        raise InputError(f"{source}: expected people of 17, 18 or 25 keypoints, found {', '.join(map(str, counts))}")
    if counts[0] != 25:
        return by_count[counts[0]]
    votes = Counter(vote for people in raw.values() for person in people if (vote := _vote_25(person)))
    ranked = votes.most_common()
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        raise InputError(
            f"{source}: 25 keypoints can be BODY_25 or BODY_25B and these people do not show which; name the layout"
        )
    return ranked[0][0]


def _vote_25(person: Array) -> str | None:
    """BODY_25 if joints 15 and 16 (its eyes) lie close to the nose by the size of the person, BODY_25B if far."""
    seen = person[:, 2] > 0
    if not (seen[0] and (seen[15] or seen[16]) and seen.sum() >= 6):
        return None
    height_px = np.ptp(person[seen, :2], axis=0).max()
    far_px = np.linalg.norm(person[[15, 16], :2][seen[[15, 16]]] - person[0, :2], axis=1).max()
    return "BODY_25" if far_px < 0.25 * height_px else "BODY_25B"


def read_coco_results(path: Path) -> Detections:
    """COCO keypoint results (a list of {image_id, keypoints [51], score}) or annotations ({"annotations": [...]}), COCO-17.

    image_id, or the last number in it, is the frame index. Raises InputError naming the entry that is wrong.
    """
    content = json_of(path)
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: expected a COCO-results list of keypoint detections, found {_kind(content)}")
    people: dict[int, list[Array]] = {}
    for number, entry in enumerate(entries):
        where = f"{path}: entry {number}"
        if not isinstance(entry, dict) or "image_id" not in entry or "keypoints" not in entry:
            raise InputError(f"{where}: expected the keys image_id and keypoints, found {_kind(entry)}")
        triplets = _triplets(entry["keypoints"], where)
        if triplets.shape != (17, 3):
            raise InputError(f"{where}: expected 17 keypoints (51 numbers), found {len(triplets)}")
        people.setdefault(_image_index(entry["image_id"], where), []).append(triplets)
    return Detections(path, "COCO_17", {index: _people(np.stack(p)) for index, p in sorted(people.items())})


def _people(triplets: Array | None) -> People:
    """(P, 17, 3) triplets to pixels and scores: a score of 0 or a number that is not finite means missing."""
    if triplets is None:
        return np.zeros((0, 17, 2)), np.zeros((0, 17))
    seen = np.isfinite(triplets).all(-1) & (triplets[..., 2] > 0)
    return np.where(seen[..., None], triplets[..., :2], np.nan), np.where(seen, np.minimum(triplets[..., 2], 1.0), 0.0)


def _openpose_file(path: Path) -> Array:
    content = json_of(path)
    if not isinstance(content, dict) or not isinstance(content.get("people"), list):
        raise InputError(f"{path}: expected OpenPose JSON with a list `people`, found {_kind(content)}")
    rows = [_person(person, f"{path}: person {number}") for number, person in enumerate(content["people"])]
    rows = [row for row in rows if len(row)]
    if len({len(row) for row in rows}) > 1:
        raise InputError(f"{path}: people with {' and '.join(str(len(row)) for row in rows)} keypoints in one file")
    return np.stack(rows) if rows else np.zeros((0, 0, 3))


def _person(person: Any, where: str) -> Array:
    if not isinstance(person, dict) or "pose_keypoints_2d" not in person:
        raise InputError(f"{where}: expected the key pose_keypoints_2d, found {_kind(person)}")
    return _triplets(person["pose_keypoints_2d"], where)


def _triplets(numbers: Sequence[float], where: str) -> Array:
    try:
        flat = np.asarray(numbers, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise InputError(f"{where}: keypoints must be numbers, found {str(numbers)[:60]}") from None
    if flat.size % 3:
        raise InputError(f"{where}: expected x, y, score triplets, found {flat.size} numbers")
    return flat.reshape(-1, 3)


def _frame_index(path: Path) -> int:
    numbers = NUMBER.findall(path.stem)
    if not numbers:
        raise InputError(f"{path}: expected a frame number in the file's name (for example clip_000012_keypoints.json)")
    return int(numbers[-1])


def _image_index(image_id: Any, where: str) -> int:
    numbers = NUMBER.findall(Path(str(image_id)).stem)
    if not numbers:
        raise InputError(f"{where}: image_id: expected a frame number, found {image_id!r:.100}")
    return int(numbers[-1])


def _kind(content: Any) -> str:
    if isinstance(content, dict):
        return (
            "an object with the keys " + ", ".join(str(key)[:60] for key in list(content)[:6]) if content else "an empty object"
        )
    return f"an empty {type(content).__name__}" if content in ([], "") else f"a {type(content).__name__}"
