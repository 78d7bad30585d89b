"""What generated images are worth to a detector: the same network trained with and without them, judged on images of others.

Four arms, equal steps, several seeds each: the captured images alone as they are; with classic augmentation (turned, mirrored,
recoloured, mosaics); with every generated image; with those that passed the label check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.atomic import remove, write_atomically
from pipeline.detect import told_of_weights
from pipeline.errors import InputError
from pipeline.evaluate_detector import evaluate_detector
from pipeline.foreign_rows import NEEDED, checked_rows
from pipeline.parquet import reading
from pipeline.shards import ShardWriter
from pipeline.store import digest_of
from pipeline.tables import SAMPLES
from pipeline.types import manifest_beside

if TYPE_CHECKING:
    from models.detector_data import ViewConfig
    from models.hourglass import HourglassConfig

ARMS = ("captured", "captured + classic", "captured + generated", "captured + generated, filtered")


@dataclass(frozen=True)
class Trial:
    """How every arm is trained. size_px: side of the views; begin_from: trained weights (a name or file) that every arm begins
    with, as somebody would who has a detector already; else channels and stacks of a network that begins from nothing."""

    steps: int = 2000
    batch: int = 16
    seeds: int = 3
    size_px: int = 128
    channels: int = 32
    stacks: int = 1
    begin_from: str = ""
    learning_rate: float = 2e-3
    device: str = "cpu"


def prove(
    exports: Sequence[Path], tests: Sequence[Path], out: Path, trial: Trial, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Train and judge every arm; a row for each: arm, images, and for each test set the mean OKS-AP in percent points and its
    standard deviation over the seeds; before them the weights that all begin from, as they are, where there are such.

    exports: finished datasets (with data/ and, where images failed their check, rejected/); tests: labelled images of people
    who are in none of them. What is in `out` already of the same datasets and trial is not done again. InputError where
    nothing was generated.
    """
    folder = out / _key(exports, trial)
    images = {arm: _arm_folder(arm, exports, folder / _name(arm)) for arm in ARMS}
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in range(trial.seeds):  # seed by seed, so that an early look at the table is a fair one
        for arm in ARMS:
            found = _judged(arm, seed, tests, folder / _name(arm), trial, say)
            results[arm].append(found)
            say(f"{arm}, seed {seed}: " + ", ".join(f"{name} {ap:.1f}" for name, ap in found.items()))
    rows = [{"arm": arm, "images": images[arm], **_over_seeds(results[arm])} for arm in ARMS]
    if trial.begin_from:
        before = _known(folder / "before.json", tests, trial, lambda: Path(trial.begin_from))
        rows.insert(0, {"arm": f"{trial.begin_from} as it is", "images": 0, **_over_seeds([before])})
    write_atomically(folder / "proof.json", json.dumps({"trial": asdict(trial), "rows": rows}, indent=1))
    return rows


def _key(exports: Sequence[Path], trial: Trial) -> str:
    """Datasets and settings that belong together: what was trained on others, or otherwise, is none of these results."""
    datasets = [(str(path.resolve()), manifest_beside(path).read_text()) for path in exports if manifest_beside(path).is_file()]
    how = {name: value for name, value in asdict(trial).items() if name not in ("seeds", "device")}
    begin = told_of_weights(trial.begin_from) if trial.begin_from else {}
    return digest_of([[str(path.resolve()) for path in exports], datasets, how, begin])[:8]


def _name(arm: str) -> str:
    return arm.replace(" + ", "-").replace(", ", "-")


def _arm_folder(arm: str, exports: Sequence[Path], folder: Path) -> int:
    """Write the images of an arm to folder/data, unless they are there; returns how many."""
    counted = folder / "images.json"
    if not counted.is_file():
        remove(folder / "data")
        with ShardWriter(folder / "data", SAMPLES, rows_per_shard=1000) as shards:
            for number, export in enumerate(exports):
                for row in _rows(export, arm):
                    shards.write(row | {"id": f"{number}-{row['id']}"})
        write_atomically(counted, json.dumps(shards.rows))
    images = int(json.loads(counted.read_text()))
    if not images:
        raise InputError(f"{', '.join(map(str, exports))}: expected datasets with images for the arm {arm!r}, found none")
    return images


