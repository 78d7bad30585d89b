"""Skeletons among their cameras as one page with a time slider, for each clip of a finished dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from calibration.formats import load_rig
from calibration.rig import Rig
from models.skeleton import COCO17
from pipeline.calibration_scene import scene_html
from pipeline.errors import InputError
from pipeline.page import write_page
from pipeline.people3d import PERSON_FILE
from pipeline.trc import Trajectories, read_trc

# Five minutes at 30 frames per second; about 9 MB for four people.
MOST_INSTANTS = 9000
# Colours that stay apart for the colour-blind (Wong 2011, Nature Methods), people of higher numbers take them again.
COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#0072b2", "#b8860b", "#56b4e9", "#333333")
GUIDE = (
    "Blue pyramids are cameras (the little roof is on their upper side), the grid lies at z = 0 in steps of a metre or more. "
    "Drag to turn, click the picture to zoom with the wheel; the arrow keys, + and - do the same. On the slider the arrow keys "
    "step by one instant. A joint that was not found is not drawn."
)


def write_viewers(session: Path, dataset: Path, files: list[Path], folder: Path) -> list[str]:
    """Write folder/<clip>.html from the trajectories of a dataset; returns what is not shown. InputError without a rig."""
    rig, notes = load_rig(_rig_file(session, dataset)), []
    for clip, mine in groupby(files, key=lambda file: _clip_and_person(file)[0]):
        people = {f"person {_clip_and_person(file)[1]}": read_trc(file) for file in mine}
        if note := write_viewer(folder / f"{clip}.html", clip, rig, people):
            notes.append(f"{clip}: {note}")
    return notes


def _clip_and_person(file: Path) -> tuple[str, str]:
    if (match := PERSON_FILE.fullmatch(file.stem)) is None:
        raise InputError(f"{file}: expected a name like CLIP-person0.trc")
    return match["clip"], match["person"]


def _rig_file(session: Path, dataset: Path) -> Path:
    """rig.yaml of the rig that a dataset was made with, by the digests of its inputs."""
    inputs = json.loads(dataset.with_name(f"{dataset.name}.json").read_text()).get("inputs", [])
    for digest in inputs:
        if (path := session / "rig" / digest[:8] / "rig.yaml").is_file():
            return path
    raise InputError(f"{session / 'rig'}: the rig of {dataset.name} is not there; run `posemill run {session}`")


def write_viewer(path: Path, clip: str, rig: Rig, people: Mapping[str, Trajectories]) -> str:
    """One page of people (trajectories over the same instants) among the cameras of a rig; returns what is not shown, or ""."""
    count = len(next(iter(people.values())).t_ns)
    every = -(-count // MOST_INSTANTS)
    note = f"every {_ordinal(every)} of {count} instants is shown" if every > 1 else ""
    shown = {name: track.xyz_m[::every] for name, track in people.items()}
    points = np.concatenate([xyz_m[np.isfinite(xyz_m).all(-1)] for xyz_m in shown.values()])
    t_ns = next(iter(people.values())).t_ns[::every]
    told = {
        "t_s": np.round(t_ns / 1e9, 4).tolist(),
        "limbs": _limbs(next(iter(people.values())).markers),
        "tracks": [
            {"name": name, "colour": COLOURS[k % len(COLOURS)], "xyz_mm": _millimetres(xyz_m)}
            for k, (name, xyz_m) in enumerate(shown.items())
        ],
    }
    heading = f"<h1>{escape(clip)}</h1><p>{GUIDE}{f' {note.capitalize()}.' if note else ''}</p>"
    write_page(path, f"{clip}: {len(people)} people in 3D", heading + scene_html(rig, people=told, around_m=points))
    return note


def _ordinal(number: int) -> str:
    return {2: "2nd", 3: "3rd"}.get(number, f"{number}th")


def _limbs(markers: tuple[str, ...]) -> list[list[int]]:
    """Limbs as index pairs into markers."""
    pairs = [(COCO17.joints[a], COCO17.joints[b]) for a, b in COCO17.limbs]
    return [[markers.index(a), markers.index(b)] for a, b in pairs if a in markers and b in markers]


def _millimetres(xyz_m: np.ndarray) -> list[Any]:
    """(F, J, 3) as whole millimetres: null for a joint that is not known, and for an instant without any."""
    known = np.isfinite(xyz_m).all(-1)
    whole = np.rint(np.where(known[..., None], xyz_m, 0.0) * 1000).astype(int).tolist()
    rows = ([p if ok else None for p, ok in zip(*instant, strict=True)] for instant in zip(whole, known.tolist(), strict=True))
    return [row if there else None for row, there in zip(rows, known.any(1).tolist(), strict=True)]
