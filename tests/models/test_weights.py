import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.diffusion.folder import check_pipeline, check_safetensors
from models.shipped import weights_folder
from models.weights import FORMAT, WeightsError, load_tensors, save_tensors, ship_weights, tensors_sha256

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b.count": torch.tensor(7)}


def test_tensors_and_metadata_come_back_as_they_were_saved(tmp_path: Path) -> None:
    save_tensors(tmp_path / "sub" / "w.safetensors", TENSORS, {"step": 3, "network": {"joints": 17}})
    tensors, about = load_tensors(tmp_path / "sub" / "w.safetensors")
    assert about == {"step": 3, "network": {"joints": 17}}
    assert set(tensors) == set(TENSORS) and all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["w.safetensors"]


def test_the_hash_sees_names_types_shapes_and_values() -> None:
    base = tensors_sha256({"a": torch.zeros(2, 3)})
    assert base == tensors_sha256({"a": torch.zeros(2, 3)})
    others = [
        {"b": torch.zeros(2, 3)},
        {"a": torch.zeros(3, 2)},
        {"a": torch.zeros(2, 3).int()},
        {"a": torch.full((2, 3), 1e-9)},
    ]
    assert base not in [tensors_sha256(other) for other in others]


def test_a_changed_tensor_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_tensors(path, TENSORS, {})
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="do not fit their recorded hash"):
        load_tensors(path)


def test_files_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing.safetensors: no such weights file.*posemill train detector"):
        load_tensors(tmp_path / "nothing.safetensors")
    (tmp_path / "text.safetensors").write_text("not a tensor in sight")
    with pytest.raises(WeightsError, match="expected a safetensors file"):
        load_tensors(tmp_path / "text.safetensors")
    save_file(TENSORS, tmp_path / "foreign.safetensors")
    assert load_file(tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="not weights of this project"):
        load_tensors(tmp_path / "foreign.safetensors")


def test_shipped_weights_are_halved_and_say_what_they_may_be_used_for(tmp_path: Path) -> None:
    tensors = {"a": torch.linspace(0, 1, 7), "steps": torch.tensor(3)}
    save_tensors(tmp_path / "run.safetensors", tensors, {"step": 5})
    ship_weights(tmp_path / "run.safetensors", tmp_path / "shipped.safetensors", licence="research use only")
    found, about = load_tensors(tmp_path / "shipped.safetensors")
    assert found["a"].dtype == torch.float16 and torch.allclose(found["a"].float(), tensors["a"], atol=1e-3)
    assert found["steps"].dtype == torch.int64
    assert about == {"step": 5, "licence": "research use only"}


def test_shipped_weights_that_are_not_what_their_card_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hash inside covers the tensors; whoever changes a file changes that with them, and what is recorded beside them."""
    monkeypatch.setattr("models.weights.weights_folder", lambda: tmp_path.resolve())
    path = tmp_path / "w.safetensors"
    save_tensors(path, TENSORS, {"licence": "research only"})
    (tmp_path / "w.md").write_text(f"File hash (SHA-256):\n`{hashlib.sha256(path.read_bytes()).hexdigest()}`; checked")
    load_tensors(path)
    save_tensors(path, TENSORS, {"licence": "any use"})
    with pytest.raises(WeightsError, match=r"its card w\.md names the file of SHA-256"):
        load_tensors(path)


def test_every_shipped_file_is_the_one_that_its_card_names() -> None:
    for path in weights_folder().glob("*.safetensors"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() in path.with_suffix(".md").read_text()


def test_broken_metadata_is_refused(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors", {"format": FORMAT, "sha256": tensors_sha256(TENSORS), "network": "{"})
    with pytest.raises(WeightsError, match="it cannot be read"):
        load_tensors(tmp_path / "w.safetensors")


def test_a_generator_whose_files_changed_is_refused(tmp_path: Path) -> None:
    shutil.copytree(weights_folder() / "studio-diffusion", tmp_path / "model")
    check_pipeline(tmp_path / "model")
    config = tmp_path / "model" / "unet" / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(WeightsError, match=r"unet/config\.json: SHA256SUMS names"):
        check_pipeline(tmp_path / "model")


def test_a_header_that_does_not_say_where_tensors_lie_is_refused(tmp_path: Path) -> None:
    for header in (b'{"a": {}}', b'{"a": 1}', b'{"a": {"data_offsets": ["x", "y"]}}', b"[" * 100_000, b"[]"):
        (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(WeightsError, match=r"w\.safetensors: "):
            check_safetensors(tmp_path / "w.safetensors")


def test_code_in_a_generator_folder_is_refused_not_run(tmp_path: Path) -> None:
    shutil.copytree(weights_folder() / "studio-diffusion", tmp_path / "model")
    (tmp_path / "model" / "SHA256SUMS").unlink()
    code = tmp_path / "model" / "unet" / "unet.py"
    code.write_text("raise SystemExit('ran')")
    with pytest.raises(WeightsError, match=r"unet\.py: code in a model's folder is never run"):
        check_pipeline(tmp_path / "model")
    code.unlink()
    index = tmp_path / "model" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"unet": ["os", "system"]}))
    with pytest.raises(WeightsError, match="unet is of 'os', expected diffusers or transformers"):
        check_pipeline(tmp_path / "model")


def test_weights_shipped_in_eight_bits_come_back_as_what_they_nearly_were(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    tensors = {
        "conv": torch.randn((6, 5, 3, 7), generator=draw) * torch.logspace(-3, 2, 6)[:, None, None, None],
        "zeros": torch.zeros(3, 70), "bias": torch.randn(6, generator=draw), "steps": torch.tensor(3),
    }  # fmt: skip
    save_tensors(tmp_path / "run.safetensors", tensors, {"step": 5})
    ship_weights(tmp_path / "run.safetensors", tmp_path / "shipped.safetensors", 8, licence="any use")
    found, about = load_tensors(tmp_path / "shipped.safetensors")
    assert found.keys() == tensors.keys() and about == {"step": 5, "licence": "any use"}
    largest = tensors["conv"].flatten(1).abs().amax(1)[:, None, None, None]
    # Half a step of 127 of the largest of a block, and the scale's own rounding to 11 bits.
    assert ((found["conv"] - tensors["conv"]).abs() <= largest * (0.5 / 127 + 2**-11)).all()
    assert torch.equal(found["zeros"], tensors["zeros"]) and found["steps"].dtype == torch.int64
    assert torch.allclose(found["bias"].float(), tensors["bias"], atol=1e-2)
    assert (tmp_path / "shipped.safetensors").stat().st_size < (tmp_path / "run.safetensors").stat().st_size


def test_scales_without_their_weights_are_refused(tmp_path: Path) -> None:
    for name, tensors in {
        "alone": {"a|scale": torch.ones(2, 1)},
        "few": {"a": torch.ones(2, 65), "a|scale": torch.ones(2, 1)},
    }.items():
        save_tensors(tmp_path / f"{name}.safetensors", tensors, {})
        with pytest.raises(WeightsError, match=r"it cannot be read \(a\|scale: scales \(2, 1\) without the weights"):
            load_tensors(tmp_path / f"{name}.safetensors")
    with pytest.raises(ValueError, match="bits: expected 8 or 16, got 4"):
        ship_weights(tmp_path / "a", tmp_path / "b", 4)