def _rows(export: Path, arm: str) -> Iterator[dict[str, Any]]:
    kept = {"generated", "captured"} if "generated" in arm else {"captured"}
    parts = ("data", "rejected") if arm.endswith("generated") else ("data",)
    files = [file for part in parts for file in sorted((export / part).glob("*.parquet"))]
    if not files:
        raise InputError(f"{export}: expected a finished dataset (a folder with data/*.parquet), found none")
    found = False
    for file in files:
        for row in _writable(file):
            found |= row["origin"] == "generated"
            if row["origin"] in kept:
                yield row | {"verdict": "accepted"}  # training leaves others out, and one arm asks what that is worth
    if "generated" in kept and not found:
        raise InputError(f"{export}: expected generated images, found none; run the session with augment.enabled=true")


def _writable(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a shard, each of which can be written again. Raises InputError naming the file."""
    for row in checked_rows(file, (*NEEDED, "verdict")):
        with reading(file):
            pa.Table.from_pylist([row], schema=SAMPLES)
        yield row


def _judged(
    arm: str, seed: int, tests: Sequence[Path], folder: Path, trial: Trial, say: Callable[[str], None]
) -> dict[str, float]:
    """OKS-AP in percent points by test set of one training; read from its file once it is known."""
    return _known(folder / f"seed{seed}" / "ap.json", tests, trial, lambda: _train(arm, seed, folder, trial, say))


def _known(file: Path, tests: Sequence[Path], trial: Trial, train: Callable[[], Path]) -> dict[str, float]:
    """The APs of some weights, judged where the file does not tell them yet."""
    names = {str(test): _test_name(test, tests) for test in tests}
    known = json.loads(file.read_text()) if file.is_file() else {}
    if not set(names) <= set(known):
        weights = train()
        known |= {str(test): _ap(weights, test, trial) for test in tests if str(test) not in known}
        write_atomically(file, json.dumps(known, indent=1))
    return {name: known[test] for test, name in names.items()}


def _test_name(test: Path, tests: Sequence[Path]) -> str:
    """The name of a test folder; where several are called alike (export/dataset), that of their session."""
    alike = sum(other.name == test.name for other in tests) > 1 or test.parent.name == "export"
    return test.resolve().parents[1].name if alike else test.name


def _train(arm: str, seed: int, folder: Path, trial: Trial, say: Callable[[str], None]) -> Path:
    from models.photos import Source
    from models.train_config import TrainConfig
    from models.train_detector import train

    source = Source(str(folder / "data"), outside_weight=1.0)  # everybody in the images has a label or a box to ignore
    try:
        config = TrainConfig(
            out=str(folder / f"seed{seed}"), sources=(source,), held_out={}, seed=seed, steps=trial.steps, batch=trial.batch,
            network=_network(trial), device=trial.device, begin_from=trial.begin_from or None, view=_view(arm, trial.size_px),
            learning_rate=trial.learning_rate, warmup=min(200, trial.steps // 5), ema=0.995, validate_every=10**9,
            checkpoint_every=25, tag_ramp=(trial.steps // 4, trial.steps // 2),
        )  # fmt: skip
        return train(config, lambda line: say(f"{arm}, seed {seed}: {line}"))
    except ValueError as error:
        raise InputError(str(error)) from error


def _network(trial: Trial) -> HourglassConfig:
    from models.detector import load_network
    from models.hourglass import HourglassConfig

    if trial.begin_from:
        return load_network(trial.begin_from)[0].config
    return HourglassConfig(channels=trial.channels, stacks=trial.stacks)


def _view(arm: str, size_px: int) -> ViewConfig:
    """Classic augmentation as the detector's own training has it; the other arms move and scale people, and no more."""
    from models.detector_data import ViewConfig

    if "classic" in arm:
        return ViewConfig(size_px=size_px)
    return ViewConfig(
        size_px=size_px, rotated=0.0, mosaic=0.0, backdrop=0.0, upside_down=0.0, mirrored=0.0, recoloured=False,
    )  # fmt: skip


def _ap(weights: Path, test: Path, trial: Trial) -> float:
    from models.detector import load_detector

    # Views show people from a third to all of their side, whole pictures at about half of theirs: so both are of one scale.
    detector = load_detector(str(weights), trial.device, size_px=round(1.5 * trial.size_px), flip=True)
    return 100 * evaluate_detector(detector, test).oks["AP"]


def _over_seeds(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean and standard deviation of each test set's AP."""
    told: dict[str, float] = {}
    for test in found[0]:
        values = [each[test] for each in found]
        told |= {test: round(fmean(values), 2), f"{test} sd": round(stdev(values), 2) if len(values) > 1 else 0.0}
    return told
