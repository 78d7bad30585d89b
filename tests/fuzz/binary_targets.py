"""Readers of binary files: Parquet, images, videos, C3D, weights."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from models.diffusion.folder import check_safetensors
from models.photos import Photo
from models.skeleton import COCO17
from models.weights import load_tensors, save_tensors
from pipeline.c3d import write_c3d
from pipeline.handout import BY_ROW, hand_out
from pipeline.labelled_photos import labelled_photos
from pipeline.people3d import read_people
from pipeline.pose_rows import SkeletonFile, skeletons3d_rows, stream_poses2d
from pipeline.samples import decode_image, sample_rows
from pipeline.sources import ImageReader, read_image
from pipeline.tables import FRAMES, POSES2D, SAMPLES, SKELETONS3D, TRUTH_JOINTS, frames_of, instants_of, read_rows, write_rows
from pipeline.types import Skeletons3D
from pipeline.video import VideoReader
from tests.fuzz.documents import parquet_files
from tests.fuzz.target import Target
from tests.fuzz.text_targets import _trajectories, tried
from tests.pipeline.exports import _sample
from tests.pipeline.footage import picture, write_video


def _skeletons(session: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    instants = [
        Skeletons3D(
            t_ns=k * 33_000_000,
            person=np.arange(2),
            xyz_m=rng.normal(size=(2, 17, 3)),
            score=rng.uniform(size=(2, 17)),
            error_px=rng.uniform(size=(2, 17)),
            n_views=np.full((2, 17), 3),
            covariance_m2=np.broadcast_to(np.eye(3), (2, 17, 3, 3)).copy() if k else None,
        )
        for k in range(3)
    ]
    write_rows(session / "whole.parquet", skeletons3d_rows(instants), SKELETONS3D)
    return [(session / "whole.parquet").read_bytes()]


def _rows_of(schema: pa.Schema, rows: Sequence[dict[str, Any]], session: Path) -> list[bytes]:
    write_rows(session / "whole.parquet", rows, schema)
    return [(session / "whole.parquet").read_bytes()]


_FRAME_ROWS = [
    {"instant": k, "t_ns": k * 10, "camera": "cam1", "frame_index": k, "frame_t_ns": k * 10, "width_px": 64, "height_px": 48}
    for k in range(4)
]
_POSE_ROWS = [
    {
        "t_ns": k // 2,
        "camera": "cam1",
        "person": k % 2,
        "x_px": [1.0] * 17,
        "y_px": [2.0] * 17,
        "score": [0.5] * 17,
        "tag": [0.1],
    }
    for k in range(4)
]
_JOINT_ROWS = [
    {"t_ns": k, "instant": k, "person": 0, "joint": j, "x_m": 0.1, "y_m": 0.2, "z_m": 1.0} for k in range(2) for j in range(17)
]


def _samples(session: Path) -> list[bytes]:
    folder = session / "release"
    for name, text in (("release.json", "{}"), ("README.md", "# card")):
        (folder / name).write_text(text)
    rows = list(sample_rows([_sample("cam1", 0, 1), _sample("cam2", 1, 2), _sample("cam1", 0, 1, variant=0)]))
    return _rows_of(SAMPLES, rows, session)


def _handed_out(path: Path) -> None:
    """In every format that is made row by row, and as photos to train on."""
    folder = path.parents[1]
    uses: list[Callable[[], Any]] = [partial(hand_out, folder, folder.parent / "out" / kind, kind) for kind in BY_ROW]
    tried([*uses, lambda: [photo_image(photo.encoded) for photo in labelled_photos(folder, None, COCO17)]])


def _images(session: Path) -> list[bytes]:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    deep, clear = image.astype(np.uint16) * 257, cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
    made = [(ending, image) for ending in (".png", ".jpg", ".bmp", ".tif", ".webp", ".jp2", ".hdr", ".ppm", ".ras")]
    made += [(".png", deep), (".tif", deep), (".png", clear), (".jpg", image[..., 0])]
    encoded = [cv2.imencode(ending, np.float32(of) / 255 if ending == ".hdr" else of)[1].tobytes() for ending, of in made]
    from PIL import Image

    for kind, more in (("GIF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("MPO", {})):
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, kind, **more)
        encoded.append(sink.getvalue())
    return encoded


def _image(path: Path) -> None:
    data = path.read_bytes()
    check = partial(ImageReader(path.parent, 30.0).check, lambda _: None)
    tried([lambda: read_image(path), lambda: decode_image(data), lambda: photo_image(data), check])


def photo_image(data: bytes) -> Any:
    """As training reads it; its ValueErrors name the photo."""
    try:
        return Photo("a.png", data, (), np.zeros((0, 4))).image()
    except ValueError as error:
        assert "a.png" in str(error), error
        return np.zeros((1, 1, 3), np.uint8)


_CODECS = {".mp4": "libx264", ".mkv": "libx264", ".mov": "mpeg4", ".avi": "mjpeg", ".ts": "mpeg2video", ".webm": "libvpx"}


def _videos(session: Path) -> list[bytes]:
    made = []
    for ending, codec in _CODECS.items():
        path = session / f"whole{ending}"
        try:
            write_video(path, [picture(k) for k in range(8)], 25, codec, **({} if "264" in codec else {"crf": "30", "bf": "0"}))
        except (ValueError, OSError):  # a build of ffmpeg without this codec
            continue
        made.append(path.read_bytes())
    return made


def _video(path: Path) -> None:
    reader = VideoReader(path)
    tried([reader.probe, partial(reader.check, lambda _: None), lambda: list(reader.shots([0, 5]))])


def _weights(session: Path) -> list[bytes]:
    import torch

    save_tensors(
        session / "w.safetensors", {"a": torch.ones(3, 2), "b": torch.zeros(4, dtype=torch.float16)}, {"licence": "CC0"}
    )
    return [(session / "w.safetensors").read_bytes()]


def _load(path: Path) -> None:
    check_safetensors(path)
    load_tensors(path)


TARGETS = (
    Target("skeletons", "p/skeletons.parquet", _skeletons, lambda p: (read_people(p), list(SkeletonFile(p))), parquet_files, 2),
    Target("joints", "p/joints.parquet", partial(_rows_of, TRUTH_JOINTS, _JOINT_ROWS), read_people, parquet_files, 1.5),
    Target("poses2d", "p/poses2d.parquet", partial(_rows_of, POSES2D, _POSE_ROWS), lambda p: list(stream_poses2d(p, 17)),
           parquet_files, 2),
    Target("frames", "p/frames.parquet", partial(_rows_of, FRAMES, _FRAME_ROWS),
           lambda p: (instants_of(p), frames_of(p, "cam1"), read_rows(p)), parquet_files, 2),
    Target("samples", "release/data/train-00000-of-00001.parquet", _samples, _handed_out, parquet_files, 0.5),
    Target("image", "i/image.png", _images, _image, share=8),
    Target("video", "v/video.mp4", _videos, _video, share=3),
    Target("c3d", "t/walk-person1.c3d", partial(_trajectories, ending=".c3d", write=write_c3d), read_people, share=0.03),
    Target("weights", "w/weights.safetensors", _weights, _load, share=4),
)  # fmt: skip
