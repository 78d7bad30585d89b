"""A clip's own pictures with its skeletons projected back into every camera, as video for review."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from calibration.camera import Camera
from pipeline.atomic import disk_error, replacing
from pipeline.clip_rig import clip_rig
from pipeline.draw import draw_people
from pipeline.encode import VideoWriter
from pipeline.errors import InputError
from pipeline.forwards import Forwards
from pipeline.ingest import read_frame_sets
from pipeline.pose_rows import SkeletonFile
from pipeline.probe import Image
from pipeline.progress import progress
from pipeline.status import AskedStore, reconstructed
from pipeline.tables import instants_of
from pipeline.types import Skeletons3D

# Readable on a phone: a twenty-fifth of the picture's height.
LETTERS = 25


def write_overlays(
    root: Path, clip: str, out: Path, cameras: Sequence[str] = (), preset: str = "", settings: Sequence[str] = ()
) -> tuple[Path, ...]:
    """out/<clip>-<camera>.mp4 of a finished session: smoothed skeletons where there are any, with their identities.

    Raises InputError for a clip or camera that is not there, a run that is not finished, or a file that stands already.
    """
    ref, made = reconstructed(root, clip, preset, settings)
    names = _asked(cameras, [artefact.summary["camera"] for artefact in ref.all("detect")], clip)
    files = tuple(out / f"{clip}-{name}.mp4" for name in names)
    if taken := [str(file) for file in files if file.exists()]:
        raise InputError(f"{', '.join(taken)}: nothing is overwritten; choose another folder")
    ingest, rig = ref.only("ingest"), clip_rig(ref, names)
    people = Forwards(SkeletonFile(made.path))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened, progress(f"overlay {clip}", len(instants_of(ingest.path)), "instants") as advance:
            videos = [opened.enter_context(VideoWriter(opened.enter_context(replacing(file)))) for file in files]
            for frames in read_frame_sets(AskedStore(root), ingest, clip, names):
                found = people.at(frames.t_ns)
                for c, (frame, video) in enumerate(zip(frames.frames, videos, strict=True)):
                    if frame is not None:
                        video.write(overlaid(frame.image, rig.cameras[c], found), frames.t_ns)
                advance(1)
    except OSError as error:
        raise disk_error(error, out) from error
    return files


def _asked(cameras: Sequence[str], filmed: Sequence[str], clip: str) -> tuple[str, ...]:
    if unknown := sorted(set(cameras) - set(filmed)):
        raise InputError(f"--camera: expected some of {', '.join(filmed)} (they filmed {clip}), got {', '.join(unknown)}")
    return tuple(cameras) or tuple(filmed)


def overlaid(image: Image, camera: Camera, people: Skeletons3D | None) -> Image:
    """A copy of one camera's picture (H, W, 3) with everybody's joints projected into it and identities at their heads."""
    if people is None or not len(people):
        return image
    joints_m = people.xyz_m if people.smooth_m is None else people.smooth_m
    xy_px = camera.project(joints_m.reshape(-1, 3)).reshape(*joints_m.shape[:2], 2)
    drawn = draw_people(image, xy_px)
    size = image.shape[0] / LETTERS / 22  # Hershey's letters are 22 px high
    for who, joints in zip(people.person.tolist(), xy_px, strict=True):
        known = joints[np.isfinite(joints).all(-1)]
        if len(known):
            x, y = known[known[:, 1].argmin()].clip(-30_000, 30_000)
            for rgb, width in (((0, 0, 0), 5), ((255, 255, 255), 2)):
                at = (int(x), int(y - 10 * size))
                cv2.putText(drawn, str(who), at, cv2.FONT_HERSHEY_SIMPLEX, size, rgb, max(1, round(width * size)), cv2.LINE_AA)
    return drawn
