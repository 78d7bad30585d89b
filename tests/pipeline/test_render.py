"""Pictures of the rasteriser against the projection they must agree with."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.camera import Camera
from calibration.transforms import look_at
from pipeline.errors import InputError, StageError
from pipeline.render import Light, Mesh, Renderer, vertex_normals
from pipeline.studio_scene import grid_mesh


@pytest.fixture(scope="module")
def renderer():
    try:
        with Renderer((320, 240)) as opened:
            yield opened
    except StageError as error:
        pytest.skip(str(error))


def camera(dist: tuple[float, ...] = (0, 0, 0, 0, 0)) -> Camera:
    K = np.array([[260, 0, 155.3], [0, 262, 121.8], [0, 0, 1]])
    return Camera("virtual", (320, 240), K, np.array(dist), "brown", look_at([2.0, -1.0, 1.6], [0, 0, 0.9]))


def ball(centre_m: np.ndarray, radius_m: float) -> Mesh:
    """A bright octahedron, twice divided: its outline is symmetrical about the projected centre to a small share of a pixel."""
    at = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])
    faces = [[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]]
    corners = at[np.array(faces)]
    for _ in range(2):
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        ab, bc, ca = a + b, b + c, c + a
        corners = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        corners /= np.linalg.norm(corners, axis=2, keepdims=True)
    xyz_m = corners.reshape(-1, 3) * radius_m + centre_m
    faces = np.arange(len(xyz_m)).reshape(-1, 3)
    return Mesh(xyz_m, faces, np.ones_like(xyz_m), corners.reshape(-1, 3))


def centroid_px(rgba: np.ndarray) -> np.ndarray:
    weight = rgba[..., 3].astype(float)
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("dist", [(0, 0, 0, 0, 0), (-0.25, 0.08, 0, 0, 0), (-0.12, 0.03, 0.004, -0.003, 0.01)])
@pytest.mark.parametrize("at_m", [(0, 0, 0.9), (0.5, 0.9, 1.7), (0.2, -0.4, 0.3), (-0.3, 0.6, 0.2)])
def test_a_bright_marker_is_drawn_where_the_camera_projects_it(renderer, dist, at_m):
    marker = renderer.upload(ball(np.array(at_m), 0.03))
    renderer.shine(Light(), [])
    found = centroid_px(renderer.draw(camera(dist), [marker]))
    renderer.release([marker])
    # 4 samples per pixel on a disc of 9 px: the centroid is good to about 0.05 px.
    assert np.abs(found - camera(dist).project([at_m])[0]).max() < 0.15


def test_pictures_have_the_lens_the_camera_claims(renderer):
    bent, straight = camera((-0.25, 0.08, 0, 0, 0)), camera()
    marker = renderer.upload(ball(np.array([0.5, 0.9, 1.7]), 0.03))
    renderer.shine(Light(), [])
    apart = centroid_px(renderer.draw(bent, [marker])) - centroid_px(renderer.draw(straight, [marker]))
    renderer.release([marker])
    assert np.linalg.norm(apart) > 3


def test_a_surface_that_casts_a_shadow_darkens_the_floor_below_it_only(renderer):
    floor = grid_mesh(np.array([-1.0, -1, 0]), np.array([2.0, 0, 0]), np.array([0, 2.0, 0]))
    roof = grid_mesh(np.array([-0.3, -0.3, 0.5]), np.array([0.6, 0, 0]), np.array([0, 0.6, 0]))
    ground, cover = renderer.upload(floor), renderer.upload(roof)
    above = Light(towards_key=(0.0, 0.0, 1.0))
    renderer.shine(above, [cover])
    picture = renderer.draw(camera(), [ground])
    renderer.release([ground, cover])
    (x, y), (u, v) = (camera().project([at])[0].round().astype(int) for at in ([0, 0, 0], [0.7, 0.5, 0]))
    assert picture[y, x, 0] < picture[v, u, 0] - 40


def test_a_camera_of_another_size_or_lens_is_refused(renderer):
    other = Camera("cam7", (64, 48), np.diag([50.0, 50, 1]))
    with pytest.raises(InputError, match=r"cam7.*\(64, 48\)"):
        renderer.draw(other, [])


def test_missing_egl_is_reported_with_the_packages_to_install(monkeypatch):
    import moderngl

    def fail(**_: object) -> None:
        raise Exception("(detect) libEGL.so: cannot open shared object file")  # as moderngl does

    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(StageError, match="apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"):
        Renderer((8, 8))


def test_normals_of_a_ball_point_outwards():
    sphere = ball(np.zeros(3), 1.0)
    xyz_m, faces = np.unique(sphere.xyz_m.round(9), axis=0, return_inverse=True)
    assert (np.abs((vertex_normals(xyz_m, faces.reshape(-1, 3)) * xyz_m).sum(1)) > 0.97).all()
