"""Poses and skeletons as rows of their tables, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.parquet import reading
from pipeline.tables import stream_rows
from pipeline.types import Poses2D, Skeletons3D


def poses2d_rows(poses: Iterable[Poses2D]) -> Iterator[dict[str, Any]]:
    """POSES2D rows, one per person; an image without people gives none."""
    for pose in poses:
        for person in range(len(pose)):
            yield {
                "t_ns": pose.t_ns,
                "camera": pose.camera,
                "person": person,
                "x_px": pose.xy_px[person, :, 0].tolist(),
                "y_px": pose.xy_px[person, :, 1].tolist(),
                "score": pose.score[person].tolist(),
                "tag": pose.tag[person].tolist(),
            }


def poses2d_from_rows(rows: Sequence[dict[str, Any]], joints: int) -> Poses2D:
    """The POSES2D rows of one camera at one instant (at least one) as a record."""
    xy_px = np.stack([_columns(row, "x_px", "y_px") for row in rows]).reshape(len(rows), joints, 2)
    camera, t_ns = rows[0]["camera"], rows[0]["t_ns"]
    return Poses2D(camera, t_ns, xy_px, np.array([r["score"] for r in rows]), np.array([r["tag"] for r in rows]))


def stream_poses2d(path: Path, joints: int) -> Iterator[Poses2D]:
    """The images with people of one camera's POSES2D file, in the order of the file, which is that of time."""
    with reading(path):
        for _, rows in groupby(stream_rows(path), key=lambda row: row["t_ns"]):
            yield poses2d_from_rows(list(rows), joints)


def skeletons3d_rows(skeletons: Iterable[Skeletons3D]) -> Iterator[dict[str, Any]]:
    """SKELETONS3D rows, one per person."""
    for instant in skeletons:
        for p in range(len(instant)):
            covariance, smooth, sigma_m = instant.covariance_m2, instant.smooth_m, instant.smooth_sigma_m
            yield {
                "t_ns": instant.t_ns,
                "person": int(instant.person[p]),
                **{f"{axis}_m": instant.xyz_m[p, :, k].tolist() for k, axis in enumerate("xyz")},
                "score": instant.score[p].tolist(),
                "error_px": instant.error_px[p].tolist(),
                "n_views": instant.n_views[p].tolist(),
                "covariance_m2": None if covariance is None else covariance[p].reshape(-1, 9).tolist(),
                **{f"smooth_{a}_m": None if smooth is None else smooth[p, :, k].tolist() for k, a in enumerate("xyz")},
                "smooth_sigma_m": None if sigma_m is None else sigma_m[p].tolist(),
            }


def skeletons3d_from_rows(rows: Iterable[dict[str, Any]]) -> list[Skeletons3D]:
    """SKELETONS3D rows back to one record per instant, in time order."""
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["t_ns"], []).append(row)
    return [_skeletons3d(t_ns, grouped[t_ns]) for t_ns in sorted(grouped)]


@dataclass(frozen=True)
class SkeletonFile:
    """The instants of a SKELETONS3D file in the order of the file, which is that of time: read as they are needed,
    and anew whenever they are asked for."""

    path: Path

    def __iter__(self) -> Iterator[Skeletons3D]:
        with reading(self.path):
            for _, rows in groupby(stream_rows(self.path), key=lambda row: row["t_ns"]):
                yield from skeletons3d_from_rows(rows)


def _skeletons3d(t_ns: int, rows: list[dict[str, Any]]) -> Skeletons3D:
    covariance = [row["covariance_m2"] for row in rows]
    smooth = all(row.get("smooth_x_m") is not None for row in rows)  # older files have no such columns
    return Skeletons3D(
        t_ns,
        person=np.array([row["person"] for row in rows]),
        xyz_m=np.stack([_columns(row, "x_m", "y_m", "z_m") for row in rows]),
        score=np.array([row["score"] for row in rows], dtype=float),
        error_px=np.array([row["error_px"] for row in rows], dtype=float),
        n_views=np.array([row["n_views"] for row in rows]),
        covariance_m2=None if None in covariance else np.array(covariance, dtype=float).reshape(len(rows), -1, 3, 3),
        smooth_m=np.stack([_columns(row, "smooth_x_m", "smooth_y_m", "smooth_z_m") for row in rows]) if smooth else None,
        smooth_sigma_m=np.array([row["smooth_sigma_m"] for row in rows], dtype=float) if smooth else None,
    )


def _columns(row: dict[str, Any], *names: str) -> np.ndarray:
    return np.stack([np.asarray(row[name], dtype=np.float64) for name in names], axis=-1)
