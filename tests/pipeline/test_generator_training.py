from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.diffusion.controlnet import load_generator
from models.diffusion.train_settings import TrainSettings
from models.weights import WeightsError
from pipeline.config import AugmentConfig
from pipeline.errors import InputError
from pipeline.generator_data import read_examples
from pipeline.generator_judge import generate_examples, judge_images, sheet
from pipeline.generator_training import train_from_folder, train_on_from_folder
from pipeline.samples import decode_image
from tests.models.diffusion.tiny import TINY
from tests.models.scenes import write_folder
from tests.pipeline.test_augment import NOBODY, Finds
from tests.pipeline.test_conditions import standing
from tests.pipeline.test_generator_data import write_coco

SETTINGS = TrainSettings(autoencoder_steps=2, denoiser_steps=2, controlnet_steps=2, batch=2, save_every=1)
CONFIG = AugmentConfig(steps=2)


def test_a_folder_of_labelled_images_becomes_a_generator(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "d", np.concatenate([standing(40), standing(110)]))
    folder = train_from_folder([data], tmp_path / "run", SETTINGS, TINY, held_out=0)
    examples = read_examples(data, TINY.size_px)
    images, kept = generate_examples(load_generator(folder), examples, CONFIG)
    assert images.shape == (3, 32, 32, 3)
    card = (folder / "README.md").read_text()
    assert "| examples | 3 |" in card and "| loss of controlnet | " in card and "samples" not in card  # nothing was kept out
    assert kept == examples
    assert decode_image(sheet(examples, images, columns=3)).shape == (96, 96, 3)


def test_a_trained_generator_goes_on_with_other_images_and_keeps_its_latents(tmp_path: Path) -> None:
    data = [write_coco(tmp_path / "a", standing(40)), write_coco(tmp_path / "b", standing(80))]
    first = train_from_folder(data[:1], tmp_path / "run", SETTINGS, TINY, held_out=0)
    settings = replace(SETTINGS, controlnet_steps=4, person_weight=4.0)
    second = train_on_from_folder(data, first, tmp_path / "more", settings)
    same = {f: (second / f.relative_to(first)).read_bytes() == f.read_bytes() for f in first.rglob("*.safetensors")}
    assert {file.parent.name for file, unchanged in same.items() if not unchanged} == {"unet", "text_encoder", "controlnet"}
    card = (second / "README.md").read_text()
    assert "| data | a, b |" in card and "| from | pipeline |" in card and "person_weight 4.0" in card
    assert load_generator(second).size_px == 32
    third = train_on_from_folder(data, first, tmp_path / "sharper", replace(SETTINGS, decoder_steps=2, controlnet_steps=0))
    same = {f: (third / f.relative_to(first)).read_bytes() == f.read_bytes() for f in first.rglob("*.safetensors")}
    assert {file.parent.name for file, unchanged in same.items() if not unchanged} == {"vae"}
    with pytest.raises(WeightsError, match="nowhere: no such folder"):
        train_on_from_folder(data, tmp_path / "nowhere", tmp_path / "none", settings)


def test_training_refuses_the_checkpoints_of_other_data(tmp_path: Path) -> None:
    train_from_folder([write_coco(tmp_path / "a", standing(40))], tmp_path / "run", SETTINGS, TINY, held_out=0)
    with pytest.raises(InputError, match="other settings or data"):
        train_from_folder([write_coco(tmp_path / "b", 0.9 * standing(80))], tmp_path / "run", SETTINGS, TINY, held_out=0)


def test_a_judgement_is_one_where_everybody_is_found_and_zero_where_nobody_is(tmp_path: Path) -> None:
    examples = read_examples(write_coco(tmp_path / "d", standing(40)), 32)
    images = np.stack([example.image for example in examples])
    assert judge_images(images, examples, Finds(examples[0].xy_px), CONFIG).figures() == {
        "images": 1,
        "mean_oks": 1.0,
        "accepted": 1.0,
    }
    assert judge_images(images, examples, NOBODY, CONFIG).oks == 0


def test_the_card_shows_what_was_kept_out_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_folder(tmp_path / "d", 16)
    monkeypatch.setattr("pipeline.generator_card.load_detector", lambda *args, **options: NOBODY)
    folder = train_from_folder([data], tmp_path / "run", SETTINGS, TINY, held_out=13)
    card = (folder / "README.md").read_text()
    assert "| generated | 0.0 | 0.0 |" in card and "![samples](samples.png)" in card
    assert decode_image((folder / "samples.png").read_bytes()).shape == (96, 12 * 32, 3)
