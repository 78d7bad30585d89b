"""The calibrate stage: a rig from an imported file, board photos and a clip of the moving board, whichever are given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target, parse_target
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.formats import save_rig
from calibration.quality import failures, require
from calibration.rig import Rig
from calibration.transforms import rotation_angle_rad
from pipeline.board_clip import calibrate_board_clip
from pipeline.boards import photos
from pipeline.calibrated import Calibrated, Lens
from pipeline.calibration_report import GATES, REFUSED, REPORT, write_report
from pipeline.config import CalibrateConfig
from pipeline.errors import InputError
from pipeline.ingest import fingerprint
from pipeline.lenses import lens_from_photos, told
from pipeline.rigs import by, check_sizes, import_rig, posed_like, read_rig
from pipeline.session import Session, Source, resolve
from pipeline.sources import list_images
from pipeline.store import Ref, Store
from pipeline.types import Artefact

VERSION = "4"
__all__ = ["VERSION", "calibrate", "lens_from_photos", "photos", "read_rig", "run"]
Array = NDArray[np.float64]


def run(store: Store, ref: Ref, config: CalibrateConfig) -> Artefact:
    """rig.yaml and report.html of the session. Raises InputError, StageError or CalibrationError naming the camera.

    Only the board clip decides the rig; every clip's video size is compared with it, each time.
    """
    session, frames = store.session, {clip.name: made for clip, made in zip(store.session.clips, ref.inputs, strict=True)}
    board_clip = session.calibration.board_clip
    used = Ref((frames[board_clip],) if board_clip else ())
    slot = store.slot("calibrate", VERSION, config, used, suffix="", given=_given(store.root, session))
    done = slot.done()
    if done is None:
        with _one_opencv_thread():
            made = calibrate(store, frames.get(board_clip), config)
        _check(made, config, slot.path.with_name(REFUSED))
        done = slot.commit(lambda path: _write(path, made, config), len(made.rig), _summary(made, config))
    for clip, artefact in frames.items():
        check_sizes(read_rig(done), artefact, clip)
    return done


@contextmanager
def _one_opencv_thread() -> Iterator[None]:
    """cv2.calibrateCamera sums in whatever order its threads finish; in one thread the same corners give the same bytes."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _given(root: Path, session: Session) -> dict[str, Any]:
    inputs = session.calibration
    folders = {
        camera: fingerprint(root, Source(path=folder), f"calibration.intrinsics, camera {camera}")
        for camera, folder in inputs.intrinsics.items()
    }
    rig = hashlib.sha256(_rig_path(root, inputs.rig).read_bytes()).hexdigest() if inputs.rig else ""
    return {
        "cameras": list(session.cameras),
        "stereo_pairs": [list(pair) for pair in session.stereo_pairs],
        "board": session.board,
        "calibration": inputs.model_dump(mode="json"),
        "files": {"rig": rig, "intrinsics": folders},
    }


def _rig_path(root: Path, path: str) -> Path:
    full = resolve(root, path)
    if not full.is_file():
        raise InputError(f"calibration.rig: {full}: not found; name the rig with `posemill new SESSION --rig FILE`")
    return full


def calibrate(store: Store, frames: Artefact | None, config: CalibrateConfig) -> Calibrated:
    """The session's rig from whatever it has: an imported rig, lenses from photos over it, poses from the board clip."""
    session, inputs = store.session, store.session.calibration
    imported = import_rig(_rig_path(store.root, inputs.rig), session.cameras) if inputs.rig else None
    lenses = (
        {name: Lens(imported[name], f"imported from {Path(inputs.rig).name}") for name in session.cameras} if imported else {}
    )
    if config.intrinsics == "solve":
        for name, folder in inputs.intrinsics.items():
            where = resolve(store.root, folder)
            labels = [file.name for file in list_images(where)]
            lenses[name] = lens_from_photos(photos(where, name), _board(session), config, name, folder, labels)
    if frames is not None:
        return calibrate_board_clip(store, frames, config, _board(session), lenses)
    if imported is None:
        raise InputError(
            "session.yaml: nothing to calibrate the cameras' poses from; import a rig (`posemill new SESSION --rig FILE`) or "
            "add a clip in which a board moves before all cameras (`posemill new SESSION ... --board SPEC --board-clip`)"
        )
    for name, lens in lenses.items():
        _same_size(lens.camera, imported[name])
    cameras = tuple(posed_like(lenses[name].camera, imported[name]) for name in session.cameras)
    turns = {camera.name: _turn_deg(camera, imported[camera.name]) for camera in cameras}
    return Calibrated(Rig(cameras, session.stereo_pairs), lenses, turned_deg={k: v for k, v in turns.items() if v})


def _turn_deg(camera: Camera, imported: Camera) -> float:
    """How far a camera was turned from its imported pose to fit its new lens; 0 for the imported lens itself."""
    angle_rad = rotation_angle_rad(camera.cam_from_world.R, imported.cam_from_world.R)
    return round(float(np.rad2deg(angle_rad)), 4)


def _board(session: Session) -> Target:
    if not session.board:
        raise InputError(
            "session.yaml: board is not set; name it, e.g. `posemill new SESSION --board charuco:5x7:0.04:0.03:DICT_4X4_50`"
        )
    return parse_target(session.board)


def _same_size(solved: Camera, imported: Camera) -> None:
    if solved.size_wh != imported.size_wh:
        raise CalibrationError(
            f"camera {solved.name}: its board photos are {by(solved.size_wh)} px, the imported rig was calibrated at "
            f"{by(imported.size_wh)} px; use photos of that size, or set calibrate.intrinsics=import"
        )


def _check(made: Calibrated, config: CalibrateConfig, report: Path) -> None:
    """Gates a rig must pass before anything is built on it; of one that does not, `report` is left to look at."""
    try:
        require(made.gates(config))
    except CalibrationError as error:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_report(report, made, made.gates(config))
        raise CalibrationError(f"{error}; the pictures in {report} show where") from error
    report.unlink(missing_ok=True)


def _summary(made: Calibrated, config: CalibrateConfig) -> dict[str, Any]:
    reports = {name: lens.report for name, lens in made.lenses.items() if lens.report}
    gates = made.gates(config)
    return {
        "cameras": len(made.rig),
        "gates": f"{len(gates) - len(failures(gates))} of {len(gates)} passed",
        "rms_px": made.rms_px,
        "fx_px": {camera.name: round(float(camera.K[0, 0]), 2) for camera in made.rig.cameras},
        "lens": {camera.name: camera.lens for camera in made.rig.cameras},
        "detectors": {name: [told(f) for f in report.figures] for name, report in reports.items() if report.figures},
        "lens_notes": {name: list(report.notes) for name, report in reports.items() if report.notes},
        "turned_deg": made.turned_deg,
        "readout_ms": {name: round(1e3 * readout.seconds, 3) for name, readout in made.readouts.items()},
        "sigma_mm": {name: round(mm, 3) for name, (mm, _) in made.sigma.items()},
        "sigma_mrad": {name: round(mrad, 4) for name, (_, mrad) in made.sigma.items()},
    }


def _write(folder: Path, made: Calibrated, config: CalibrateConfig) -> None:
    folder.mkdir(parents=True)
    save_rig(made.rig, folder / "rig.yaml")
    gates = made.gates(config)
    (folder / GATES).write_text(json.dumps([asdict(gate) | {"passed": bool(gate.passed)} for gate in gates], indent=1))
    write_report(folder / REPORT, made, gates)
