"""Commands on data and networks: detect, evaluate, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import Answer, JsonOption, PresetOption, SetOption, answering, new_table, rows_table, say

WeightsOption = Annotated[str, typer.Option("--weights", help="Name of shipped weights, or a .safetensors file.")]
SizeOption = Annotated[
    int | None, typer.Option("--size", min=64, help="Long side of the network's image in px; default: as the weights say.")
]
ScalesOption = Annotated[
    list[float] | None,
    typer.Option(
        "--scale", min=0.05, help="Look at this share of --size; repeatable, maps averaged; default: as the weights say."
    ),
]
FlipOption = Annotated[bool, typer.Option("--flip/--no-flip", help="Average with the mirrored image.")]
TurnedOption = Annotated[bool, typer.Option("--turned/--upright", help="Look in four quarter turns: people lying, head down.")]

evaluate = typer.Typer(help="Measure against labels or truth, by published definitions.", no_args_is_help=True)


def detect(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUTS...", help="Images, videos, folders of them, or patterns.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE.parquet", help="Where the people found are written.")],
    draw: Annotated[
        Path | None, typer.Option("--draw", metavar="DIR", help="Folder for the images and videos with people drawn.")
    ] = None,
    weights: WeightsOption = "default",
    size: SizeOption = None,
    scale: ScalesOption = None,
    flip: FlipOption = True,
    turned: TurnedOption = False,
    backend: Annotated[
        str, typer.Option("--backend", help="What runs the network: auto, torch, onnxruntime or openvino.")
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """The detector alone: people and their joints in images and videos."""
    with answering(as_json) as answer:
        from pipeline.config import DetectConfig, parse_section
        from pipeline.detect_images import detect_images

        settings = {"weights": weights, "size_px": size, "scales": scale or None, "flip": flip, "turned": turned}
        settings["backend"] = backend
        found = detect_images(inputs, out, draw, parse_section(DetectConfig, settings))
        speed = round(found.frames_per_s, 2)
        answer.values |= {"out": str(out), "files": found.done, "failed": found.failed, "frames_per_s": speed}
        answer.show(rows_table(found.done), f"people: {out}", *([f"drawn: {draw}"] if draw else []), f"{speed:g} frames/s")
        if found.failed:
            answer.show(rows_table(found.failed))
            say(f"posemill: {len(found.failed)} of {len(found.failed) + len(found.done)} files failed")
            raise typer.Exit(1)


@evaluate.command("detector")
def evaluate_detector(
    folder: Annotated[Path, typer.Argument(help="Photos in COCO layout, or an exported or drawn Parquet dataset.")],
    weights: WeightsOption = "default",
    size: SizeOption = None,
    scale: ScalesOption = None,
    flip: FlipOption = True,
    turned: TurnedOption = False,
    held_out: Annotated[int, typer.Option("--held-out", min=0, help="Only this many photos kept out of training.")] = 0,
    failures: Annotated[
        Path | None, typer.Option("--failures", metavar="OUT.png|DIR", help="Draw the 30 people found worst.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """OKS-AP, PCK of torso and head on whole photos, by joint, size and number of people, and what went wrong."""
    with answering(as_json) as answer:
        from models.detector import load_detector
        from models.skeleton import COCO17
        from pipeline.evaluate_detector import evaluate_detector
        from pipeline.failure_sheet import write_failures

        only = _held_out(folder, held_out) if held_out else None
        detector = load_detector(weights, "auto", size_px=size, scales=scale or None, flip=flip, turned=turned)
        report = evaluate_detector(detector, folder, only, progress=_say_photos)
        answer.values |= {"folder": str(folder), "weights": weights, **report.to_dict()}
        answer.show(*_detector_tables(report.to_dict()))
        if failures is not None:
            drawn = write_failures(failures, report.failures, COCO17)
            answer.values["failures_drawn"] = str(drawn)
            answer.show(f"the {len(report.failures)} people found worst: {drawn}")


def _detector_tables(told: dict[str, Any]) -> list[Any]:
    """Tables of a detector's report: single figures, joints, sizes, numbers of people."""
    table = new_table("figure", ">value")
    for name, value in {**told, **told["oks"], **{f"limb joints {kind}": v for kind, v in told["outcomes"].items()}}.items():
        if not isinstance(value, dict | list):
            table.add_row(name, "" if value is None else f"{value:.4g}")
    joints = [{"joint": name, "PCK@0.2": v, "PCKh@0.5": told["per_joint_pckh"][name]} for name, v in told["per_joint"].items()]
    return [table, rows_table(joints), rows_table(told["by_height"]), rows_table(told["by_people"])]


