import numpy as np
import pyarrow as pa
import pytest

from pipeline.column_statistics import TableStatistics


def test_batches_joined_say_what_all_values_together_say() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(1e6, 1.0, (50, 7))  # far from zero: a plain sum of squares would cancel
    values[4, 2] = np.nan
    told = TableStatistics()
    for part in np.array_split(values, 6):
        told.add(pa.table({"x_px": pa.array(part.tolist())}))
    found = told.to_dict()["x_px"]
    assert (found["values"], found["missing"], told.rows) == (350, 1, 50)
    assert found["mean"] == pytest.approx(np.nanmean(values), rel=1e-12)
    assert found["std"] == pytest.approx(np.nanstd(values), rel=1e-6)
    assert (found["min"], found["max"]) == (np.nanmin(values), np.nanmax(values))


def test_nested_lists_nulls_texts_and_images() -> None:
    image = pa.array([{"bytes": b"1", "path": "a"}] * 2, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    told = TableStatistics()
    told.add(pa.table({"image": image, "oks": pa.array([[], None], pa.list_(pa.float64())), "clip": ["walk", None],
                       "deep": pa.array([[[1, 2], []], [[3]]])}))  # fmt: skip
    assert told.to_dict() == {
        "oks": {"values": 0, "missing": 0},
        "clip": {"values": 2, "missing": 1, "distinct": 1},
        "deep": {"values": 3, "missing": 0, "min": 1.0, "mean": 2.0, "std": pytest.approx((2 / 3) ** 0.5), "max": 3.0},
    }
