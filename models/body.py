"""Parametric people: anny bodies (CC0 MakeHuman assets), their shapes, linear blend skinning and COCO-17 joints.

Body frame: the subject's left is +x, the front -y, up +z, metres; the rest pose stands with arms held away from the sides.
Letters: V vertices, B bones, S segments, J joints. Needs no download. Building the body the first time takes about a minute;
the result (72 MB) is kept in ANNY_CACHE_DIR, by default ~/.cache/posemill/anny.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.skeleton import COCO17

Array = NDArray[np.float64]

# The rigid pieces a pose turns. Limbs are neutral when they hang straight down; the others are neutral at rest.
SEGMENTS = (
    "pelvis", "waist", "chest", "neck", "head", "left_upper_arm", "left_forearm", "left_thigh", "left_shin", "left_foot",
    "right_upper_arm", "right_forearm", "right_thigh", "right_shin", "right_foot",
)  # fmt: skip

# Bone name prefix -> segment; the first that fits. {side} becomes left or right.
_BONE_SEGMENTS = (
    ("root", "pelvis"), ("pelvis", "pelvis"), ("spine05", "pelvis"), ("spine04", "pelvis"), ("spine03", "waist"),
    ("spine", "chest"), ("clavicle", "chest"), ("shoulder", "chest"), ("neck", "neck"), ("head", "head"), ("eye", "head"),
    ("upperarm", "{side}_upper_arm"), ("lowerarm", "{side}_forearm"), ("wrist", "{side}_forearm"),
    ("finger", "{side}_forearm"), ("metacarpal", "{side}_forearm"), ("upperleg", "{side}_thigh"),
    ("lowerleg", "{side}_shin"), ("foot", "{side}_foot"), ("toe", "{side}_foot"),
)  # fmt: skip

# Segment -> the bones whose heads give its direction, which is turned to hang straight down.
_HANGING = {
    "upper_arm": ("upperarm01", "lowerarm01"),
    "forearm": ("lowerarm01", "wrist"),
    "thigh": ("upperleg01", "lowerleg01"),
    "shin": ("lowerleg01", "foot"),
}

# Shape parameters of anny, each 0..1: gender 0 male 1 female; age 0.67 is a young adult.
PHENOTYPES = ("gender", "age", "muscle", "weight", "height", "proportions")


@dataclass(frozen=True, eq=False)
class Shape:
    """One person's rest body. vertices_m (V, 3), heads_m (B, 3): where bones start, both in the body frame."""

    vertices_m: Array
    heads_m: Array


@dataclass(frozen=True, eq=False)
class Body:
    """The body that all people share.

    bones (B,) names; parents (B,) index or -1; segment (B,) index into SEGMENTS; faces (T, 3) into V vertices; weights (V, B)
    sparse, rows sum to 1; joint_weights (J, V) sparse; part (V,) index into SEGMENTS of the bone that moves a vertex most.
    """

    bones: tuple[str, ...]
    parents: NDArray[np.int64]
    segment: NDArray[np.int64]
    faces: NDArray[np.int64]
    weights: Any
    joint_weights: Any
    part: NDArray[np.int64]
    anny: Any

    def bone(self, name: str) -> int:
        """Index of a bone by anny's name."""
        return self.bones.index(name)

    def shape(self, phenotype: Mapping[str, float] | None = None) -> Shape:
        """The rest body of a phenotype (PHENOTYPES -> 0..1; the rest stays average). Raises ValueError for unknown names."""
        import torch

        wanted = dict(phenotype or {})
        unknown = sorted(set(wanted) - set(PHENOTYPES))
        if unknown:
            raise ValueError(f"phenotype: expected some of {', '.join(PHENOTYPES)}, got {', '.join(unknown)}")
        numbers = {name: torch.tensor([float(value)]) for name, value in wanted.items()}
        with torch.no_grad():
            # What anny's forward does up to its rest pose: orienting bones and skinning would take three times as long again.
            model = self.anny
            share = model._get_phenotype_blendshape_coefficients(*model.get_tensor_inputs(None, numbers, None, None)[1:])
            heads = model.template_bone_heads[None] + torch.einsum("ba,akc->bkc", share, model.bone_heads_blendshapes)
            rest = model.get_rest_vertices(share)
        return Shape(rest[0].numpy().astype(np.float64), heads[0].numpy().astype(np.float64))

    def bone_transforms(self, shape: Shape, pose: Array) -> Array:
        """body_from_rest (B, 4, 4) of every bone for a pose (S, 3, 3): absolute rotations of SEGMENTS in the body frame.

        The pelvis keeps its place. A pose of identities is the neutral stance: limbs hang straight down.
        """
        if np.shape(pose) != (len(SEGMENTS), 3, 3):
            raise ValueError(f"pose: expected rotations ({len(SEGMENTS)}, 3, 3), got {np.shape(pose)}")
        return self.chain(shape, (pose @ self._hang(shape))[self.segment])

    def chain(self, shape: Shape, rotation: Array) -> Array:
        """body_from_rest (B, 4, 4) when every bone turns by rotation (B, 3, 3) about its head (forward kinematics)."""
        head = np.zeros((len(self.bones), 3))
        for b, parent in enumerate(self.parents):
            offset = shape.heads_m[b] if parent < 0 else shape.heads_m[b] - shape.heads_m[parent]
            head[b] = offset if parent < 0 else head[parent] + rotation[parent] @ offset
        out = np.zeros((len(self.bones), 4, 4))
        out[:, :3, :3] = rotation
        out[:, :3, 3] = head - np.einsum("bij,bj->bi", rotation, shape.heads_m)
        out[:, 3, 3] = 1
        return out

    def _hang(self, shape: Shape) -> Array:
        turn = np.tile(np.eye(3), (len(SEGMENTS), 1, 1))
        for side, letter in (("left", "L"), ("right", "R")):
            for limb, (start, end) in _HANGING.items():
                along = shape.heads_m[self.bone(f"{end}.{letter}")] - shape.heads_m[self.bone(f"{start}.{letter}")]
                turn[SEGMENTS.index(f"{side}_{limb}")] = _turn_onto(along, np.array([0.0, 0.0, -1.0]))
        return turn

    def joints(self, vertices_m: Array) -> Array:
        """COCO-17 joints (J, 3) of body vertices (V, 3), same frame and unit."""
        return self.joint_weights @ vertices_m

    def posed_joints(self, shape: Shape, transforms: Array) -> Array:
        """COCO-17 joints (J, 3) of a shape moved by bones (B, 4, 4), body frame; equals `joints` of the skinned body."""
        support, weights, joint_weights = self._joint_support
        return joint_weights @ skin(weights, transforms, shape.vertices_m[support])

    @cached_property
    def _joint_support(self) -> tuple[NDArray[np.int64], Any, Any]:
        """The few vertices that joints depend on, with their skinning and joint weights."""
        support = np.unique(self.joint_weights.indices)
        return support, self.weights[support], self.joint_weights[:, support]


