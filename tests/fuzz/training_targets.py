"""Readers of what networks learn from and are judged by: COCO folders, Parquet datasets, cut-outs, skeletons."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.detector_data import PoseSamples, ViewConfig
from models.pasted import read_cutouts
from models.photos import Source
from models.skeleton import COCO17
from models.train_config import TrainConfig
from models.training_sets import load_sources, mean_pose
from models.validate_detector import crop_pck, draw_sheet, labelled_crops
from pipeline.annotation_audit import doubtful_labels
from pipeline.errors import InputError
from pipeline.evaluate_detector import evaluate_detector
from pipeline.failure_sheet import failure_sheet
from pipeline.generator_data import read_examples, training_images
from pipeline.pose_rows import skeletons3d_rows
from pipeline.prior_training import whole_skeletons
from pipeline.proof import ARMS, _arm_folder
from pipeline.samples import sample_rows
from pipeline.skeleton_audit import doubtful_skeletons
from pipeline.tables import SAMPLES, SKELETONS3D, write_rows
from pipeline.types import Skeletons3D
from tests.fuzz.documents import json_files, parquet_files
from tests.fuzz.target import Target
from tests.fuzz.text_targets import tried
from tests.models.scenes import document, standing, write_document, write_folder
from tests.pipeline.exports import _sample

SIZE_PX = 64
PER_PICTURE = 4


class Fixed:
    """A detector that finds the same two people in every picture."""

    def detect(self, images: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(B, H, W, 3) -> two people each."""
        people = np.stack([standing((80, 120), np.random.default_rng(k)) for k in range(2)]).astype(np.float32)
        return [(people, np.ones((2, 17), np.float32), np.zeros((2, 1), np.float32)) for _ in images]


def _folder(folder: Path) -> bytes:
    """Three pictures with four labelled people each, one of them of a crowd, and a split."""
    shutil.rmtree(folder, ignore_errors=True)
    write_folder(folder, 3, split="test", ignore_boxes=[[0, 0, 5, 5]])
    content = document(folder)
    once = content["annotations"]
    content["annotations"] = [{**each, "id": 1000 * k + each["id"]} for k in range(PER_PICTURE) for each in once]
    content["annotations"][-1]["iscrowd"] = 1
    write_document(folder, content)
    return (folder / "annotations.json").read_bytes()


def _coco(session: Path, name: str) -> list[bytes]:
    return [_folder(session / name)]


def _teacher(session: Path) -> list[bytes]:
    _folder(session / "taught")
    verdicts = ("agree", "mirrored", "disagree", None)
    people = [
        {"annotation_id": each["id"], "verdict": verdicts[n % 4], "agree": 0.9, "agree_swapped": 0.9,
         "face": [[7, 8, 2]] + 4 * [[1.0, 1, 0]]}
        for n, each in enumerate(document(session / "taught")["annotations"])
    ]  # fmt: skip
    return [json.dumps({"people": people}).encode()]


def _export(session: Path, name: str) -> list[bytes]:
    (session / name / "data").mkdir(parents=True, exist_ok=True)
    samples = [_sample(f"cam{1 + k % 2}", k, 2, **({"variant": 0} if k % 2 else {})) for k in range(6)]
    write_rows(session / "whole.parquet", list(sample_rows(samples)), SAMPLES)
    return [(session / "whole.parquet").read_bytes()]


def _cutouts(session: Path) -> list[bytes]:
    _folder(session / "photos")
    _folder(session / "cutouts")
    content = document(session / "cutouts")
    content["annotations"], content["images"] = content["annotations"][:1], content["images"][:1]
    write_document(session / "cutouts", content)
    rgba = np.random.default_rng(0).integers(0, 255, (120, 80, 4), dtype=np.uint8)
    return [cv2.imencode(ending, rgba)[1].tobytes() for ending in (".png", ".webp", ".tif")]


