"""The rectify stage: a stereo pair's videos on one image plane, how well their rows agree, and point clouds from disparity."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.rectify import Rectification, disparity, points_map, rectify_pair, row_error_px
from pipeline.clip_rig import clip_rig
from pipeline.cloud import open3d_cloud
from pipeline.config import RectifyConfig
from pipeline.encode import VideoWriter
from pipeline.errors import InputError, StageError
from pipeline.ingest import read_frame_sets
from pipeline.probe import Image
from pipeline.progress import progress
from pipeline.samples import encode_jpeg
from pipeline.session import Session
from pipeline.store import Ref, Store
from pipeline.types import Artefact, FrameSet

VERSION = "3"
Array = NDArray[np.float64]

# Lowe 2004: a match whose second best is nearly as good is ambiguous.
SIFT_RATIO = 0.7
SIFT_FEATURES = 2000
# Matches are freed of outliers by their own epipolar geometry, not by the rig that they are to judge.
EPIPOLAR_PX = 1.0
MIN_MATCHES = 16
PREVIEW_ROWS = 24
PREVIEW_QUALITY = 92


@dataclass(frozen=True, eq=False)
class RectifiedPair:
    """One instant of a stereo pair after rectification: RGB uint8 (H, W, 3) each, and the frames it came from."""

    t_ns: int
    left: Image
    right: Image
    raw: tuple[Image, Image]


def run(store: Store, ref: Ref, config: RectifyConfig) -> Artefact:
    """A folder of rectified videos, remap tables and point clouds of one pair in one clip. StageError when rows disagree."""
    pair = _pair(store.session, ref.part)
    slot = store.slot("rectify", VERSION, config, ref, suffix="")
    if done := slot.done():
        return done
    rig = clip_rig(ref, pair)
    rect = rectify_pair(rig[pair[0]], rig[pair[1]])
    frames = read_frame_sets(store, ref.only("ingest"), ref.clip, pair)
    total = ref.only("ingest").summary["instants"]
    # Filled while the frames pass: measured and written in one pass over the videos.
    figures: dict[str, Any] = {"pair": list(pair), "baseline_m": round(rect.baseline_m, 5), "valid_wh": list(rect.valid_wh)}

    def write(folder: Path) -> None:
        with progress(f"rectify {ref.part}", total) as advance:
            figures.update(_write(folder, rectified(frames, rect), rect, config, advance))

    return slot.commit(write, rows=total, summary=figures)


def rectified(frames: Iterable[FrameSet], rect: Rectification) -> Iterator[RectifiedPair]:
    """Instants that both cameras saw, on one image plane; one at a time, so memory does not grow with the clip."""
    for instant in frames:
        left, right = instant.frames
        if left is not None and right is not None:
            yield RectifiedPair(instant.t_ns, *rect.apply(left.image, right.image), raw=(left.image, right.image))


def match_rows_px(left: Image, right: Image, rect: Rectification) -> Array:
    """(N,) px: how far apart the rows of the same scene points are after rectification, from SIFT matches in the raw images.

    Matches are kept when mutual ratio tests and a fundamental matrix of their own agree (RANSAC); too few of them: empty.
    """
    sift = cv2.SIFT.create(SIFT_FEATURES)
    points: list[Array] = []
    features: list[Any] = []
    for image in (left, right):
        found, described = sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        points.append(np.array([point.pt for point in found]))
        features.append(described)
    if any(described is None or len(described) < MIN_MATCHES for described in features):
        return np.empty(0)
    pairs = _mutual(features[0], features[1])
    if len(pairs) < MIN_MATCHES:
        return np.empty(0)
    xy_left, xy_right = points[0][pairs[:, 0]], points[1][pairs[:, 1]]
    _, inlier = cv2.findFundamentalMat(xy_left, xy_right, cv2.FM_RANSAC, EPIPOLAR_PX, 0.999, 2000)
    if inlier is None or int(inlier.sum()) < MIN_MATCHES:
        return np.empty(0)
    kept = inlier.ravel().astype(bool)
    return row_error_px(rect, xy_left[kept], xy_right[kept])


def _mutual(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.int64]:
    """Index pairs (N, 2) that are each other's best match by the ratio test."""
    matcher = cv2.BFMatcher()
    there = _best(matcher, first, second)
    back = _best(matcher, second, first)
    return np.array([(a, b) for a, b in there.items() if back.get(b) == a], dtype=np.int64).reshape(-1, 2)


def _best(matcher: cv2.BFMatcher, first: NDArray[np.float32], second: NDArray[np.float32]) -> dict[int, int]:
    found = matcher.knnMatch(first, second, k=2)
    return {a.queryIdx: a.trainIdx for a, b in found if a.distance < SIFT_RATIO * b.distance}


