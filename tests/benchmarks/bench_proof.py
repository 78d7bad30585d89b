"""What generated images are worth to a detector that somebody has already: sessions of virtual people are filmed, built and
augmented, and the arms of `posemill evaluate dataset` trained from the shipped weights (`docs/proof.md`).

python -m tests.benchmarks.bench_proof --data FOLDER [--steps 100] [--seeds 3] [--out runs/proof]

About an hour and a half of one core; started again it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.config import session_config
from pipeline.demo import DEMO_STUDIO, make_demo_session
from pipeline.job import LocalRunner, build_dataset
from pipeline.proof import Trial, prove
from pipeline.store import Store

# Every picture that goes into a dataset is generated once more; the held-out session is filmed only.
EVERY = ["export.every=3", "augment.every=3"]
TRAIN = {"train1": 11, "train2": 12}
HELD = {"held": 13}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with coco_mini")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/proof"))
    asked = parser.parse_args()
    train = [dataset(asked.out / name, seed, EVERY) for name, seed in TRAIN.items()]
    held = [dataset(asked.out / name, seed, [*EVERY, "augment.enabled=false"]) for name, seed in HELD.items()]
    trial = Trial(steps=asked.steps, seeds=asked.seeds, begin_from="photo", learning_rate=5e-4)
    for row in prove(train, [*held, asked.data / "coco_mini"], asked.out / "arms", trial):
        print(row)


def dataset(root: Path, seed: int, settings: list[str]) -> Path:
    """The finished dataset of a virtual session; nothing is done twice."""
    make_demo_session(root, DEMO_STUDIO.model_copy(update={"seed": seed}))
    store = Store(root)
    with store.lock("bench_proof"):
        made = build_dataset(store, session_config(store.session, "", settings), LocalRunner(store, on_step=print))
    return made.path


if __name__ == "__main__":
    main()
