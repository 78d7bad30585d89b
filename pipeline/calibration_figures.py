"""Pictures of a calibration, drawn from arrays: every function returns one SVG file as a data URI for an <img>."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from pipeline.capture_volume import Slice

if TYPE_CHECKING:  # imported where it is drawn: it takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

BLUE, ORANGE, RED, GREY = "#1f5f99", "#d9730d", "#b3261e", "#8a8f98"
LOOK: Any = {
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.title_fontsize": 8.5,
    "svg.hashsalt": "posemill",  # the same numbers give the same bytes
    "svg.fonttype": "path",  # looks the same whatever fonts the reader has
}
DPI = 130  # of dots, arrows and surfaces, which are pixels inside the SVG; thousands of them as paths would be megabytes
GRID = 16  # cells along the longer image side
MAX_ARROWS = 1500
ARROW_STEPS, BAND_STEPS = (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
MIN_IN_BIN = 5  # corners that a ring of the radius curve must hold
SUFFIXES = ("x", "y", "z")


@dataclass(frozen=True, eq=False)
class Corners:
    """Corners of one camera: xy_px (K, 2), error_px (K, 2) projected minus seen, and which the solution used (K,)."""

    size_wh: tuple[int, int]
    centre_px: tuple[float, float]
    xy_px: Array
    error_px: Array
    used: NDArray[np.bool_]

    @property
    def covered(self) -> float:
        """Share of the image's cells (16 along its longer side) in which at least one used corner lies."""
        return float((self.cells() > 0).mean())

    def cells(self) -> Array:
        """Number of used corners in every cell of the image (rows, columns)."""
        width, height = self.size_wh
        side = max(width, height) / GRID
        edges = [np.linspace(-0.5, extent - 0.5, max(2, round(extent / side) + 1)) for extent in (height, width)]
        return np.histogram2d(self.xy_px[self.used, 1], self.xy_px[self.used, 0], bins=edges)[0]


def corner_picture(corners: Corners) -> str:
    """Coverage, residual arrows and residuals against radius of one camera, side by side."""
    width, height = corners.size_wh
    shape = width / height
    with _drawing(12.2, 3.6) as figure:
        image_width = min(4.2, 2.9 * shape)
        room = 12.2 - 2 * image_width
        axes = figure.subplots(1, 3, width_ratios=[image_width, image_width, min(room, 5.2)])
        _draw_coverage(figure, axes[0], corners)
        _draw_arrows(axes[1], corners)
        _draw_radius(axes[2], corners)
        return _svg(figure)


def _draw_coverage(figure: Figure, axes: Axes, corners: Corners) -> None:
    cells = corners.cells()
    extent = (-0.5, corners.size_wh[0] - 0.5, corners.size_wh[1] - 0.5, -0.5)
    shown = np.where(cells > 0, cells, np.nan)
    picture = axes.imshow(shown, extent=extent, cmap="YlGnBu", vmin=0, interpolation="nearest")
    xy_px = corners.xy_px[corners.used]
    axes.plot(xy_px[:, 0], xy_px[:, 1], ".", ms=2.2, color="black", alpha=0.4, mew=0, rasterized=True)
    axes.set_title(f"Coverage: corners in {corners.covered:.0%} of the cells")
    _frame(axes, corners.size_wh)
    figure.colorbar(picture, ax=axes, label="corners per cell", shrink=0.75, aspect=16)


