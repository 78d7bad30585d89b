import pytest

from pipeline.config import Config, known_keys, load_config
from pipeline.errors import InputError


def test_the_default_preset_is_the_default_config() -> None:
    assert load_config() == Config()


def test_settings_win_over_layers_and_layers_over_the_preset() -> None:
    config = load_config(layers=[{"detect": {"size_px": 256, "batch": 2}}], settings=["detect.size_px=320"])
    assert (config.detect.size_px, config.detect.batch) == (320, 2)


@pytest.mark.parametrize(
    ("setting", "nearest"), [("detect.sise_px=1", "detect.size_px"), ("audit.max_eror_px=1", "audit.max_error_px")]
)
def test_an_unknown_key_names_the_nearest_known_one(setting: str, nearest: str) -> None:
    with pytest.raises(InputError, match=f"nearest known key is {nearest}"):
        load_config(settings=[setting])


def test_an_unknown_section_names_the_nearest_known_one() -> None:
    with pytest.raises(InputError, match="nearest known key is detect"):
        load_config(layers=[{"detekt": {}}])


@pytest.mark.parametrize("text", ["detect.size_px", "size_px=3", "a.b.c=1"])
def test_a_malformed_setting_says_the_form(text: str) -> None:
    with pytest.raises(InputError, match="expected stage.key=value"):
        load_config(settings=[text])


def test_a_wrong_value_names_the_key() -> None:
    with pytest.raises(InputError, match="detect.size_px.*got -3"):
        load_config(settings=["detect.size_px=-3"])


def test_every_key_has_a_description() -> None:
    for key in known_keys():
        stage, name = key.split(".")
        section = Config.model_fields[stage].annotation
        assert section.model_fields[name].description, key
