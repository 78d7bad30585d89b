"""Little labelled folders for the tests of photos and training: one bright square per joint."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.skeleton import COCO17

JOINTS = list(COCO17.joints)


def picture(xy: NDArray[np.float64], size_wh: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    """A dim noisy picture with a bright square at each joint; its colour tells which joint it is."""
    image = np.random.default_rng(seed).integers(0, 40, (size_wh[1], size_wh[0], 3), np.uint8)
    for j, (x, y) in enumerate(xy):
        colour = (100 + 9 * j, 255 - 9 * j, 255 if j % 2 else 120)
        cv2.rectangle(image, (round(x) - 2, round(y) - 2), (round(x) + 2, round(y) + 2), colour, -1)
    return image


def standing(size_wh: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    """(17, 2) a stick person upright and facing us (its left on the picture's right), a little different each time."""
    shares = [
        (0.5, 0.1), (0.54, 0.08), (0.46, 0.08), (0.58, 0.1), (0.42, 0.1), (0.65, 0.22), (0.35, 0.22), (0.72, 0.38),
        (0.28, 0.38), (0.75, 0.52), (0.25, 0.52), (0.6, 0.52), (0.4, 0.52), (0.62, 0.72), (0.38, 0.72),
        (0.63, 0.92), (0.37, 0.92),
    ]  # fmt: skip
    return (np.array(shares) + rng.normal(0, 0.01, (17, 2))) * np.array(size_wh)


def write_folder(folder: Path, count: int = 4, size_wh: tuple[int, int] = (80, 120), **image_fields: Any) -> Path:
    """A COCO-layout folder of `count` PNG pictures of one person each; every joint labelled."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(count):
        xy = standing(size_wh, rng)
        low, high = xy.min(0) - 4, xy.max(0) + 4
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture(xy, size_wh, number)[..., ::-1])
        images.append({"id": number, "file_name": f"{number}.png", "width": size_wh[0], "height": size_wh[1], **image_fields})
        annotations.append({
            "id": 100 + number, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": [*low, *(high - low)],
            "area": float(np.prod(high - low)), "keypoints": np.column_stack([xy, np.full(17, 2)]).ravel().tolist(),
        })  # fmt: skip
    write_document(folder, {"images": images, "annotations": annotations, "categories": [{"id": 1, "keypoints": JOINTS}]})
    return folder


def document(folder: Path) -> dict[str, Any]:
    """The annotations of a folder, to be changed and written back."""
    content: dict[str, Any] = json.loads((folder / "annotations.json").read_text())
    return content


def write_document(folder: Path, content: dict[str, Any]) -> None:
    """Write the annotations of a folder."""
    (folder / "annotations.json").write_text(json.dumps(content))
