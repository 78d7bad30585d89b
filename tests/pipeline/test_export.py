import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from calibration.formats import load_rig
from models.skeleton import box_xywh_px
from pipeline.config import AuditConfig, ExportConfig
from pipeline.export import run, write_trajectories
from pipeline.labels import HIDDEN, SEEN, captured_sample, clip_box, label_image
from pipeline.samples import encode_jpeg, generated_id, sample_id, sample_rows
from pipeline.shards import ShardWriter, huggingface_metadata
from pipeline.store import Ref, Store
from pipeline.tables import SAMPLES, write_rows
from pipeline.trc import read_trc
from pipeline.types import Artefact, Poses2D, Sample, Skeletons3D
from pipeline.walkers import STANDING_M, ring, time_ns
from tests.pipeline.sessions import INSTANTS, made_session

CONFIG = ExportConfig(image_long_side_px=160, rows_per_shard=5)
WRIST = 9  # never detected in the session
WHO, NOBODY = np.array([3]), np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Ref]:
    store, ref = made_session(tmp_path_factory.mktemp("session"))
    return store, Ref((*ref.inputs, _augment(store.root)))


@pytest.fixture(scope="module")
def made(session: tuple[Store, Ref]) -> Artefact:
    return run(*session, CONFIG)


def _augment(root: Path) -> Artefact:
    parent = sample_id("walk", "cam1", 0)
    samples = [_generated(parent, 0, "accepted"), _generated(parent, 1, "rejected")]
    path = root / "clips" / "walk" / "augment-0.parquet"
    write_rows(path, sample_rows(samples), SAMPLES)
    return Artefact("augment", path, "generated", 2, {})


def _generated(parent: str, variant: int, verdict: str) -> Sample:
    return Sample(
        generated_id(parent, variant), "walk", "cam1", 0, encode_jpeg(np.zeros((64, 64, 3), np.uint8), 90), (64, 64),
        np.full((1, 17, 2), 30.0), np.zeros((1, 17, 3)), np.full((1, 17), 2), "generated", prompt="a person", seed=7,
        generator="tiny", parent=parent, verdict=verdict, reasons=("OKS 0.2 below 0.5",) if verdict == "rejected" else (),
    )  # fmt: skip


