"""The records that pass between stages: frozen, and checked on construction.

Letters: P people, J joints, K tag dimensions, H x W pixels. Missing coordinate = NaN and score 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.skeleton import COCO17, Topology

Array = NDArray[np.float64]


def _check(owner: str, value: Any, letters: str, sizes: dict[str, int]) -> Array:
    """`value` as float64 with the shape that `letters` names; letters met before must agree."""
    array = np.asarray(value, dtype=np.float64)
    wanted = letters.split()
    fits = array.ndim == len(wanted)
    for letter, size in zip(wanted, array.shape, strict=False):
        fits = fits and size == (int(letter) if letter.isdigit() else sizes.setdefault(letter, size))
    if not fits:
        shape = ", ".join(w if w.isdigit() or w not in sizes else f"{w}={sizes[w]}" for w in wanted)
        raise ValueError(f"{owner}: expected ({shape}), got {array.shape}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of one camera. image: RGB uint8 (H, W, 3); index: frame number in its source; t_ns: session clock."""

    camera: str
    index: int
    t_ns: int
    image: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"Frame.image: expected RGB uint8 (H, W, 3), got {self.image.dtype} {self.image.shape}")


@dataclass(frozen=True, eq=False)
class FrameSet:
    """What all cameras saw at one instant: frames in rig order, None where a camera has none; spread_ns = max - min time."""

    t_ns: int
    frames: tuple[Frame | None, ...]
    spread_ns: int = 0


@dataclass(frozen=True, eq=False)
class Poses2D:
    """People in one image. xy_px (P, J, 2) in the clip's own pixels, score (P, J) in 0..1, tag (P, K).

    late_s: how much later than the instant t_ns the image was taken, negative for earlier.
    """

    camera: str
    t_ns: int
    xy_px: Array
    score: Array
    tag: Array
    late_s: float = 0.0

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, letters in (("xy_px", "P J 2"), ("score", "P J"), ("tag", "P K")):
            object.__setattr__(self, name, _check(f"Poses2D.{name}", getattr(self, name), letters, sizes))

    def __len__(self) -> int:
        return len(self.xy_px)


@dataclass(frozen=True, eq=False)
class Skeletons3D:
    """People at one instant. person (P,) identities; xyz_m (P, J, 3) world, as the views give it; score (P, J); error_px (P, J)
    mean reprojection error over the views used; n_views (P, J); covariance_m2 (P, J, 3, 3) or None.

    smooth_m (P, J, 3): the joints as their track over time gives them, gaps filled; smooth_sigma_m (P, J): 1 sigma of a
    coordinate of them. Both None where tracks were not smoothed.
    """

    t_ns: int
    person: NDArray[np.int64]
    xyz_m: Array
    score: Array
    error_px: Array
    n_views: NDArray[np.int64]
    covariance_m2: Array | None = None
    smooth_m: Array | None = None
    smooth_sigma_m: Array | None = None

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, letters in (("person", "P"), ("xyz_m", "P J 3"), ("score", "P J"), ("error_px", "P J"), ("n_views", "P J")):
            object.__setattr__(self, name, _check(f"Skeletons3D.{name}", getattr(self, name), letters, sizes))
        for name, letters in (("covariance_m2", "P J 3 3"), ("smooth_m", "P J 3"), ("smooth_sigma_m", "P J")):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _check(f"Skeletons3D.{name}", values, letters, sizes))
        object.__setattr__(self, "person", self.person.astype(np.int64))
        object.__setattr__(self, "n_views", self.n_views.astype(np.int64))

    def __len__(self) -> int:
        return len(self.person)

    def take(self, people: ArrayLike) -> Skeletons3D:
        """Some of the people, by index or by a mask (P,)."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "t_ns"}
        taken: dict[str, Any] = {name: None if v is None else v[people] for name, v in values.items()}
        return replace(self, **taken)


@dataclass(frozen=True, eq=False)
class Sample:
    """One training image with its labels.

    image: encoded JPEG or PNG bytes; size_wh px; people P with xy_px (P, J, 2), xyz_m (P, J, 3) world, visible (P, J) 0/1/2 as
    in COCO; origin captured or generated; prompt, seed, generator and parent (id of the captured sample) only when generated;
    verdict accepted or rejected with its reasons; oks (P,) and drift_px (P, J) of a generated sample's label check;
    person (P,) identities within the clip, -1 where nobody knows (the default);
    ignore_xywh_px (B, 4) boxes (left, top, width, height) around people in the image who carry no label.
    """

    id: str
    clip: str
    camera: str
    t_ns: int
    image: bytes
    size_wh: tuple[int, int]
    xy_px: Array
    xyz_m: Array
    visible: NDArray[np.int64]
    origin: Literal["captured", "generated"]
    prompt: str = ""
    seed: int = 0
    generator: str = ""
    parent: str = ""
    verdict: Literal["accepted", "rejected"] = "accepted"
    reasons: tuple[str, ...] = ()
    oks: tuple[float, ...] = ()
    drift_px: tuple[tuple[float, ...], ...] = ()
    ignore_xywh_px: Array = field(default_factory=lambda: np.zeros((0, 4)))
    person: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        if self.person is None:
            object.__setattr__(self, "person", np.full(len(self.xy_px), -1, np.int64))
        shapes = (("xy_px", "P J 2"), ("xyz_m", "P J 3"), ("visible", "P J"), ("ignore_xywh_px", "B 4"), ("person", "P"))
        for name, letters in shapes:
            object.__setattr__(self, name, _check(f"Sample.{name}", getattr(self, name), letters, sizes))
        object.__setattr__(self, "visible", self.visible.astype(np.int64))


@dataclass(frozen=True)
class Artefact:
    """A finished result in the store: a few hundred bytes that travel instead of arrays.

    kind: stage name; path: file or folder; digest: of stage version, config and inputs; rows; summary: small JSON-able
    figures; made: just now, rather than found done in the store.
    """

    kind: str
    path: Path
    digest: str
    rows: int
    summary: dict[str, Any] = field(default_factory=dict)
    made: bool = field(default=False, compare=False)

    @property
    def manifest_path(self) -> Path:
        """The manifest beside the result."""
        return manifest_beside(self.path)


def manifest_beside(result: Path) -> Path:
    """Where the manifest of a result stands: NAME.json beside NAME.parquet or the folder NAME."""
    return result.with_name(result.name.removesuffix(".parquet") + ".json")


DEFAULT_TOPOLOGY: Topology = COCO17
