"""Labelled photos: COCO-layout folders of any joint subset, read once and kept as encoded bytes."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoded_image import ImageError, decode_rgb
from models.errors import DataError, reading
from models.label_numbers import boxes, pixels
from models.skeleton import COCO17, Topology

Array = NDArray[Any]

COCO_LABELS = "COCO keypoint annotations (images, annotations with keypoints and bbox, categories with joint names)"
# A few gigabytes once it is read; the people of COCO's training set are a quarter.
LARGEST_JSON_BYTES = 1 << 30


@dataclass(frozen=True)
class Person:
    """One labelled person: xy_px (J, 2), labelled (J,) bool, box (4,) x, y, w, h in image pixels.

    area_px2: as annotated; NaN where it is not. head_px: from `neck` to `head_top` where the set labels both, else NaN.
    """

    xy_px: Array
    labelled: Array
    box: Array
    area_px2: float = np.nan
    head_px: float = np.nan


@dataclass(frozen=True)
class Photo:
    """One image: its encoded bytes, its people, and the boxes where nobody knows what is there (M, 4).

    caption: what a generated image was asked to show; empty where nobody said. pixels: the image, where it was decoded to stay.
    """

    file_name: str
    encoded: bytes
    people: tuple[Person, ...]
    ignore_boxes: Array
    caption: str = ""
    pixels: Array | None = None

    def image(self) -> Array:
        """(H, W, 3) uint8 RGB, not to be written to. Raises DataError when the bytes are no image."""
        if self.pixels is not None:
            return self.pixels
        try:
            return decode_rgb(self.encoded)
        except ImageError as error:
            raise DataError(f"{self.file_name}: {error}") from error

    def decoded(self) -> Photo:
        """The same photo with its pixels in memory instead of its bytes. Raises as `image`."""
        return replace(self, pixels=self.image(), encoded=b"")


@dataclass(frozen=True)
class Source:
    """A folder with annotations.json and images/, and how far its labels can be trusted.

    weight: share of the samples. outside_weight: loss weight where no labelled person stands (0 masks it; 1 where everybody
    is labelled; between where bystanders may be unlabelled, for they are far rarer than background). unlabelled_weight: loss
    weight of a joint without label inside its person's box (1 where it means "not there", as in exact synthetic labels).
    """

    folder: str
    weight: float = 1.0
    outside_weight: float = 0.1
    unlabelled_weight: float = 0.0

    @staticmethod
    def parse(text: str) -> Source:
        """A source from FOLDER[=WEIGHT[:OUTSIDE[:UNLABELLED]]], for example `photos=0.5:0.1:0`. Raises ValueError."""
        folder, _, numbers = text.rpartition("=") if "=" in text else (text, "", "")
        try:
            weights = [float(number) for number in numbers.split(":")] if numbers else []
        except ValueError:
            weights = [-1.0]
        if len(weights) > 3 or any(weight < 0 for weight in weights):
            raise ValueError(f"--data {text}: expected FOLDER=WEIGHT[:OUTSIDE[:UNLABELLED]] with numbers of at least 0")
        return Source(folder, *weights)


def read_photos(
    folder: Path, topology: Topology = COCO17, exclude: Sequence[str] = (), only: Sequence[str] | None = None
) -> list[Photo]:
    """Photos of a COCO-layout folder with the joints that `topology` knows, by name.

    A `teacher.json` beside the annotations (verdict of another network on left and right) is applied when it is there.
    Raises DataError naming the file: annotations that are none, images that are missing, numbers that no picture has, joints
    that have nothing in common with the topology.
    """
    with reading(folder / "annotations.json", COCO_LABELS):
        document = _document(folder / "annotations.json")
        names = _joint_names(document)
        labels = _Labels(folder, names, _columns(names, topology, folder), _verdicts(folder), topology)
        by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in document["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        skip, keep = set(exclude), None if only is None else set(only)
        return [
            labels.photo(image, by_image[image["id"]])
            for image in document["images"]
            if image["file_name"] not in skip and (keep is None or image["file_name"] in keep)
        ]


def held_out_photos(folder: Path, count: int, seed: int = 0) -> list[str]:
    """File names of `count` photos of split "test" to keep out of training, sorted; the same for the same seed.

    Drawn among photos with one labelled person whose left shoulder and right hip are labelled (the torso that scales PCK).
    Raises DataError as `read_photos`.
    """
    with reading(folder / "annotations.json", COCO_LABELS):
        eligible = _with_a_torso(_document(folder / "annotations.json"))
    chosen = np.random.default_rng(seed).permutation(len(eligible))[:count]
    return sorted(eligible[i] for i in chosen)


def _with_a_torso(document: Mapping[str, Any]) -> list[str]:
    names = _joint_names(document)
    if not {"left_shoulder", "right_hip"} <= set(names):
        raise ValueError(f"no left_shoulder and right_hip among {names!s:.200}")
    shoulder, hip = names.index("left_shoulder"), names.index("right_hip")
    people: dict[int, list[list[float]]] = defaultdict(list)
    for annotation in document["annotations"]:
        people[annotation["image_id"]].append(annotation["keypoints"])
    return sorted(
        image["file_name"]
        for image in document["images"]
        if image.get("split") == "test"
        and len(people[image["id"]]) == 1
        and min(people[image["id"]][0][3 * shoulder + 2], people[image["id"]][0][3 * hip + 2]) > 0
    )


def _joint_names(document: Mapping[str, Any]) -> list[str]:
    names = document["categories"][0]["keypoints"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"keypoints {names!r:.100} of the first category")
    return names


def _columns(names: Sequence[str], topology: Topology, folder: Path) -> list[tuple[int, int]]:
    columns = [(names.index(joint), j) for j, joint in enumerate(topology.joints) if joint in names]
    if not columns:
        raise DataError(f"{folder}: joints {names!s:.300} have nothing in common with {topology.name} {topology.joints}")
    return columns


def _verdicts(folder: Path) -> dict[int, dict[str, Any]]:
    path = folder / "teacher.json"
    if not path.is_file():
        return {}
    with reading(path, "people with annotation_id and verdict"):
        return {p["annotation_id"]: p for p in _document(path)["people"]}


def _document(path: Path) -> Any:
    if (size := path.stat().st_size) > LARGEST_JSON_BYTES:
        raise DataError(f"{path}: expected at most {LARGEST_JSON_BYTES >> 20} MiB, found {size} bytes")
    return json.loads(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class _Labels:
    """How annotations are read: names of their joints, (theirs, ours) of those we know, and a teacher's verdicts."""

    folder: Path
    names: Sequence[str]
    columns: Sequence[tuple[int, int]]
    verdicts: Mapping[int, Mapping[str, Any]]
    topology: Topology
    read: dict[str, bytes] = field(default_factory=dict)  # each file once, however often it is named

    def photo(self, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]]) -> Photo:
        """An image with those of its annotations that label somebody; the others are boxes to ignore."""
        name = image["file_name"]
        where = f"{self.folder / 'annotations.json'}: image {name!r:.100}"
        people, ignore = [], [boxes(where, image.get("ignore_boxes", []))]
        for annotation in annotations:
            box = boxes(where, annotation["bbox"])
            person = self._judged(annotation, self._person(where, annotation, *box))
            if person is None or annotation.get("iscrowd") or not person.labelled.any():
                ignore.append(box)
            else:
                people.append(person)
        return Photo(name, self._encoded(name), tuple(people), np.concatenate(ignore))

    def _person(self, where: str, annotation: Mapping[str, Any], box: Array) -> Person:
        table = pixels(where, annotation["keypoints"]).reshape(-1, 3)
        if len(table) != len(self.names):
            raise DataError(f"{where}: expected the {len(self.names)} joints of its category, found {len(table)}")
        xy, labelled = np.full((len(self.topology), 2), np.nan), np.zeros(len(self.topology), bool)
        for source, target in self.columns:
            if table[source, 2] > 0 and np.isfinite(table[source, :2]).all():
                xy[target], labelled[target] = table[source, :2], True
        return Person(xy, labelled, box, _area_px2(where, annotation), _head_px(table, self.names))

    def _judged(self, annotation: Mapping[str, Any], person: Person) -> Person | None:
        """The person as the teacher would have it, where there is a teacher."""
        if not self.verdicts:
            return person
        path = self.folder / "teacher.json"
        with reading(path, "people with annotation_id, verdict and face"):
            verdict = self.verdicts.get(annotation["id"])
            face = pixels(f"{path}: face of {annotation['id']!r:.50}", verdict.get("face") or []) if verdict else None
            return _apply_verdict(person, verdict, face, self.topology)

    def _encoded(self, name: str) -> bytes:
        if name not in self.read:
            path = _inside(self.folder / "images", name)
            if not path.is_file():  # nor what would never end, as a device
                raise DataError(
                    f"{self.folder}: annotations.json names images/{name:.200}, and images/ has no such file; copy it there or "
                    "take it out of the annotations"
                )
            self.read[name] = path.read_bytes()
        return self.read[name]


