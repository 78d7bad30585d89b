import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from models.backends import COMPILED, BackendError, TorchBackend, make_backend
from models.detector import load_detector
from models.hourglass import HourglassConfig, StackedHourglass, build_hourglass
from models.onnx_export import cache_folder, export, onnx_model
from models.shipped import weights_folder

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def small() -> StackedHourglass:
    """A network whose batch norms have seen something: fresh ones would fold to nothing."""
    torch.manual_seed(0)
    net = build_hourglass(HourglassConfig(channels=8, depth=2, tag_dims=2)).train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(2, 3, 32, 32))
    return net.eval()


@pytest.fixture(params=sorted(COMPILED))
def compiled(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return request.param


@pytest.mark.parametrize("shape", [(1, 32, 48), (3, 64, 32), (1, 32, 48)])
def test_every_backend_gives_the_maps_of_torch(compiled: str, shape: tuple[int, int, int]) -> None:
    net = small()
    one, other = TorchBackend(net), make_backend(compiled, net)
    for _ in range(2):  # one session takes every size
        for b, h, w in (shape, (2, 16, 16)):
            images = RNG.integers(0, 256, (b, h, w, 3), np.uint8)
            for expected, found in zip(one.maps(images), other.maps(images), strict=True):
                assert found.shape == expected.shape and found.dtype == np.float32
                np.testing.assert_allclose(found, expected, atol=1e-4)


def test_maps_stay_as_they_are_when_the_next_batch_runs(compiled: str) -> None:
    backend = make_backend(compiled, small())
    first = backend.maps(np.zeros((1, 32, 32, 3), np.uint8))[0]
    before = first.copy()
    backend.maps(np.full((1, 32, 32, 3), 255, np.uint8))
    np.testing.assert_array_equal(first, before)


def people_in_view() -> dict[str, np.ndarray]:
    """Virtual people of the generator's card, one and several; no multiples of the network's stride."""
    sheet = cv2.imread(str(weights_folder() / "studio-diffusion" / "samples.jpg"))[..., ::-1]
    tiles = {"one": sheet[128:192, 192:256], "several": sheet[320:384, 448:512]}
    return {name: cv2.resize(tile, (205, 213), interpolation=cv2.INTER_CUBIC) for name, tile in tiles.items()}


@pytest.mark.parametrize("scene", sorted(people_in_view()))
def test_joints_of_the_shipped_weights_agree_to_a_tenth_of_a_pixel(compiled: str, scene: str) -> None:
    image = people_in_view()[scene]
    options = {"flip": True, "scales": (0.6, 1.0), "size_px": 160}
    grouping = load_detector(backend="torch").grouping
    options["grouping"] = type(grouping)(detection=0.02, min_joints=1)  # so that there are joints to compare, good or bad
    [torch_people] = load_detector(backend="torch", **options).detect(image[None])
    [other_people] = load_detector(backend=compiled, **options).detect(image[None])
    assert np.isfinite(torch_people[0]).sum() > 20
    assert other_people[0].shape == torch_people[0].shape
    np.testing.assert_allclose(other_people[0], torch_people[0], atol=0.1)
    np.testing.assert_allclose(other_people[1], torch_people[1], atol=1e-3)


def test_the_exported_model_has_its_batch_norms_folded_in() -> None:
    model = export(small())
    assert b"Conv" in model and b"BatchNormalization" not in model


def test_a_model_is_exported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small()
    model = onnx_model(net)
    [cached] = cache_folder().iterdir()
    monkeypatch.setattr("models.onnx_export.export", lambda _: pytest.fail("exported a second time"))
    assert onnx_model(net) == model
    assert cached.read_bytes().endswith(model)


def test_a_damaged_cached_model_is_exported_anew() -> None:
    net = small()
    model = onnx_model(net)
    [cached] = cache_folder().iterdir()
    for content in (b"", cached.read_bytes()[:-1]):
        cached.write_bytes(content)
        assert onnx_model(net) == model
        assert cached.read_bytes().endswith(model)


def test_other_weights_are_another_model() -> None:
    net = small()
    onnx_model(net)
    with torch.no_grad():
        next(net.parameters()).add_(1e-3)
    onnx_model(net)
    assert len(list(cache_folder().iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert onnx_model(small())


def test_auto_takes_a_compiled_backend_and_without_one_torch_and_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    net = small()
    assert make_backend("auto", net).name == "onnxruntime"

    def absent(_: StackedHourglass) -> None:
        raise ImportError("No module named 'quick'")

    monkeypatch.setattr("models.backends.COMPILED", {"quick": absent})
    assert [make_backend("auto", net).name for _ in range(2)] == ["torch", "torch"]
    assert caplog.text.count("quick: No module named 'quick'") == 1


def test_a_backend_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="expected one of auto, torch, onnxruntime, openvino, got 'tvm'"):
        make_backend("tvm", small())
    with pytest.raises(BackendError, match="onnxruntime: runs on the CPU, got device 'cuda:1'"):
        make_backend("onnxruntime", small(), "cuda:1")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendError, match="pip install openvino"):
        make_backend("openvino", small())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks Linux what each thread did")
def test_a_worker_runs_on_as_many_threads_as_it_was_given(compiled: str) -> None:
    code = (
        "import os, pathlib; from models.detector import load_detector; import numpy as np\n"
        "def ticks():\n"
        "    tasks = {t: pathlib.Path(f'/proc/self/task/{t}/stat').read_text() for t in os.listdir('/proc/self/task')}\n"
        "    return {t: sum(map(int, told.rsplit(')')[1].split()[11:13])) for t, told in tasks.items()}\n"
        f"d = load_detector(backend='{compiled}'); x = np.zeros((4, 256, 256, 3), np.uint8); d.maps(x)\n"
        "before = ticks(); [d.maps(x) for _ in range(3)]; done = [n - before.get(t, 0) for t, n in ticks().items()]\n"
        "print(max(done) / sum(done))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert float(done.stdout) > 0.9  # of the work, by one thread
