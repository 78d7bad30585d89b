"""Hostile files are refused with one kind of error, quickly."""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.errors import CalibrationError
from calibration.formats import KINDS, load_rig, save_rig
from calibration.rig import Rig
from tests.calibration.rigs import rig_of_lens

BOMB = "\n".join(["posemill_rig: &a0 [1, 2]", *(f"x{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))])
ENTITIES = (
    '<?xml version="1.0"?><!DOCTYPE o [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><opencv_storage><K>&b;</K></opencv_storage>'
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "alias"),
        (ENTITIES, "entities"),
        ("cameras: " + "[" * 2000 + "]" * 2000, "nested deeper"),
        ("cameras = " + "[ " * 5000 + "]" * 5000, "nested deeper"),
        ("x:\n" + "\n".join(" " * n + "- " for n in range(1000)), "nor yaml|no known"),
        ("<opencv_storage>" + "<a>" * 20000 + "</a>" * 20000 + "</opencv_storage>", "broken xml|no known rig format"),
        ("posemill_rig: !!python/object/apply:os.getcwd []", "nor yaml"),
        ("posemill_rig: 1\ncameras: !!int ''", "nor yaml"),
        ("posemill_rig: 2023-99-99", "nor yaml"),
        ("x: " + "9" * 5000, "nor yaml|no known"),
        ("<html><body>404</body></html>", "expected OpenCV's <opencv_storage>"),
        ("<opencv_storage><K>1</opencv_storage>", "broken xml"),
        ("%YAML:1.0\n---\nK: !!opencv-matrix [1, 2]", "nor yaml"),
        ("[charuco]\nmatrix = 1\n", "no cameras in it"),
        ("cameras = {}", "cameras: none in it"),
        ("names: []\nK_a: 1\n", "no cameras in it"),
    ],
)
def test_a_hostile_file_is_refused_with_its_name(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "rig.yml").write_text(text)
    begun = time.process_time()  # not wall time: other work on the machine must not fail this
    with pytest.raises(CalibrationError, match=says) as caught:
        load_rig(tmp_path / "rig.yml")
    assert str(tmp_path / "rig.yml") in str(caught.value) and len(str(caught.value)) < 2000
    assert time.process_time() - begun < 10


def test_a_file_larger_than_any_rig_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "rig.yaml").open("wb") as file:
        file.truncate(1 << 33)  # sparse: takes no room
    with pytest.raises(CalibrationError, match=r"rig\.yaml: .*8589934592 bytes: no rig"):
        load_rig(tmp_path / "rig.yaml")


# Thousands of each were run once; these few watch over changes.
MUTATIONS = 120


@functools.cache
def good_texts() -> tuple[str, ...]:
    """A small rig in every format and ending."""
    whole = rig_of_lens("fisheye").subset(["left", "right"])
    rig = Rig(whole.cameras, whole.stereo_pairs)
    texts = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, ending in ((kind, ending) for kind, known in KINDS.items() for ending in known.writers if ending != ".yaml"):
            save_rig(rig, Path(folder) / f"rig{ending}", kind)
            texts.append((Path(folder) / f"rig{ending}").read_text())
        save_rig(rig, Path(folder) / "rig.yaml", "kalibr")
        texts.append((Path(folder) / "rig.yaml").read_text())
    return tuple(texts)


NASTY = st.sampled_from([
    *("nan", ".Nan", "1e999", "-0", "1e308", "9" * 400, "0x", "2020-13-13", "1:60", "null", "~", "true", "''", '"'),
    *("[", "]", "[[1]]", "{}", "- ", ": ", "\n", "\t", "&a ", "*a", "!!int ", "!!opencv-matrix", "<a>", "</a>", "% ", "---"),
    *("...", "cam0", "K_", "names", "\x00"),
])  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 60), st.one_of(NASTY, st.text(max_size=4), st.just(""))),
    min_size=1,
    max_size=4,
)


def mutated(text: str, edits: list[tuple[int, int, str]]) -> str:
    """The text with pieces overwritten."""
    for at, length, piece in edits:
        at %= len(text) + 1
        text = text[:at] + piece + text[at + length :]
    return text


@settings(max_examples=MUTATIONS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(which=st.integers(0, 100), edits=EDITS)
def test_a_mutated_file_is_a_rig_or_a_calibration_error_that_names_it(which: int, edits: list[tuple[int, int, str]]) -> None:
    texts = good_texts()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rig.txt"
        path.write_text(mutated(texts[which % len(texts)], edits), encoding="utf-8", errors="replace")
        try:
            assert len(load_rig(path)) > 0
        except CalibrationError as error:
            assert str(path) in str(error)


@settings(max_examples=MUTATIONS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(which=st.integers(0, 100), line=st.integers(0, 10**6), value=NASTY)
def test_a_field_of_another_kind_is_a_calibration_error_or_harmless(which: int, line: int, value: str) -> None:
    """Whole values are replaced, so that most of these files still parse and reach the fields' own checks."""
    lines = good_texts()[which % len(good_texts())].split("\n")
    line %= len(lines)
    for mark in (": ", " = ", ">"):
        head, found, _ = lines[line].partition(mark)
        if found:
            lines[line] = head + found + value
            break
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rig.txt"
        path.write_text("\n".join(lines))
        try:
            assert len(load_rig(path)) > 0
        except CalibrationError as error:
            assert str(path) in str(error)
