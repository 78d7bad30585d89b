import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.diffusion.controlnet import Generator, load_generator
from models.diffusion.objectives import Objective
from models.diffusion.order import Order
from models.diffusion.schedulers import SCHEDULERS
from models.weights import WeightsError, weights_folder
from tests.models.diffusion.tiny import make_tiny_pipeline

PROMPTS = ["a person in a red top", "two people in a blue top", "a person"]
SEEDS = [3, 2**62, 5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny")


@pytest.fixture(scope="module")
def generator(folder: Path) -> Generator:
    return load_generator(folder)


@pytest.fixture
def broken(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "broken")


def maps(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_any_image_can_be_made_again_alone(generator: Generator) -> None:
    together = generator.generate(maps(), PROMPTS, SEEDS, steps=2)
    assert together.images.shape == (3, 32, 32, 3)
    assert together.index.tolist() == [0, 1, 2]
    alone = generator.generate(maps()[2:], PROMPTS[2:], SEEDS[2:], steps=2)
    assert (alone.images[0] == together.images[2]).all()


def test_seed_pose_map_and_prompt_each_change_the_image(generator: Generator) -> None:
    def one(condition: np.ndarray, prompt: str, seed: int) -> np.ndarray:
        return generator.generate(condition, [prompt], [seed], steps=2, guidance_scale=7.0).images

    first = one(maps(1), PROMPTS[0], 1)
    assert (one(maps(1), PROMPTS[0], 1) == first).all()
    assert (one(maps(1), PROMPTS[0], 2) != first).any()
    assert (one(255 - maps(1), PROMPTS[0], 1) != first).any()
    assert (one(maps(1), PROMPTS[1], 1) != first).any()


@pytest.mark.parametrize(("objective", "scheduler"), [(o, name) for name, (_, _, able) in SCHEDULERS.items() for o in able])
def test_every_scheduler_keeps_what_was_trained(tmp_path: Path, objective: str, scheduler: str) -> None:
    loaded = load_generator(make_tiny_pipeline(tmp_path / "tiny", objective=objective), scheduler=scheduler)
    assert Objective.of(loaded.pipeline.scheduler).name == objective
    made = loaded.generate(maps(1), PROMPTS[:1], SEEDS[:1], steps=4)
    assert made.dropped_seeds == ()
    assert made.images.std() > 0


def test_an_image_with_nan_latents_is_dropped_and_its_seed_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_generator(folder)
    sample = loaded._latents

    def spoilt(order: Order, *rest: object) -> object:
        latents = sample(order, *rest)  # type: ignore[arg-type]
        return latents * float("nan") if order.seeds[0] == SEEDS[1] else latents

    monkeypatch.setattr(Generator, "_latents", lambda self, *args: spoilt(*args))
    made = loaded.generate(maps(), PROMPTS, SEEDS, steps=1)
    assert made.dropped_seeds == (SEEDS[1],)
    assert made.index.tolist() == [0, 2]
    assert len(made.images) == 2


def test_a_full_memory_halves_the_batch_and_gives_the_same_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    loaded = load_generator(folder)
    expected = loaded.generate(maps(), PROMPTS, SEEDS, steps=1).images
    call, sizes = type(loaded.pipeline).__call__, []

    def crowded(self: object, prompts: list[str], **settings: object) -> object:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("full")
        return call(self, prompts, **settings)

    monkeypatch.setattr(type(loaded.pipeline), "__call__", crowded)
    monkeypatch.setattr("models.diffusion.controlnet.chunk_size", lambda *_: 3)
    assert (loaded.generate(maps(), PROMPTS, SEEDS, steps=1).images == expected).all()
    assert sizes == [3, 1, 2, 1, 1]


def test_shapes_that_do_not_fit_are_refused_with_the_stride(generator: Generator) -> None:
    with pytest.raises(ValueError, match="multiples of 4 px"):
        generator.generate(np.zeros((1, 30, 32, 3), np.uint8), ["a"], [0])
    with pytest.raises(ValueError, match="1 conditions, 2 prompts and 1 seeds"):
        generator.generate(maps(1), ["a", "b"], [0])
    with pytest.raises(ValueError, match="uint8"):
        generator.generate(maps(1).astype(float), ["a"], [0])  # type: ignore[arg-type]


def test_half_precision_weights_load_as_float32_on_a_processor(tmp_path: Path) -> None:
    loaded = load_generator(make_tiny_pipeline(tmp_path / "half", half=True))
    assert str(loaded.pipeline.unet.dtype) == "torch.float32"
    assert loaded.size_px == 32


def test_a_controlnet_may_stand_in_a_folder_of_its_own(folder: Path, broken: Path, generator: Generator) -> None:
    control = broken.parent / "control"
    (broken / "controlnet").rename(control)
    index = json.loads((broken / "model_index.json").read_text())
    del index["controlnet"]
    (broken / "model_index.json").write_text(json.dumps({**index, "_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(WeightsError, match="without a ControlNet"):
        load_generator(broken)
    made = load_generator(broken, controlnets=[control]).generate(maps(1), PROMPTS[:1], SEEDS[:1], steps=2)
    assert (made.images == generator.generate(maps(1), PROMPTS[:1], SEEDS[:1], steps=2).images).all()


def test_a_missing_folder_and_a_wrong_layout_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such folder"):
        load_generator(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsError, match="model_index.json, found a single-file checkpoint"):
        load_generator(tmp_path)


@pytest.mark.parametrize("lost", ["unet/config.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"])
def test_a_missing_file_is_named(broken: Path, lost: str) -> None:
    (broken / lost).unlink()
    with pytest.raises(WeightsError, match=lost):
        load_generator(broken)


def test_a_half_downloaded_file_is_named_with_its_sizes(broken: Path) -> None:
    weights = broken / "vae" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=f"{weights.name}: expected {len(data)} bytes, found {len(data) // 2}"):
        load_generator(broken)
    weights.write_bytes(b"<html>not found</html>")
    with pytest.raises(WeightsError, match="no safetensors file"):
        load_generator(broken)


def test_pickled_weights_are_never_loaded(broken: Path) -> None:
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(WeightsError, match=r"found only diffusion_pytorch_model\.bin"):
        load_generator(broken)


def test_a_controlnet_of_another_base_is_refused(broken: Path) -> None:
    config = broken / "controlnet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "cross_attention_dim": 768}))
    with pytest.raises(WeightsError, match="another base: cross_attention_dim is 768"):
        load_generator(broken)


def test_an_unknown_scheduler_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="ddim, ddpm, dpm\\+\\+, euler"):
        load_generator(folder, scheduler="pndm")


def test_the_digest_follows_the_weights(folder: Path, tmp_path: Path, generator: Generator) -> None:
    assert load_generator(make_tiny_pipeline(tmp_path / "again")).digest == generator.digest
    assert load_generator(make_tiny_pipeline(tmp_path / "other", seed=1)).digest != generator.digest


def test_the_shipped_generator_loads_and_follows_the_pose_map() -> None:
    shipped = load_generator(weights_folder() / "studio-diffusion")
    assert sum(file.stat().st_size for file in (weights_folder() / "studio-diffusion").rglob("*")) < 32e6
    size = shipped.size_px
    left, right = np.zeros((2, size, size, 3), np.uint8)
    column = size // 32
    left[size // 8 : -size // 8, 7 * column : 9 * column] = right[size // 8 : -size // 8, 23 * column : 25 * column] = (
        0,
        153,
        92,
    )
    told = {"steps": 8, "guidance_scale": 1.5}
    made = shipped.generate(np.stack([left, right]), ["a person"] * 2, [1, 1], **told).images.astype(int)  # type: ignore[arg-type]
    change = np.abs(made[0] - made[1]).sum((0, -1)).reshape(-1, column).mean(1)  # of 32 columns
    # where neither map asks for anybody, in the middle and at the rims, less changes than where one of them does
    assert change[[*range(5, 11), *range(21, 27)]].mean() > 1.3 * change[[0, 1, 14, 15, 16, 17, 30, 31]].mean()
