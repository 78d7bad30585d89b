"""A rig from a clip in which one or several boards move before its cameras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target, boards_of, view_labels
from calibration.extrinsics import calibrate_rig
from calibration.lens_gates import bent_lenses
from calibration.rig import Rig
from calibration.rolling_shutter import Readout, RollingCorners, solve_readouts
from calibration.transforms import scale_px
from pipeline.boards import corners_in_clip, rolling_in_clip
from pipeline.calibrated import BoardClip, Calibrated, Lens
from pipeline.config import CalibrateConfig
from pipeline.errors import InputError
from pipeline.lenses import clip_lenses, joint_kind
from pipeline.session import Clip, Source
from pipeline.store import Store
from pipeline.types import Artefact

Array = NDArray[np.float64]
Size = tuple[int, int]

# Lenses and rig are solved with readouts this often at the most; two or three times is the rule.
MAX_SOLVES = 5


@dataclass(frozen=True, eq=False)
class Solver:
    """Everything about a board clip but its corners: what they are turned into a rig with."""

    config: CalibrateConfig
    filmed: BoardClip
    names: tuple[str, ...]
    sizes: tuple[Size, ...]
    stereo_pairs: tuple[tuple[str, str], ...]
    lenses: Mapping[str, Lens]

    def solve(self, corners: Array) -> Calibrated:
        """Lenses, then poses, of corners (C, F, M, 2) px; both once more together where no lens was known before."""
        board, world = self.filmed.board, self.filmed.world
        solve = partial(calibrate_rig, corners, board, self.sizes, self.names, stereo_pairs=self.stereo_pairs, world=world)
        lenses = clip_lenses(corners, board, self.sizes, self.names, self.lenses, self.config, self.filmed.labels)
        if all(lens.joint for lens in lenses.values()):
            kind, cameras = joint_kind(lenses), [lenses[name].camera for name in self.names]
            alike = all(camera.lens == kind for camera in cameras)
            rig, report = solve(lens=kind, start=cameras if alike else None)
            if not bent_lenses([lens.report for lens in lenses.values() if lens.report], report.cameras):
                solved = {name: replace(lens, camera=rig[name]) for name, lens in lenses.items()}
                return Calibrated(rig, solved, report, filmed=self.filmed)
            lenses = {name: replace(lens, joint=False, origin=f"{lens.origin}, held") for name, lens in lenses.items()}
        rig, report = solve(intrinsics=[lenses[name].camera for name in self.names])
        return Calibrated(rig, dict(lenses), report, filmed=self.filmed)


def calibrate_board_clip(
    store: Store, frames: Artefact, config: CalibrateConfig, board: Target, lenses: Mapping[str, Lens]
) -> Calibrated:
    """The session's rig from its board clip; `lenses` are those known before. Raises InputError naming a camera that did not
    film the clip, and what `calibration` and `pipeline.boards` raise."""
    session = store.session
    clip = session.clip(session.calibration.board_clip)
    missing = [name for name in session.cameras if name not in clip.sources]
    if missing:
        raise InputError(
            f"board clip {clip.name}: camera {missing[0]} did not film it; all of {', '.join(session.cameras)} must"
        )
    instants = choose_instants(frames.summary["instants"], config.max_instants, config.floor_instant)
    floor = None if config.floor_instant is None else instants.index(config.floor_instant) * len(boards_of(board))
    labels = tuple(view_labels(board, [f"instant {instant}" for instant in instants]))
    filmed = BoardClip(board, labels, "cameras" if floor is None else f"board:{floor}")
    sizes = tuple(_size_of(lenses.get(name), frames, name) for name in session.cameras)
    solver = Solver(config, filmed, session.cameras, sizes, session.stereo_pairs, lenses)
    readouts = session.calibration.readout_ms
    if not readouts:
        corners, _ = corners_in_clip(store, frames, clip.name, board, session.cameras, instants)
        return solver.solve(_in_lenses_px(corners, clip, session.cameras))
    rolling, times_s = rolling_in_clip(store, frames, clip.name, board, session.cameras, instants)
    return _rolling(solver, _in_lenses_px(rolling, clip, session.cameras), times_s, readouts)


def _rolling(solver: Solver, corners: Array, times_s: Array, told: Mapping[str, float | Literal["solve"]]) -> Calibrated:
    """The rig of corners (C, 3, F, M, 2) of cameras that read their rows one after the other.

    Readouts to be solved begin at none at all. Lenses and rig are solved from corners moved by the readouts known so far, and
    the readouts from that rig, until they stay: lenses of bent corners had put 3 ms on 30.
    """
    filmed = [RollingCorners(xy, t_s, size[1]) for xy, t_s, size in zip(corners, times_s, solver.sizes, strict=True)]
    asked = [told.get(name, 0.0) for name in solver.names]
    wanted = [camera for camera, readout in enumerate(asked) if isinstance(readout, str)]
    readouts = [Readout(0.0 if isinstance(ms, str) else ms / 1e3) for ms in asked]
    made = solver.solve(_at_mid_frame(filmed, readouts))
    for _ in range(MAX_SOLVES if wanted else 0):
        before, readouts = readouts, list(solve_readouts(made.rig, solver.filmed.board, filmed, readouts, wanted))
        made = solver.solve(_at_mid_frame(filmed, readouts))
        if all(abs(readouts[c].seconds - before[c].seconds) <= readouts[c].sigma_s for c in wanted):
            break
    by_name = {name: readout for name, readout in zip(solver.names, readouts, strict=True) if name in told}
    return replace(made, rig=_with_readouts(made.rig, by_name), readouts=by_name)


def _at_mid_frame(filmed: list[RollingCorners], readouts: list[Readout]) -> Array:
    return np.stack([corners.at_mid_frame(readout.seconds) for corners, readout in zip(filmed, readouts, strict=True)])


def _with_readouts(rig: Rig, readouts: Mapping[str, Readout]) -> Rig:
    cameras = [replace(c, readout_s=readouts[c.name].seconds if c.name in readouts else 0.0) for c in rig.cameras]
    return replace(rig, cameras=tuple(cameras))


def choose_instants(count: int, limit: int, also: int | None) -> list[int]:
    """At most `limit` instants out of `count`, evenly spread, and `also`. Raises InputError when `also` is none of them."""
    if also is not None and also >= count:
        raise InputError(f"calibrate.floor_instant: the board clip has instants 0 to {count - 1}, got {also}")
    spread = {round(place) for place in np.linspace(0, count - 1, min(limit, count))}
    return sorted(spread | ({also} if also is not None else set()))


def _in_lenses_px(corners: Array, clip: Clip, cameras: tuple[str, ...]) -> Array:
    return np.stack([_in_lens_px(xy_px, clip.sources[name]) for xy_px, name in zip(corners, cameras, strict=True)])


def _in_lens_px(xy_px: Array, source: Source) -> Array:
    """Corners found in a clip's frames, in the pixels of the image the lens was calibrated with."""
    return scale_px(xy_px, 1 / np.array(source.image_scale or (1.0, 1.0))) + (source.image_origin_px or (0.0, 0.0))


def _size_of(lens: Lens | None, frames: Artefact, name: str) -> Size:
    return lens.camera.size_wh if lens else tuple(frames.summary["size_wh"][name])
