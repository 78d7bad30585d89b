"""Plausibility of a clip: what cannot be is found and blamed, what can be passes at the stated rate."""

from __future__ import annotations

import numpy as np
import pytest

from models.body import load_body
from models.motion import walk
from models.puppet import make_puppet
from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.plausibility import SUSPECT, plausibility
from pipeline.types import Skeletons3D

INSTANTS = 200
WRIST = COCO17.index("left_wrist")


def clip(rng: np.random.Generator) -> np.ndarray:
    """Somebody who walks, seen with 8 mm of noise."""
    pytest.importorskip("anny")
    body = load_body()
    poses = np.stack([walk(phase) for phase in np.linspace(0, 8 * np.pi, INSTANTS)])
    return make_puppet(body, body.shape()).joints(poses) + 0.008 * rng.normal(size=(INSTANTS, 17, 3))


def instants(xyz_m: np.ndarray) -> list[Skeletons3D]:
    ones = np.ones((1, 17))
    return [Skeletons3D(t, np.array([0]), body[None], ones, ones, 2 * ones) for t, body in enumerate(xyz_m)]


def test_a_wrong_skeleton_is_found_and_its_joint_blamed_while_the_others_pass() -> None:
    xyz_m = clip(np.random.default_rng(0))
    xyz_m[50, WRIST] += [0.1, 0.35, 0.2]
    xyz_m[90, 5:] = np.nan
    found = plausibility(instants(xyz_m), "prior")
    assert found.p[50] < 1e-3
    assert found.blamed[50] == WRIST
    assert np.isnan(found.p[90])
    assert np.isnan(found.nats[90])
    others = np.delete(found.p, [50, 90])
    assert (others < 0.01).mean() <= 0.01
    assert found.nats[50] < np.nanmedian(found.nats)
    assert ((found.blamed >= 0) == (found.p < SUSPECT)).all()


def test_a_clip_without_anybody_has_nothing_to_judge() -> None:
    assert len(plausibility([], "prior").p) == 0


def test_weights_that_are_no_prior_are_refused() -> None:
    with pytest.raises(InputError, match=r"audit\.prior: .*expected a pose prior"):
        plausibility([], "studio")
