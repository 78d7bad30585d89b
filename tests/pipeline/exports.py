"""A finished dataset on disk as the export stage leaves it, from rows made up here: quick, and its content is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.samples import encode_jpeg, generated_id, sample_id, sample_rows
from pipeline.shards import ShardWriter
from pipeline.store import digest_of
from pipeline.tables import SAMPLES
from pipeline.types import Artefact, Sample
from pipeline.walkers import time_ns

CAMERAS = ("cam1", "cam2")
SUMMARY = {"captured": 0, "generated": 1, "weights": "photo"}


def made_export(session: Path, instants: int = 4, people: int = 1, name: str = "dataset") -> Artefact:
    """Two cameras see `people` at every instant of the clip `walk`; the first image of cam1 has a generated child."""
    folder = session / "export" / name
    samples = [_sample(camera, f, people) for f in range(instants) for camera in CAMERAS]
    samples.insert(1, _sample("cam1", 0, people, variant=0))
    with ShardWriter(folder / "data", SAMPLES, rows_per_shard=5) as shards:
        for row in sample_rows(samples):
            shards.write(row)
    (folder / "trc").mkdir()
    (folder / "trc" / "walk-person0.trc").write_text(f"{session.name}")
    (folder / "README.md").write_text("# card")
    digest = digest_of([str(session.name), instants, people])
    return Artefact("export", folder, digest, len(samples), SUMMARY)


def _sample(camera: str, f: int, people: int, variant: int = -1) -> Sample:
    rng = np.random.default_rng([f, CAMERAS.index(camera)])
    parent = sample_id("walk", camera, time_ns(f))
    xy_px = rng.uniform(4, 60, (people, 17, 2))
    xy_px[:, 3] = np.nan
    child = {"origin": "generated", "parent": parent, "prompt": "a person", "oks": (0.9,)}
    given = {"origin": "captured"} if variant < 0 else child
    return Sample(
        id=parent if variant < 0 else generated_id(parent, variant),
        clip="walk",
        camera=camera,
        t_ns=time_ns(f),
        image=encode_jpeg(np.full((48, 64, 3), 10 * f, np.uint8), 90),
        size_wh=(64, 48),
        xy_px=xy_px,
        xyz_m=rng.uniform(-1, 2, (people, 17, 3)),
        visible=np.where(np.isfinite(xy_px[..., 0]), 2, 0),
        person=np.arange(people),
        **given,  # type: ignore[arg-type]
    )
