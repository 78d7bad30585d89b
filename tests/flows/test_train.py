from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.exports import made_export

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_the_detector_is_trained_on_an_export_and_goes_on(tmp_path: Path) -> None:
    from flows.train import DetectorTraining, train_detector

    data = str(made_export(tmp_path / "gym", instants=2).path)
    tiny = {"batch": 2, "size_px": 64, "channels": 8, "stacks": 1}
    weights = Path(train_detector([data], str(tmp_path / "run"), DetectorTraining(steps=2, **tiny)))
    assert weights.is_file() and weights.suffix == ".safetensors"
    again = Path(train_detector([data], str(tmp_path / "run"), DetectorTraining(steps=3, **tiny)))
    assert again == weights
    curve = next((tmp_path / "run").rglob("*.csv")).read_text().splitlines()
    assert curve[-1].split(",")[0] == "3"


def test_a_wrong_form_is_refused_by_name(tmp_path: Path) -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.train import train_controlnet, train_detector

    with pytest.raises(ParameterTypeError, match="size_px"):
        train_detector(["x"], str(tmp_path), {"size_px": 70})  # type: ignore[arg-type]
    with pytest.raises(ParameterTypeError, match="base"):
        train_controlnet("", "x")


def test_a_controlnet_is_trained_beside_what_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.train import ControlnetTraining, train_controlnet

    asked: list[tuple] = []

    def train(data: Path, base: Path, out: Path, settings: Any, begin_from: Path | None, report: Any) -> Path:
        asked.append((data, base, out, begin_from))
        assert settings.controlnet_steps == 6 and settings.controlnet_denoiser_rate == 0
        for step in (2, 2, 6):
            report("controlnet", step, 6, 0.5)
        return out / "controlnet"

    monkeypatch.setattr("pipeline.generator_training.train_controlnet_from_folder", train)
    training = ControlnetTraining(steps=6)
    assert train_controlnet("base", "data", str(tmp_path), training) == str(tmp_path / "controlnet")
    assert asked == [(Path("data"), Path("base"), tmp_path, None)]
