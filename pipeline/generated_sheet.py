"""Generated images beside the captured ones whose poses they were given, with verdicts: a picture for a reviewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.clip_rig import clip_rig
from pipeline.conditions import square_around
from pipeline.draw import draw_people
from pipeline.ingest import read_frame_sets
from pipeline.report import sheet, shrink_to, spread
from pipeline.samples import decode_image, project_labels
from pipeline.store import Ref, Store
from pipeline.tables import SAMPLES, stream_rows
from pipeline.types import Artefact

Image = NDArray[np.uint8]
SIDE_PX = 200
GOOD_RGB, BAD_RGB = (60, 200, 90), (235, 70, 60)


def generated_sheet(
    store: Store, ref: Ref, augment: Artefact, pairs: int = 12, columns: int = 3, max_bytes: int = 300_000
) -> bytes | None:
    """A JPEG of up to `pairs` pairs, accepted and rejected ones in turn and spread over the clip: left the captured square,
    right the generated one with its labels, framed green or red, the first reason below. None where nothing was generated.

    ref: what the augment stage was given.
    """
    chosen = {row["id"] for row in _chosen(list(stream_rows(augment.path, ["id", "t_ns", "verdict"])), pairs)}
    rows = [row for row in stream_rows(augment.path, SAMPLES.names, batch=64) if row["id"] in chosen] if chosen else []
    if not rows:
        return None
    rows.sort(key=lambda row: (row["t_ns"], row["id"]))
    captured = _captured(store, ref, rows)
    pictures = [_pair(captured[row["id"]], row) for row in rows if row["id"] in captured]
    return shrink_to(sheet(pictures, columns), max_bytes) if pictures else None


def _chosen(rows: Sequence[dict[str, Any]], pairs: int) -> list[dict[str, Any]]:
    """Half accepted and half rejected where there are enough of both."""
    kinds = [[row for row in rows if row["verdict"] == verdict] for verdict in ("accepted", "rejected")]
    fewer = min(len(kinds[0]), len(kinds[1]), pairs // 2)
    counts = [min(len(kind), max(pairs // 2, pairs - fewer)) for kind in kinds]
    return [kind[at] for kind, count in zip(kinds, counts, strict=True) for at in spread(len(kind), count) if count]


def _captured(store: Store, ref: Ref, rows: Sequence[dict[str, Any]]) -> dict[str, Image]:
    """By the id of a row: the square around the same people in the camera's own picture, as augment cut it."""
    rig = clip_rig(ref, store.session.clip(ref.clip).sources)
    times = {row["t_ns"] for row in rows}
    frames = stream_rows(ref.only("ingest").path, ["t_ns", "instant"])
    instants = sorted({frame["instant"] for frame in frames if frame["t_ns"] in times})
    squares = {}
    for shown in read_frame_sets(store, ref.only("ingest"), ref.clip, rig.names, instants):
        images = dict(zip(rig.names, shown.frames, strict=True))
        for row in rows:
            frame = images.get(row["camera"]) if row["t_ns"] == shown.t_ns else None
            if frame is not None:
                xyz_m = np.stack([row["x_m"], row["y_m"], row["z_m"]], axis=-1)
                crop = square_around(project_labels(rig[row["camera"]], xyz_m)[0], SIDE_PX, 0.2)
                squares[row["id"]] = crop.cut(frame.image) if crop else np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    return squares


def _pair(captured: Image, row: Mapping[str, Any]) -> Image:
    made = decode_image(row["image"]["bytes"])
    side = made.shape[0]
    large = cv2.resize(made, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    labels = (np.stack([row["x_px"], row["y_px"]], axis=-1).astype(np.float64) + 0.5) * (SIDE_PX / side) - 0.5
    good = row["verdict"] == "accepted"
    drawn = draw_people(large, labels, width_px=1)
    cv2.rectangle(drawn, (0, 0), (SIDE_PX - 1, SIDE_PX - 1), GOOD_RGB if good else BAD_RGB, 4)
    both = np.hstack([captured, drawn])
    told = "accepted" if good else "; ".join(row["reasons"]) or "rejected"
    return np.vstack([both, _caption(f"{row['camera']} {row['t_ns'] / 1e9:.2f} s", 16), _caption(told, 16)])


def _caption(text: str, height: int) -> Image:
    """White on dark, cut where the pair ends."""
    strip = np.full((height, 2 * SIDE_PX, 3), 30, np.uint8)
    cv2.putText(strip, _ascii(text)[:64], (4, height - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (255, 255, 255), 1, cv2.LINE_AA)
    return strip


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # OpenCV's fonts have nothing else
