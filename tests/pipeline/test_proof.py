from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.parquet_photos import read_parquet_photos
from pipeline import proof
from pipeline.errors import InputError
from pipeline.proof import ARMS, Trial, prove
from pipeline.shards import ShardWriter
from pipeline.tables import SAMPLES
from tests.pipeline.exports import made_export


@pytest.fixture
def exports(tmp_path: Path) -> list[Path]:
    """Two datasets of four captured and one accepted generated image; one more of the first failed its check."""
    folders = [made_export(tmp_path / name, instants=2).path for name in ("one", "two")]
    rows = [row for file in (folders[0] / "data").iterdir() for row in pq.read_table(file).to_pylist()]
    with ShardWriter(folders[0] / "rejected", SAMPLES, 10, "rejected") as shards:
        shards.write(next(row for row in rows if row["origin"] == "generated") | {"verdict": "rejected", "id": "bad"})
    return folders


class Trainings:
    """Stands in for training and judging: the AP of an arm is the number of images that it would learn from, plus the seed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, int]] = []
        self.views: dict[str, object] = {}
        monkeypatch.setattr(proof, "_train", self.train)
        monkeypatch.setattr(proof, "_ap", lambda weights, test, trial: float(weights.name))

    def train(self, arm: str, seed: int, folder: Path, trial: Trial, say: object) -> Path:
        self.made.append((arm, seed))
        self.views[arm] = proof._view(arm, trial.size_px)
        return Path(str(len(read_parquet_photos(folder)) + seed))


def test_each_arm_has_its_images_and_its_spread_over_seeds(
    exports: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = Trainings(monkeypatch)
    rows = prove(exports, [tmp_path / "others"], tmp_path / "out", Trial(seeds=3), lambda _: None)
    assert [row["arm"] for row in rows] == list(ARMS)
    assert [row["images"] for row in rows] == [8, 8, 11, 10]
    assert [(row["others"], row["others sd"]) for row in rows] == [(9, 1), (9, 1), (12, 1), (11, 1)]
    assert trainings.made[:4] == [(arm, 0) for arm in ARMS]  # seed by seed
    assert (trainings.views[ARMS[1]].mosaic, trainings.views[ARMS[0]].mosaic) == (0.35, 0.0)  # type: ignore[attr-defined]
    assert trainings.views[ARMS[0]] == trainings.views[ARMS[2]] == trainings.views[ARMS[3]]


def test_what_is_done_is_not_done_again(exports: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = Trainings(monkeypatch)
    before = prove(exports, [tmp_path / "others"], tmp_path / "out", Trial(seeds=1), lambda _: None)
    assert prove(exports, [tmp_path / "others"], tmp_path / "out", Trial(seeds=1), lambda _: None) == before
    assert len(trainings.made) == 4
    prove(exports, [tmp_path / "others"], tmp_path / "out", Trial(seeds=2), lambda _: None)
    assert trainings.made[4:] == [(arm, 1) for arm in ARMS]
    prove(exports, [tmp_path / "others"], tmp_path / "out", Trial(seeds=1, steps=9), lambda _: None)
    assert len(trainings.made) == 12  # another trial: the results of the first are none of its


def test_datasets_without_generated_images_prove_nothing(exports: list[Path], tmp_path: Path) -> None:
    for file in (exports[1] / "data").iterdir():
        table = pq.read_table(file)
        pq.write_table(table.filter([origin == "captured" for origin in table["origin"].to_pylist()]), file)
    with pytest.raises(InputError, match="two/export/dataset: expected generated images, found none"):
        prove(exports, [], tmp_path / "out", Trial(), lambda _: None)
    with pytest.raises(InputError, match="expected a finished dataset"):
        prove([tmp_path / "nothing"], [], tmp_path / "other", Trial(), lambda _: None)


@pytest.mark.parametrize(
    ("column", "values", "match"),
    [
        ("origin", None, "expected the columns .*, found no origin"),
        ("id", [1], "id: expected the name of a file"),
        ("width_px", ["wide"], "expected a picture of up to"),
        ("seed", ["three"], "cannot be read as Parquet of posemill"),
    ],
)
def test_a_dataset_of_another_make_is_refused_by_name(
    exports: list[Path], tmp_path: Path, column: str, values: Any, match: str
) -> None:
    for file in (exports[1] / "data").iterdir():
        table = pq.read_table(file)
        at, changed = table.column_names.index(column), pa.array((values or [0]) * len(table))
        pq.write_table(table.set_column(at, column, changed) if values else table.remove_column(at), file)
    with pytest.raises(InputError, match=f"two/export/dataset/data/.*{match}"):
        prove(exports, [], tmp_path / "out", Trial(seeds=1), lambda _: None)


def test_a_trial_that_cannot_be_trained_is_a_wrong_request(exports: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="size: expected a multiple of 64 px, .* got 100"):
        prove(exports, [tmp_path], tmp_path / "out", Trial(seeds=1, size_px=100), lambda _: None)


def test_a_tiny_trial_is_trained_and_judged_for_real(exports: list[Path], tmp_path: Path) -> None:
    trial = Trial(steps=2, batch=2, seeds=1, size_px=64, channels=8)
    others = made_export(tmp_path / "others", instants=1).path
    rows = prove(exports, [others], tmp_path / "out", trial, lambda _: None)
    assert all(0 <= row["others"] <= 100 for row in rows)
    assert len(list((tmp_path / "out").glob("*/captured-generated-filtered/seed0/ap.json"))) == 1


def test_arms_may_begin_from_trained_weights_and_are_told_beside_them(exports: list[Path], tmp_path: Path) -> None:
    others = made_export(tmp_path / "others", instants=1).path
    prove(exports, [others], tmp_path / "out", Trial(steps=2, batch=2, seeds=1, size_px=64, channels=8), lambda _: None)
    trained = str(next((tmp_path / "out").glob("*/captured/seed0/*.safetensors")))
    trial = Trial(steps=1, batch=2, seeds=1, size_px=64, begin_from=trained)
    rows = prove(exports, [others], tmp_path / "out", trial, lambda _: None)
    assert [row["arm"] for row in rows] == [f"{trained} as it is", *ARMS]
    assert rows[0]["images"] == 0
