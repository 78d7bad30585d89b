"""report.html of a rig: one self-contained page that needs no network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calibration.intrinsics import IntrinsicsReport

if TYPE_CHECKING:  # calibrate calls this module
    from pipeline.calibrate import Calibrated

STYLE = "body{font:15px sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}td,th{padding:.3em .8em;\
border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child{text-align:left}.bad{color:#b00}"


def write_report(path: Path, made: Calibrated) -> None:
    """Tables of lenses, detectors, poses and checks."""
    parts = ["<h1>Calibration</h1>", _lenses(made), _detectors(made), _views(made), _poses(made)]
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
    rows = [
        (name, figure.detector, figure.views, figure.fx_px, figure.fy_px, figure.rms_px)
        for name, lens in made.lenses.items()
        for figure in (lens.report.figures if lens.report else ())
    ]
    return _table("Corner detectors compared", ("camera", "detector", "views", "fx px", "fy px", "RMS px"), rows)


def _views(made: Calibrated) -> str:
    solved = {name: lens.report for name, lens in made.lenses.items() if lens.report}
    rows = [(name, _per_view(report), ", ".join(map(str, report.suspect_views)) or "-") for name, report in solved.items()]
    return _table("RMS of each view in px (number: RMS)", ("camera", "views", "suspect views"), rows)


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
