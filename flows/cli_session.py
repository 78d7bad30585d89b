"""Commands on a session: make one, simulate one, run it, see how it stands."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_run import SessionArgument, tell_run
from flows.terminal import (
    JsonOption,
    PresetOption,
    SetOption,
    Texts,
    answering,
    rows_table,
    say,
    say_step,
)

LayoutOption = Annotated[
    str, typer.Option("--layout", metavar="COLUMNSxROWS", help="Tiles of --tiled: 2x2, 4x1 or 1x4; default: by its seams.")
]
StereoLayoutOption = Annotated[
    str, typer.Option("--stereo-layout", metavar="HOW", help="side-by-side or top-bottom; default: by its seam.")
]
CamerasOption = Annotated[Texts, typer.Option("--camera", metavar="NAME=SOURCE", help="Video or image folder; repeatable.")]


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demo session.")] = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """A virtual session, from filming to dataset, with its errors against the truth. Safe to repeat."""
    with answering(as_json) as answer:
        from pipeline.config import session_config
        from pipeline.demo import compare_cameras, compare_people, make_demo_session
        from pipeline.job import LocalRunner, build_dataset
        from pipeline.store import Store

        say(f"filming a virtual session into {out}" if make_demo_session(out) else f"{out} is filmed already")
        store = Store(out)
        runner = LocalRunner(store, on_step=say_step)
        with store.lock():
            build_dataset(store, session_config(store.session), runner)
        tell_run(answer, out, runner.steps)
        truth = out / "truth"
        errors = {"cameras": compare_cameras(truth, runner.made), "people": compare_people(truth, runner.made)}
        answer.values["errors"] = errors
        answer.show("", "errors against the truth:", *map(rows_table, errors.values()))


def simulate(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="New folder for the recording and its truth.")],
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    people: Annotated[int, typer.Option(min=1, help="How many people.")] = 2,
    people_instants: Annotated[int, typer.Option(min=1, help="Frames of the people clip.")] = 75,
    board_instants: Annotated[int, typer.Option(min=3, help="Frames of the board clip.")] = 60,
    wardrobe: Annotated[str, typer.Option(help="Folder of MakeHuman clothes; default: painted clothes.")] = "",
    as_json: JsonOption = False,
) -> None:
    """A virtual four-way rig and a stereo pair film people and a board: real video files and the truth beside them."""
    with answering(as_json) as answer:
        from pipeline.config import parse_section
        from pipeline.studio import StudioConfig
        from pipeline.studio import simulate as film

        asked = {"seed": seed, "people": people, "people_instants": people_instants, "board_instants": board_instants}
        made = film(out, parse_section(StudioConfig, {**asked, "wardrobe": wardrobe}))
        answer.values |= {"folder": str(out), "cameras": list(made.rig.names), "pictures": made.pictures, "cpu_s": made.cpu_s}
        answer.show(f"{made.pictures} pictures of {len(made.rig)} cameras in {out / 'raw'}, truth in {out / 'truth'}")
        answer.show(f"{made.cpu_s:.0f} CPU s, {made.cpu_s_per_picture:.3f} per picture")


def new(
    session: SessionArgument,
    camera: CamerasOption = [],  # noqa: B006
    live: Annotated[Texts, typer.Option("--live", metavar="NAME=URL", help="To be recorded; repeatable.")] = [],  # noqa: B006
    tiled: Annotated[str, typer.Option("--tiled", metavar="FILE", help="Four-way file or URL: the cameras as tiles.")] = "",
    layout: LayoutOption = "",
    camera_names: Annotated[str, typer.Option("--camera-names", metavar="A,B,...", help="Names of the tiles.")] = "",
    stereo: Annotated[str, typer.Option("--stereo", metavar="FILE", help="Stereo file or URL: left and right.")] = "",
    stereo_layout: StereoLayoutOption = "",
    clip: Annotated[str, typer.Option("--clip", help="Name of the clip.")] = "",
    board: Annotated[
        str, typer.Option("--board", metavar="SPEC", help="Board filmed, e.g. charuco:5x7:0.04:0.03:DICT_4X4_50")
    ] = "",
    board_clip: Annotated[bool, typer.Option("--board-clip", help="The board moves in this clip.")] = False,
    rig: Annotated[str, typer.Option("--rig", metavar="FILE", help="Import the rig instead of solving it.")] = "",
    intrinsics: Annotated[Texts, typer.Option("--intrinsics", metavar="NAME=FOLDER", help="Photos of its board.")] = [],  # noqa: B006
    detections: Annotated[Texts, typer.Option("--detections", metavar="NAME=PATH", help="By another tool.")] = [],  # noqa: B006
    image_origin: Annotated[Texts, typer.Option("--image-origin", metavar="NAME=X,Y", help="Video cropped at X,Y px.")] = [],  # noqa: B006
    image_fit: Annotated[Texts, typer.Option("--image-fit", metavar="NAME=contain", help="Resized: contain, stretch.")] = [],  # noqa: B006
    stereo_pair: Annotated[Texts, typer.Option("--stereo-pair", metavar="LEFT,RIGHT", help="Side by side.")] = [],  # noqa: B006
    image_fps: Annotated[float | None, typer.Option("--image-fps", help="Frame rate of image folders.")] = None,
    readout: Annotated[Texts, typer.Option("--readout", metavar="NAME=MS", help="Rolling shutter: ms, or solve.")] = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Write session.yaml, or add a clip to it, after looking into every source. Nothing raw is copied or changed."""
    with answering(as_json) as answer:
        from pipeline.new_session import Request, new_session

        request = Request(
            cameras=tuple(camera),
            live=tuple(live),
            tiled=tiled,
            layout=layout,
            camera_names=tuple(name for name in camera_names.split(",") if name),
            stereo=stereo,
            stereo_layout=stereo_layout,
            clip=clip,
            board=board,
            rig=rig,
            intrinsics=tuple(intrinsics),
            board_clip=board_clip,
            detections=tuple(detections),
            image_origins=tuple(image_origin),
            image_fits=tuple(image_fit),
            stereo_pairs=tuple(stereo_pair),
            image_fps=image_fps,
            readouts=tuple(readout),
        )
        made, lines = new_session(session, request)
        sources = [asdict(line) for line in lines]
        answer.values |= {"session": str(session), "clips": [each.name for each in made.clips], "sources": sources}
        following = "record" if made.live and not made.clips else "run"
        answer.show(rows_table(sources), f"{session / 'session.yaml'} is written; next: posemill {following} {session}")


