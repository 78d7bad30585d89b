"""report.html of a rig: one self-contained page that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.intrinsics_report import IntrinsicsReport

if TYPE_CHECKING:  # calibrate calls this module
    from pipeline.calibrate import Calibrated

STYLE = "body{font:15px sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}td,th{padding:.3em .8em;\
border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child{text-align:left}.bad{color:#b00}"


def write_report(path: Path, made: Calibrated) -> None:
    """Tables of lenses, detectors, poses and checks."""
    parts = ["<h1>Calibration</h1>", _lenses(made), _choices(made), _detectors(made), _views(made), _notes(made), _poses(made)]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>Calibration</title><style>{STYLE}</style>"
    path.write_text(head + "".join(parts) + "</html>", encoding="utf-8")


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(_text(value))}</td>" for value in row) + "</tr>" for row in rows)
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>" if body else ""


def _text(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _lenses(made: Calibrated) -> str:
    rows = []
    for camera in made.rig.cameras:
        K, lens = camera.K, made.lenses.get(camera.name)
        report = lens.report if lens else None
        views = f"{len(report.views_used)} of {lens.searched}" if report and lens else "-"
        rms = f"{report.rms_px:.3f}" if report else "-"
        sigma = f"{report.fx_sigma_px:.1f}" if report else "-"
        size = f"{camera.size_wh[0]}x{camera.size_wh[1]}"
        numbers = [f"{value:.1f}" for value in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])]
        rows.append((camera.name, size, lens.origin if lens else "-", *numbers, sigma, rms, views, np.round(camera.dist, 4)))
    columns = (
        "camera",
        "size px",
        "from",
        "fx px",
        "fy px",
        "cx px",
        "cy px",
        "sigma fx px",
        "lens RMS px",
        "views",
        "distortion",
    )
    return _table("Lenses", columns, rows)


def _detectors(made: Calibrated) -> str:
    rows = []
    for name, lens in made.lenses.items():
        for f in lens.report.figures if lens.report else ():
            without = ", ".join(view.label for view in f.dropped) or "-"
            rows.append((name, f.detector, f.lens, f.views, f.fx_px, f.fy_px, f.rms_px, without, f.kept_fx_px))
    columns = ("camera", "detector", "lens", "views", "fx px", "fy px", "RMS px", "outlier views", "fx px without them")
    return _table("Corner detectors compared", columns, rows)


def _choices(made: Calibrated) -> str:
    rows = []
    for name, lens in made.lenses.items():
        choice = lens.report.choice if lens.report else None
        for row in choice.table if choice else ():
            figures = ["-" if np.isnan(v) else f"{v:.3f}" for v in (row.held_out_px, row.standard_error_px)]
            rows.append((name, row.label, *figures, "chosen" if row.chosen else "", row.why))
    columns = ("camera", "lens", "RMS of held-out views px", "standard error px", "", "why")
    return _table("Choice of lens by cross-validation over views", columns, rows)


def _notes(made: Calibrated) -> str:
    rows = []
    for name, lens in made.lenses.items():
        shown = lens.report.coverage if lens.report else None
        rows += [(name, str(shown))] if shown else []
        rows += [(name, note) for note in (lens.report.notes if lens.report else ())]
    return _table("What the views show, and what to film to improve", ("camera", "note"), rows)


def _views(made: Calibrated) -> str:
    solved = {name: lens.report for name, lens in made.lenses.items() if lens.report}
    rows = [(name, _per_view(report), ", ".join(v.label for v in report.dropped) or "-") for name, report in solved.items()]
    return _table("RMS of each view in px (number: RMS)", ("camera", "views", "dropped views"), rows)


def _per_view(report: IntrinsicsReport) -> str:
    return "  ".join(f"{view}: {report.per_view_px[view]:.2f}" for view in report.views_used)


def _poses(made: Calibrated) -> str:
    if made.poses is None:
        rows = [(c.name, *(float(v) for v in c.centre_m), made.turned_deg.get(c.name, 0.0)) for c in made.rig.cameras]
        return _table("Poses (imported)", ("camera", "x m", "y m", "z m", "turned to fit its new lens, degrees"), rows)
    poses = made.poses
    sigma = zip(made.rig.cameras, poses.cameras, poses.centre_sigma_mm, poses.rotation_sigma_mrad, strict=True)
    solved = [
        (row.name, row.views, row.corners, row.used, row.rms_px, row.median_px, row.p95_px, *map(float, c.centre_m), mm, mrad)
        for c, row, mm, mrad in sigma
    ]
    columns = (
        "camera",
        "views",
        "corners",
        "used",
        "RMS px",
        "median px",
        "95 % px",
        "x m",
        "y m",
        "z m",
        "sigma mm",
        "sigma mrad",
    )
    checks = [(gate.name, "passed" if gate.passed else "FAILED", gate.found, gate.expected) for gate in poses.gates]
    return _table("Poses", columns, solved) + _table("Checks", ("check", "result", "found", "expected"), checks)
