from __future__ import annotations

import numpy as np
import pytest

from pipeline.cloud import open3d_cloud


def test_a_cloud_keeps_points_and_colours() -> None:
    rng = np.random.default_rng(0)
    xyz_m, rgb = rng.normal(size=(50, 3)), rng.integers(0, 256, (50, 3), dtype=np.uint8)
    cloud = open3d_cloud(xyz_m, rgb)
    np.testing.assert_array_equal(np.asarray(cloud.points), xyz_m)
    np.testing.assert_allclose(np.asarray(cloud.colors) * 255.0, rgb, atol=1e-9)
    assert not open3d_cloud(xyz_m).has_colors()


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"\(N, 3\), got \(4, 2\)"):
        open3d_cloud(np.zeros((4, 2)))
    with pytest.raises(ValueError, match="colour per point"):
        open3d_cloud(np.zeros((4, 3)), np.zeros((3, 3)))
