"""The only list of Parquet columns. Units stand in the names; a row is written once and never changed. Lists are nested
lists, not tensor extension types: they load in every reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.parquet import opened, reading

_REALS = pa.list_(pa.float64())
_WHOLES = pa.list_(pa.int64())
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

# One row per camera and instant: which frame of which source was on screen.
FRAMES = pa.schema(
    [
        ("instant", pa.int64()),  # number of the instant in the clip, from 0
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("camera", pa.string()),  # name of the camera
        ("frame_index", pa.int64()),  # number of its frame on screen then, from 0; -1: the camera has no frame at this instant
        ("frame_t_ns", pa.int64()),  # when that frame was taken, on the session clock; null without a frame
        ("width_px", pa.int64()),  # of the camera's image
        ("height_px", pa.int64()),  # of the camera's image
    ]
)

# One row per camera, instant and person.
POSES2D = pa.schema(
    [
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("camera", pa.string()),  # name of the camera
        ("person", pa.int64()),  # index in this image, not an identity
        ("x_px", _REALS),  # by joint (COCO-17), in the clip's own distorted image; NaN: not found
        ("y_px", _REALS),  # by joint, likewise
        ("score", _REALS),  # by joint, 0 to 1; 0: not found
        ("tag", _REALS),  # associative embedding of the person; empty for imported detections
    ]
)

# One row per person in images and videos that belong to no session.
IMAGE_POSES = pa.schema(
    [
        ("file", pa.string()),  # path as it was given
        ("frame", pa.int64()),  # from 0; 0 for a still image
        ("t_ns", pa.int64()),  # after the video's first frame
        ("width_px", pa.int64()),  # of the image
        ("height_px", pa.int64()),  # of the image
        ("person", pa.int64()),  # index in this image, best first
        ("x_px", _REALS),  # by joint (COCO-17); NaN: not found
        ("y_px", _REALS),  # by joint, likewise
        ("score", _REALS),  # by joint, 0 to 1; 0: not found
        ("tag", _REALS),  # associative embedding of the person
    ]
)

# One row per instant and person.
SKELETONS3D = pa.schema(
    [
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("person", pa.int64()),  # identity within the clip
        ("x_m", _REALS),  # by joint (COCO-17), in the world; NaN: not known
        ("y_m", _REALS),  # by joint, likewise
        ("z_m", _REALS),  # by joint, likewise; z is up
        ("score", _REALS),  # by joint: mean detection score of the views used
        ("error_px", _REALS),  # by joint: mean reprojection error over the views used
        ("n_views", _WHOLES),  # by joint: views used
        ("covariance_m2", pa.list_(_REALS)),  # nine numbers a joint, row-major; n_views 0: of a pose prior; null: unknown
        ("smooth_x_m", _REALS),  # by the track over time, gaps filled; null when tracks were not smoothed
        ("smooth_y_m", _REALS),  # by joint, likewise
        ("smooth_z_m", _REALS),  # by joint, likewise
        ("smooth_sigma_m", _REALS),  # 1 sigma of a coordinate
    ]
)

# One row per instant and person of SKELETONS3D.
AUDIT = pa.schema(
    [
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("person", pa.int64()),  # identity within the clip
        ("accepted", pa.bool_()),  # whether every gate was passed
        ("gates", pa.list_(pa.string())),  # those it did not pass, by name: `pipeline.audit.GATES`
        ("reasons", pa.list_(pa.string())),  # the same in words, with numbers
        ("error_px", pa.float64()),  # mean over the skeleton's joints
        ("joints", pa.int64()),  # how many are known
        ("limb_deviation", pa.float64()),  # largest share by which a limb differs from the person's median
        ("nats_per_joint", pa.float64()),  # log density by the pose prior, in the person's own size; null: not judged
        ("p_value", pa.float64()),  # how many of the clip's own skeletons are as surprising, if all are people
        ("blamed", pa.string()),  # the joint most to blame; null where p_value is above 0.05
    ]
)

# One row per image of the dataset.
SAMPLES = pa.schema(
    [
        ("id", pa.string()),  # clip, camera and t_ns; -g and the variant's number behind it where generated
        ("image", _IMAGE),  # the encoded picture (JPEG captured, PNG generated) and its file name
        ("clip", pa.string()),  # name of the clip
        ("camera", pa.string()),  # name of the camera
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("width_px", pa.int64()),  # of this picture
        ("height_px", pa.int64()),  # of this picture
        ("x_px", pa.list_(_REALS)),  # by person and joint (COCO-17), in this picture; NaN: not labelled
        ("y_px", pa.list_(_REALS)),  # by person and joint, likewise
        ("visible", pa.list_(_WHOLES)),  # by person and joint, COCO's v: 2 seen, 1 hidden, 0 not labelled
        ("person", _WHOLES),  # identity within the clip; -1 where nobody knows
        ("x_m", pa.list_(_REALS)),  # by person and joint, in the world
        ("y_m", pa.list_(_REALS)),  # by person and joint, likewise
        ("z_m", pa.list_(_REALS)),  # by person and joint, likewise; z is up
        ("ignore_xywh_px", pa.list_(_REALS)),  # boxes around people who are in the image but carry no label
        ("origin", pa.string()),  # captured or generated
        ("prompt", pa.string()),  # what the picture was to show; generated only
        ("seed", pa.int64()),  # of the sampler; generated only
        ("generator", pa.string()),  # name and digest of the model; generated only
        ("parent", pa.string()),  # id of the captured sample whose pose it shows; generated only
        ("verdict", pa.string()),  # accepted or rejected
        ("reasons", pa.list_(pa.string())),  # why it was rejected, with numbers
        ("oks", _REALS),  # per person, generated only: how well the person detected again agrees with the label
        ("drift_px", pa.list_(_REALS)),  # per person and joint, generated only: from the label to the joint detected again
    ]
)

# One row per image of a released dataset: ids, and the parents of generated images, begin with the session's name.
RELEASED = pa.schema([("session", pa.string()), *SAMPLES])  # name of the session that it comes from

# The columns that diffusers' train_controlnet.py asks for.
CONTROLNET = pa.schema(
    [
        ("image", _IMAGE),  # the picture
        ("conditioning_image", _IMAGE),  # its people as an OpenPose-coloured pose map
        ("text", pa.string()),  # the prompt it was made with, or a description
    ]
)

# What a virtual recording really showed. One row per instant of the board clip: world_from_board.
TRUTH_BOARD = pa.schema(
    [
        ("instant", pa.int64()),  # number of the instant, from 0
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("rvec_rad", _REALS),  # rotation, as an axis times its angle
        ("t_m", _REALS),  # translation
    ]
)

# One row per instant, person and joint (index into COCO-17), world metres.
TRUTH_JOINTS = pa.schema(
    [
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("instant", pa.int64()),  # number of the instant, from 0
        ("person", pa.int64()),  # number of the virtual person
        ("joint", pa.int64()),  # index into COCO-17
        ("x_m", pa.float64()),  # in the world
        ("y_m", pa.float64()),  # in the world
        ("z_m", pa.float64()),  # in the world; z is up
    ]
)

# One row per instant, camera, person and joint: its distorted pixel, and COCO's v (2 seen, 1 hidden, 0 outside).
TRUTH_VIEWS = pa.schema(
    [
        ("t_ns", pa.int64()),  # of the instant, on the session clock
        ("instant", pa.int64()),  # number of the instant, from 0
        ("camera", pa.string()),  # name of the camera
        ("person", pa.int64()),  # number of the virtual person
        ("joint", pa.int64()),  # index into COCO-17
        ("x_px", pa.float64()),  # in the distorted image
        ("y_px", pa.float64()),  # in the distorted image
        ("visible", pa.int64()),  # 2 seen, 1 hidden, 0 outside the image
    ]
)


def write_rows(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> int:
    """Write dict rows as one Parquet file (zstd; the same rows give the same bytes); returns their number."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    pq.write_table(table, path, compression="zstd")
    return len(table)


