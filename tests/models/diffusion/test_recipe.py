import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.diffusion.controlnet import Captured, Generator, Shared, load_generator
from models.diffusion.folder import is_xl
from models.diffusion.recipe import located, memory_switches
from models.weights import WeightsError
from tests.models.diffusion.single_file import make_small_sd15, write_single_file
from tests.models.diffusion.test_guidance import guide, standing_at
from tests.models.diffusion.tiny import make_tiny_pipeline
from tests.models.diffusion.tiny_xl import make_tiny_xl, write_ip_adapter, write_lora

PROMPTS, SEEDS = ["a person in a red top", "a person"], [3, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_xl(tmp_path_factory.mktemp("pipelines") / "xl")


def pictures(seed: int = 0, kinds: int = 1) -> np.ndarray:
    maps = np.random.default_rng(seed).integers(0, 256, (2, kinds, 32, 32, 3), dtype=np.uint8)
    return maps[:, 0] if kinds == 1 else maps


def made(generator: Generator, **told: object) -> np.ndarray:
    conditions = told.pop("conditions", pictures())
    return generator.generate(conditions, PROMPTS, SEEDS, steps=3, **told).images  # type: ignore[arg-type]


def test_a_captured_image_shows_through_the_less_it_is_noised(folder: Path) -> None:
    generator = load_generator(folder, form="image")
    begin = pictures(5)
    little, much = (made(generator, captured=Captured(begin, strength=s)).astype(int) for s in (0.4, 1.0))
    assert type(generator.pipeline).__name__ == "StableDiffusionControlNetImg2ImgPipeline"
    assert (little != much).any()
    other = made(generator, captured=Captured(pictures(6), strength=0.4))
    assert np.abs(little - other).mean() > np.abs(much - made(generator, captured=Captured(pictures(6)))).mean()


def test_inpainting_paints_inside_its_mask_alone(folder: Path) -> None:
    generator = load_generator(folder, form="inpaint")
    masks = np.zeros((2, 32, 32), bool)
    masks[:, 8:24, 8:24] = True
    one = made(generator, captured=Captured(pictures(5), masks)).astype(int)
    again = made(generator, conditions=pictures(8), captured=Captured(pictures(5), masks)).astype(int)
    change = np.abs(one - again).mean((0, 3))
    # latents outside are the captured image's; the decoder's normalisation still sees the whole
    assert change[12:20, 12:20].mean() > 2 * change[:2].mean()


@pytest.mark.parametrize("form", ["image", "inpaint"])
@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
def test_people_are_drawn_to_their_labels_in_captured_images_too(folder: Path, form: str, scheduler: str) -> None:
    generator = load_generator(folder, form=form, scheduler=scheduler)
    masks = np.zeros((2, 32, 32), bool)
    masks[:, 4:28, 4:28] = True
    begin = Captured(pictures(5), masks if form == "inpaint" else None, 0.9)
    plain, guided = (made(generator, captured=begin, guided=g) for g in (None, guide().aimed_at([standing_at(16, 16)] * 2)))
    assert (plain != guided).any(axis=(1, 2, 3)).all() and np.abs(plain.astype(int) - guided).mean() < 60


def test_short_memory_changes_no_image(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = str(write_ip_adapter(tmp_path / "ip", folder))
    looks = Shared((1, 1), 0.0, list(pictures(9)), (0, 1))
    roomy = made(load_generator(folder)), made(load_generator(folder, ip_adapter=adapter), shared=looks)
    monkeypatch.setattr("models.diffusion.recipe._free_bytes", lambda device: 1)
    tight = made(load_generator(folder)), made(load_generator(folder, ip_adapter=adapter), shared=looks)
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(roomy, tight, strict=True))  # one level of rounding


def test_the_layout_of_a_single_file_is_read_from_it(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    for name, tensor in (
        ("xl", "conditioner.embedders.1.model.ln_final.bias"),
        ("small-xl-name", "cond_stage_model.logit_scale"),
    ):
        save_file({tensor: np.zeros(1, np.float32)}, tmp_path / f"{name}.safetensors")
    assert is_xl(tmp_path / "xl.safetensors") and not is_xl(tmp_path / "small-xl-name.safetensors")


def test_what_an_image_begins_as_must_fit_the_form(folder: Path) -> None:
    text, image, inpaint = (load_generator(folder, form=form) for form in ("text", "image", "inpaint"))
    with pytest.raises(ValueError, match="form text takes no captured images"):
        made(text, captured=Captured(pictures()))
    with pytest.raises(ValueError, match="form image needs captured images"):
        made(image)
    with pytest.raises(ValueError, match=r"form inpaint wants \(2, 32, 32\), got none"):
        made(inpaint, captured=Captured(pictures()))
    with pytest.raises(ValueError, match=r"expected captured images uint8 \(2, 32, 32, 3\), got \(1, 32, 32, 3\)"):
        made(image, captured=Captured(pictures()[:1]))
    with pytest.raises(ValueError, match="strength: expected above 0"):
        made(image, captured=Captured(pictures(), strength=0.0))
    with pytest.raises(WeightsError, match="form: expected one of text, image, inpaint"):
        load_generator(folder, form="video")


def test_several_controlnets_each_take_their_own_condition(folder: Path, tmp_path: Path) -> None:
    second = make_tiny_pipeline(tmp_path / "second", seed=3) / "controlnet"
    generator = load_generator(folder, controlnets=[folder / "controlnet", second], kinds=["pose", "depth"])
    both = pictures(1, kinds=2)
    first = made(generator, conditions=both)
    assert (first != made(generator, conditions=both[:, ::-1])).any()
    changed = both.copy()
    changed[:, 1] = 0
    assert (first != made(generator, conditions=changed)).any()
    with pytest.raises(ValueError, match="expected 2 kinds of conditions, got 1"):
        made(generator)
    with pytest.raises(WeightsError, match=r"conditions: 1 \(pose\) for 2 ControlNets"):
        load_generator(folder, controlnets=[folder / "controlnet", second])
    with pytest.raises(WeightsError, match="expected some of pose, depth, mask, got edges"):
        load_generator(folder, kinds=["edges"])


@pytest.mark.parametrize("form", ["text", "image", "inpaint"])
def test_the_xl_layout_makes_images_of_every_form(large: Path, form: str) -> None:
    generator = load_generator(large, form=form)
    assert "XL" in type(generator.pipeline).__name__ and generator.size_px == 32
    masks = np.ones((2, 32, 32), bool) if form == "inpaint" else None
    begun = {} if form == "text" else {"captured": Captured(pictures(5), masks, 0.7 if form == "image" else 1.0)}
    images = made(generator, **begun)
    alone = generator.generate(pictures()[1:], PROMPTS[1:], SEEDS[1:], steps=3, **{  # type: ignore[arg-type]
        name: Captured(value.images[1:], None if masks is None else masks[1:], value.strength) for name, value in begun.items()
    }).images  # fmt: skip
    assert images.shape == (2, 32, 32, 3) and (alone[0] == images[1]).all()


def test_a_union_takes_any_of_its_conditions(tmp_path: Path) -> None:
    folder = make_tiny_xl(tmp_path / "union", union=True)
    one = load_generator(folder)
    assert type(one.pipeline).__name__ == "StableDiffusionXLControlNetUnionPipeline"
    depth = load_generator(folder, kinds=["depth"])
    assert (made(one) != made(depth)).any()
    both = load_generator(folder, kinds=["pose", "depth"])
    assert made(both, conditions=pictures(1, kinds=2)).shape == (2, 32, 32, 3)
    plain = make_tiny_pipeline(tmp_path / "plain")
    with pytest.raises(WeightsError, match="another base|goes alone, with an XL pipeline"):
        load_generator(plain, controlnets=[folder / "controlnet"])


def test_a_second_text_encoder_that_is_missing_is_named(large: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(large, tmp_path / "broken")
    (broken / "text_encoder_2" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"text_encoder_2.config\.json: missing"):
        load_generator(broken)


def test_a_lora_changes_images_by_its_weight(folder: Path, tmp_path: Path) -> None:
    lora = write_lora(tmp_path / "style.safetensors", folder)
    plain, none, some = (made(load_generator(folder, loras=l)) for l in ([], [f"{lora}=0"], [str(lora)]))  # noqa: E741
    assert (none == plain).all() and (some != plain).any()
    assert load_generator(folder, loras=[str(lora)]).digest != load_generator(folder).digest
    with pytest.raises(WeightsError, match=r"LoRA nowhere\.safetensors: no such file"):
        load_generator(folder, loras=["nowhere.safetensors"])
    with pytest.raises(WeightsError, match="does not fit the model"):
        load_generator(folder, loras=[str(folder / "vae" / "diffusion_pytorch_model.safetensors")])


def test_an_ip_adapter_gives_each_image_the_look_of_its_picture(folder: Path, tmp_path: Path) -> None:
    adapter = write_ip_adapter(tmp_path / "ip", folder)
    generator = load_generator(folder, ip_adapter=str(adapter))
    looks = list(pictures(9))
    one = made(generator, shared=Shared((1, 1), 0.0, looks, (0, 1)))
    same = made(generator, shared=Shared((1, 1), 0.0, looks, (0, 0)))
    assert (one[0] == same[0]).all() and (one[1] != same[1]).any()
    unguided = made(generator, shared=Shared((1, 1), 0.0, looks, (0, 1)), guidance_scale=1.0)
    assert unguided.shape == one.shape
    (adapter / "ip-adapter.safetensors").rename(adapter / "ip-adapter.bin")
    with pytest.raises(WeightsError, match=r"expected one \.safetensors file and image_encoder/, found 0"):
        load_generator(folder, ip_adapter=str(adapter))


def test_views_that_share_their_noise_look_alike(folder: Path) -> None:
    generator = load_generator(folder)
    same = np.repeat(pictures()[:1], 2, axis=0)

    def apart(share: float) -> float:
        told = {"shared": Shared((7, 7), share)}
        one, two = generator.generate(same, ["a person"] * 2, SEEDS, steps=3, **told).images.astype(int)  # type: ignore[arg-type]
        return float(np.abs(one - two).mean())

    assert apart(1.0) == 0 < apart(0.9) < apart(0.0)
    plain = generator.generate(same, ["a person"] * 2, SEEDS, steps=3).images
    none = generator.generate(same, ["a person"] * 2, SEEDS, steps=3, shared=Shared((7, 7), 0.0)).images
    assert (plain == none).all()


def test_mixed_noise_keeps_its_variance() -> None:
    import torch

    own = torch.randn((4, 8, 32, 32), generator=torch.Generator().manual_seed(0))
    mixed = Shared((1, 1, 2, 2), 0.6).mixed(own)
    assert float(mixed.std()) == pytest.approx(1, abs=0.01)
    related = [float((mixed[a] * mixed[b]).mean()) for a, b in ((0, 1), (2, 3), (0, 2))]
    assert related == pytest.approx([0.6, 0.6, 0.0], abs=0.05)


def test_a_hub_id_is_taken_from_the_cache_or_told_apart_from_a_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []

    def fetch(name: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        asked.append((name, local_files_only))
        if name == "somebody/model" and not local_files_only:
            return str(folder)
        raise FileNotFoundError("not in the cache" if local_files_only else "no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert located("somebody/model") == folder
    assert asked == [("somebody/model", True), ("somebody/model", False)]
    with pytest.raises(WeightsError, match=r"somebody/else: no such folder here.*hub id \(no network\)"):
        load_generator("somebody/else")
    assert located(tmp_path / "nowhere") == tmp_path / "nowhere"  # a path is no hub id


def test_a_single_file_needs_a_controlnet_and_the_sizes_of_its_parts(folder: Path, tmp_path: Path) -> None:
    single = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match="no such file"):
        load_generator(single)
    shutil.copy(folder / "unet" / "diffusion_pytorch_model.safetensors", single)
    with pytest.raises(WeightsError, match="without a ControlNet"):
        load_generator(single)
    with pytest.raises(WeightsError, match=r"a single-file checkpoint says nothing of its tokenizer"):
        load_generator(single, controlnets=[folder / "controlnet"])


def test_a_single_file_makes_the_images_of_its_folder(tmp_path: Path) -> None:
    folder = make_small_sd15(tmp_path / "model")
    single = write_single_file(folder, tmp_path / "model.safetensors")
    maps = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    expected = made(load_generator(folder), conditions=maps)
    for part in ("unet", "vae", "text_encoder"):  # beside the file stand configurations alone
        next((folder / part).glob("*.safetensors")).unlink()
    generator = load_generator(single, controlnets=[folder / "controlnet"])
    assert np.array_equal(made(generator, conditions=maps), expected) and expected.std() > 1


def test_memory_is_spared_where_weights_take_most_of_it() -> None:
    gib = 2**30
    assert memory_switches(2 * gib, 20 * gib, "cuda") == ()
    assert memory_switches(10 * gib, 20 * gib, "cuda") == ("attention slicing",)
    assert memory_switches(18 * gib, 20 * gib, "cuda:1") == ("attention slicing", "offload")
    assert memory_switches(18 * gib, 20 * gib, "cpu") == ("attention slicing",)


def test_an_index_of_a_union_beside_others_is_refused(large: Path, tmp_path: Path) -> None:
    union = shutil.copytree(large / "controlnet", tmp_path / "union")
    config = json.loads((union / "config.json").read_text())
    (union / "config.json").write_text(json.dumps({**config, "_class_name": "ControlNetUnionModel"}))
    from models.diffusion.recipe import pipeline_class

    with pytest.raises(WeightsError, match="a union ControlNet goes alone"):
        pipeline_class(large, [large / "controlnet", union], "text")
