"""Virtual people for the studio: a shape, clothes and colours, put into poses and onto the floor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.body import SEGMENTS, Body, Shape, heaviest, skin
from models.skeleton import COCO17
from models.wardrobe import Garment
from pipeline.render import Image, Mesh, vertex_normals
from pipeline.studio_detail import Detail, clustered, full
from pipeline.visibility import Surface

Array = NDArray[np.float64]

# Display colours of skin from light to dark, and of hair.
SKIN_RGB = np.array([[0.95, 0.79, 0.69], [0.89, 0.69, 0.56], [0.75, 0.54, 0.41], [0.55, 0.37, 0.27], [0.38, 0.25, 0.18]])
HAIR_RGB = np.array([[0.1, 0.08, 0.07], [0.3, 0.19, 0.11], [0.55, 0.41, 0.22], [0.5, 0.5, 0.5], [0.42, 0.18, 0.1]])


@dataclass(frozen=True, eq=False)
class Layer:
    """One surface of a person at rest: rest_m (N, 3), faces (T, 3), sparse weights (N, B), part (N,), and what of it is drawn
    with rgb (M, 3) and uv (M, 2)."""

    rest_m: Array
    faces: NDArray[np.int64]
    weights: Any
    part: NDArray[np.int64]
    drawn: Detail
    rgb: Array
    uv: Array
    texture: Image | None = None
    closed: bool = False

    def mesh(self, xyz_m: Array) -> Mesh:
        """What is drawn when the vertices are at xyz_m (N, 3) in the world."""
        at_m, faces = xyz_m[self.drawn.kept], self.drawn.faces
        return Mesh(at_m, faces, self.rgb, vertex_normals(at_m, faces), self.uv, self.texture, closed=self.closed)


@dataclass(frozen=True, eq=False)
class Posed:
    """A person in the world at one instant: joints_m (J, 3) COCO-17, what to draw, and the surfaces that hide things."""

    joints_m: Array
    meshes: tuple[Mesh, ...]
    surfaces: tuple[Surface, ...]


@dataclass(frozen=True, eq=False)
class Actor:
    """A virtual person: the body's own surface is the first layer, garments follow."""

    body: Body
    shape: Shape
    layers: tuple[Layer, ...]

    def posed(self, pose: Array, yaw_rad: float, floor_m: Array, person: int) -> Posed:
        """The actor in `pose` (S, 3, 3), turned by yaw_rad, standing at floor_m (2,) with its lowest point on z = 0."""
        transforms = self.body.bone_transforms(self.shape, pose)
        layers_m = [skin(layer.weights, transforms, layer.rest_m) for layer in self.layers]
        lowest_m = min(xyz_m[:, 2].min() for xyz_m in layers_m)
        turn = Rotation.from_euler("z", yaw_rad).as_matrix()
        shift = np.array([*floor_m, -lowest_m])
        placed = [xyz_m @ turn.T + shift for xyz_m in layers_m]
        meshes = tuple(layer.mesh(xyz_m) for layer, xyz_m in zip(self.layers, placed, strict=True))
        surfaces = tuple(
            Surface(xyz_m, layer.faces, person, layer.part) for layer, xyz_m in zip(self.layers, placed, strict=True)
        )
        return Posed(self.body.posed_joints(self.shape, transforms) @ turn.T + shift, meshes, surfaces)

    def footing(self, pose: Array) -> tuple[Array, Array]:
        """Left and right foot (2, 3) relative to the pelvis, and which of the two is lower, as (2,) booleans."""
        transforms = self.body.bone_transforms(self.shape, pose)
        feet = [self.body.bone(f"{bone}.{side}") for side in "LR" for bone in ("foot", "toe3-1")]
        at = np.einsum("bij,bj->bi", transforms[feet, :3, :3], self.shape.heads_m[feet]) + transforms[feet, :3, 3]
        sole = at.reshape(2, 2, 3).mean(1)
        return sole, sole[:, 2] == sole[:, 2].min()


