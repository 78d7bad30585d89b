"""Labels of training images, what is drawn coarser, and Parquet shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from flows.cli import app
from models.body import heaviest, load_body, skin
from models.motion import random_pose
from models.pasted import read_cutouts
from pipeline import studio_images, studio_people, studio_shards
from pipeline.errors import InputError, StageError
from pipeline.samples import decode_image
from pipeline.studio_detail import clustered
from pipeline.studio_images import Labelled, training_images
from pipeline.studio_people import make_actor
from pipeline.studio_shards import Order, write_shards
from pipeline.visibility import Surface, seen
from tests.benchmarks import peer_studio


@pytest.fixture(scope="module")
def images() -> list[Labelled]:
    pytest.importorskip("anny")
    try:
        return list(training_images(6, 5))
    except StageError as error:
        pytest.skip(str(error))


def test_labels_are_those_of_the_plain_studio_that_draws_every_triangle(
    images: list[Labelled], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio_images, "CELL_M", 0.0)
    monkeypatch.setattr(studio_images, "seen", peer_studio.seen)
    monkeypatch.setattr(studio_people, "vertex_normals", peer_studio.vertex_normals)
    assert {flag for made in images for flag in made.flags.ravel()} >= {1, 2}
    for made, plain in zip(images, training_images(6, 5), strict=True):
        np.testing.assert_array_equal(made.xy_px, plain.xy_px)
        np.testing.assert_array_equal(made.flags, plain.flags)
        np.testing.assert_array_equal(made.boxes_px, plain.boxes_px)
        assert np.abs(made.image.astype(float) - plain.image).mean() < 4  # edges and shadows move by a pixel


def test_visibility_agrees_with_the_plain_one_in_any_pose() -> None:
    pytest.importorskip("anny")
    rng = np.random.default_rng(8)
    actor, kinds = make_actor(load_body(), rng), set()
    for _ in range(6):
        people = [actor.posed(random_pose(rng), rng.uniform(-3, 3), spot, p) for p, spot in enumerate([(0, 0), (0.4, 0.3)])]
        joints_m = np.stack([person.joints_m for person in people])
        camera = studio_images._camera(joints_m[0], rng.uniform(-3, 3), rng)
        surfaces = [surface for person in people for surface in person.surfaces]
        surfaces.append(Surface(surfaces[0].xyz_m + [0.2, 0.1, 0], surfaces[0].faces, -1, np.zeros(0, int)))
        surfaces[-1] = Surface(surfaces[-1].xyz_m, surfaces[-1].faces, -1, np.zeros(len(surfaces[-1].xyz_m), int))
        free = seen(camera, joints_m, surfaces)
        np.testing.assert_array_equal(free, peer_studio.seen(camera, joints_m, surfaces))
        kinds |= set(free.ravel().tolist())
    assert kinds == {True, False}


def test_clusters_keep_vertices_of_the_surface_and_lie_within_a_cell() -> None:
    rng = np.random.default_rng(1)
    points_m, part = rng.random((400, 3)), rng.integers(0, 2, 400)
    faces = rng.integers(0, 400, (900, 3))
    drawn = clustered(points_m, faces, part, 0.25)
    assert len(drawn.kept) < 140 and len(drawn.faces) < 900
    cells = np.floor((points_m - points_m.min(0)) / 0.25).astype(int)
    rows = {(*cell, p) for cell, p in zip(cells.tolist(), part.tolist(), strict=True)}
    assert {(*cells[k].tolist(), int(part[k])) for k in drawn.kept} == rows
    assert len(rows) == len(drawn.kept)
    a, b, c = drawn.faces.T
    assert (a != b).all() and (b != c).all() and (c != a).all()


def test_the_rest_body_is_annys_own_and_the_heaviest_bone_is_the_first_largest() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("anny")
    body, phenotype = load_body(), {"gender": 0.2, "weight": 0.8}
    identity = torch.eye(4).repeat(1, len(body.bones), 1, 1)
    numbers = {name: torch.tensor([value]) for name, value in phenotype.items()}
    with torch.no_grad():
        whole = body.anny(pose_parameters=identity, phenotype_kwargs=numbers)
    shape = body.shape(phenotype)
    np.testing.assert_allclose(shape.vertices_m, whole["rest_vertices"][0], atol=1e-6)
    np.testing.assert_allclose(shape.heads_m, whole["rest_bone_heads"][0], atol=1e-6)
    np.testing.assert_array_equal(heaviest(body.weights), np.asarray(body.weights.argmax(axis=1)).ravel())
    still = np.tile(np.eye(4), (len(body.bones), 1, 1))
    np.testing.assert_allclose(skin(body.weights, still, shape.vertices_m), shape.vertices_m, atol=1e-6)


# -- shards -------------------------------------------------------------------------------------------------------------


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, images: list[Labelled]) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_shards(folder, Order(5, seed=5, shard=2))
    return folder


def test_shards_hold_the_same_images_and_labels(whole: Path, images: list[Labelled]) -> None:
    rows = [row for path in sorted(whole.iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["id"] for row in rows] == [f"studio-5-{k:07d}" for k in range(5)]
    for row, made in zip(rows, images, strict=False):
        xy_px = np.stack([row["x_px"], row["y_px"]], -1)
        known = made.flags > 0
        np.testing.assert_array_equal(row["visible"], made.flags)
        np.testing.assert_array_equal(xy_px[known], made.xy_px[known])
        assert np.isnan(xy_px[~known]).all()
        assert np.abs(decode_image(row["image"]["bytes"]).astype(float) - made.image).mean() < 12  # quality 60 and noise


def test_a_run_that_is_divided_killed_and_extended_gives_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path, Order(1, seed=5, shard=2, first=2))
    drawn = studio_shards.training_images

    def killed(*asked: object) -> object:
        yield from list(drawn(1, *asked[1:]))  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(studio_shards, "training_images", killed)
    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, Order(2, seed=5, shard=2))
    assert list(_bytes(tmp_path)) == ["studio-0000002.parquet"]
    monkeypatch.undo()
    made = write_shards(tmp_path, Order(5, seed=5, shard=2))
    assert (made.made, made.images) == (3, 5)
    assert _bytes(tmp_path) == _bytes(whole)


def test_finished_shards_are_kept(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio_shards, "training_images", lambda *_: pytest.fail("drawn again"))
    assert write_shards(whole, Order(4, seed=5, shard=2)).made == 0


def test_shards_of_another_seed_or_a_first_image_inside_a_shard_are_refused(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='expected a shard made from .*"seed": 6.* found .*"seed": 5'):
        write_shards(whole, Order(2, seed=6, shard=2))
    (tmp_path / "studio-0000000.parquet").write_bytes(b"half")
    with pytest.raises(InputError, match="found no recipe"):
        write_shards(tmp_path, Order(2, seed=5, shard=2))
    with pytest.raises(InputError, match="first: expected a multiple of the 500 .* take 500"):
        Order(2, first=700)


def test_shards_carry_the_features_of_an_export(whole: Path) -> None:
    metadata = pq.read_schema(whole / "studio-0000000.parquet").metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert set(features) == set(pq.read_schema(whole / "studio-0000000.parquet").names)


def test_the_command_line_writes_shards_and_says_what_it_made(whole: Path) -> None:
    asked = ["draw", "images", str(whole), "5", "--seed", "5", "--shard", "2", "--json"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert (len(answer["files"]), answer["made"], answer["images"]) == (3, 0, 0)
    assert CliRunner().invoke(app, [*asked, "--first", "1"]).exit_code == 2


def test_the_command_line_draws_people_to_paste(tmp_path: Path, images: list[Labelled]) -> None:
    result = CliRunner().invoke(app, ["draw", "cutouts", str(tmp_path / "cut"), "2", "--seed", "3", "--json"])
    assert result.exit_code == 0, result.stderr
    assert len(read_cutouts(tmp_path / "cut")) == 2
