from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import StageError
from pipeline.samples import (
    accepted_people,
    decode_image,
    derive_seed,
    encode_jpeg,
    encode_png,
    keep_accepted,
    project_labels,
    sample_id,
)
from pipeline.tables import AUDIT, write_rows
from pipeline.types import Skeletons3D
from pipeline.walkers import STANDING_M, ring


def instant(t_ns: int, people: int = 2) -> Skeletons3D:
    ones = np.ones((people, 17))
    return Skeletons3D(t_ns, np.arange(people), np.repeat(STANDING_M[None], people, 0), ones, ones, ones)


def test_names_sort_in_time() -> None:
    names = [sample_id("walk", "cam1", t_ns) for t_ns in (5, 40, 10**12)]
    assert names == sorted(names)


def test_seeds_depend_on_every_part_and_on_where_parts_end() -> None:
    seeds = {
        derive_seed("a", "b", 1),
        derive_seed("a", "b", 2),
        derive_seed("ab", 1),
        derive_seed("a", "b1"),
        derive_seed("b", "a", 1),
    }
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_only_accepted_people_are_kept_and_empty_instants_go(tmp_path: Path) -> None:
    rows = [{"t_ns": t, "person": p, "accepted": (t, p) in {(0, 1), (2, 0)}} for t in (0, 1, 2) for p in (0, 1)]
    write_rows(tmp_path / "audit.parquet", rows, AUDIT)
    kept = keep_accepted([instant(0), instant(1), instant(2)], accepted_people(tmp_path / "audit.parquet"))
    assert [(s.t_ns, s.person.tolist()) for s in kept] == [(0, [1]), (2, [0])]


def test_joints_outside_the_image_or_behind_the_camera_have_no_label() -> None:
    camera = ring(1).cameras[0]
    people = np.stack([STANDING_M, STANDING_M + (0, 0, 50.0), STANDING_M + 2.5 * camera.centre_m])
    xy_px, visible = project_labels(camera, people)
    assert (visible[0] == 2).all()
    assert np.allclose(xy_px[0], camera.project(STANDING_M))
    assert not visible[1:].any()
    assert np.isnan(xy_px[1:]).all()


def test_png_keeps_every_pixel_and_jpeg_nearly() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert (decode_image(encode_png(image)) == image).all()
    smooth = np.repeat(np.linspace(0, 255, 32, dtype=np.uint8)[None, :, None], 3, 2).repeat(16, 0)
    assert np.abs(decode_image(encode_jpeg(smooth, 95)).astype(int) - smooth).max() < 8


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(StageError, match="not a readable image .5 bytes"):
        decode_image(b"hello")
