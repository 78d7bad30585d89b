"""report.html of a rig: one self-contained page that needs no network. Checks first, then lenses, poses and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.intrinsics_report import IntrinsicsReport
from calibration.quality import Gate, failures
from pipeline import calibration_gallery as gallery
from pipeline.calibrated import Calibrated
from pipeline.page import write_page

GATES = "gates.json"  # beside rig.yaml: every check with what was found and expected
REPORT, REFUSED = "report.html", "refused.html"  # beside rig.yaml; of a rig that did not pass, beside the rigs that did
# A view this many times worse than its camera is marked.
WORSE = 2.0
Array = NDArray[np.float64]


def write_report(path: Path, made: Calibrated, gates: Sequence[Gate]) -> None:
    """The page: verdict and checks, tables of lenses and poses, pictures, RMS of every view."""
    parts = [
        "<h1>Calibration</h1>",
        _verdict(gates),
        _headline(made, gates),
        _gates(gates),
        _lenses(made),
        _choices(made),
        _detectors(made),
        _notes(made),
        _poses(made),
        _readouts(made),
        gallery.scene(made),
        gallery.uncertainty(made),
        gallery.covariance(made),
        gallery.corner_pictures(made),
        views_html(made),
    ]
    write_page(path, f"Calibration of {len(made.rig)} cameras", "".join(parts))


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "") -> str:
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    head = "".join(f"<th scope=col>{escape(column)}</th>" for column in columns)
    heading = f"<h2>{escape(title)}</h2>" if title else ""
    return f"{heading}<div class=wide><table class='{kind}'><tr>{head}</tr>{body}</table></div>" if body else ""


def _cell(value: Any) -> str:
    """A number with three decimals, any other value as its text; a pair (value, True) is marked as worse."""
    value, worse = value if isinstance(value, tuple) else (value, False)
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return f"<td class=worse>{escape(text)}</td>" if worse else f"<td>{escape(text)}</td>"


def _verdict(gates: Sequence[Gate]) -> str:
    failed = failures(gates)
    if not failed:
        return f"<p class='verdict good'>All {len(gates)} checks passed: the rig can be used.</p>"
    told = f"{len(failed)} of {len(gates)} checks failed: do not use this rig. The table below says what to do."
    return f"<p class='verdict bad'>{told}</p>"


def _headline(made: Calibrated, gates: Sequence[Gate]) -> str:
    figures = [("checks passed", f"{len(gates) - len(failures(gates))} of {len(gates)}"), ("cameras", str(len(made.rig)))]
    if made.rms_px:
        worst = max(made.rms_px, key=lambda name: made.rms_px[name])
        figures.append((f"px RMS, worst camera ({worst})", f"{made.rms_px[worst]:.2f}"))
    if made.sigma:
        for axis, what in enumerate(("mm place", "mrad direction")):
            worst = max(made.sigma, key=lambda name: made.sigma[name][axis])
            figures.append((f"{what}, 1 sigma, worst camera ({worst})", f"{made.sigma[worst][axis]:.2f}"))
    predicted_mm = gallery.uncertainty_mm(made)
    if np.isfinite(predicted_mm):
        figures.append(("mm predicted error of a point, 1 sigma, at 1 px", f"{predicted_mm:.2f}"))
    return (
        "<div class=figures>"
        + "".join(f"<div><b>{escape(value)}</b>{escape(label)}</div>" for label, value in figures)
        + "</div>"
    )


def _gates(gates: Sequence[Gate]) -> str:
    bad = [(gate.name, gate.found, gate.expected, gate.advice) for gate in failures(gates)]
    good = [(gate.name, gate.found, gate.expected) for gate in gates if gate.passed]
    failed = _table("", ("failed check", "found", "expected", "what to do"), bad, "text")
    passed = _table("", ("passed check", "found", "expected"), good, "text")
    return f"<h2>Checks</h2>{failed}<details><summary>{len(good)} checks passed</summary>{passed}</details>"


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
        dist = " ".join(f"{value:.4f}" for value in camera.dist)
        rows.append((camera.name, size, lens.origin if lens else "-", *numbers, sigma, rms, views, dist))
    columns = [
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
    ]
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


def _readouts(made: Calibrated) -> str:
    rows = [
        (name, 1e3 * readout.seconds, f"{1e3 * readout.sigma_s:.2f}" if readout.sigma_s else "given")
        for name, readout in made.readouts.items()
    ]
    guide = "<p>From the first row to the last; corners were moved to where they stood at the middle of their frame.</p>"
    return _table("Rolling shutters", ("camera", "readout ms", "1 sigma ms"), rows) + guide if rows else ""


def _poses(made: Calibrated) -> str:
    if made.poses is None:
        rows = [(c.name, *(float(v) for v in c.centre_m), made.turned_deg.get(c.name, 0.0)) for c in made.rig.cameras]
        return _table("Poses (imported)", ("camera", "x m", "y m", "z m", "turned to fit its new lens, degrees"), rows)
    solved = [
        (row.name, row.views, row.corners, row.used, row.rms_px, row.median_px, row.p95_px, *map(float, c.centre_m))
        + made.sigma[row.name]
        for c, row in zip(made.rig.cameras, made.poses.cameras, strict=True)
    ]
    counts = ("camera", "views", "corners", "used", "RMS px", "median px", "95 % px")
    columns = (*counts, "x m", "y m", "z m", "1 sigma mm", "1 sigma mrad")
    fixed = f"<p>1 sigma of place and direction is counted from {escape(made.rig.names[0])}, which is held fixed.</p>"
    return _table("Poses", columns, solved) + fixed


def views_html(made: Calibrated) -> str:
    """RMS of every view, of lenses and of poses; empty when nothing was solved."""
    tables = _lens_views(made) + _pose_views(made)
    guide = (
        f"Red is more than {WORSE:g} times its camera's RMS. Good: no red, or here and there. If a row is red throughout, the "
        "board moved too fast or the cameras were not in step; if one camera is red in many rows, look at its pictures above."
    )
    return f"<h2>RMS of each view</h2><p>{guide}</p>{tables}" if tables else ""


def _lens_views(made: Calibrated) -> str:
    solved = {name: lens.report for name, lens in made.lenses.items() if lens.report}
    rows = [(name, _per_view(report), ", ".join(v.label for v in report.dropped) or "-") for name, report in solved.items()]
    table = _table("", ("camera", "view: RMS px", "dropped views"), rows, "text")
    return f"<details><summary>Lenses: views of {len(rows)} cameras</summary>{table}</details>" if rows else ""


def _per_view(report: IntrinsicsReport) -> str:
    return ", ".join(f"{view}: {report.per_view_px[view]:.2f}" for view in report.views_used)


def _pose_views(made: Calibrated) -> str:
    if made.poses is None or made.filmed is None:
        return ""
    bundle = made.poses.bundle
    count = bundle.used.sum(2)
    squares = np.where(bundle.used, bundle.residual_px, 0.0) ** 2
    rms = np.sqrt(squares.sum(2) / np.maximum(count, 1))
    limits = [WORSE * row.rms_px for row in made.poses.cameras]
    rows = [
        (
            label.removeprefix("instant "),
            *(_view_cell(px, n, limit) for px, n, limit in zip(rms[:, f], count[:, f], limits, strict=True)),
        )
        for f, label in enumerate(made.filmed.labels)
        if count[:, f].any()
    ]
    table = _table("", ("instant", *made.rig.names), rows)
    return f"<details><summary>Poses: {len(rows)} views, RMS px (corners used)</summary>{table}</details>"


def _view_cell(rms_px: float, count: int, limit_px: float) -> tuple[str, bool]:
    return (f"{rms_px:.2f} ({count})" if count else "", bool(count and rms_px > limit_px))
