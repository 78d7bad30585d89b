"""A small share of the campaign (`make test-fuzz`) and the harness itself: it must see what it looks for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import hypothesis
import pyarrow as pa
import pytest

from tests.fuzz.documents import as_json, hostile, hostile_tables
from tests.fuzz.mutation import mangled, reworded

ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import sys, pathlib
from tests.fuzz.sandbox import Sandbox
box = Sandbox((ValueError,))
def stray(): (box.session.parent / 'stray.txt').write_text('x')
def harm():
    import ctypes
    libc = ctypes.CDLL(None)
    handle = libc.creat(str(box.base / 'a' / 'canary.txt').encode(), 0o644)
    libc.close(handle)
def refuse(): raise ValueError('expected')
def bug(): raise KeyError('unexpected')
def shell(): import os; os.system('true')
def loop():
    while True: pass
def fine(): (box.session / 'out.txt').write_text('x')
import tests.fuzz.sandbox as s
s.SECONDS = 0.2
found = {work.__name__: box.tried(work) for work in (fine, refuse, bug, shell, loop, stray, harm)}
(box.base / 'a' / 'b' / 'stray.txt').unlink(missing_ok=True)
box.close()
import json
print(json.dumps({name: finding and finding.where for name, finding in found.items()}))
"""


def test_the_sandbox_sees_errors_loops_commands_and_files_outside() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["fine"] is None and found["refuse"] is None
    assert found["bug"].endswith("KeyError") and found["loop"].endswith("TooSlow")
    assert found["shell"] == found["stray"] == "outside"
    assert found["harm"] == "canary"


def test_an_input_is_a_function_of_its_seed() -> None:
    data = b"name: gym\ncameras: [cam1, cam2]\n" * 3
    for change in (mangled, reworded):
        made = [change(data, Random(f"session 0 {number}")) for number in range(50)]
        assert made == [change(data, Random(f"session 0 {number}")) for number in range(50)]
        assert len(set(made)) > 40 and data not in made[:5]


def test_hostile_files_are_made_of_whatever_the_changes_before_left_and_stay_small() -> None:
    image = pa.array([{"bytes": b"x", "path": "a.png"}, None], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    people = {"people": [{"id": k, "face": [[7, 8, 2]] * 5} for k in range(12)]}
    makers = hostile_tables([pa.table({"id": ["a", "b"], "image": image})]) | hostile([people]).map(as_json)
    sizes: list[int] = []

    @hypothesis.seed(0)
    @hypothesis.settings(max_examples=200, database=None, deadline=None, phases=[hypothesis.Phase.generate])
    @hypothesis.given(makers)
    def each(data: bytes) -> None:
        sizes.append(len(data))

    each()
    line = as_json(people) * 4  # a document in one line
    sizes += [len(reworded(line, Random(number))) for number in range(100)]
    assert len(sizes) == 300 and max(sizes) < 10_000_000


def test_no_reader_fails_hangs_or_writes_elsewhere(tmp_path: Path) -> None:
    words = ["-m", "tests.fuzz", "--inputs", "400", "--seed", "2", "--seconds", "40", "--keep", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_no_reader_fails_on_more_of_them(tmp_path: Path) -> None:
    words = ["-m", "tests.fuzz", "--inputs", "5000", "--seed", "3", "--seconds", "400", "--keep", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