def _area_px2(where: str, annotation: Mapping[str, Any]) -> float:
    area_px2 = float(annotation.get("area", np.nan))
    if area_px2 < 0:
        raise DataError(f"{where}: expected an area of at least 0 px2, found {area_px2:g}")
    return area_px2 if np.isfinite(area_px2) else np.nan


def _inside(folder: Path, name: str) -> Path:
    """A file below a folder (a link may lead anywhere): annotations of others must not say what else is read here."""
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise DataError(f"{folder.parent}: file_name {name[:200]!r} leads out of images/")
    return path


def _head_px(table: Array, names: Sequence[str]) -> float:
    if "head_top" not in names or "neck" not in names:
        return float("nan")
    ends = table[[names.index("head_top"), names.index("neck")]]
    return float(np.linalg.norm(ends[0, :2] - ends[1, :2])) if (ends[:, 2] > 0).all() else float("nan")


# A mirrored verdict is right about half of the time unless the agreement with left and right exchanged is this high.
SWAP_AGREEMENT = 0.8
FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def _apply_verdict(person: Person, verdict: Mapping[str, Any] | None, face: Array | None, topology: Topology) -> Person | None:
    """The person as the teacher would have it, or None where the teacher contradicts the labels."""
    if verdict is None or verdict["verdict"] not in ("agree", "mirrored"):
        return None
    xy, labelled = person.xy_px.copy(), person.labelled.copy()
    if verdict["verdict"] == "mirrored":
        if (verdict.get("agree_swapped") or 0) < SWAP_AGREEMENT:
            return None
        xy, labelled = xy[list(topology.mirror)], labelled[list(topology.mirror)]
    for name, (x, y, seen) in zip(FACE, () if face is None else face, strict=False):
        if name in topology.joints and seen > 0 and np.isfinite(x + y):
            xy[topology.index(name)], labelled[topology.index(name)] = (x, y), True
    return replace(person, xy_px=xy, labelled=labelled)
