"""session.yaml: the cameras, clips, board and calibration inputs of one recording."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.atomic import write_atomically
from pipeline.errors import InputError, told
from pipeline.plain_text import yaml_of

MAX_READOUT_MS = 100.0
MOST_LETTERS = 80
# Linux takes 4096 bytes and 255 a name; names of files below it must fit, too.
LONGEST_PATH, LONGEST_NAME = 3800, 255
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"
CAMERA_NAME = re.compile(r"[^./\\][^/\\]{0,79}")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Record):
    """Where the frames of one camera come from: a video file, an image folder, and a crop of it for tiled and stereo files."""

    path: str = Field(description="video file or image folder; relative to the session's folder")
    crop_px: tuple[int, int, int, int] | None = Field(None, description="x, y, width, height inside each frame")
    fps: float | None = Field(None, gt=0, description="frame rate of an image folder; videos carry their own times")
    image_origin_px: tuple[float, float] | None = Field(
        None, description="where this source's pixel (0, 0) lies in the image its camera was calibrated with"
    )
    image_scale: tuple[float, float] | None = Field(
        None, description="this source's px per px of the image its camera was calibrated with, in x and y"
    )


class ClipClock(_Record):
    """How the clocks of a clip's cameras differ: session time is a camera's own time s, counted from its first frame, plus
    offset_s + drift_ppm 1e-6 s. Standard errors hold in the middle of the clip."""

    method: str = Field(description="how it was measured")
    offset_s: dict[str, float] = Field(description="camera: s to add to its own time")
    drift_ppm: dict[str, float] = Field({}, description="camera: how much its clock is slow, in millionths")
    sigma_ms: dict[str, float] = Field({}, description="standard error of each offset")
    drift_sigma_ppm: dict[str, float] = Field({}, description="standard error of each drift")

    def session_ns(self, camera: str, own_ns: Sequence[int]) -> tuple[int, ...]:
        """Own times of a camera on the session clock; unchanged for a camera that is not named."""
        offset_ns = round(1e9 * self.offset_s.get(camera, 0.0))
        drift = 1e-6 * self.drift_ppm.get(camera, 0.0)
        return tuple(t_ns + offset_ns + round(drift * t_ns) for t_ns in own_ns)


class Live(_Record):
    """Where a camera is recorded from: an address without its password, and a crop for tiled and stereo pictures."""

    url: str = Field(description="address of the stream or device; a password is replaced in it")
    crop_px: tuple[int, int, int, int] | None = Field(None, description="x, y, width, height inside each frame")


class Clip(_Record):
    """One recording: a source per camera, and detections that stand in for the detect stage where they were imported."""

    name: str = Field(pattern=NAME_PATTERN, description="name of the clip, and of its folder below clips/")
    sources: dict[str, Source] = Field(description="camera: where its frames come from")
    clock: ClipClock | None = Field(None, description="written by `posemill sync`; none: cameras started together")
    detections: dict[str, str] = Field({}, description="camera: OpenPose JSON folder or COCO-results JSON")


class CalibrationInputs(_Record):
    """What the rig is made from: an imported rig, board images per camera, a clip of the moving board, or several of them."""

    rig: str = Field("", description="rig file to import")
    intrinsics: dict[str, str] = Field({}, description="camera: folder of board images")
    board_clip: str = Field("", description="name of the clip in which the board moves")
    readout_ms: dict[str, float | Literal["solve"]] = Field(
        {}, description="camera: ms from the first image row to the last, or solve; negative from the bottom up"
    )


class Session(_Record):
    """A recording session. Clips other than the board clip hold people."""

    version: int = Field(1, description="of this file's format")
    name: str = Field(pattern=NAME_PATTERN, description="name of the session; sessions released together have different ones")
    cameras: tuple[str, ...] = Field(min_length=1, description="names of all cameras, in the order of the rig")
    stereo_pairs: tuple[tuple[str, str], ...] = Field((), description="left and right camera of each stereo pair")
    board: str = Field(
        "", description="kind:columns x rows:square m[:marker m:dictionary], e.g. chessboard:4x7:0.06; several joined by +"
    )
    calibration: CalibrationInputs = Field(CalibrationInputs(), description="what the rig is made from")
    clips: tuple[Clip, ...] = Field((), description="what was recorded")
    live: dict[str, Live] = Field(
        {}, description="camera: where `posemill record` finds it; passwords are in .credentials.yaml"
    )
    people: dict[str, dict[int, str]] = Field(
        {}, description="clip: {number of the person in the clip: name}; the same name is the same person, in all sessions"
    )
    preset: str = Field("default", description="settings to start from: default or demo")
    config: dict[str, Any] = Field({}, description="settings of this session, over those of the preset")

    @model_validator(mode="after")
    def _names_agree(self) -> Session:
        for camera in self.cameras:
            _check_name(camera)
        if len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"camera names must differ, got {', '.join(self.cameras)}")
        for clip in self.clips:
            unknown = sorted(set(clip.sources) - set(self.cameras))
            if unknown:
                raise ValueError(f"clip {clip.name}: camera {unknown[0]!r} is not one of {', '.join(self.cameras)}")
        if unknown := sorted(set(self.live) - set(self.cameras)):
            raise ValueError(f"live: camera {unknown[0]!r} is not one of {', '.join(self.cameras)}")
        _check_readouts(self.calibration.readout_ms, self.cameras)
        names = [clip.name for clip in self.clips]
        if len(set(names)) != len(names):
            raise ValueError(f"clip names must differ, got {', '.join(names)}")
        if self.calibration.board_clip and self.calibration.board_clip not in names:
            raise ValueError(f"calibration.board_clip {self.calibration.board_clip!r} is not one of {', '.join(names)}")
        if unknown := sorted(set(self.people) - set(names)):
            raise ValueError(f"people: clip {unknown[0]!r} is not one of {', '.join(names)}")
        return self

    def clip(self, name: str) -> Clip:
        """The clip of that name. Raises InputError naming the known ones."""
        for clip in self.clips:
            if clip.name == name:
                return clip
        raise InputError(f"clip: expected one of {', '.join(c.name for c in self.clips)}, got {name!r}")

    def pairs_of(self, clip: Clip) -> tuple[tuple[str, str], ...]:
        """The stereo pairs (left, right) whose cameras both filmed this clip."""
        return tuple(pair for pair in self.stereo_pairs if set(pair) <= set(clip.sources))

    @property
    def people_clips(self) -> tuple[Clip, ...]:
        """The clips to look for people in: all but the board clip."""
        return tuple(clip for clip in self.clips if clip.name != self.calibration.board_clip)


def _check_name(camera: str) -> None:
    """Results are named after cameras: a name must not be a way out of the session's folder."""
    if not CAMERA_NAME.fullmatch(camera) or not camera.isprintable():
        raise ValueError(
            f"camera {camera[:MOST_LETTERS]!r}: expected a name of 1 to {MOST_LETTERS} printable characters without / and \\ "
            "that does not begin with a dot; files are named after it"
        )


