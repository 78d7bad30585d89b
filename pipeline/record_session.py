"""Recording the live sources of a session into a new clip of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.board_set import parse_target
from pipeline.errors import InputError
from pipeline.live_sources import streams_of
from pipeline.preflight import Look, disk_problem, look_at
from pipeline.record import RESERVE_BYTES, Recording, Watch, record
from pipeline.record_camera import Tap
from pipeline.session import Clip, Session, Source, load_session, save_session
from pipeline.store import Store


@dataclass(frozen=True)
class Request:
    """What `posemill record` was asked for. seconds None: until it is stopped; clip "": clip1, clip2, ...; board: the board
    moves in this clip; force: whatever the look before finds."""

    seconds: float | None = None
    clip: str = ""
    board: bool = False
    force: bool = False


def _nothing(*anything: object) -> None:
    return


def record_session(
    root: Path,
    request: Request,
    stop: threading.Event,
    watch: Watch = _nothing,
    looked: Callable[[Sequence[Look]], None] = _nothing,
    tap: Tap | None = None,
) -> tuple[str, Recording]:
    """Look at the live cameras of a session, record them into raw/<clip> and add the clip to session.yaml: its name, and what
    was recorded. Raises InputError with all that should be mended first, unless forced.
    """
    root = root.resolve()
    store = Store(root)
    with store.lock("posemill record"):
        session = load_session(root)
        streams = streams_of(root, session)
        clip = request.clip or f"clip{len(session.clips) + 1}"
        _refuse_known(session, clip, request)
        looks = look_at(streams, session.live, parse_target(session.board) if request.board else None)
        looked(looks)
        problems = [f"camera {look.camera}: {text}" for look in looks for text in look.problems]
        problems += [text for text in [disk_problem(looks, root, request.seconds, RESERVE_BYTES)] if text]
        if problems and not request.force:
            raise InputError("\n".join([*problems, "mend this, or record all the same with --force"]))
        made = record(
            root / "raw" / clip,
            {name: url for name, (url, _) in streams.items()},
            request.seconds,
            stop,
            watch,
            lambda: _add(root, session, clip, streams, request.board),
            tap,
        )
    return clip, made


def _refuse_known(session: Session, clip: str, request: Request) -> None:
    if clip in [each.name for each in session.clips]:
        raise InputError(f"clip {clip!r} is in this session already; name the new one with --clip NAME")
    if request.board and not session.board:
        raise InputError("--board: this session has no board; tell it first: posemill new SESSION --board SPEC")
    if request.board and session.calibration.board_clip:
        raise InputError(f"--board: the board moves in clip {session.calibration.board_clip!r} of this session already")


def _add(root: Path, session: Session, clip: str, streams: dict[str, tuple[str, tuple[str, ...]]], board: bool) -> None:
    """The clip in session.yaml, as soon as it is being recorded: one that is cut off is found there, too."""
    folders = {camera: f"raw/{clip}/{name}" for name, (_, cameras) in streams.items() for camera in cameras}
    sources = {camera: Source(path=folders[camera], crop_px=session.live[camera].crop_px) for camera in session.live}
    inputs = session.calibration.model_copy(update={"board_clip": clip}) if board else session.calibration
    clips = (*session.clips, Clip(name=clip, sources=sources))
    save_session(Session.model_validate(session.model_dump() | {"clips": clips, "calibration": inputs}), root)
