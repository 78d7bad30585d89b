"""Small pictures of virtual people in the studio's room, to train the generator on: whole bodies, nothing in the way.

OUT/images/000000.png ...   OUT/annotations.json (COCO keypoints; a joint inside the picture has v = 2)
Every picture has its own seed. The training images of the detector (`studio_images`) are harder: clutter, occluders, blur.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.camera import Camera
from calibration.transforms import look_at
from models.body import load_body
from models.motion import MOTIONS, jittered, random_pose
from models.skeleton import COCO17, box_xywh_px
from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.progress import progress
from pipeline.render import Image, Light, Renderer
from pipeline.samples import project_labels
from pipeline.studio_people import Actor, Posed, make_actor
from pipeline.studio_scene import room
from pipeline.types import Array

SIZE_PX = 112
# A new person and a new room after so many pictures.
PICTURES_PER_PERSON = 10
PAIRS = 0.15  # share of pictures with two people


def write_portraits(out_dir: Path | str, n: int, seed: int, size_px: int = SIZE_PX) -> Path:
    """Write n square pictures with their COCO annotations; returns the annotation file, which is written last."""
    if n < 1:
        raise InputError(f"n: expected at least one picture, got {n}")
    out = Path(out_dir)
    (out / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with progress("draw portraits", n, "pictures") as advance:
        for k, (picture, people) in enumerate(portraits(n, seed, size_px)):
            name = f"{k:06d}.png"
            cv2.imwrite(str(out / "images" / name), picture[..., ::-1])
            images.append({"id": k, "file_name": name, "width": size_px, "height": size_px})
            annotations += [_annotation(xy_px, k, len(annotations) + p) for p, xy_px in enumerate(people)]
            advance(1)
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    write_atomically(out / "annotations.json", json.dumps(content))
    return out / "annotations.json"


def portraits(n: int, seed: int, size_px: int = SIZE_PX) -> Iterator[tuple[Image, Array]]:
    """RGB uint8 pictures (S, S, 3) with the joints (P, 17, 2) of their people in px, NaN outside the picture."""
    body = load_body()
    for group in range(-(-n // PICTURES_PER_PERSON)):
        rng = np.random.default_rng((seed, group))
        actors = [make_actor(body, rng) for _ in range(2)]
        with Renderer((size_px, size_px)) as renderer:
            walls = [renderer.upload(mesh) for mesh in room(rng)]
            for _ in range(group * PICTURES_PER_PERSON, min(n, (group + 1) * PICTURES_PER_PERSON)):
                people = _people(actors, rng)
                camera = _camera(np.concatenate([person.joints_m for person in people]), rng, size_px)
                bodies = [renderer.upload(mesh) for person in people for mesh in person.meshes]
                renderer.shine(_light(rng), bodies)
                picture = renderer.draw(camera, [*bodies, *walls])[..., :3]
                renderer.release(bodies)
                yield np.ascontiguousarray(picture), project_labels(camera, np.stack([p.joints_m for p in people]))[0]


def _people(actors: list[Actor], rng: np.random.Generator) -> list[Posed]:
    """One of the actors, or both side by side."""
    at_m, facing_rad = rng.uniform(-0.8, 0.8, 2), rng.uniform(-np.pi, np.pi)
    chosen = int(rng.integers(2))
    first = actors[chosen].posed(_pose(rng), facing_rad, at_m, 0)
    if rng.random() >= PAIRS:
        return [first]
    aside_m = at_m + rng.uniform(0.7, 1.1) * np.array([np.cos(facing_rad), np.sin(facing_rad)])
    return [first, actors[1 - chosen].posed(_pose(rng), rng.uniform(-np.pi, np.pi), aside_m, 1)]


def _pose(rng: np.random.Generator) -> Array:
    if rng.random() < 0.8:
        motion = list(MOTIONS.values())[int(rng.integers(len(MOTIONS)))]
        return jittered(motion(rng.uniform(0, 2 * np.pi)), rng, 0.15)
    return random_pose(rng)


def _camera(joints_m: Array, rng: np.random.Generator, size_px: int) -> Camera:
    """A camera within the room that sees all joints (N, 3), at a height where people hold or mount one."""
    centre_m = joints_m.mean(0)
    around_rad, distance_m = rng.uniform(-np.pi, np.pi), rng.uniform(1.6, 2.3)
    eye_m = np.array([*(centre_m[:2] + distance_m * np.array([np.cos(around_rad), np.sin(around_rad)])), rng.uniform(0.8, 2.2)])
    pose = look_at(eye_m, centre_m)
    seen_m = pose.apply(joints_m)
    # the widest ray to a joint fills 0.7 to 0.9 of half the picture
    widest = float(np.abs(seen_m[:, :2] / seen_m[:, 2:]).max())
    focal_px = rng.uniform(0.7, 0.9) * size_px / 2 / widest
    middle_px = (size_px - 1) / 2
    return Camera("portrait", (size_px, size_px), np.array([[focal_px, 0, middle_px], [0, focal_px, middle_px], [0, 0, 1]]),
                  cam_from_world=pose)  # fmt: skip


def _light(rng: np.random.Generator) -> Light:
    """The studio's light from another side, dimmer or brighter."""
    level, turn_rad = rng.uniform(0.55, 1.15), rng.uniform(-np.pi, np.pi)
    usual = Light()
    return Light(
        (float(np.cos(turn_rad)), float(np.sin(turn_rad)), 1.0),
        tuple(level * v for v in usual.key_rgb),  # type: ignore[arg-type]
        usual.towards_fill,
        tuple(level * v for v in usual.fill_rgb),  # type: ignore[arg-type]
        tuple(level * v for v in usual.ambient_rgb),  # type: ignore[arg-type]
    )


def _annotation(xy_px: Array, image: int, number: int) -> dict[str, Any]:
    inside = np.asarray(np.isfinite(xy_px).all(1))
    triples = np.where(inside[:, None], np.c_[xy_px, np.full(len(xy_px), 2)], 0.0)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": np.round(triples, 2).ravel().tolist(),
        "num_keypoints": int(inside.sum()),
        "bbox": np.round(np.zeros(4) if (box := box_xywh_px(xy_px)) is None else box, 2).tolist(),
    }