def board(
    spec: Annotated[str, typer.Argument(metavar="[SPEC]", help="Board, e.g. charuco:5x7:0.032:0.024:DICT_4X4_50")] = "",
    out: Annotated[Path | None, typer.Argument(metavar="[OUT.pdf]", help="Where the sheet to print is written.")] = None,
    paper: Annotated[str, typer.Option("--paper", help="A4 to A0, letter, or WIDTHxHEIGHT in mm.")] = "A4",
    margin_mm: Annotated[float, typer.Option("--margin", min=0, help="Paper the printer leaves white, in mm.")] = 10.0,
    measured_mm: Annotated[float | None, typer.Option("--measured", help="Side of a printed square, in mm.")] = None,
    session: Annotated[Path | None, typer.Option("--session", help="Compare with this session's board.")] = None,
    as_json: JsonOption = False,
) -> None:
    """A board to print at its true size, or the spec of a print that was measured."""
    with answering(as_json) as answer:
        from calibration.board import parse_board
        from pipeline.errors import InputError
        from pipeline.measured_board import measure, session_board
        from pipeline.print_board import print_board

        if (out is None and measured_mm is None) or not (spec or session):
            raise InputError("board: expected SPEC OUT.pdf, SPEC --measured MM, or --measured MM --session SESSION")
        target = parse_board(spec) if spec else session_board(Path(session or ""))
        answer.values["board"] = target.spec
        if out is not None:
            page = print_board(target, out, paper, margin_mm)
            answer.values |= {"out": str(out), "page_mm": page.page_mm}
            width_mm, height_mm = page.page_mm
            answer.show(f"{out}: print it at 100 %, no scaling, on {width_mm:g} x {height_mm:g} mm, and measure it")
        if measured_mm is not None:
            found = measure(target, measured_mm, session)
            answer.values |= {"measured": found.board.spec, "change": found.change, "warnings": found.warnings}
            answer.show(f"board: {found.board.spec}", *(f"warning: {text}" for text in found.warnings))


def recalibrate(
    session: SessionArgument,
    clip: Annotated[str, typer.Option("--clip", help="A finished clip that shows people after the bump.")],
    camera: Annotated[str, typer.Option("--camera", metavar="NAME", help="The camera that was bumped.")],
    since: Annotated[
        float | None, typer.Option("--since", metavar="SECONDS", help="Look from here on; default: its last bump told.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE.yaml", help="New file; default: below rig/.")] = None,
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Solve a bumped camera anew from people whom the others see walking all over its view; the rig goes to a new file."""
    with answering(as_json) as answer:
        from pipeline.recalibrate import recalibrate_camera

        made = recalibrate_camera(session, clip, camera, since, out, preset, settings)
        figures = {name: value for name, value in asdict(made.solved).items() if name != "pose_covariance"}
        answer.values |= {"rig": str(made.file), "clip": clip, "since_s": made.since_s, "instants": made.instants, **figures}
        answer.show(rows_table([{"figure": name, "value": value} for name, value in figures.items()]))
        answer.show(f"people at {made.instants} instants of {clip} since {made.since_s:.3f} s; the rig is written: {made.file}")
        answer.show("the solved rig of this session is as it was; footage filmed since the bump takes the new one:")
        answer.show(f"  posemill new NEW_SESSION --rig {made.file} --camera NAME=SOURCE ...")


def overlay(
    session: SessionArgument,
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the videos.")],
    clip: Annotated[str, typer.Option("--clip", help="A finished clip that shows people.")],
    camera: Annotated[Texts, typer.Option("--camera", metavar="NAME", help="Only this camera; repeatable.")] = [],  # noqa: B006
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """A clip's own pictures with its skeletons projected into every camera, as videos for review."""
    with answering(as_json) as answer:
        from pipeline.overlay_video import write_overlays

        files = write_overlays(session, clip, out, camera, preset, settings)
        answer.values |= {"files": [str(file) for file in files]}
        answer.show(*(str(file) for file in files))


def view(
    session: SessionArgument,
    clip: Annotated[str, typer.Option("--clip", help="A finished clip that shows people.")],
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """A window with a clip's cameras and skeletons in space; the arrow keys step through time."""
    with answering(as_json) as answer:
        from pipeline.clip_rig import clip_rig
        from pipeline.pose_rows import SkeletonFile
        from pipeline.scene3d import show
        from pipeline.status import reconstructed

        ref, made = reconstructed(session, clip, preset, settings)
        rig = clip_rig(ref, [artefact.summary["camera"] for artefact in ref.all("detect")])
        instants = list(SkeletonFile(made.path))
        answer.values |= {"session": str(session), "clip": clip, "instants": len(instants)}
        if instants:
            show(rig, instants, f"{clip}: {len(instants)} instants")
        answer.show(f"{len(instants)} instants of {clip} show people")