def read_rows(path: Path, filters: list[tuple[str, str, Any]] | None = None) -> list[dict[str, Any]]:
    """Every row of a Parquet file as a dict, or those that pass all filters (column, operator, value)."""
    with opened(path):
        return pq.read_table(path, filters=filters).to_pylist()


def stream_rows(path: Path, columns: Sequence[str] | None = None, batch: int = 1024) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file one by one, in a memory that does not grow with the file: `batch` of them at once."""
    with opened(path, columns) as file:
        for some in file.iter_batches(batch, columns=columns):
            yield from some.to_pylist()


def instants_of(path: Path) -> list[int]:
    """The times (t_ns) of the instants of a FRAMES file, in order."""
    with opened(path, ["t_ns"]) as file:
        return sorted(set(file.read(["t_ns"]).column(0).to_pylist()))


def frames_of(path: Path, camera: str) -> dict[int, list[int]]:
    """One camera of a FRAMES file: frame_index -> t_ns of the instants it is on screen at, ascending."""
    shown: dict[int, list[int]] = {}
    with reading(path):
        rows = [row for row in read_rows(path) if row["camera"] == camera and row["frame_index"] >= 0]
        for row in sorted(rows, key=lambda row: (row["frame_index"], row["t_ns"])):
            shown.setdefault(row["frame_index"], []).append(row["t_ns"])
    return shown