def _rows(folder: Path) -> list[dict]:
    return [row for file in sorted(folder.glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_shards_are_numbered_and_hold_every_accepted_sample(made: Artefact) -> None:
    names = sorted(file.name for file in (made.path / "data").iterdir())
    assert names == [f"train-{n:05d}-of-00003.parquet" for n in range(3)]
    rows = _rows(made.path / "data")
    assert len(rows) == made.rows == 3 * INSTANTS + 1
    assert [row["origin"] for row in rows].count("generated") == 1
    assert {row["verdict"] for row in rows} == {"accepted"}
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["parent"] for row in rows if row["parent"]} <= {row["id"] for row in rows}


def test_generated_samples_that_failed_are_kept_apart(made: Artefact) -> None:
    [row] = _rows(made.path / "rejected")
    assert row["reasons"] == ["OKS 0.2 below 0.5"]
    assert made.summary["rejected_generated"] == 1


def test_labels_lie_where_the_joints_are_in_the_smaller_image(session: tuple[Store, Ref], made: Artefact) -> None:
    rig = load_rig(session[0].root / "rig" / "r" / "rig.yaml")
    for row in _rows(made.path / "data"):
        if row["origin"] == "captured":
            assert (row["width_px"], row["height_px"]) == (160, 120)
            image = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
            assert image.shape == (120, 160, 3)
            xyz_m = np.stack([row["x_m"][0], row["y_m"][0], row["z_m"][0]], axis=-1)
            expected = (rig[row["camera"]].project(xyz_m) + 0.5) / 2 - 0.5
            np.testing.assert_allclose(np.stack([row["x_px"][0], row["y_px"][0]], axis=-1), expected, atol=1e-9)


def test_each_image_is_that_of_its_camera_and_instant(made: Artefact) -> None:
    for row in _rows(made.path / "data"):
        if row["origin"] == "captured":
            c, f = int(row["camera"][-1]) - 1, row["t_ns"] * 30 // 10**9 + (row["t_ns"] * 30 % 10**9 > 0)
            image = cv2.imdecode(np.frombuffer(row["image"]["bytes"], np.uint8), cv2.IMREAD_COLOR)
            assert abs(int(image.mean()) - (40 * c + 10 * f)) <= 1


def test_joints_not_detected_anywhere_have_no_label_and_the_others_were_seen(made: Artefact) -> None:
    for row in _rows(made.path / "data"):
        if row["origin"] == "captured":
            visible = np.array(row["visible"][0])
            assert visible[WRIST] == 0
            assert np.isnan(row["x_px"][0][WRIST])
            assert (np.delete(visible, WRIST) == SEEN).all()


def test_a_row_says_who_its_people_are(made: Artefact) -> None:
    for row in _rows(made.path / "data"):
        assert row["person"] == ([0] if row["origin"] == "captured" else [-1])


def test_people_without_a_skeleton_get_a_box_to_ignore(made: Artefact) -> None:
    for row in _rows(made.path / "data"):
        if row["origin"] == "captured":
            assert len(row["ignore_xywh_px"]) == (row["camera"] == "cam1")
            if row["camera"] == "cam1":
                left, top, width, height = row["ignore_xywh_px"][0]
                assert left < 3 < 12 < left + width
                assert top < 30 < 99 < top + height


def test_a_view_without_the_detection_calls_its_joints_hidden() -> None:
    camera = ring(1).cameras[0]
    body = STANDING_M[None]
    xy_px = camera.project(STANDING_M)
    half = np.where(np.arange(17)[:, None] < 11, xy_px, np.nan)[None]
    pose = Poses2D("cam1", 0, half, np.ones((1, 17)), np.zeros((1, 1)))
    labels = label_image(camera, WHO, body, np.zeros((0, 17, 3)), pose)
    assert labels.visible[0].tolist() == [SEEN] * 11 + [HIDDEN] * 6
    assert (label_image(camera, WHO, body, np.zeros((0, 17, 3)), None).visible == HIDDEN).all()


def test_a_rejected_skeleton_is_a_box_and_no_label() -> None:
    camera = ring(1).cameras[0]
    labels = label_image(camera, NOBODY, np.zeros((0, 17, 3)), STANDING_M[None], None)
    assert len(labels.xy_px) == 0
    [box] = labels.ignore_xywh_px
    xy_px = camera.project(STANDING_M)
    assert (box[:2] < xy_px.min(0)).all()
    assert (box[:2] + box[2:] > xy_px.max(0)).all()


def test_an_image_smaller_than_the_limit_is_not_enlarged() -> None:
    labels = label_image(ring(1).cameras[0], WHO, STANDING_M[None], np.zeros((0, 17, 3)), None)
    sample = captured_sample("walk", ring(1).cameras[0], 0, np.zeros((720, 960, 3), np.uint8), labels, 2000, 90)
    assert sample.size_wh == (960, 720)
    np.testing.assert_allclose(sample.xy_px, labels.xy_px)


def test_boxes_end_with_the_image() -> None:
    assert clip_box(np.array([-10.0, 5, 30, 500]), (15, 100)).tolist() == [-0.5, 5.0, 15.0, 94.5]
    assert box_xywh_px(np.full((17, 2), np.nan)) is None


def test_parquet_tells_its_features_as_datasets_reads_them(made: Artefact) -> None:
    schema = pq.read_schema(next((made.path / "data").iterdir()))
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["image"] == {"_type": "Image"}
    assert features["t_ns"] == {"dtype": "int64", "_type": "Value"}
    reals = {"feature": {"dtype": "float64", "_type": "Value"}, "_type": "Sequence"}
    assert features["x_px"] == {"feature": reals, "_type": "Sequence"}
    assert str(schema.field("image").type) == "struct<bytes: binary, path: string>"


def test_features_load_in_datasets(made: Artefact) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.Dataset.from_parquet(str(next((made.path / "data").iterdir())))
    assert loaded[0]["image"].size == (160, 120)


def test_coco_json_scores_full_marks_against_itself(made: Artefact) -> None:
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(str(made.path / "coco" / "annotations.json"))
    assert len(truth.imgs) == made.rows
    for image in truth.imgs.values():
        pixels = cv2.imread(str(made.path / "coco" / "images" / image["file_name"]))
        assert pixels.shape[:2] == (image["height"], image["width"])
    people = [a for a in truth.anns.values() if not a["iscrowd"]]
    crowds = [a for a in truth.anns.values() if a["iscrowd"]]
    assert (len(people), len(crowds)) == (3 * INSTANTS + 1, INSTANTS)
    for crowd in crowds:
        counts = crowd["segmentation"]["counts"]
        image = truth.imgs[crowd["image_id"]]
        assert sum(counts) == image["width"] * image["height"]
        mask = np.repeat(np.arange(len(counts)) % 2, counts).reshape(image["width"], image["height"]).T
        rows, columns = np.nonzero(mask)
        left, top, width, height = crowd["bbox"]
        assert abs(columns.min() - left) <= 1
        assert abs(columns.max() + 1 - left - width) <= 1
        assert abs(rows.min() - top) <= 1
        assert abs(rows.max() + 1 - top - height) <= 1
    found = truth.loadRes([{**a, "score": 1.0} for a in people])
    judge = COCOeval_faster(truth, found, "keypoints", print_function=lambda *text: None)
    judge.params.kpt_oks_sigmas = np.full(17, 0.05)
    judge.run()
    assert judge.stats[0] == pytest.approx(1.0)


def test_every_person_has_a_trajectory(made: Artefact) -> None:
    track = read_trc(made.path / "trc" / "walk-person0.trc")
    assert track.rate_fps == pytest.approx(30, abs=0.01)
    assert track.t_ns.tolist() == [time_ns(f) for f in range(INSTANTS)]
    assert np.isnan(track.xyz_m[:, WRIST]).all()
    assert np.isfinite(np.delete(track.xyz_m, WRIST, axis=1)).all()
    assert track.xyz_m[0, 0, 2] == pytest.approx(1.62, abs=0.03)  # the nose, up


def test_a_smoothed_person_has_the_smoothed_trajectory_and_the_raw_one_beside_it(tmp_path: Path) -> None:
    ones, smooth_m = np.ones((1, 17)), STANDING_M[None] + 0.01
    instants = [
        Skeletons3D(time_ns(f), np.array([4]), STANDING_M[None], ones, ones, ones, None, smooth_m, ones) for f in range(3)
    ]
    write_trajectories("walk", instants, [time_ns(f) for f in range(3)], tmp_path)
    smooth, raw = (read_trc(folder / "walk-person4.trc") for folder in (tmp_path, tmp_path / "raw"))
    np.testing.assert_allclose(smooth.xyz_m[1], STANDING_M + 0.01, atol=1e-5)
    np.testing.assert_allclose(raw.xyz_m[1], STANDING_M, atol=1e-5)


def test_the_card_tells_counts_weights_gates_and_rejections(made: Artefact) -> None:
    text = (made.path / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    assert front["size_categories"] == ["n<1K"]
    for said in ("12 captured and 1 generated", "weights default (sha256 abababababab, licence: CC0)", "max_error_px: 15.0",
                 "tiny (2)", "1 generated images failed", "| walk | 4 | 0 | - |"):  # fmt: skip
        assert said in text


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_same_session_gives_the_same_bytes(session: tuple[Store, Ref], made: Artefact, tmp_path: Path) -> None:
    before = _digests(made.path)
    store, ref = made_session(tmp_path)
    again = run(store, Ref((*ref.inputs, _augment(store.root))), CONFIG)
    assert _digests(again.path) == before
    assert not run(*session, CONFIG).made


def test_every_second_instant_can_be_exported(session: tuple[Store, Ref]) -> None:
    made = run(*session, ExportConfig(name="half", every=2))
    assert sorted({row["t_ns"] for row in _rows(made.path / "data")}) == [time_ns(0), time_ns(2)]


def test_without_an_accepted_skeleton_the_result_says_so(tmp_path: Path) -> None:
    store, ref = made_session(tmp_path, audit_config=AuditConfig(max_error_px=1e-3))
    made = run(store, ref, CONFIG)
    assert made.rows == 0
    assert made.summary["note"] == "no skeleton was accepted: see what the audit says of them"
    assert "reprojection error" in (made.path / "README.md").read_text()


def test_a_clip_without_people_makes_an_empty_dataset_that_can_be_read(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, SAMPLES, 10):
        pass
    [file] = tmp_path.iterdir()
    assert file.name == "train-00000-of-00001.parquet"
    assert pq.read_table(file).num_rows == 0


def test_shards_are_cut_at_their_limit(tmp_path: Path) -> None:
    rows = list(sample_rows([_generated("p", n, "accepted") for n in range(4)]))
    with ShardWriter(tmp_path, SAMPLES, 2) as shards:
        for row in rows:
            shards.write(row)
    assert [pq.read_table(file).num_rows for file in sorted(tmp_path.iterdir())] == [2, 2]
    assert huggingface_metadata(SAMPLES) == pq.read_schema(next(tmp_path.iterdir())).metadata[b"huggingface"]
