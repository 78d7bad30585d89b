"""The pose prior that stages judge and weigh skeletons by: loaded in one place, and part of what decides their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.detect import in_short, told_of_weights
from pipeline.errors import InputError

if TYPE_CHECKING:
    from models.prior_score import SkeletonPrior


def load_pose_prior(weights: str, setting: str) -> SkeletonPrior:
    """The prior of a setting (stage.key). Raises InputError for weights that are none."""
    from models.prior_score import load_skeleton_prior
    from models.weights import WeightsError

    try:
        return load_skeleton_prior(weights)
    except WeightsError as error:
        raise InputError(f"{setting}: {error}") from error


def told_of_prior(weights: str) -> dict[str, Any] | None:
    """What decides results by it and goes into the card of a release; None where a stage has no prior."""
    return told_of_weights(weights) if weights else None


def prior_figures(weights: str) -> dict[str, Any]:
    """The same as a stage's summary shows it."""
    return in_short(told_of_prior(weights) or {})
