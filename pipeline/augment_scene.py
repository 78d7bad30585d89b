"""What was filmed around the people that augment draws: the captured image of a request, and depth that a pair measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from pipeline.augment_plan import Request
from pipeline.depth_check import depth_maps
from pipeline.depth_map import seen_depth_m
from pipeline.errors import StageError
from pipeline.ingest import read_frame_sets
from pipeline.store import Ref, Store
from pipeline.tables import stream_rows
from pipeline.types import Array, FrameSet

Image = NDArray[np.uint8]
FEATHER = 0.02  # of the image's side: how softly the painted part begins inside its mask


class Scene:
    """The frames and clouds of one clip, read forwards once: requests must come in the order of time."""

    def __init__(self, store: Store, ref: Ref, rig: Rig, requests: Sequence[Request]) -> None:
        self.rig, self._depth = rig, depth_maps(ref)
        times = {request.t_ns for request in requests}
        rows = stream_rows(ref.only("ingest").path, ["t_ns", "instant"])
        wanted = sorted({row["instant"] for row in rows if row["t_ns"] in times})
        self._sets: Iterator[FrameSet] = read_frame_sets(store, ref.only("ingest"), ref.clip, rig.names, wanted)
        self._now: FrameSet | None = None

    def image(self, request: Request) -> Image:
        """The captured square (S, S, 3) of a request. Raises StageError where its frame cannot be read."""
        while self._now is None or self._now.t_ns < request.t_ns:
            self._now = next(self._sets, None)
            if self._now is None:
                break
        frame = None
        if self._now is not None and self._now.t_ns == request.t_ns:
            frame = self._now.frames[self.rig.names.index(request.camera.name)]
        if frame is None:
            raise StageError(f"clip {request.clip}: camera {request.camera.name}: no frame at {request.t_ns} ns any more")
        return request.crop.cut(frame.image)

    def around_m(self, request: Request) -> Array | None:
        """Depth (S, S) of what the camera's stereo pair measured at that instant, infinite where nothing; None without one."""
        points_m = self._depth.points_m(request.t_ns, request.camera.name) if self._depth else None
        return None if points_m is None else seen_depth_m(points_m, request.camera, request.crop)


def composed(captured: Image, made: Image, mask: NDArray[np.bool_]) -> Image:
    """The made image inside the mask, the captured one outside it, bit for bit; the seam lies inside."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    share = np.clip(inside / max(1.0, FEATHER * len(mask)), 0, 1)[..., None]
    return np.round(captured + share * (made.astype(np.float64) - captured)).astype(np.uint8)
