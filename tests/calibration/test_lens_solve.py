from __future__ import annotations

import numpy as np
import pytest

from calibration.lens_solve import lens_covariance, solve_lens
from tests.calibration.board_footage import filling_views
from tests.calibration.test_lens_choice import BOARD, NOISE_PX, SIZE, TRUTHS


@pytest.mark.parametrize("label", ["brown, k3 = 0", "fisheye"])
def test_errors_of_a_lens_are_as_large_as_its_covariance_says(label: str) -> None:
    truth, scores = TRUTHS[label], []
    for seed in range(8):
        views = filling_views(truth, BOARD, 12, NOISE_PX, 20 + seed)
        fit = solve_lens(views, range(12), BOARD, SIZE, truth.lens, label != "brown", "cam")
        error = np.array([fit.camera.K[0, 0], fit.camera.K[1, 1], *fit.camera.K[:2, 2]]) - np.array(
            [truth.K[0, 0], truth.K[1, 1], *truth.K[:2, 2]]
        )
        scores.append(error @ np.linalg.solve(fit.covariance[:4, :4], error))
    # The mean of 8 chi-squares of 4 degrees is 4 +- 1: 1.5 to 8 holds except for one in a thousand.
    assert 1.5 < np.mean(scores) < 8.0


def test_a_direction_without_information_is_told_as_uncertain_not_as_certain() -> None:
    covariance = lens_covariance(np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
    assert covariance[0, 0] > 1e10
    assert covariance[2, 2] == 0.0  # held