def _skeletons(session: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    instants = [
        Skeletons3D(
            t_ns=k, person=np.arange(2), xyz_m=rng.normal(size=(2, 17, 3)), score=np.ones((2, 17)),
            error_px=np.ones((2, 17)), n_views=np.full((2, 17), 3),
        )
        for k in range(8)
    ]  # fmt: skip
    write_rows(session / "whole.parquet", skeletons3d_rows(instants), SKELETONS3D)
    return [(session / "whole.parquet").read_bytes()]


def refused(use: Callable[[], Any], folder: Path) -> Any:
    """As the commands of training do: a ValueError that names the folder, or an image in it, is a message."""
    try:
        return use()
    except ValueError as error:
        names = (str(folder), ".png: ", "walk-cam")  # the folder, or an image in it
        assert "\n" not in str(error) and any(name in str(error) for name in names), error
        raise InputError(str(error)) from error


def _learned(folder: Path, cutouts: Path | None = None) -> None:
    """What a training makes of a folder: its photos, views of them, crops to watch, photos kept out."""
    source = Source(str(folder))
    held = {folder.name: 1} if (folder / "annotations.json").is_file() else {}
    config = TrainConfig(sources=(source,), held_out=held)
    photos, _ = load_sources(config)
    pasted = read_cutouts(cutouts) if cutouts else []
    view = ViewConfig(size_px=SIZE_PX, paste=0.5 if pasted else 0.0)
    samples = PoseSamples(photos, (source,), view, cutouts=pasted)
    for number in range(3):
        made = samples[number]
        assert all(np.isfinite(array).all() for array in made.values()) and made["image"].shape == (3, SIZE_PX, SIZE_PX)
    assert np.isfinite(mean_pose(photos)).any()
    crops = [crop for group in photos for photo in group for crop in labelled_crops(photo, SIZE_PX)][:8]
    truth = np.stack([crop[1] for crop in crops])
    crop_pck(truth[..., :2], truth)
    draw_sheet([crop[0] for crop in crops], np.nan_to_num(truth[..., :2]))


def _learn(path: Path) -> None:
    folder = path.parent if path.suffix == ".json" else path.parents[1]
    refused(lambda: _learned(folder), folder)


def _paste(path: Path) -> None:
    folder = path.parents[1]
    refused(lambda: _learned(path.parents[2] / "photos", folder), folder)


def _judged(folder: Path) -> None:
    report = evaluate_detector(Fixed(), folder)
    json.dumps(report.to_dict(), allow_nan=False)
    if report.failures:
        failure_sheet(report.failures, COCO17)


def _judge(path: Path) -> None:
    """As `evaluate detector` and `evaluate dataset` read a folder."""
    folder = path.parent if path.suffix == ".json" else path.parents[1]
    uses: list[Callable[[], Any]] = [lambda: _judged(folder), lambda: doubtful_labels(folder)]
    if path.suffix == ".parquet":
        arm = folder.parent / "out" / "arm"
        uses += [partial(_arm_folder, name, [folder], arm / name) for name in (ARMS[0], ARMS[2])]
    tried([*uses, lambda: doubtful_skeletons(folder)])


def _drawn(path: Path) -> None:
    folder = path.parent if path.suffix == ".json" else path.parents[1]
    made = training_images(read_examples(folder, SIZE_PX))
    assert all(isinstance(caption, str) for caption in made.captions)


def _priors(path: Path) -> None:
    def whole() -> None:
        found = list(whole_skeletons(path))
        assert not found or np.isfinite(np.stack(found).astype(np.float32)).all()

    tried([whole, lambda: doubtful_skeletons(path)])


SHARD = "data/train-00000-of-00001.parquet"
TARGETS = (
    Target("train-coco", "photos/annotations.json", partial(_coco, name="photos"), _learn, json_files, 0.5, text=True),
    Target("train-teacher", "taught/teacher.json", _teacher, _learn, json_files, 0.5, text=True),
    Target("train-parquet", f"export/{SHARD}", partial(_export, name="export"), _learn, parquet_files, 0.5),
    Target("train-cutout", "cutouts/images/0.png", _cutouts, _paste, share=0.5),
    Target("judge-coco", "judged/annotations.json", partial(_coco, name="judged"), _judge, json_files, 0.3, text=True),
    Target("judge-parquet", f"judged/{SHARD}", partial(_export, name="judged"), _judge, parquet_files, 0.3),
    Target("generator-coco", "drawn/annotations.json", partial(_coco, name="drawn"), _drawn, json_files, 0.5, text=True),
    Target("generator-parquet", f"drawn/{SHARD}", partial(_export, name="drawn"), _drawn, parquet_files, 0.5),
    Target("prior", "p/prior.parquet", _skeletons, _priors, parquet_files, 0.5),
)  # fmt: skip
