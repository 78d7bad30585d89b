from dataclasses import replace

import numpy as np
import pytest

from calibration.transforms import scale_px
from pipeline.clip_rig import in_clip
from pipeline.walkers import STANDING_M, ring


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.5), (0.5, 0.25)])
def test_a_cropped_and_resized_clip_sees_each_point_where_its_pixels_went(scale: tuple[float, float]) -> None:
    rig = ring(2)
    moved = in_clip(rig, {"cam1": (400, 300), "cam2": (960, 720)}, {"cam1": (8.0, -3.0)}, {"cam1": scale})
    before_px, after_px = rig["cam1"].project(STANDING_M), moved["cam1"].project(STANDING_M)
    np.testing.assert_allclose(after_px, scale_px(before_px - [8.0, -3.0], scale), atol=1e-9)
    assert moved["cam1"].size_wh == (400, 300)
    np.testing.assert_array_equal(moved["cam2"].project(STANDING_M), rig["cam2"].project(STANDING_M))
    np.testing.assert_array_equal(moved["cam1"].centre_m, rig["cam1"].centre_m)


def test_the_spread_of_a_lens_goes_with_the_size_of_the_image() -> None:
    """Samples of lenses, each moved into the clip by itself, spread as the moved covariance says."""
    rng = np.random.default_rng(0)
    spread = np.diag([4.0, 3.0, 2.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.1])
    rig = replace(ring(2), lens_covariance=(spread, spread))
    shape = {"cam1": (320, 180), "cam2": (960, 720)}, {"cam1": (8.0, -3.0)}, {"cam1": (0.5, 0.25)}
    moved = in_clip(rig, *shape)
    samples = []
    for fx, fy, cx, cy, *_ in rng.multivariate_normal(np.zeros(9), spread, 1000):
        one = replace(rig.cameras[0], K=rig.cameras[0].K + [[fx, 0, cx], [0, fy, cy], [0, 0, 0]])
        K = in_clip(replace(rig, cameras=(one, rig.cameras[1])), *shape).cameras[0].K
        samples.append([K[0, 0], K[1, 1], K[0, 2], K[1, 2]])
    np.testing.assert_allclose(np.cov(np.array(samples).T).diagonal(), moved.lens_covariance[0].diagonal()[:4], rtol=0.2)
    np.testing.assert_array_equal(moved.lens_covariance[0][4:, 4:], spread[4:, 4:])
    np.testing.assert_array_equal(moved.lens_covariance[1], spread)
