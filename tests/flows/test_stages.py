from pathlib import Path

import pytest

from tests.flows.fakes import FakeStage, make_session

pytestmark = pytest.mark.usefixtures("prefect_server")
Stages = dict[str, FakeStage]


def test_the_rig_alone_is_calibrated_and_nothing_behind_it(tmp_path: Path, stages: Stages) -> None:
    from flows.stages import calibrate_rig

    rig = Path(calibrate_rig(str(make_session(tmp_path / "rig-only"))))
    assert (rig / "content").is_file()
    assert {name: stage.calls for name, stage in stages.items() if stage.calls} == {"calibrate": 1}


def test_images_are_generated_and_nothing_is_exported(tmp_path: Path, stages: Stages) -> None:
    from flows.stages import augment_dataset

    [samples] = augment_dataset(str(make_session(tmp_path / "drawn")), settings=["augment.variants=2"])
    assert Path(samples).name.startswith("augment-")
    assert stages["augment"].calls == 1 and stages["export"].calls == 0


def test_settings_in_the_form_are_checked_before_anything_runs(tmp_path: Path, stages: Stages) -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.stages import calibrate_rig

    with pytest.raises(ParameterTypeError, match="settings"):
        calibrate_rig(str(make_session(tmp_path / "wrong")), settings=["no equals sign"])


def test_every_parameter_of_every_flow_says_what_it_is() -> None:
    from flows import build_dataset, release, stages, train

    flows = (
        build_dataset.build_dataset, build_dataset.build_sessions, stages.calibrate_rig, stages.augment_dataset,
        train.train_detector, train.train_controlnet, release.release_dataset,
    )  # fmt: skip
    for flow in flows:
        for name, told in flow.parameters.properties.items():
            assert told.get("description"), f"{flow.name}: {name}"
        for definition in (flow.parameters.definitions or {}).values():
            for name, told in definition["properties"].items():
                assert told.get("description"), f"{flow.name}: {definition['title']}.{name}"