def _check_readouts(readout_ms: Mapping[str, float | str], cameras: Sequence[str]) -> None:
    for name, readout in readout_ms.items():
        if name not in cameras:
            raise ValueError(f"calibration.readout_ms: camera {name!r} is not one of {', '.join(cameras)}")
        if not isinstance(readout, str) and not 0 < abs(readout) <= MAX_READOUT_MS:
            raise ValueError(
                f"calibration.readout_ms of camera {name}: expected ms, up to {MAX_READOUT_MS:g} either way, or solve, got "
                f"{readout:g}; leave out cameras with a global shutter"
            )


def load_session(root: Path | str) -> Session:
    """Read SESSION/session.yaml. Raises InputError naming the file, the key and the nearest known key."""
    path = Path(root) / "session.yaml"
    try:
        return Session.model_validate(yaml_of(path))
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; make a session with `posemill new {root} --camera NAME=SOURCE ...`") from error
    except ValidationError as error:
        raise InputError(told([f"{path}: {_explain(detail)}" for detail in error.errors()])) from error


def save_session(session: Session, root: Path | str) -> Path:
    """Write SESSION/session.yaml atomically; returns its path."""
    path = Path(root) / "session.yaml"
    write_atomically(path, yaml.safe_dump(session.model_dump(mode="json", exclude_none=True), sort_keys=False))
    return path


def resolve(root: Path | str, path: str) -> Path:
    """A path of session.yaml: relative ones start at the session folder. Raises InputError for one that no system can have."""
    full = (Path(root) / path).resolve()
    if len(bytes(full)) > LONGEST_PATH or any(len(os.fsencode(name)) > LONGEST_NAME for name in full.parts):
        raise InputError(f"{path:.60}...: expected a path, found {len(path)} letters; correct it in session.yaml")
    return full


def _explain(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        return f"{key}: {detail['msg']:.300}"
    models: list[type[BaseModel]] = [Session, Clip, ClipClock, Source, Live, CalibrationInputs]
    known = sorted({name for model in models for name in model.model_fields})
    nearest = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1, cutoff=0.0)
    return f"key {key} is not known; the nearest known key is {nearest[0]}"
