"""Clothes on virtual bodies, from files written here and, where present, from the real wardrobe."""

from __future__ import annotations

import numpy as np
import pytest

from models.body import load_body
from models.wardrobe import load_garment, load_wardrobe

MHCLO = """# a clothes file
name patch
obj_file patch.obj
x_scale 0 1 2.0
verts 0
material patch.mhmat
0
1
0 1 2 0.5 0.25 0.25 0.0 0.0 1.0
delete_verts
3 - 5 9
"""


@pytest.fixture
def patch(tmp_path):
    (tmp_path / "patch.mhclo").write_text(MHCLO)
    (tmp_path / "patch.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2/2 3/3\n")
    return tmp_path / "patch.mhclo"


def test_a_vertex_bound_to_one_body_vertex_lies_on_it_and_offsets_are_decimetres_without_a_measure(patch):
    rest_m = np.array([[0, 0, 0], [0.2, 0, 0], [0, 0.4, 0.6]])
    fitted = load_garment(patch).fit(rest_m)
    assert np.allclose(fitted[:2], rest_m[:2])
    # One unit towards the front (MakeHuman's z, our -y), and no z measure in the file: 0.1 m.
    assert np.allclose(fitted[2], 0.25 * rest_m[1] + 0.25 * rest_m[2] + [0, -0.1, 0])


def test_headers_between_verts_and_its_numbers_and_ranges_of_hidden_vertices_are_read(patch):
    garment = load_garment(patch)
    assert garment.reference.tolist() == [[0, 0, 0], [1, 1, 1], [0, 1, 2]]
    assert garment.hides.tolist() == [3, 4, 5, 9]
    assert garment.faces.tolist() == [[0, 1, 2]]


def test_a_folder_without_clothes_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"expected \.mhclo files"):
        load_wardrobe(tmp_path)


def test_a_garment_with_more_corners_than_fitted_vertices_is_refused(patch):
    patch.with_name("patch.obj").write_text("f 1 2 7\n")
    with pytest.raises(ValueError, match="uses vertex 6, but only 3 are fitted"):
        load_garment(patch)


def test_real_clothes_lie_close_to_the_body_they_are_fitted_to(shared_data):
    pytest.importorskip("anny")
    from scipy.spatial import cKDTree

    body = load_body()
    shape = body.shape({"weight": 0.8})
    garment = load_garment(next((shared_data / "makehuman_wardrobe").rglob("male_casualsuit04.mhclo")))
    away_m = cKDTree(shape.vertices_m[np.unique(body.faces)]).query(garment.fit(shape.vertices_m))[0]
    assert np.median(away_m) < 0.03
    assert away_m.max() < 0.15
    assert np.abs(garment.weights(body).sum(1) - 1).max() < 1e-6


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("obj_file patch.obj", "obj_file ../../etc/passwd", "expected the name of a file beside it"),
        ("obj_file patch.obj", "obj_file none.obj", "none.obj"),
        ("0 1 2 0.5 0.25 0.25 0.0 0.0 1.0", "0 1 -9 0.5 0.25 0.25 0.0 0.0 1.0", "expected vertices from 0"),
        ("0 1 2 0.5 0.25 0.25 0.0 0.0 1.0", "0 1 2 nan 0.25 0.25 0.0 0.0 1.0", "found NaN or infinity"),
        ("0 1 2 0.5 0.25 0.25 0.0 0.0 1.0", "0 1 2 x 0.25 0.25 0.0 0.0 1.0", "could not convert"),
        ("x_scale 0 1 2.0", "x_scale 0 1 0", "measures above 0"),
        ("x_scale 0 1 2.0", "x_scale 0", "IndexError"),
        ("x_scale 0 1 2.0", "x_scale 0 99999999999999999999 2.0", "OverflowError"),
        ("3 - 5 9", "3 - 9999999999 9", "expected vertices up to"),
    ],
)
def test_clothes_that_nobody_can_wear_are_refused_by_name(patch, old, new, says):
    patch.write_text(MHCLO.replace(old, new))
    with pytest.raises(ValueError, match=f"(?s)patch.mhclo: .*{says}"):
        load_garment(patch)
