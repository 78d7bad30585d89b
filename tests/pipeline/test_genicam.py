"""GenICam without a camera: `harvesters` is played by a stand-in with the calls that are made of it."""

import sys
import time
import types
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import genicam
from pipeline.errors import InputError
from pipeline.live import open_live
from pipeline.live_sources import decoded
from tests.pipeline.footage import picture


class _Acquirer:
    def __init__(self) -> None:
        self.number, self.running = 0, False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def destroy(self) -> None:
        assert not self.running

    @contextmanager
    def fetch(self, timeout: float) -> Any:
        time.sleep(0.005)
        image = picture(self.number % 48)
        part = SimpleNamespace(data=image.reshape(-1), height=48, width=64, data_format="RGB8")
        self.number += 1
        yield SimpleNamespace(payload=SimpleNamespace(components=[part]), timestamp_ns=10**12 + self.number * 33_000_000)


class _Harvester:
    device_info_list = [SimpleNamespace(serial_number="S7")]

    def add_file(self, file: str) -> None:
        assert file.endswith("maker.cti")

    def update(self) -> None: ...

    def create(self, which: dict[str, str]) -> _Acquirer:
        assert which == {"serial_number": "S7"}
        return _Acquirer()

    def reset(self) -> None: ...


@pytest.fixture
def harvesters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    core = types.ModuleType("harvesters.core")
    core.Harvester = _Harvester  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harvesters", types.ModuleType("harvesters"))
    monkeypatch.setitem(sys.modules, "harvesters.core", core)
    (tmp_path / "maker.cti").touch()
    monkeypatch.setenv(genicam.PRODUCERS, str(tmp_path))


def test_pictures_come_without_loss_and_with_the_cameras_times(harvesters: None) -> None:
    with open_live("genicam:S7", "camera cam1") as live:
        packets = live.packets()
        taken = [next(packets) for _ in range(6)]
        images = [image for each in taken for image in decoded(each.packet)]
    assert (live.codec, live.size_wh) == ("ffv1", (64, 48))
    assert {b.pts_ns - a.pts_ns for a, b in zip(taken[:-1], taken[1:], strict=True)} == {33_000_000}
    assert all(np.array_equal(image, picture(number)) for number, image in enumerate(images))


def test_an_unknown_camera_is_refused_with_those_found(harvesters: None) -> None:
    with pytest.raises(InputError, match="camera cam1: no GenICam camera 'S8'; found S7"):
        open_live("genicam:S8", "camera cam1").__enter__()


def test_what_is_missing_is_named(harvesters: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(genicam.PRODUCERS)
    with pytest.raises(InputError, match=r"no GenTL producer \(\*\.cti\) found"):
        open_live("genicam:S7", "camera cam1").__enter__()
    monkeypatch.setitem(sys.modules, "harvesters.core", None)
    with pytest.raises(InputError, match=r"pip install 'posemill\[genicam\]'"):
        open_live("genicam:S7", "camera cam1").__enter__()


def test_pixel_formats_become_images() -> None:
    raw = np.zeros((4, 4), np.uint8)
    raw[::2, ::2] = 200  # the red ones of RGGB
    assert genicam._as_image(raw.reshape(-1), 4, 4, "BayerRG8")[..., 0].mean() > 100
    assert genicam._as_image(raw.reshape(-1), 4, 4, "BayerRG8")[..., 2].max() == 0
    assert np.array_equal(genicam._as_image(raw.reshape(-1), 4, 4, "Mono8"), raw)
    with pytest.raises(InputError, match="expected Mono8, RGB8"):
        genicam._as_image(raw.reshape(-1), 4, 4, "Mono12p")