def skin(weights: Any, transforms: Array, rest_m: Array) -> Array:
    """Linear blend skinning: rest vertices (N, 3) moved by bones (B, 4, 4) with sparse weights (N, B) -> (N, 3)."""
    blended = (weights @ transforms.reshape(len(transforms), 16)).reshape(-1, 4, 4)
    return np.einsum("nij,nj->ni", blended[:, :3, :3], rest_m) + blended[:, :3, 3]


@lru_cache(maxsize=1)
def load_body() -> Body:
    """The anny body on the MakeHuman base mesh, so that MakeHuman clothes fit. Raises ImportError naming what to install."""
    model, joints = _anny()
    bones = tuple(model.bone_labels)
    segment = np.array([SEGMENTS.index(_segment_of(bone)) for bone in bones])
    weights = _sparse_weights(model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy(), len(bones))
    part = segment[heaviest(weights)]
    return Body(bones, np.array(model.bone_parents), segment, model.faces.numpy(), weights, joints, part, model)


def _anny() -> tuple[Any, Any]:
    import torch
    from scipy.sparse import csr_matrix

    try:
        import anny
        from anny.models.model_data import TopologyConfig
        from anny.paths import set_anny_cache_path
    except ImportError as error:
        raise ImportError(
            f"virtual people need anny ({error}): pip install roma && pip install --no-deps 'anny==0.6.*'"
        ) from error
    topology = TopologyConfig(base_mesh="makehuman", remove_unattached_vertices=False)
    with _cache_folder() as folder:
        set_anny_cache_path(folder)
        model = anny.Anny(topology=topology, skinning_method="lbs").to(torch.float32)
    regressor = anny.KeypointsRegressor.coco(model, labels=list(COCO17.joints))
    return model, csr_matrix(regressor.regression_weights.numpy().astype(np.float64))


class _cache_folder:
    """anny's cache: an existing one as it is; a new one is built aside, and only its compact end result is moved in.

    The end result is 72 MB; the two intermediate files beside it take 860 MB and are read again only after a change of anny.
    """

    def __enter__(self) -> Path:
        self.final = Path(os.environ.get("ANNY_CACHE_DIR") or Path.home() / ".cache" / "posemill" / "anny")
        self.aside: Path | None = None
        if any(self.final.glob("*/build_compact_model_data_*.safetensors")):
            return self.final
        self.final.mkdir(parents=True, exist_ok=True)
        self.aside = Path(tempfile.mkdtemp(prefix=".building-", dir=self.final))
        return self.aside

    def __exit__(self, kind: object, *_: object) -> None:
        if self.aside is None:
            return
        if kind is None:
            for built in self.aside.glob("*/build_compact_model_data_*.safetensors"):
                target = self.final / built.parent.name
                target.mkdir(exist_ok=True)
                built.replace(target / built.name)
        shutil.rmtree(self.aside, ignore_errors=True)


def _segment_of(bone: str) -> str:
    side = "right" if bone.endswith(".R") else "left"
    for prefix, segment in _BONE_SEGMENTS:
        if bone.startswith(prefix):
            return segment.format(side=side)
    raise ValueError(f"anny has a bone {bone!r} that no segment owns; expected the default rig of anny 0.6")


def _sparse_weights(indices: NDArray[np.int64], weights: NDArray[np.float32], bones: int) -> Any:
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(indices)), indices.shape[1])
    full = csr_matrix((weights.ravel().astype(np.float64), (rows, indices.ravel())), shape=(len(indices), bones))
    full.eliminate_zeros()
    return full


def heaviest(weights: Any) -> NDArray[np.int64]:
    """(N,) the bone of the largest weight in every row of sparse weights (N, B), none of them empty, the first of equals."""
    weights = weights.tocsr()
    starts = weights.indptr[:-1]
    largest = np.repeat(np.maximum.reduceat(weights.data, starts), np.diff(weights.indptr))
    bone = np.where(weights.data == largest, weights.indices, weights.shape[1])
    return np.asarray(np.minimum.reduceat(bone, starts), np.int64)


def _turn_onto(a: Array, b: Array) -> Array:
    """The smallest rotation (3, 3) that turns direction a onto direction b, which must not be opposite (Rodrigues)."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    v = np.cross(a, b)
    skew = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + a @ b)
