"""Several processes share one run, started by torchrun: on CPUs `accelerate launch --cpu` starts only one."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.weights import load_tensors
from tests.models.scenes import write_folder

# Each process notes the numbers of its samples and the sum of its parameters, and is told to stop by the first one alone.
SCRIPT = """
import os, sys
from pathlib import Path
import torch
from models import train_detector
from models.detector_data import PoseSamples
from tests.models.test_train_detector import config_for
torch.set_num_threads(1)
folder, rank = Path(sys.argv[1]), os.environ["RANK"]
numbers, drawn = [], PoseSamples.__getitem__
def noted(self, index):
    numbers.append(index)
    return drawn(self, index)
PoseSamples.__getitem__ = noted
stepped = train_detector.Run.train_step
def step(self, batch):
    parts = stepped(self, batch)
    self.stopping.told = rank == "0" and self.step == 4
    (folder / f"parameters-{rank}").write_text(repr(float(sum(p.double().sum() for p in self.model.parameters()))))
    return parts
train_detector.Run.train_step = step
train_detector.train(config_for(folder / "run", folder / "set", steps=9), lambda text: print("said", rank, text))
(folder / f"numbers-{rank}").write_text(" ".join(map(str, numbers)))
"""


@pytest.mark.slow
def test_two_processes_share_the_samples_agree_on_the_weights_and_write_once(tmp_path: Path) -> None:
    write_folder(tmp_path / "set")
    (tmp_path / "script.py").write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, str(tmp_path / "script.py"), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = ([int(n) for n in (tmp_path / f"numbers-{rank}").read_text().split()] for rank in "01")
    # Four images a step: the first two are one process's, the others the other's; both leave after the fourth step.
    assert first[:8] == [0, 1, 4, 5, 8, 9, 12, 13] and second[:8] == [2, 3, 6, 7, 10, 11, 14, 15]
    assert len({(tmp_path / f"parameters-{rank}").read_text() for rank in "01"}) == 1
    with (tmp_path / "run" / "curve.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["2", "4"]
    assert load_tensors(tmp_path / "run" / "checkpoint.safetensors")[1]["step"] == 4
    assert "said 0" in done.stdout and "said 1" not in done.stdout
