"""What benchmarks of generators draw: a person who stands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.conditions import pose_map
from tests.pipeline.test_conditions import standing

PROMPT = "a person in a blue top and black trousers, even light, grey background"


def maps_of(size_px: int, count: int) -> NDArray[np.uint8]:
    """Pose maps of a standing person, each a little further to the right."""
    person = standing(64) / 128 * size_px
    return np.stack([pose_map(person + (k * size_px / 64 / count * 8, 0), (size_px, size_px)) for k in range(count)])
