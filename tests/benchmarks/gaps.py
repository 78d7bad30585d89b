"""Joints that are missing for a while, and what interpolation makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.prior_motion import HELD_OUT, clip_skeletons
from models.puppet import Puppet
from models.skeleton import COCO17

Array = NDArray[np.float64]

MOST_MISSING = 5
# From the trunk outwards: the joint that each hangs from.
HANGS = {7: 5, 8: 6, 9: 7, 10: 8, 13: 11, 14: 12, 15: 13, 16: 14, 5: 11, 6: 12, 11: 5, 12: 6, 0: 5, 1: 5, 2: 6, 3: 5, 4: 6}


@dataclass(frozen=True, eq=False)
class Gap:
    """A track t_s (F,), xyz_m (F, J, 3) with NaN in its gap, and the instant `row` in the gap that is asked for: true_m (J, 3),
    and guess_m (J, 3), linear interpolation between before and after with bones brought to their mean lengths."""

    t_s: Array
    xyz_m: Array
    row: int
    true_m: Array
    guess_m: Array

    @property
    def missing(self) -> NDArray[np.bool_]:
        """(J,)."""
        return np.isnan(self.xyz_m[self.row, :, 0])


def make_gaps(
    puppets: Sequence[Puppet], gap_s: float, noise_m: float, kinds: Sequence[str] = HELD_OUT, each: int = 12
) -> list[Gap]:
    """Gaps of that length in every clip that is long enough, of every person, anywhere in a gap but its ends."""
    found, rng = [], np.random.default_rng(3)
    for kind in kinds:
        for puppet in puppets:
            t_s, true_m = clip_skeletons(puppet, kind)
            if t_s[-1] > gap_s * 1.05:
                track_m = true_m + noise_m * rng.normal(size=true_m.shape)
                found += [_gap(t_s, true_m, track_m, gap_s, rng) for _ in range(each)]
    return found


def _gap(t_s: Array, true_m: Array, track_m: Array, gap_s: float, rng: np.random.Generator) -> Gap:
    begin = rng.uniform(t_s[0], t_s[-1] - gap_s)
    before = np.searchsorted(t_s, begin)
    after = min(int(np.searchsorted(t_s, begin + gap_s)), len(t_s) - 1)
    at = int(np.clip(round(rng.uniform(before, after)), before + 1, max(after - 1, before + 1)))
    missing = rng.choice(len(COCO17), rng.integers(1, MOST_MISSING + 1), replace=False)
    share = (t_s[at] - t_s[before]) / max(t_s[after] - t_s[before], 1e-9)
    line_m = (1 - share) * track_m[before] + share * track_m[after]
    seen_m, guess_m = track_m.copy(), track_m[at].copy()
    seen_m[before + 1 : max(after, at + 1), missing], guess_m[missing] = np.nan, line_m[missing]
    for joint in (11, 12, 5, 6, 0, 1, 2, 3, 4, 13, 14, 15, 16, 7, 8, 9, 10):
        if joint in missing:
            tied = HANGS[joint]
            usual_m = np.linalg.norm(track_m[:, joint] - track_m[:, tied], axis=-1).mean()
            bone = guess_m[joint] - guess_m[tied]
            guess_m[joint] = guess_m[tied] + bone * usual_m / max(np.linalg.norm(bone), 1e-6)
    return Gap(t_s, seen_m, at, true_m[at], guess_m)