def _held_out(folder: Path, count: int) -> list[str]:
    from models.errors import DataError
    from models.photos import held_out_photos
    from pipeline.errors import InputError

    try:
        names = held_out_photos(folder, count)
    except DataError as error:
        raise InputError(f"{folder}: expected annotations.json with a split: {error}") from error
    if not names:
        raise InputError(
            f"{folder}: expected photos of split test for --held-out {count}, found none; leave it out to take all"
        )
    return names


def _say_photos(done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        say(f"{done} of {total} photos")


@evaluate.command("poses3d")
def evaluate_poses3d(
    predicted: Annotated[
        Path, typer.Argument(help="Skeletons (.parquet, .trc, .c3d, .json, or a folder of them); alone: a session with truth/.")
    ],
    truth: Annotated[Path | None, typer.Argument(help="The same people for sure: truth, or another tool's result.")] = None,
    match: Annotated[
        float, typer.Option("--match", min=0.001, help="The same person up to this mean joint distance, in m.")
    ] = 0.5,
    fps: Annotated[float | None, typer.Option("--fps", min=0.001, help="Frame rate of .trc, .c3d and .json.")] = None,
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """MPJPE, PA-MPJPE (mm), PCP, people found, IDF1 and identity switches against truth or another tool's result."""
    with answering(as_json) as answer:
        if truth is None:
            _against_own_truth(answer, predicted, preset, settings)
            return
        from pipeline.evaluate_poses3d import evaluate_poses3d
        from pipeline.people3d import read_people

        told = evaluate_poses3d(read_people(predicted, fps), read_people(truth, fps), match).to_dict()
        answer.values |= {"predicted": str(predicted), "truth": str(truth), "match_m": match, **told}
        single = {name: value for name, value in told.items() if not isinstance(value, list)}
        answer.show(rows_table([{"figure": name, "value": value} for name, value in single.items()]))
        answer.show(*(rows_table(told[name]) for name in ("per_joint", "per_limb", "per_person")))
        if (told["recall"] or 0.0) < 0.1:
            say(f"posemill: hardly anybody is within {match:g} m of the truth: are both in one world? Nothing is aligned")


def _against_own_truth(answer: Answer, session: Path, preset: str, settings: list[str]) -> None:
    """A finished session of the virtual studio against its truth/, in the world of the truth."""
    from pipeline.demo import compare_people
    from pipeline.status import finished

    rows = compare_people(session / "truth", finished(session, ("calibrate", "reconstruct", "audit"), preset, settings))
    answer.values |= {"session": str(session), "people": rows}
    answer.show(rows_table(rows))


@evaluate.command("dataset")
def evaluate_dataset(
    exports: Annotated[
        list[Path],
        typer.Argument(metavar="DATASETS...", help="SESSION/export/dataset, COCO folders, sessions, files of skeletons."),
    ],
    test: Annotated[
        list[Path],
        typer.Option("--test", metavar="FOLDER", help="Train on the datasets, and measure on these images; repeatable."),
    ] = [],  # noqa: B006
    worst: Annotated[int, typer.Option("--worst", min=1, help="Without --test: how many doubtful ones are listed.")] = 30,
    out: Annotated[Path, typer.Option("--out", help="Folder of the trainings; what is in it is not done again.")] = Path(
        "runs/proof"
    ),
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of each training.")] = 2000,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Trainings of each arm.")] = 3,
    begin_from: Annotated[str, typer.Option("--begin-from", help="Trained weights to begin with; default: nothing.")] = "",
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0, help="Of the flat part of every training.")] = 2e-3,
    size: Annotated[int, typer.Option("--size", min=32, help="Side of the views that the network is trained on, in px.")] = 128,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Labels most likely to be wrong, the worst first, of COCO folders or Parquet datasets; skeletons by the pose prior.

    With --test: what generated images are worth: the same detector trained without them, with them, and with those that passed
    the label check; OKS-AP in points with its spread over seeds.
    """
    with answering(as_json) as answer:
        if not test:
            _doubtful(answer, exports, worst)
            return
        from pipeline.proof import Trial, prove

        trial = Trial(
            steps=steps, seeds=seeds, size_px=size, begin_from=begin_from, learning_rate=learning_rate, device=device
        )  # fmt: skip
        rows = prove(exports, test, out, trial, say)
        answer.values |= {"out": str(out), "steps": steps, "seeds": seeds, "arms": rows}
        answer.show(rows_table(rows))


def _doubtful(answer: Answer, folders: list[Path], worst: int) -> None:
    """The labels of each dataset that are most likely wrong: in pictures, and in space where there are skeletons."""
    from pipeline.annotation_audit import as_rows, doubtful_labels
    from pipeline.skeleton_audit import as_rows as skeleton_rows
    from pipeline.skeleton_audit import doubtful_skeletons, has_pictures

    for folder in folders:
        told: dict[str, object] = {}
        if has_pictures(folder):
            doubts = doubtful_labels(folder)
            rows = as_rows(doubts[:worst])
            told |= {"judged": len(doubts), "doubtful": rows}
            answer.show(f"{folder}: {len(doubts)} people judged, the {len(rows)} most doubtful", rows_table(rows))
        if skeletons := doubtful_skeletons(folder):
            in_space = skeleton_rows(skeletons[:worst])
            told["skeletons"] = {"judged": len(skeletons), "doubtful": in_space}
            answer.show(f"{folder}: {len(skeletons)} skeletons judged, the {len(in_space)} least likely", rows_table(in_space))
        answer.values[str(folder)] = told


@evaluate.command("calibration")
def evaluate_calibration(
    session: Annotated[Path, typer.Argument(help="A session with truth/, as `posemill demo` makes it.")],
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Rotation (deg) and centre (mm) errors of the solved cameras against the truth."""
    with answering(as_json) as answer:
        from pipeline.demo import compare_cameras
        from pipeline.status import finished

        rows = compare_cameras(session / "truth", finished(session, ("calibrate",), preset, settings))
        answer.values |= {"session": str(session), "cameras": rows}
        answer.show(rows_table(rows))


def convert(
    rig: Annotated[Path, typer.Argument(help="Rig file of posemill, Pose2Sim, aniposelib, OpenCV, Kalibr or caliscope.")],
    out: Annotated[Path, typer.Argument(help="New file; without --format, .yaml is posemill, .toml Pose2Sim, .xml OpenCV.")],
    kind: Annotated[str, typer.Option("--format", help="posemill, pose2sim, opencv, kalibr or caliscope.")] = "",
    unit: Annotated[str, typer.Option("--unit", help="Lengths in RIG: m, cm, mm or inch (OpenCV, aniposelib).")] = "m",
    as_json: JsonOption = False,
) -> None:
    """A rig in another tool's format, in metres: the same cameras see the same pixels."""
    with answering(as_json) as answer:
        from pipeline.rigs import convert_rig

        made, written, lost = convert_rig(rig, out, kind, unit)
        answer.values |= {"out": str(out), "format": written, "cameras": list(made.names), "left_behind": list(lost)}
        answer.show(f"{out}: {written}, cameras {', '.join(made.names)}")
        if lost:
            answer.show(f"not kept by this format: {', '.join(lost)}")
