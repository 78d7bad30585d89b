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


def view_reasons(request: Request, errors_mm: Mapping[int, float], allowed_mm: float) -> list[str]:
    """Why a view is rejected with the others of its instant."""
    return [
        f"person {number}: views disagree: {errors_mm[person]:.0f} mm after triangulation, allowed {allowed_mm:.0f}"
        for number, person in enumerate(request.person.tolist())
        if errors_mm.get(person, 0.0) > allowed_mm
    ]
