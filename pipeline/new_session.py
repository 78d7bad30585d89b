"""Making session.yaml, and adding clips to it: every source is probed first, nothing raw is copied or changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from calibration.board_set import parse_target
from pipeline.credentials import redacted
from pipeline.errors import InputError
from pipeline.live_sources import Asked, Found, is_live, keep_live, live_pictures, look
from pipeline.option_texts import pairs_of_texts, paths_of_texts, readouts_of_texts, recorded_path
from pipeline.preview import first_pictures, write_preview
from pipeline.probe import Probe
from pipeline.rigs import fit, import_rig, size_problem
from pipeline.session import CalibrationInputs, Clip, Live, Session, Source, load_session, save_session
from pipeline.sources import by_file, layout_crops, list_images, open_source, size_of
from pipeline.tiles import cut_stereo, cut_tiled, refuse_miscount, stereo_columns

STEREO_NAMES = ("left", "right")


@dataclass(frozen=True)
class Request:
    """What `posemill new` was asked for. NAME=VALUE texts are taken as typed.

    cameras: NAME=SOURCE; live: NAME=URL, to be recorded; tiled: a file or live URL cut by `layout` (COLUMNSxROWS, "":
    by its seams) into `camera_names` (default cam1, cam2, ...); stereo: a file or live URL cut into left and right by
    `stereo_layout` (side-by-side, top-bottom, "": by its seam); clip: name of the
    clip ("": clip1, clip2, ...); intrinsics, detections:
    NAME=PATH; image_origins: NAME=X,Y; image_fits: NAME=contain or stretch, against the size in the rig; stereo_pairs:
    LEFT,RIGHT; board_clip: the board moves in this clip; image_fps: rate of image folders; readouts: NAME=MS or NAME=solve of
    cameras with a rolling shutter.
    """

    cameras: tuple[str, ...] = ()
    live: tuple[str, ...] = ()
    tiled: str = ""
    layout: str = ""
    camera_names: tuple[str, ...] = ()
    stereo: str = ""
    stereo_layout: str = ""
    clip: str = ""
    board: str = ""
    rig: str = ""
    intrinsics: tuple[str, ...] = ()
    board_clip: bool = False
    detections: tuple[str, ...] = ()
    image_origins: tuple[str, ...] = ()
    image_fits: tuple[str, ...] = ()
    stereo_pairs: tuple[str, ...] = ()
    image_fps: float | None = None
    readouts: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceLine:
    """One camera of the new clip as it was found. note: something the user should know before running, or ""."""

    camera: str
    path: str
    size_wh: tuple[int, int]
    frames: int
    fps: float
    duration_s: float
    note: str = ""


def new_session(root: Path | str, request: Request) -> tuple[Session, tuple[SourceLine, ...]]:
    """Write SESSION/session.yaml, or add a clip to the one there. Raises InputError naming the camera or option at fault."""
    root = Path(root).resolve()
    old = load_session(root) if (root / "session.yaml").exists() else None
    (sources, notes), streams = _sources(root, request), _live(request)
    if not sources and not streams and old is None:
        raise InputError(
            f"{root}: expected sources: --camera NAME=SOURCE or --live NAME=URL for each camera, --tiled FILE or --stereo FILE"
        )
    probes, found = _probe(root, sources), look(streams)
    sources = _with_fits(root, old, request, sources, probes)
    names = tuple(sources) + tuple(name for asked in streams for name in asked.cameras if name not in sources)
    _refuse_strangers(old, names)
    session = _merged(root, old, request, sources, names, keep_live(root, streams, found))
    lines = tuple(
        _line(root, session, camera, source, probes[camera], notes.get(camera, "")) for camera, source in sources.items()
    )
    lines += tuple(_live_line(session, found[asked.url], name) for asked in streams for name in asked.cameras)
    save_session(session, root)
    if pictures := {**first_pictures(root, sources), **live_pictures(streams, found)}:
        write_preview(root, pictures)
    return session, lines


def _sources(root: Path, request: Request) -> tuple[dict[str, Source], dict[str, str]]:
    """The sources of the new clip by camera, and what to note of some of them."""
    paths = pairs_of_texts(request.cameras, "--camera")
    sources = {name: Source(path=recorded_path(root, path), fps=request.image_fps) for name, path in paths.items()}
    notes: dict[str, str] = {}
    stereo_names = _stereo_names(request)
    for path, cut, layout, names in (
        (request.tiled, cut_tiled, request.layout, request.camera_names),
        (request.stereo, cut_stereo, request.stereo_layout, stereo_names),
    ):
        if not path or is_live(path):
            continue
        made, note = cut(root, Source(path=recorded_path(root, path)), layout, names)
        if twice := sorted(set(made) & set(sources)):
            raise InputError(f"camera {twice[0]} is given twice: by {sources[twice[0]].path} and by {path}")
        sources.update(made)
        notes.update(dict.fromkeys(made, note))
    return _with_origins(sources, request.image_origins), notes


def _stereo_names(request: Request) -> tuple[str, ...]:
    return STEREO_NAMES if request.tiled else request.camera_names or STEREO_NAMES


def _live(request: Request) -> list[Asked]:
    """The live sources asked for: one camera each, the tiles of a four-way stream, the halves of a stereo stream."""
    asked = [Asked(url, (name,)) for name, url in pairs_of_texts(request.live, "--live").items()]
    for path, layout, names, option in (
        (request.tiled, request.layout, request.camera_names, "--layout"),
        (request.stereo, stereo_columns(request.stereo_layout), _stereo_names(request), "--stereo-layout"),
    ):
        if not is_live(path):
            continue
        if not layout:
            raise InputError(f"{redacted(path)}: tell with {option} how the cameras stand in this stream")
        count = len(layout_crops((0, 0), layout))
        names = names or tuple(f"cam{number + 1}" for number in range(count))
        refuse_miscount(path, layout, names, count)
        asked.append(Asked(path, names, layout))
    return asked


def _with_origins(sources: dict[str, Source], texts: Sequence[str]) -> dict[str, Source]:
    for name, text in pairs_of_texts(texts, "--image-origin").items():
        match = re.fullmatch(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)", text)
        if match is None:
            raise InputError(f"--image-origin: expected NAME=X,Y in px, got {name}={text}")
        if name not in sources:
            raise InputError(f"--image-origin: camera {name!r} is not one of this clip's: {', '.join(sources)}")
        sources[name] = sources[name].model_copy(update={"image_origin_px": (float(match[1]), float(match[2]))})
    return sources


def _with_fits(
    root: Path, old: Session | None, request: Request, sources: dict[str, Source], probes: Mapping[str, Probe]
) -> dict[str, Source]:
    """Sources whose frames show the whole calibrated image, resized, with where and how large it stands in them."""
    fits = pairs_of_texts(request.image_fits, "--image-fit")
    rig_file = recorded_path(root, request.rig) if request.rig else old.calibration.rig if old else ""
    if fits and not rig_file:
        raise InputError("--image-fit: needs the calibrated size; give the rig with --rig FILE")
    for name, how in fits.items():
        if name not in sources:
            raise InputError(f"--image-fit: camera {name!r} is not one of this clip's: {', '.join(sources)}")
        calibrated_wh = import_rig(root / rig_file, [name])[name].size_wh
        origin, scale = fit(calibrated_wh, size_of(probes[name], sources[name]), how)
        sources[name] = sources[name].model_copy(update={"image_origin_px": origin, "image_scale": scale})
    return sources


def _probe(root: Path, sources: Mapping[str, Source]) -> dict[str, Probe]:
    probes: dict[str, Probe] = {}
    for cameras in by_file(root, sources).values():
        try:
            probe = open_source(root, sources[cameras[0]]).probe()
        except InputError as error:
            raise InputError(f"camera {', '.join(cameras)}: {error}") from error
        probes.update(dict.fromkeys(cameras, probe))
    return probes


def _refuse_strangers(old: Session | None, names: Sequence[str]) -> None:
    if old and (strange := [name for name in names if name not in old.cameras]):
        raise InputError(
            f"camera {strange[0]!r} is not one of this session's: {', '.join(old.cameras)}; use its names, or a new session"
        )


def _merged(
    root: Path,
    old: Session | None,
    request: Request,
    sources: Mapping[str, Source],
    names: tuple[str, ...],
    live: Mapping[str, Live],
) -> Session:
    cameras = old.cameras if old else names
    same = _same_clip(old, sources)
    name = request.clip or (same.name if same else f"clip{len(old.clips if old else ()) + 1}")
    # Said again of the same footage, a clip is told anew: another origin, detections, a board that moves in it.
    clips = tuple(clip for clip in (old.clips if old else ()) if not (clip == same and clip.name == name))
    if sources and name in [clip.name for clip in clips]:
        raise InputError(f"clip {name!r} is in this session already, of other sources; name the new one with --clip NAME")
    detections = paths_of_texts(root, request.detections, "--detections", tuple(sources))
    try:
        clock = same.clock if same else None
        new = (Clip(name=name, sources=dict(sources), clock=clock, detections=detections),) if sources else ()
        values = {
            "name": old.name if old else _name(root.name),
            "cameras": cameras,
            "stereo_pairs": _stereo_pairs(request, names) or (old.stereo_pairs if old else ()),
            "board": _board(request.board) or (old.board if old else ""),
            "calibration": _inputs(root, old, request, cameras, name if sources else ""),
            "clips": (*clips, *new),
            "live": {**(old.live if old else {}), **live},
        }
        return Session.model_validate({**(old.model_dump() if old else {}), **{k: _plain(v) for k, v in values.items()}})
    except ValidationError as error:
        raise InputError("; ".join(str(detail["msg"]) for detail in error.errors())) from error


def _same_clip(old: Session | None, sources: Mapping[str, Source]) -> Clip | None:
    """The clip of the session that shows the same parts of the same files."""

    def shown(clip: Mapping[str, Source]) -> dict[str, object]:
        return {name: (source.path, source.crop_px) for name, source in clip.items()}

    return next((clip for clip in (old.clips if old else ()) if sources and shown(clip.sources) == shown(sources)), None)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value.model_dump() if isinstance(value, Clip | CalibrationInputs | Live) else value


def _inputs(root: Path, old: Session | None, request: Request, cameras: tuple[str, ...], clip: str) -> CalibrationInputs:
    before = old.calibration if old else CalibrationInputs()
    intrinsics = paths_of_texts(root, request.intrinsics, "--intrinsics", cameras)
    for name, folder in intrinsics.items():
        try:
            list_images(root / folder)
        except InputError as error:
            raise InputError(f"--intrinsics: camera {name}: {error}") from error
    rig = recorded_path(root, request.rig) if request.rig else before.rig
    if request.rig:
        import_rig(root / rig, cameras)
    return CalibrationInputs(
        rig=rig,
        intrinsics={**before.intrinsics, **intrinsics},
        board_clip=clip if request.board_clip and clip else before.board_clip,
        readout_ms={**before.readout_ms, **readouts_of_texts(request.readouts)},
    )


def _board(spec: str) -> str:
    if spec:
        parse_target(spec)
    return spec


def _stereo_pairs(request: Request, cameras: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = [tuple(text.split(",")) for text in request.stereo_pairs]
    if request.stereo:
        pairs.append(_stereo_names(request))
    for pair in pairs:
        if len(pair) != 2 or not set(pair) <= set(cameras):
            raise InputError(f"--stereo-pair: expected LEFT,RIGHT of {', '.join(cameras)}, got {','.join(pair)}")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.") or "session"


def _line(root: Path, session: Session, camera: str, source: Source, probe: Probe, note: str) -> SourceLine:
    size_wh = size_of(probe, source)
    if session.calibration.rig and source.image_origin_px is None:
        note = size_problem(import_rig(root / session.calibration.rig, [camera])[camera], size_wh) or note
    line = SourceLine(camera, source.path, size_wh, probe.frames, round(probe.fps, 3), round(probe.duration_ns / 1e9, 3))
    return replace(line, note=note)


def _live_line(session: Session, found: Found, camera: str) -> SourceLine:
    live = session.live[camera]
    size_wh = found.size_wh if live.crop_px is None else (live.crop_px[2], live.crop_px[3])
    return SourceLine(camera, live.url, size_wh, 0, round(found.fps, 3), 0.0, f"live, {found.codec}: posemill record")