def _draw_arrows(axes: Axes, corners: Corners) -> None:
    used = np.flatnonzero(corners.used)
    used = used[:: max(1, -(-used.size // MAX_ARROWS))]
    xy_px, error_px = corners.xy_px[used], corners.error_px[used]
    typical = float(np.percentile(np.linalg.norm(error_px, axis=1), 90)) if used.size else 1.0
    times = _round_to(ARROW_STEPS, 0.04 * max(corners.size_wh) / max(typical, 1e-6))
    axes.quiver(
        *xy_px.T,
        *error_px.T,
        angles="xy",
        scale_units="xy",
        scale=1 / times,
        color=BLUE,
        width=0.0028,
        headwidth=3.5,
        headlength=4,
        minlength=0,
        rasterized=True,
    )
    out = corners.xy_px[~corners.used]
    axes.plot(out[:, 0], out[:, 1], "x", ms=4, mew=1, color=RED, rasterized=True, label=f"left out ({len(out)})")
    axes.set_title(f"Residuals, {times:g} times as long" + (f"; x left out: {len(out)}" if len(out) else ""))
    _frame(axes, corners.size_wh)


def _draw_radius(axes: Axes, corners: Corners) -> None:
    offset = corners.xy_px[corners.used] - corners.centre_px
    error_px = corners.error_px[corners.used]
    radius, length = np.linalg.norm(offset, axis=1), np.linalg.norm(error_px, axis=1)
    outward = (error_px * offset).sum(1) / np.maximum(radius, 1e-9)
    axes.plot(radius, length, ".", ms=3, color=GREY, alpha=0.5, mew=0, rasterized=True)
    middle, rms, mean, spread = _rings(radius, length, outward)
    axes.plot(middle, rms, "-", color=BLUE, lw=2, label="RMS")
    axes.plot(middle, mean, "-", color=ORANGE, lw=2, label="mean outward part, with 2 sigma")
    axes.fill_between(middle, mean - 2 * spread, mean + 2 * spread, color=ORANGE, alpha=0.25, lw=0)
    axes.axhline(0, color=GREY, lw=0.8)
    if length.size:
        top = float(np.percentile(length, 99.5))
        axes.set_ylim(min(-0.35 * top, 1.2 * float(np.nanmin(mean, initial=0.0))), 1.1 * top)
    axes.set_xlabel("distance from the principal point, px")
    axes.set_ylabel("residual, px")
    axes.set_title("Residuals against radius")
    axes.legend(frameon=False, loc="upper left", fontsize=8.5)


def _rings(radius: Array, length: Array, outward: Array) -> tuple[Array, Array, Array, Array]:
    """Per ring of equal width: middle radius, RMS length, mean outward part and its standard error; sparse rings left out."""
    edges = np.linspace(0, radius.max(initial=1.0), 13)
    ring = np.clip(np.digitize(radius, edges) - 1, 0, 11)
    count = np.bincount(ring, minlength=12)
    full = count >= MIN_IN_BIN
    total = [np.bincount(ring, weights=value, minlength=12)[full] for value in (length**2, outward, outward**2)]
    squares, first, second = (value / count[full] for value in total)
    spread = np.sqrt(np.maximum(second - first**2, 0) / count[full])
    return (0.5 * (edges[1:] + edges[:-1]))[full], np.sqrt(squares), first, spread


def _frame(axes: Axes, size_wh: tuple[int, int]) -> None:
    axes.set_xlim(-0.5, size_wh[0] - 0.5)
    axes.set_ylim(size_wh[1] - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(True)
    axes.set_xticks([0, size_wh[0]])
    axes.set_yticks([0, size_wh[1]])


def uncertainty_picture(rig: Rig, level: Slice, upright: Slice) -> str:
    """Worst-axis 1 sigma from above and from the side on one colour scale, with the cameras."""
    from matplotlib.colors import BoundaryNorm

    values = np.concatenate([level.sigma_mm.ravel(), upright.sigma_mm.ravel()])
    values = values[np.isfinite(values)]
    low, high = (float(np.percentile(values, q)) for q in (0, 95)) if values.size else (0.0, 1.0)
    sides = [np.ptp(each.a_m) for each in (level, upright)]
    with _drawing(
        12.2, float(np.clip(11.0 / sum(sides) * max(np.ptp(level.b_m), np.ptp(upright.b_m)), 3.0, 6.5)) + 0.9
    ) as figure:
        axes = figure.subplots(1, 2, width_ratios=sides)
        norm = BoundaryNorm(_bands(low, high), 256, extend="max")
        for plot, part, title in zip(axes, (level, upright), ("From above, at", "From the side, at"), strict=True):
            picture = plot.pcolormesh(
                part.a_m, part.b_m, part.sigma_mm, cmap="viridis_r", norm=norm, shading="nearest", rasterized=True
            )
            _draw_cameras(plot, rig, part.axes)
            a, b, c = (SUFFIXES[axis] for axis in (*part.axes, 3 - sum(part.axes)))
            plot.set_title(f"{title} {c} = {part.at_m:.1f} m")
            plot.set_xlabel(f"{a}, m")
            plot.set_ylabel(f"{b}, m")
            plot.set_aspect("equal")
        figure.colorbar(picture, ax=axes, label="1 sigma along the worst axis, mm", shrink=0.9, aspect=25, spacing="uniform")
        return _svg(figure)


def _bands(low: float, high: float) -> list[float]:
    """Limits of the colour bands, round numbers from just below low to just above high; high keeps within a hundred of low."""
    steps = [_round_to(BAND_STEPS, max(low, 1e-3))]
    while len(steps) < 3 or (steps[-1] < high and len(steps) < 14):
        steps.append(_round_to(BAND_STEPS, 1.55 * steps[-1]))
    return steps


def _draw_cameras(axes: Axes, rig: Rig, plane: tuple[int, int]) -> None:
    places = np.stack([camera.centre_m[list(plane)] for camera in rig.cameras])
    for camera, place in zip(rig.cameras, places, strict=True):
        ahead = camera.cam_from_world.R[2][list(plane)]
        axes.plot(*np.stack([place, place + 0.35 * ahead]).T, "-", color="black", lw=1.5)
        axes.plot(*place, "o", ms=6, color="black", mec="white", mew=0.8)
    near_m = 0.05 * max(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()))
    left = list(range(len(rig)))
    while left:  # cameras side by side share a label
        beside = [c for c in left if np.linalg.norm(places[c] - places[left[0]]) < near_m]
        name, (a, b) = ", ".join(rig.names[c] for c in beside), places[beside].max(0)
        text = axes.annotate(name, (a, b), xytext=(6, 5), textcoords="offset points", fontsize=9, parse_math=False)
        text.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1})
        left = [c for c in left if c not in beside]


def covariance_picture(names: Sequence[str], covariance: Array) -> str:
    """1 sigma of every camera along and about its own axes, and the correlations; covariance (6C, 6C) of (turn rad, move m)."""
    sigma = np.sqrt(np.diag(covariance)).reshape(-1, 2, 3) * 1e3
    sigma[~np.isfinite(sigma)] = np.nan  # a camera that the corners do not hold has no bar
    with _drawing(12.2, 4.6) as figure:
        left, right = np.asarray(figure.subfigures(1, 2, width_ratios=[6.2, 6.0]))
        for axes, kind, unit in zip(left.subplots(2, 1, sharex=True), (1, 0), ("place, mm", "direction, mrad"), strict=True):
            for axis, (colour, label) in enumerate(zip((BLUE, ORANGE, GREY), ("right", "down", "forward"), strict=True)):
                where = np.arange(len(names)) + 0.25 * (axis - 1)
                axes.bar(where, sigma[:, kind, axis], 0.23, color=colour, label=label)
            axes.set_title(f"1 sigma of each camera's {unit}")
            axes.set_ylim(0, 1.3 * max(float(np.nanmax(sigma[:, kind], initial=0.0)), 1e-6))
            axes.set_xticks(range(len(names)), names, parse_math=False)
        axes.legend(frameon=False, ncols=3, fontsize=8.5, loc="upper center", title="along or about the camera's own axis")
        _draw_correlation(right, names, covariance)
        return _svg(figure)


def _draw_correlation(figure: Any, names: Sequence[str], covariance: Array) -> None:
    sigma = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = covariance / np.outer(sigma, sigma)
    axes = figure.subplots()
    axes.set_facecolor("#dddddd")  # the fixed camera has no variance
    picture = axes.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    ticks = 6 * np.arange(len(names)) + 2.5
    axes.set_xticks(ticks, names, rotation=0 if len(names) < 8 else 90, parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.tick_params(length=0)
    for edge in 6 * np.arange(1, len(names)) - 0.5:
        axes.axhline(edge, color="white", lw=1.2)
        axes.axvline(edge, color="white", lw=1.2)
    axes.set_title("Correlation of pose errors")
    figure.colorbar(picture, ax=axes, shrink=0.85)


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure in inches with our look; no display and none of matplotlib's global figures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(LOOK):
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=DPI, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _round_to(steps: Sequence[float], value: float) -> float:
    """The largest number not above value that is one of steps (from 1 up to below 10) times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(f"{power * max(step for step in steps if step * power <= value * (1 + 1e-9)):.6g}")