def coloured_points(pair: RectifiedPair, rect: Rectification, config: RectifyConfig) -> tuple[Array, NDArray[np.uint8]]:
    """World points (N, 3) in metres and their RGB (N, 3), from the disparity of one instant."""
    camera_m = points_map(rect, disparity(pair.left, pair.right, config.num_disparities))
    near = np.isfinite(camera_m).all(-1) & (camera_m[..., 2] > 0) & (camera_m[..., 2] < config.max_depth_m)
    return rect.left.cam_from_world.inverse().apply(camera_m[near]), pair.left[near]


def _pair(session: Session, part: str) -> tuple[str, str]:
    for pair in session.stereo_pairs:
        if "-".join(pair) == part:
            return pair
    raise InputError(f"stereo pair {part}: not one of the session's: {', '.join('-'.join(p) for p in session.stereo_pairs)}")


def _write(
    folder: Path, pairs: Iterator[RectifiedPair], rect: Rectification, config: RectifyConfig, advance: Any
) -> dict[str, Any]:
    (folder / "clouds").mkdir(parents=True)
    _write_tables(folder / "rectification.npz", rect)
    errors, clouds, written = [np.empty(0)], 0, 0
    names = (rect.left.name, rect.right.name)
    with VideoWriter(folder / f"{names[0]}.mp4") as left, VideoWriter(folder / f"{names[1]}.mp4") as right:
        for pair in pairs:
            left.write(pair.left, pair.t_ns)
            right.write(pair.right, pair.t_ns)
            if written % config.depth_every == 0:
                errors.append(match_rows_px(*pair.raw, rect))
                clouds += _write_cloud(
                    folder / "clouds" / f"{pair.t_ns:015d}.ply", *coloured_points(pair, rect, config), config
                )
            if written == 0:
                _write_preview(folder / "preview.jpg", pair)
            written += 1
            advance(1)
    return {"frames": written, "clouds": clouds, **_row_figures(np.concatenate(errors), rect, config)}


def _row_figures(errors_px: Array, rect: Rectification, config: RectifyConfig) -> dict[str, Any]:
    """Median and 90 % of the row errors. Raises StageError when the median exceeds the gate."""
    if not len(errors_px):
        return {"row_error_px": None, "row_error_p90_px": None, "row_matches": 0}
    median, p90 = (float(value) for value in np.percentile(errors_px, [50, 90]))
    if median > config.max_row_error_px:
        raise StageError(
            f"stereo pair {rect.left.name}, {rect.right.name}: rows of the same points differ by {median:.2f} px (median of "
            f"{len(errors_px)} matches, 90 % below {p90:.2f}), rectify.max_row_error_px is {config.max_row_error_px:g}; "
            "was a camera moved after calibration? Film the board with both again"
        )
    return {"row_error_px": round(median, 4), "row_error_p90_px": round(p90, 4), "row_matches": len(errors_px)}


def _write_tables(path: Path, rect: Rectification) -> None:
    """Matrices and remap tables: cv2.remap(image, map_left_x, map_left_y, ...) rectifies an image of the left camera."""
    (left_x, left_y), (right_x, right_y) = rect.maps
    np.savez_compressed(
        path,
        R1=rect.R1,
        R2=rect.R2,
        P1=rect.P1,
        P2=rect.P2,
        Q=rect.Q,
        map_left_x=left_x,
        map_left_y=left_y,
        map_right_x=right_x,
        map_right_y=right_y,
    )


def _write_cloud(path: Path, xyz_m: Array, rgb: NDArray[np.uint8], config: RectifyConfig) -> int:
    """One thinned point cloud in world metres; returns how many files were written."""
    if not len(xyz_m):
        return 0
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise StageError(
            f"open3d cannot be loaded ({error}); a system library is missing: apt install libgl1 libgomp1 libx11-6, or run "
            "`posemill doctor`"
        ) from error
    cloud = open3d_cloud(xyz_m, rgb).voxel_down_sample(config.voxel_m)
    # Open3D only prints when a disk is full: 24 bytes of coordinates and 3 of colour per point must stand in the file.
    if not open3d.io.write_point_cloud(path, cloud) or path.stat().st_size < 27 * len(cloud.points):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return 1


def _write_preview(path: Path, pair: RectifiedPair) -> None:
    """Both images side by side under lines: the same point must lie on the same line in both."""
    both = np.hstack([pair.left, pair.right])
    for row in np.linspace(0, len(both) - 1, PREVIEW_ROWS).astype(int):
        both[row] = (0, 255, 0)
    path.write_bytes(encode_jpeg(both, PREVIEW_QUALITY))