def make_actor(body: Body, rng: np.random.Generator, wardrobe: Sequence[Garment] = (), cell_m: float = 0.0) -> Actor:
    """A random grown-up: phenotype, skin and hair colours, clothes of the wardrobe, or painted ones without it.

    cell_m: drawn with one vertex per cube of this side; 0 draws every vertex.
    """
    female = rng.random() < 0.5
    phenotype = {
        "gender": float(female),
        "age": rng.uniform(0.5, 0.9),
        "muscle": rng.uniform(0.3, 0.8),
        "weight": rng.uniform(0.2, 0.8),
        "height": rng.uniform(0.35, 0.75),
        "proportions": rng.uniform(0.3, 0.8),
    }
    shape = body.shape(phenotype)
    garments = _outfit(wardrobe, female, rng)
    painted = _painted(body, shape, rng, dressed=bool(garments))
    hidden = np.zeros(len(shape.vertices_m), dtype=bool)
    for garment in garments:
        hidden[garment.hides[garment.hides < len(hidden)]] = True
    faces = body.faces[~hidden[body.faces].any(1)]
    used, remapped = np.unique(faces, return_inverse=True)
    surface = (shape.vertices_m[used], remapped.reshape(-1, 3), body.weights[used], body.part[used])
    # What clothes hide is cut out of the skin, but nobody looks into the rest from there.
    bare = replace(_layer(surface, painted[used], None, cell_m), closed=True)
    return Actor(body, shape, (bare, *(_worn(garment, body, shape, rng, cell_m) for garment in garments)))


def _layer(
    surface: tuple[Array, NDArray[np.int64], Any, NDArray[np.int64]], rgb: Array, texture: Image | None, cell_m: float
) -> Layer:
    rest_m, faces, _, part = surface
    drawn = clustered(rest_m, faces, part, cell_m) if cell_m else full(rest_m, faces)
    return Layer(*surface, drawn, rgb[drawn.kept], _cloth_uv(rest_m[drawn.kept]), texture)


def _outfit(wardrobe: Sequence[Garment], female: bool, rng: np.random.Generator) -> list[Garment]:
    def pick(choices: list[Garment]) -> list[Garment]:
        return [choices[rng.integers(len(choices))]] if choices else []

    suits = [g for g in wardrobe if g.kind == "suit" and g.name.startswith("female") == female]
    top = "hat" if rng.random() < 0.12 else "hair"
    outfit = pick(suits or [g for g in wardrobe if g.kind == "suit"])
    return outfit + [g for kind in ("shoes", top) for g in pick([g for g in wardrobe if g.kind == kind])]


def _worn(garment: Garment, body: Body, shape: Shape, rng: np.random.Generator, cell_m: float) -> Layer:
    rest_m = garment.fit(shape.vertices_m)
    weights, part = _hung(garment, body)
    rgb = np.tile(_cloth_rgb(rng), (len(rest_m), 1))
    texture = None
    if garment.kind == "hair":
        rgb[:] = HAIR_RGB[rng.integers(len(HAIR_RGB))] * rng.uniform(0.8, 1.2)
    elif garment.kind == "suit":
        waist_m = shape.heads_m[body.bone("upperleg01.L"), 2] + 0.06
        rgb[rest_m[:, 2] < waist_m] = _cloth_rgb(rng)
        texture = cloth_texture(rng)
    return _layer((rest_m, garment.faces, weights, part), np.clip(rgb, 0, 1), texture, cell_m)


@lru_cache(maxsize=256)
def _hung(garment: Garment, body: Body) -> tuple[Any, NDArray[np.int64]]:
    """Skinning weights and body parts of a garment; they do not depend on who wears it."""
    weights = garment.weights(body).tocsr()
    return weights, body.segment[heaviest(weights)]


def _cloth_uv(rest_m: Array) -> Array:
    """Texture coordinates (N, 2), one repeat per 0.4 m, wrapped around the upright body."""
    return np.stack([rest_m[:, 0] + 0.6 * rest_m[:, 1], rest_m[:, 2]], axis=1) / 0.4


