import numpy as np
import pytest

from calibration.transforms import scale_px
from pipeline.clip_rig import in_clip
from tests.pipeline.worlds import STANDING_M, ring


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.5), (0.5, 0.25)])
def test_a_cropped_and_resized_clip_sees_each_point_where_its_pixels_went(scale: tuple[float, float]) -> None:
    rig = ring(2)
    moved = in_clip(rig, {"cam1": (400, 300), "cam2": (960, 720)}, {"cam1": (8.0, -3.0)}, {"cam1": scale})
    before_px, after_px = rig["cam1"].project(STANDING_M), moved["cam1"].project(STANDING_M)
    np.testing.assert_allclose(after_px, scale_px(before_px - [8.0, -3.0], scale), atol=1e-9)
    assert moved["cam1"].size_wh == (400, 300)
    np.testing.assert_array_equal(moved["cam2"].project(STANDING_M), rig["cam2"].project(STANDING_M))
    np.testing.assert_array_equal(moved["cam1"].centre_m, rig["cam1"].centre_m)
