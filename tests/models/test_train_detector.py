import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.detector import load_detector
from models.detector_data import ViewConfig
from models.errors import DataError
from models.hourglass import HourglassConfig
from models.photos import Source
from models.train_config import TrainConfig, learning_rate, make_accelerator, tag_weight
from models.train_detector import train
from models.training_sets import mean_pose
from models.weights import load_tensors
from tests.models.scenes import document, write_document, write_folder
from tests.models.test_pasted import write_cutouts

TINY = TrainConfig(
    network=HourglassConfig(channels=8, depth=2, stacks=1), view=ViewConfig(size_px=64, mosaic=0.2), steps=6, batch=4, warmup=2,
    tag_ramp=(0, 2), precision="fp32", checkpoint_every=2, validate_every=100, ema=0.9,
)  # fmt: skip


def quiet(_: str) -> None:
    pass


def config_for(folder: Path, data: Path, **changes: object) -> TrainConfig:
    sources = (Source(str(data)),)
    return replace(TINY, out=str(folder), sources=sources, validation=sources, held_out={}, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_run_in_two_parts_ends_bit_for_bit_like_one(tmp_path: Path, optimizer: str) -> None:
    data = write_folder(tmp_path / "set")
    whole = train(config_for(tmp_path / "whole", data, optimizer=optimizer), quiet)
    # The stop is wherever time has run out: after the first step here.
    train(config_for(tmp_path / "parts", data, optimizer=optimizer, seconds=0.0), quiet)
    assert load_tensors(tmp_path / "parts" / "checkpoint.safetensors")[1]["step"] == 1
    parts = train(config_for(tmp_path / "parts", data, optimizer=optimizer), quiet)
    a, b = load_tensors(whole)[0], load_tensors(parts)[0]
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_killed_at_any_moment_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set")
    whole = train(config_for(tmp_path / "whole", data, steps=40), quiet)
    script = (
        "from pathlib import Path; from dataclasses import replace\n"
        "from tests.models.test_train_detector import config_for, train\n"
        f"train(config_for(Path({str(tmp_path / 'killed')!r}), Path({str(data)!r}), steps=40), print)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert checkpoint.exists()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    killed = train(config_for(tmp_path / "killed", data, steps=40), quiet)
    a, b = load_tensors(whole)[0], load_tensors(killed)[0]
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_trained_file_loads_as_a_detector_and_says_what_it_saw(tmp_path: Path) -> None:
    path = train(config_for(tmp_path / "run", write_folder(tmp_path / "set")), quiet)
    detector = load_detector(path)
    assert detector.about["step"] == 6 and detector.about["sources"] == {"set": 1.0}
    assert len(detector.about["mean_pose"]) == 17
    with (tmp_path / "run" / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4", "6"]
    assert (tmp_path / "run" / "validation-set.png").stat().st_size > 1000
    assert (tmp_path / "run" / "validation.csv").read_text().startswith("step,set")


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    view = ViewConfig(size_px=64, mosaic=0.0, context=0.0, backdrop=0.0, rotated=0.0, min_person=0.8, max_person=0.9)
    train(config_for(tmp_path / "run", write_folder(tmp_path / "set"), steps=60, checkpoint_every=20, view=view), quiet)
    with (tmp_path / "run" / "curve.csv").open() as file:
        heat = [float(row["heatmap"]) for row in csv.DictReader(file)]
    assert heat[-1] < 0.7 * heat[0]


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    config = config_for(tmp_path / "run", write_folder(tmp_path / "set"), steps=2)
    train(config, quiet)
    with pytest.raises(ValueError, match="checkpoint.safetensors: made with network=.*use another folder"):
        train(replace(config, network=HourglassConfig(channels=16, depth=2, stacks=1)), quiet)


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set")
    train(config_for(tmp_path / "run", data, seconds=0.0), quiet)
    with pytest.raises(ValueError, match="made with optimizer=muon, asked to go on with adamw"):
        train(config_for(tmp_path / "run", data, optimizer="adamw"), quiet)


def test_a_run_begins_from_trained_weights_and_remembers_them(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set")
    first = train(config_for(tmp_path / "first", data), quiet)
    second = config_for(tmp_path / "second", data, begin_from=str(first), learning_rate=0.0, weight_decay=0.0)
    path = train(second, quiet)
    a, b = load_tensors(first)[0], load_tensors(path)[0]
    weights = [name for name in a if name.endswith("weight")]
    assert all(torch.equal(a[name], b[name]) for name in weights)
    assert [run["step"] for run in load_tensors(path)[1]["earlier"]] == [6]
    train(replace(second, steps=8), quiet)  # the memory outlasts a stop
    assert [run["step"] for run in load_tensors(path)[1]["earlier"]] == [6]


def test_weights_of_another_network_are_refused_to_begin_from(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set")
    first = train(config_for(tmp_path / "first", data, steps=2), quiet)
    wider = config_for(
        tmp_path / "second", data, begin_from=str(first), network=HourglassConfig(channels=16, depth=2, stacks=1)
    )
    with pytest.raises(ValueError, match=r"detector.safetensors: expected .*channels=16.* to begin from, found .*channels=8"):
        train(wider, quiet)


def test_a_run_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one source folder"):
        train(TrainConfig())


def test_the_learning_rate_warms_up_stays_and_decays_to_zero() -> None:
    config = TrainConfig(steps=1000, warmup=100, learning_rate=1.0, decay=0.2)
    assert learning_rate(0, config) == pytest.approx(0.01)
    assert learning_rate(99, config) == learning_rate(500, config) == learning_rate(800, config) == 1.0
    assert learning_rate(900, config) == pytest.approx(0.5)
    assert learning_rate(1000, config) == 0.0
    # A longer total on resume only moves the decay.
    assert learning_rate(900, replace(config, steps=2000)) == 1.0


def test_a_cosine_falls_from_the_end_of_the_warm_up_to_zero() -> None:
    config = TrainConfig(steps=1100, warmup=100, learning_rate=2.0, schedule="cosine")
    assert learning_rate(49, config) == pytest.approx(1.0)
    assert learning_rate(100, config) == pytest.approx(2.0)
    assert learning_rate(600, config) == pytest.approx(1.0)
    assert learning_rate(850, config) == pytest.approx(1 - 0.5**0.5)
    assert learning_rate(1100, config) == 0.0


def test_settings_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="schedule: expected one of decay, cosine, got 'step'"):
        TrainConfig(schedule="step")
    with pytest.raises(ValueError, match="precision: expected one of auto, fp32, bf16, got 'fp8'"):
        TrainConfig(precision="fp8")
    with pytest.raises(ValueError, match="size: expected a multiple of 64 px, .* got 96"):
        TrainConfig(view=ViewConfig(size_px=96))
    with pytest.raises(ValueError, match="pasted people: .* got 0.3 and None"):
        TrainConfig(view=ViewConfig(paste=0.3))


def test_checkpointed_training_goes_on_from_a_plain_run_and_changes_nothing(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set")
    whole = train(config_for(tmp_path / "whole", data), quiet)
    train(config_for(tmp_path / "parts", data, seconds=0.0), quiet)
    spared = config_for(tmp_path / "parts", data, network=replace(TINY.network, checkpoint_stacks=True))
    a, b = load_tensors(whole)[0], load_tensors(train(spared, quiet))[0]
    assert all(torch.allclose(a[name].float(), b[name].float(), atol=1e-5) for name in a)


def test_a_run_with_pasted_people_says_where_they_came_from(tmp_path: Path) -> None:
    cutouts = write_cutouts(tmp_path / "cut")
    view = replace(TINY.view, paste=0.5)
    config = config_for(tmp_path / "run", write_folder(tmp_path / "set"), steps=2, view=view, cutouts=str(cutouts))
    assert load_tensors(train(config, quiet))[1]["pasted"] == {"cut": 0.5}


def test_tags_come_after_heatmaps() -> None:
    config = TrainConfig(tag_ramp=(10, 20), tag_weight=1e-3)
    assert tag_weight(10, config) == 0
    assert tag_weight(15, config) == pytest.approx(5e-4)
    assert tag_weight(99, config) == 1e-3


def test_the_mean_pose_is_in_shares_of_the_box(tmp_path: Path) -> None:
    from models.photos import read_photos

    mean = mean_pose([read_photos(write_folder(tmp_path / "set"))])
    assert mean.shape == (17, 2) and mean.min() > 0 and mean.max() < 1
    assert mean[0, 1] < mean[15, 1]  # the nose is above the ankle


def test_one_process_can_train_in_one_precision_after_the_other() -> None:
    precisions = [make_accelerator(precision, "cpu").mixed_precision for precision in ("fp32", "bf16", "fp32")]
    assert precisions == ["no", "bf16", "no"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_photo_is_told_in_one_line_whoever_reads_it(tmp_path: Path, workers: int) -> None:
    data = write_folder(tmp_path / "set", 1)
    (data / "images" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"^0\.png: not a readable image[^\n]*$"):
        train(config_for(tmp_path / "run", data, workers=workers), quiet)


def test_a_set_to_watch_that_shows_nobody_is_refused_before_the_first_step(tmp_path: Path) -> None:
    data, empty = write_folder(tmp_path / "set"), write_folder(tmp_path / "empty")
    write_document(empty, {**document(empty), "annotations": []})
    config = replace(config_for(tmp_path / "run", data), validation=(Source(str(empty)),))
    with pytest.raises(DataError, match="--validation empty: expected photos with labelled people, found none"):
        train(config, lambda line: pytest.fail(line))
