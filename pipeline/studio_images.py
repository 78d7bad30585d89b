"""Labelled training images from the virtual studio: one to four people who hide each other, exact COCO-17 labels.

Every image has its own seed, so a run can be split or extended and gives the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.lens import distort
from calibration.transforms import Rigid, look_at
from models.body import Body, load_body
from models.motion import MOTIONS, clip_frames, clip_pose, jittered, random_pose
from models.wardrobe import Garment, load_wardrobe
from pipeline.errors import InputError
from pipeline.render import Image, Light, Mesh, Renderer, vertex_normals
from pipeline.studio import coco_flags, laid_over
from pipeline.studio_backdrops import SIZE_PX, background, background_photos, spoiled
from pipeline.studio_people import Actor, Posed, cloth_texture, make_actor
from pipeline.studio_scene import FLOOR_DROP_M, ROOM_M, grid_mesh, plank_texture, room
from pipeline.visibility import Surface, seen

Array = NDArray[np.float64]

# A new set of people after so many images: 4000 images show about 2000 different people.
ACTORS, IMAGES_PER_CAST = 4, 8
CAMERA_TRIES = 30  # three in four show a person whole
# Side of the shadow map: 6 m across, so 12 mm, about a pixel of a person who fills half of the picture.
SHADOW_PX = 512
# People are drawn with one vertex per cube of this side: two pixels of a person who fills the picture.
CELL_M = 0.01


@dataclass(frozen=True, eq=False)
class Labelled:
    """One image (H, W, 3) and its people: xy_px (P, J, 2), flags (P, J) as COCO's v, boxes_px (P, 4) x y width height,
    joints_m (P, J, 3) world."""

    image: Image
    xy_px: Array
    flags: NDArray[np.int64]
    boxes_px: Array
    joints_m: Array


Draw = Callable[[Renderer, Sequence[Actor], np.random.Generator], Labelled]


def training_images(
    n: int, seed: int, wardrobe: Path | str | None = None, photos: Path | str | None = None, first: int = 0
) -> Iterator[Labelled]:
    """The images of a seed, one after the other: n of them from number `first` on."""
    return _drawn_by_casts(range(first, first + n), seed, wardrobe, partial(draw_image, photos=background_photos(photos)))


def cutouts(n: int, seed: int, wardrobe: Path | str | None = None) -> Iterator[Labelled]:
    """n whole people, one to a picture, on nothing (RGBA)."""
    return _drawn_by_casts(range(n), seed, wardrobe, draw_cutout)


def _drawn_by_casts(numbers: range, seed: int, wardrobe: Path | str | None, draw: Draw) -> Iterator[Labelled]:
    try:
        garments = load_wardrobe(wardrobe) if wardrobe else ()
    except ValueError as error:
        raise InputError(str(error)) from error
    body, last = load_body(), -(-numbers.stop // IMAGES_PER_CAST)
    # One device for the whole run: every new one compiles its shaders again.
    with Renderer((SIZE_PX, SIZE_PX), shadow_px=SHADOW_PX) as renderer:
        for cast in range(numbers.start // IMAGES_PER_CAST, last):
            actors = _cast(body, garments, np.random.default_rng((seed, cast)))
            own = range(cast * IMAGES_PER_CAST, (cast + 1) * IMAGES_PER_CAST)
            for k in range(max(numbers.start, own.start), min(numbers.stop, own.stop)):
                yield draw(renderer, actors, np.random.default_rng((seed, k, 0)))
            renderer.release_textures()


def _cast(body: Body, garments: Sequence[Garment], rng: np.random.Generator) -> list[Actor]:
    # One in four wears painted clothes even where real ones are at hand.
    return [make_actor(body, rng, garments if rng.random() < 0.75 else (), CELL_M) for _ in range(ACTORS)]


def draw_image(renderer: Renderer, actors: Sequence[Actor], rng: np.random.Generator, photos: Sequence[Image]) -> Labelled:
    """One labelled image of one to four of the actors."""
    chosen = rng.permutation(len(actors))[: rng.choice([1, 2, 3, 4], p=[0.45, 0.3, 0.15, 0.1])]
    view_rad = rng.uniform(-np.pi, np.pi)
    spots = _spots(len(chosen), view_rad, rng)
    people = [actors[a].posed(_pose(rng), rng.uniform(-np.pi, np.pi), spots[p], p) for p, a in enumerate(chosen)]
    camera = _camera(people[0].joints_m, view_rad, rng)
    things = [_thing(people[0].joints_m, camera, rng)] if rng.random() < 0.25 else []
    image = _drawn(renderer, camera, people, things, photos, rng)
    joints_m = np.stack([person.joints_m for person in people])
    surfaces = [surface for person in people for surface in person.surfaces]
    surfaces += [Surface(mesh.xyz_m, mesh.faces, -1, np.zeros(len(mesh.xyz_m), int)) for mesh in things]
    xy_px = camera.project(joints_m.reshape(-1, 3)).reshape(*joints_m.shape[:2], 2)
    flags = coco_flags(xy_px, seen(camera, joints_m, surfaces), camera.size_wh)
    boxes_px = np.stack([_box(camera, person) for person in people])
    return Labelled(spoiled(image, rng), xy_px, flags, boxes_px, joints_m)


def draw_cutout(renderer: Renderer, actors: Sequence[Actor], rng: np.random.Generator) -> Labelled:
    """One of the actors alone and whole; the image is RGBA (H, W, 4), not premultiplied, clear beside her."""
    view_rad = rng.uniform(-np.pi, np.pi)
    person = actors[int(rng.integers(len(actors)))].posed(_pose(rng), rng.uniform(-np.pi, np.pi), np.zeros(2), 0)
    camera, box_px = _whole(person, view_rad, rng)
    drawables = [renderer.upload(mesh) for mesh in person.meshes]
    renderer.shine(_light(rng), drawables)
    picture = renderer.draw(camera, drawables)
    renderer.release(drawables)
    straight = picture[..., :3].astype(np.float64) * 255 / np.maximum(picture[..., 3:], 1)
    image = np.concatenate([np.minimum(straight, 255).astype(np.uint8), picture[..., 3:]], axis=-1)
    xy_px = camera.project(person.joints_m)[None]
    flags = coco_flags(xy_px, seen(camera, person.joints_m[None], list(person.surfaces)), camera.size_wh)
    return Labelled(image, xy_px, flags, box_px[None], person.joints_m[None])


def _whole(person: Posed, view_rad: float, rng: np.random.Generator) -> tuple[Camera, Array]:
    """A camera whose picture ends nowhere on the person, and her box; the last of many tries where none is found."""
    for _ in range(CAMERA_TRIES):
        camera = _camera(person.joints_m, view_rad, rng)
        box_px = _box(camera, person)
        if (box_px[:2] > 1).all() and (box_px[:2] + box_px[2:] < SIZE_PX - 1).all():
            break
    return camera, box_px


def _spots(count: int, view_rad: float, rng: np.random.Generator) -> Array:
    """Floor positions (P, 2) m: the first in the middle, the others beside, in front of or behind it."""
    across, along = np.array([-np.sin(view_rad), np.cos(view_rad)]), np.array([np.cos(view_rad), np.sin(view_rad)])
    spots = [np.zeros(2)]
    for k in range(1, count):
        side = (-1) ** k * rng.uniform(0.15, 0.9)
        depth = rng.uniform(0.45, 1.4) * rng.choice([-1, 1]) if abs(side) < 0.55 else rng.uniform(-1, 0.7)
        spots.append(side * across + depth * along)
    return np.stack(spots)


def _pose(rng: np.random.Generator) -> Array:
    clips, draw = clip_frames(), rng.random()
    if draw < 0.38 and len(clips):
        return jittered(clip_pose(clips[rng.integers(len(clips))]), rng)
    if draw < 0.65:
        motion = list(MOTIONS.values())[rng.integers(len(MOTIONS))]
        return jittered(motion(rng.uniform(0, 2 * np.pi)), rng, 0.15)
    return random_pose(rng)


def _camera(joints_m: Array, view_rad: float, rng: np.random.Generator) -> Camera:
    """A camera on the side view_rad of a person (J, 3) that fills 0.4 to 1.3 of the picture, with a random lens and roll."""
    focal_px = SIZE_PX * rng.uniform(0.8, 2.0)
    extent_m = max(1.0, np.ptp(joints_m, axis=0).max() * 1.15)
    distance_m = max(
        1.0, focal_px * extent_m / (SIZE_PX * rng.choice([rng.uniform(0.4, 0.95), rng.uniform(0.95, 1.3)], p=[0.8, 0.2]))
    )
    centre = joints_m.mean(0) + rng.normal(0, 0.1, 3)
    rise = rng.uniform(-0.05, 0.45) if rng.random() < 0.85 else rng.uniform(0.45, 0.9)
    eye = centre + distance_m * np.array([np.cos(view_rad) * np.cos(rise), np.sin(view_rad) * np.cos(rise), np.sin(rise)])
    eye[2] = max(eye[2], 0.15)
    roll = Rigid.from_rvec([0, 0, rng.normal(0, 0.1)], np.zeros(3))
    K = np.array([[focal_px, 0, (SIZE_PX - 1) / 2], [0, focal_px, (SIZE_PX - 1) / 2], [0, 0, 1]])
    dist = np.array([rng.uniform(-0.2, 0.05), rng.uniform(0, 0.05), 0, 0, 0])
    return Camera("virtual", (SIZE_PX, SIZE_PX), K, dist, "brown", roll @ look_at(eye, centre))


def _thing(joints_m: Array, camera: Camera, rng: np.random.Generator) -> Mesh:
    """A textured box standing between the camera and a part of a person (J, 3)."""
    target = joints_m[rng.integers(len(joints_m))]
    towards = camera.centre_m - target
    centre = target + towards / np.linalg.norm(towards) * rng.uniform(0.35, 0.7)
    half = rng.uniform(0.05, 0.3, 3)
    corners = np.array(list(np.ndindex(2, 2, 2))) * 2.0 - 1
    yaw = Rigid.from_rvec([0, 0, rng.uniform(0, np.pi)], centre)
    sides = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    xyz_m = yaw.apply((corners * half)[sides.ravel()])
    first = np.arange(6) * 4
    faces = np.concatenate([np.stack([first, first + 1, first + 2], 1), np.stack([first, first + 2, first + 3], 1)])
    uv = np.tile([[0.0, 0], [1, 0], [1, 1], [0, 1]], (6, 1)) * rng.uniform(1, 4)
    rgb = np.tile(rng.uniform(0.2, 1, 3), (24, 1))
    return Mesh(xyz_m, faces, rgb, vertex_normals(xyz_m, faces), uv, cloth_texture(rng))


def _drawn(
    renderer: Renderer, camera: Camera, people: Sequence[Posed], things: Sequence[Mesh], photos: Sequence[Image],
    rng: np.random.Generator,
) -> Image:  # fmt: skip
    # Seen from outside, the room's walls would stand before its people.
    indoors = rng.random() < 0.4 and bool((np.abs(camera.centre_m - [0, 0, ROOM_M[2] / 2]) < np.array(ROOM_M) / 2 - 0.1).all())
    front = [renderer.upload(mesh) for person in people for mesh in person.meshes]
    front += [renderer.upload(mesh) for mesh in things]
    back = [renderer.upload(mesh) for mesh in (_indoors(rng) if indoors else [_shadow_floor()])]
    renderer.shine(_light(rng), front)
    picture = renderer.draw(camera, [*front, *back])
    renderer.release([*front, *back])
    return laid_over(picture, background(photos, rng))


def _indoors(rng: np.random.Generator) -> list[Mesh]:
    meshes = room(rng)
    if rng.random() < 0.5:
        floor = meshes[0]
        texture = plank_texture(rng) if rng.random() < 0.4 else cloth_texture(rng)
        meshes[0] = replace(floor, texture=texture, rgb=floor.rgb * rng.uniform(0.5, 1.0, 3))
    return [replace(mesh, rgb=mesh.rgb * rng.uniform(0.6, 1.0, 3)) if k else mesh for k, mesh in enumerate(meshes)]


def _shadow_floor() -> Mesh:
    corner = np.array([-3.0, -3.0, -FLOOR_DROP_M])
    return replace(grid_mesh(corner, np.array([6.0, 0, 0]), np.array([0, 6.0, 0])), shadow_only=True)


def _light(rng: np.random.Generator) -> Light:
    """Light from anywhere above, bright enough to see by: ambient and key together expose a grey card well."""
    key, fill = (tuple(v + np.array([0, 0, up])) for v, up in zip(rng.normal(0, 1, (2, 3)), (1.3, 0.5), strict=True))
    key_up = (key[0], key[1], max(key[2], 0.3))
    ambient = rng.uniform(0.4, 0.7)
    colours = [
        tuple(level * rng.uniform(0.88, 1.08, 3)) for level in (rng.uniform(0.35, 0.75), rng.uniform(0.05, 0.3), ambient)
    ]
    return Light(key_up, colours[0], fill, colours[1], colours[2], rng.uniform(0, 0.15), (0.0, 0.0, 0.8), 3.0)


def _box(camera: Camera, person: Posed) -> Array:
    """x, y, width, height of a person's own surface inside the picture, in px, COCO's corner convention."""
    cam_m = camera.cam_from_world.apply(np.concatenate([surface.xyz_m for surface in person.surfaces]))
    x, y, z = cam_m[cam_m[:, 2] > 1e-9].T
    if not len(z):
        return np.zeros(4)
    bent = distort(x / z, y / z, camera.dist, camera.lens)
    across, down = (camera.K[k, k] * v + camera.K[k, 2] + 0.5 for k, v in enumerate(bent))
    low, high = (np.clip([pick(across), pick(down)], 0, SIZE_PX) for pick in (np.min, np.max))
    return np.concatenate([low, high - low])
