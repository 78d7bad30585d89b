"""Do the generated views of one instant show one person? Their joints, found again, are triangulated and held against the
skeleton the views were drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from calibration.rig import Rig
from calibration.triangulate import triangulate
from pipeline.augment_plan import Request
from pipeline.types import Array

LEAST_JOINTS = 6  # a person with fewer joints seen by two views is not judged


def retriangulated_mm(requests: Sequence[Request], matched_px: Sequence[Array]) -> dict[int, float]:
    """MPJPE in mm of every person that two views or more of one instant show. matched_px: of each view the joints found again
    (P, J, 2) in its own pixels, in the order of its labels, NaN where not seen.

    No view is left out of a joint: where one of them shows it elsewhere, the point is off, as it should be. Views that failed
    their own check are not asked.
    """
    if len(requests) < 2:
        return {}
    rig = Rig(tuple(request.camera for request in requests))
    seen: dict[int, Array] = {}
    truth_m: dict[int, Array] = {}
    for view, (request, found_px) in enumerate(zip(requests, matched_px, strict=True)):
        for number, person in enumerate(request.person.tolist()):
            views = seen.setdefault(person, np.full((len(requests), found_px.shape[1], 2), np.nan))
            views[view] = request.crop.to_source(found_px[number])
            truth_m[person] = request.xyz_m[number]
    errors = {person: _mpjpe_mm(rig, views, truth_m[person]) for person, views in seen.items()}
    return {person: error for person, error in errors.items() if np.isfinite(error)}


def _mpjpe_mm(rig: Rig, views_px: Array, truth_m: Array) -> float:
    found_m = triangulate(rig, views_px).xyz_m
    errors_mm = 1000 * np.linalg.norm(found_m - truth_m, axis=-1)
    known = errors_mm[np.isfinite(errors_mm)]
    return float(known.mean()) if len(known) >= LEAST_JOINTS else float("nan")


def disagreements(requests: Sequence[Request], matched_px: Sequence[Array], allowed_mm: float) -> list[list[str]]:
    """Of each view of one instant, why it is rejected; empty for those that agree. Arguments as `retriangulated_mm`.

    While a person is further off than allowed, the view without which that person is nearest goes. Of two views that disagree
    both go: nothing tells which of them is right.
    """
    reasons: list[list[str]] = [[] for _ in requests]
    left = list(range(len(requests)))
    while far := {person: mm for person, mm in _errors_mm(requests, matched_px, left).items() if mm > allowed_mm}:
        furthest = max(far, key=lambda person: far[person])
        odd = [view for view in left if furthest in requests[view].person]
        if len(odd) > 2:
            without = {view: _errors_mm(requests, matched_px, [each for each in left if each != view]) for view in odd}
            odd = [min(odd, key=lambda view: without[view].get(furthest, np.inf))]
        for view in odd:
            reasons[view] = view_reasons(requests[view], far, allowed_mm)
        left = [view for view in left if view not in odd]
    return reasons


def _errors_mm(requests: Sequence[Request], matched_px: Sequence[Array], some: Sequence[int]) -> dict[int, float]:
    return retriangulated_mm([requests[view] for view in some], [matched_px[view] for view in some])


def view_reasons(request: Request, errors_mm: Mapping[int, float], allowed_mm: float) -> list[str]:
    """Why a view is rejected: its people who are further off than allowed, by what its instant triangulates to."""
    return [
        f"person {number}: views disagree: {errors_mm[person]:.0f} mm after triangulation, allowed {allowed_mm:.0f}"
        for number, person in enumerate(request.person.tolist())
        if errors_mm.get(person, 0.0) > allowed_mm
    ]
