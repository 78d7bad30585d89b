"""Clothes, shoes and hair for virtual people: MakeHuman assets (.mhclo + .obj) fitted to a body's rest shape.

Any folder that holds .mhclo files will do; geometry only. The format: every garment vertex hangs on three vertices of the
MakeHuman base mesh (hm08) by weights, plus an offset in units of three body measures (MakeHuman documentation, "MHCLO").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.body import Body

Array = NDArray[np.float64]
Index = NDArray[np.int64]

# The base mesh has 19,158 vertices, the finest clothes a hundred thousand; MakeHuman's largest files are 10 MB.
MOST_VERTICES, LARGEST_BYTES = 1_000_000, 64 << 20
# MakeHuman's axes (x left, y up, z front) from the body frame (x left, y back, z up).
_MAKEHUMAN_FROM_BODY = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True, eq=False)
class Garment:
    """One asset with N vertices.

    kind: suit, shoes, hair or hat; faces (T, 3); reference (N, 3) base-mesh vertices, share (N, 3), offset (N, 3);
    measures: per MakeHuman axis two base-mesh vertices and the distance in units of the asset; hides: body vertices beneath.
    """

    name: str
    kind: str
    faces: Index
    reference: Index
    share: Array
    offset: Array
    measures: tuple[tuple[int, int, float] | None, ...]
    hides: Index

    def fit(self, rest_m: Array) -> Array:
        """Rest vertices (N, 3) on a body's rest vertices (V, 3), metres, body frame."""
        body = rest_m @ _MAKEHUMAN_FROM_BODY.T
        # Assets without a measure are in decimetres.
        scale = [0.1 if m is None else abs(body[m[0], axis] - body[m[1], axis]) / m[2] for axis, m in enumerate(self.measures)]
        fitted = (body[self.reference] * self.share[..., None]).sum(1) + self.offset * np.array(scale)
        return fitted @ _MAKEHUMAN_FROM_BODY

    def weights(self, body: Body) -> Any:
        """Sparse skinning weights (N, B), mixed from those of the reference vertices."""
        from scipy.sparse import csr_matrix, diags

        rows = np.repeat(np.arange(len(self.reference)), 3)
        share = np.clip(self.share, 0, None).ravel()
        mix = csr_matrix((share, (rows, self.reference.ravel())), shape=(len(self.reference), body.weights.shape[0]))
        mixed = mix @ body.weights
        return diags(1 / np.maximum(np.asarray(mixed.sum(1)).ravel(), 1e-9)) @ mixed


def load_wardrobe(folder: Path | str) -> tuple[Garment, ...]:
    """Every garment below a folder, by name. Raises ValueError when there is none."""
    paths = sorted(Path(folder).rglob("*.mhclo"))
    if not paths:
        raise ValueError(
            f"wardrobe {folder}: expected .mhclo files below this folder, found none; leave it out for plain bodies"
        )
    return tuple(load_garment(path) for path in paths)


def load_garment(path: Path) -> Garment:
    """Read one .mhclo and the .obj beside it that it names. Raises ValueError naming the file and what is wrong."""
    try:
        garment = _garment(path)
        _check(garment, path)
    except (ValueError, LookupError, OverflowError, OSError) as error:
        told = str(error) if str(path.parent) in str(error) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path}: cannot be read as MakeHuman's clothes ({told:.300})") from error
    return garment


def _check(garment: Garment, path: Path) -> None:
    """Raises ValueError for what no body has, so that no index leads anywhere when the garment is worn."""
    lengths = [abs(measure[2]) for measure in garment.measures if measure]
    ends = np.array([measure[:2] for measure in garment.measures if measure], dtype=np.int64)
    points = np.concatenate([garment.reference.ravel(), garment.hides, ends.ravel()])
    least, most = int(points.min()), int(points.max())
    if least < 0 or most > MOST_VERTICES or garment.faces.min() < 0:
        raise ValueError(f"{path}: expected vertices from 0 to {MOST_VERTICES}, found {least} to {most}")
    if not all(1e-9 < length < np.inf for length in lengths):
        raise ValueError(f"{path}: expected measures above 0, found {min(lengths)}")
    if not (np.isfinite(garment.share).all() and np.isfinite(garment.offset).all()):
        raise ValueError(f"{path}: expected weights and offsets as finite numbers, found NaN or infinity")


def _garment(path: Path) -> Garment:
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, more than any clothes")
    fields: dict[str, list[str]] = {}
    vertices: list[list[float]] = []
    hides: list[int] = []
    block = ""
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if not _is_number(words[0]):
            fields[words[0]] = words[1:]
            # Some assets put a few more headers between "verts" and its numbers.
            block = words[0] if words[0] in ("verts", "delete_verts") else block
        elif block == "verts":
            vertices.append(_hanging(words))
        elif block == "delete_verts":
            hides += _ranges(words)
    if not vertices or "obj_file" not in fields:
        raise ValueError(f"{path}: expected an obj_file and a list of verts as MakeHuman writes them")
    faces = _obj_faces(_beside(path, " ".join(fields["obj_file"])))
    if faces.max() >= len(vertices):
        raise ValueError(f"{path}: its .obj uses vertex {faces.max()}, but only {len(vertices)} are fitted")
    table = np.array(vertices)
    measures = tuple(_measure(fields.get(f"{axis}_scale")) for axis in "xyz")
    hung = (table[:, :3].astype(np.int64), table[:, 3:6], table[:, 6:])
    return Garment(path.stem, _kind(path), faces, *hung, measures, np.array(hides, int))


def _beside(path: Path, name: str) -> Path:
    """The file of that name in the folder of `path`: clothes of others must not say what else is read here."""
    if Path(name).name != name:
        raise ValueError(f"{path}: obj_file: expected the name of a file beside it, found {name[:200]!r}")
    return path.with_name(name)


def _kind(path: Path) -> str:
    if "hair" in path.parts:
        return "hair"
    return next((kind for kind in ("suit", "shoes") if kind in path.stem), "hat")


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", word) is not None


def _hanging(words: list[str]) -> list[float]:
    if len(words) == 1:  # the vertex sits on one body vertex
        return [float(words[0])] * 3 + [1.0, 0.0, 0.0] + [0.0] * 3
    return [float(word) for word in words[:9]]


def _ranges(words: list[str]) -> list[int]:
    out: list[int] = []
    k = 0
    while k < len(words):
        spans = k + 2 < len(words) and words[k + 1] == "-"
        first, last = int(words[k]), int(words[k + 2 if spans else k])
        if last - first > MOST_VERTICES:
            raise ValueError(f"delete_verts: expected vertices up to {MOST_VERTICES}, found {first} - {last}")
        out += range(first, last + 1)
        k += 3 if spans else 1
    return out


def _measure(words: list[str] | None) -> tuple[int, int, float] | None:
    return None if words is None else (int(words[0]), int(words[1]), float(words[2]))


def _obj_faces(path: Path) -> Index:
    faces = []
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, more than any clothes")
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("f "):
            corner = [int(word.split("/")[0]) - 1 for word in line.split()[1:]]
            faces += [[corner[0], corner[k], corner[k + 1]] for k in range(1, len(corner) - 1)]
    if not faces:
        raise ValueError(f"{path}: expected faces (lines starting with f), found none")
    return np.array(faces)
