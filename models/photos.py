"""Labelled photos: COCO-layout folders of any joint subset, read once and kept as encoded bytes."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.encoded_image import ImageError, decode_rgb
from models.skeleton import COCO17, Topology

Array = NDArray[Any]


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

    caption: what a generated image was asked to show; empty where nobody said.
    """

    file_name: str
    encoded: bytes
    people: tuple[Person, ...]
    ignore_boxes: Array
    caption: str = ""

    def image(self) -> Array:
        """(H, W, 3) uint8 RGB. Raises ValueError when the bytes are no image."""
        try:
            return decode_rgb(self.encoded)
        except ImageError as error:
            raise ValueError(f"{self.file_name}: {error}") from error


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
    Raises FileNotFoundError naming the first missing file, ValueError when the joints have nothing in common.
    """
    document = _document(folder / "annotations.json")
    names, columns = document["categories"][0]["keypoints"], _columns(document, topology, folder)
    verdicts = _verdicts(folder)
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in document["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    skip, keep = set(exclude), None if only is None else set(only)
    photos = []
    for image in document["images"]:
        name = image["file_name"]
        if name in skip or (keep is not None and name not in keep):
            continue
        photos.append(_photo(folder, image, by_image[image["id"]], names, columns, verdicts, topology))
    return photos


def held_out_photos(annotations: Mapping[str, Any], count: int, seed: int = 0) -> list[str]:
    """File names of `count` photos of split "test" to keep out of training, sorted; the same for the same seed.

    Drawn among photos with one labelled person whose left shoulder and right hip are labelled (the torso that scales PCK).
    """
    names = list(annotations["categories"][0]["keypoints"])
    shoulder, hip = names.index("left_shoulder"), names.index("right_hip")
    people: dict[int, list[list[float]]] = defaultdict(list)
    for annotation in annotations["annotations"]:
        people[annotation["image_id"]].append(annotation["keypoints"])
    eligible = sorted(
        image["file_name"]
        for image in annotations["images"]
        if image.get("split") == "test"
        and len(people[image["id"]]) == 1
        and min(people[image["id"]][0][3 * shoulder + 2], people[image["id"]][0][3 * hip + 2]) > 0
    )
    chosen = np.random.default_rng(seed).permutation(len(eligible))[:count]
    return sorted(eligible[i] for i in chosen)


def _columns(document: Mapping[str, Any], topology: Topology, folder: Path) -> list[tuple[int, int]]:
    names = document["categories"][0]["keypoints"]
    columns = [(names.index(joint), j) for j, joint in enumerate(topology.joints) if joint in names]
    if not columns:
        raise ValueError(f"{folder}: joints {names} have nothing in common with {topology.name} {topology.joints}")
    return columns


def _verdicts(folder: Path) -> dict[int, dict[str, Any]]:
    path = folder / "teacher.json"
    return {p["annotation_id"]: p for p in _document(path)["people"]} if path.exists() else {}


def _document(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except RecursionError as error:
        raise ValueError(f"{path}: nested deeper than any annotations") from error


def _photo(
    folder: Path,
    image: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    columns: Sequence[tuple[int, int]],
    verdicts: Mapping[int, Mapping[str, Any]],
    topology: Topology,
) -> Photo:
    people, ignore = [], [np.array(b, np.float64) for b in image.get("ignore_boxes", [])]
    for annotation in annotations:
        person: Person | None = _person(annotation, names, columns, topology)
        if verdicts and person is not None:
            person = _apply_verdict(person, verdicts.get(annotation["id"]), topology)
        if person is None or annotation.get("iscrowd") or not person.labelled.any():
            ignore.append(np.array(annotation["bbox"], np.float64))
        else:
            people.append(person)
    encoded = _inside(folder / "images", image["file_name"]).read_bytes()
    return Photo(image["file_name"], encoded, tuple(people), np.array(ignore, np.float64).reshape(-1, 4))


def _person(
    annotation: Mapping[str, Any], names: Sequence[str], columns: Sequence[tuple[int, int]], topology: Topology
) -> Person:
    table = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
    xy, labelled = np.full((len(topology), 2), np.nan), np.zeros(len(topology), bool)
    for source, target in columns:
        if table[source, 2] > 0:
            xy[target], labelled[target] = table[source, :2], True
    box = np.array(annotation["bbox"], np.float64)
    return Person(xy, labelled, box, float(annotation.get("area", np.nan)), _head_px(table, names))


def _inside(folder: Path, name: str) -> Path:
    """A file below a folder (a link may lead anywhere): annotations of others must not say what else is read here."""
    path = Path(os.path.normpath(folder / name))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise ValueError(f"{folder.parent}: file_name {name[:200]!r} leads out of images/")
    return path


def _head_px(table: Array, names: Sequence[str]) -> float:
    if "head_top" not in names or "neck" not in names:
        return float("nan")
    ends = table[[names.index("head_top"), names.index("neck")]]
    return float(np.linalg.norm(ends[0, :2] - ends[1, :2])) if (ends[:, 2] > 0).all() else float("nan")


# A mirrored verdict is right about half of the time unless the agreement with left and right exchanged is this high.
SWAP_AGREEMENT = 0.8
FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def _apply_verdict(person: Person, verdict: Mapping[str, Any] | None, topology: Topology) -> Person | None:
    """The person as the teacher would have it, or None where the teacher contradicts the labels."""
    if verdict is None or verdict["verdict"] not in ("agree", "mirrored"):
        return None
    xy, labelled = person.xy_px.copy(), person.labelled.copy()
    if verdict["verdict"] == "mirrored":
        if (verdict.get("agree_swapped") or 0) < SWAP_AGREEMENT:
            return None
        xy, labelled = xy[list(topology.mirror)], labelled[list(topology.mirror)]
    for name, (x, y, seen) in zip(FACE, verdict.get("face") or [], strict=False):
        if name in topology.joints and seen > 0:
            xy[topology.index(name)], labelled[topology.index(name)] = (x, y), True
    return replace(person, xy_px=xy, labelled=labelled)