def cloth_texture(rng: np.random.Generator) -> Image:
    """A woven pattern (64, 64, 3): plain, striped, checked or blotched, with thread noise."""
    side = 64
    y, x = np.mgrid[:side, :side]
    period = 2 ** rng.integers(2, 5)
    masks = (np.zeros((side, side)), (x // period) % 2, (y // period) % 2, ((x // period) + (y // period)) % 2)
    blotches = np.kron(rng.random((8, 8)), np.ones((8, 8)))
    mask = [*masks, blotches][rng.integers(5)][..., None]
    light, dark = np.ones(3), rng.uniform(0.3, 1, 3)
    woven = (light * (1 - mask) + dark * mask) * rng.uniform(0.9, 1.05, (side, side, 1))
    return (np.clip(woven, 0, 1) * 255).astype(np.uint8)


def _cloth_rgb(rng: np.random.Generator) -> Array:
    return np.clip(rng.random(3) * rng.uniform(0.5, 1.1) + rng.uniform(0, 0.35), 0.04, 1)


def _painted(body: Body, shape: Shape, rng: np.random.Generator, dressed: bool) -> Array:
    """Vertex colours (V, 3): skin and face, and painted shirt, trousers, shoes and hair where nothing is worn."""
    at, part = shape.vertices_m, np.array(SEGMENTS)[body.part]
    rgb = np.tile(np.clip(SKIN_RGB[rng.integers(len(SKIN_RGB))] * rng.uniform(0.92, 1.06), 0, 1), (len(at), 1))
    hair = HAIR_RGB[rng.integers(len(HAIR_RGB))]
    _paint_face(rgb, body, shape, hair)
    shirt, trousers, shoes = _cloth_rgb(rng), _cloth_rgb(rng), _cloth_rgb(rng) * 0.5
    sleeve = rng.uniform(0.3, 1.6)
    if dressed:
        return rgb
    waist_m = shape.heads_m[body.bone("upperleg01.L"), 2] + 0.06
    torso = np.isin(part, ["chest", "waist", "pelvis"])
    rgb[torso | _along_arm(body, shape, sleeve)] = shirt
    rgb[np.isin(part, ["left_thigh", "right_thigh", "left_shin", "right_shin"]) | (torso & (at[:, 2] < waist_m))] = trousers
    rgb[np.isin(part, ["left_foot", "right_foot"])] = shoes
    eyes_m = body.joints(at)[COCO17.index("left_eye")]
    ear_m = body.joints(at)[COCO17.index("left_ear")]
    scalp = (at[:, 2] > eyes_m[2] + 0.055) | ((at[:, 1] > ear_m[1] + 0.02) & (at[:, 2] > eyes_m[2] - 0.07))
    rgb[(part == "head") & scalp] = hair
    return rgb


def _along_arm(body: Body, shape: Shape, length: float) -> NDArray[np.bool_]:
    """Arm vertices nearer to the shoulder than `length` upper arms."""
    reach_m = np.full(len(shape.vertices_m), np.inf)
    names = np.array(SEGMENTS)[body.part]
    for side, letter in (("left", "L"), ("right", "R")):
        shoulder, elbow = (shape.heads_m[body.bone(f"{bone}.{letter}")] for bone in ("upperarm01", "lowerarm01"))
        arm = np.isin(names, [f"{side}_upper_arm", f"{side}_forearm"])
        reach_m[arm] = np.linalg.norm(shape.vertices_m[arm] - shoulder, axis=1) / np.linalg.norm(elbow - shoulder)
    return reach_m < length


def _paint_face(rgb: Array, body: Body, shape: Shape, hair_rgb: Array) -> None:
    at, names = shape.vertices_m, np.array(SEGMENTS)[body.part]
    joints = body.joints(at)
    nose = joints[COCO17.index("nose")]
    for side, letter in (("left", "L"), ("right", "R")):
        eye = joints[COCO17.index(f"{side}_eye")]
        ball = np.asarray(body.weights[:, body.bone(f"eye.{letter}")].toarray()).ravel() > 0.5
        rgb[ball] = 0.95
        rgb[ball & (np.linalg.norm((at - eye)[:, [0, 2]], axis=1) < 0.007)] = (0.12, 0.09, 0.07)
        away = at - eye
        brow = (np.abs(away[:, 0]) < 0.022) & (away[:, 2] > 0.014) & (away[:, 2] < 0.024) & (away[:, 1] < 0.02)
        rgb[brow & (names == "head")] = hair_rgb
    away = at - nose
    lips = (np.abs(away[:, 0]) < 0.022) & (away[:, 2] < -0.03) & (away[:, 2] > -0.05) & (np.abs(away[:, 1]) < 0.03)
    rgb[lips & (names == "head")] *= (0.85, 0.55, 0.55)
