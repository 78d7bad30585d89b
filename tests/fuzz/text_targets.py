"""Readers of text: session.yaml, settings, rigs, detections, labels, clothes, trajectories, journals and manifests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from calibration.board_set import parse_target
from calibration.formats import KINDS, left_behind, load_rig, save_rig
from models.skeleton import COCO17
from models.wardrobe import load_wardrobe
from pipeline.config import DetectConfig, load_config, session_config
from pipeline.credentials import full_url
from pipeline.decisions import decided_settings, decisions
from pipeline.detections import LAYOUTS, read_detections
from pipeline.errors import InputError
from pipeline.failures import failure_of, note_failure
from pipeline.labelled_photos import labelled_photos
from pipeline.lineage import manifest_of
from pipeline.new_session import Request
from pipeline.option_texts import pairs_of_texts, readouts_of_texts
from pipeline.people3d import read_people
from pipeline.recording import RecordingReader
from pipeline.release import check_release
from pipeline.review_rows import excluded, review_file
from pipeline.session import Session, load_session, save_session
from pipeline.sources import layout_crops, open_source
from pipeline.status import why_stale
from pipeline.store import Ref, Store
from pipeline.trajectories_json import write_json
from pipeline.trc import Trajectories, write_trc
from tests.calibration.rigs import rig_of_lens, some_rig
from tests.fuzz.documents import json_files, yaml_files
from tests.fuzz.target import Target
from tests.fuzz.valid_texts import DECIDED, MHCLO, OBJ, SESSION, SETTINGS, WORDS
from tests.pipeline.exports import made_export
from tests.pipeline.footage import numbered_video


def _session(path: Path) -> None:
    root = path.parent
    session = load_session(root)
    session_config(session)
    store = Store(root)
    if session.board:
        parse_target(session.board)
    for clip in session.clips:
        for camera, source in clip.sources.items():
            slot = store.slot("detect", "1", DetectConfig(), Ref((), clip.name, camera))
            assert slot.path.resolve().is_relative_to(root)
            with suppress(InputError):  # its recordings are not there
                open_source(root, source).probe()
    for camera in session.cameras[:1]:  # writing takes time
        store.slot("detect", "1", DetectConfig(), Ref((), "clip", camera)).commit(lambda file: file.write_text("found"), 1)
        note_failure(store, "detect", Ref((), "clip", camera), ValueError("why"))
        failure_of(store, "detect", Ref((), "clip", camera))
    for camera, live in session.live.items():
        with suppress(InputError):  # its password is not there
            full_url(root, camera, live.url)
    save_session(session, root / "out")


def _setting(path: Path) -> None:
    text = path.read_text(errors="replace")
    load_config("demo", settings=[text])


def _word(path: Path) -> None:
    """Every kind of word that a command line takes, each of which may be refused."""
    text = path.read_text(errors="replace")
    readers: list[Callable[[], Any]] = [
        lambda: parse_target(text),
        lambda: layout_crops((640, 480), text),
        lambda: pairs_of_texts([text], "--camera"),
        lambda: readouts_of_texts([text]),
        lambda: full_url(path.parent, "cam1", text),
        lambda: Request(cameras=(text,)),
    ]
    tried(readers, all_refused=True)


def tried(uses: Sequence[Callable[[], Any]], all_refused: bool = False) -> None:
    """Do everything with one input, whatever was refused before; the last refusal is raised (or only where nothing passed)."""
    refused = []
    for use in uses:
        try:
            use()
        except expected() as error:
            refused.append(error)
    if len(refused) == len(uses) or (refused and not all_refused):
        raise refused[-1]


def expected() -> tuple[type[Exception], ...]:
    """The errors that the command line turns into a message."""
    from flows.terminal import expected_errors

    return expected_errors()


def _rigs(folder: Path, kind: str) -> list[bytes]:
    made = []
    lenses = ("brown without k3", "fisheye") if kind == "kalibr" else ("brown", "fisheye")
    rigs = [rig_of_lens(lens) for lens in lenses]
    for rig in [*rigs, some_rig()] if kind in ("posemill", "pose2sim") else rigs:
        for ending in KINDS[kind].writers:
            save_rig(rig, folder / f"whole{ending}", kind)
            made.append((folder / f"whole{ending}").read_bytes())
    return made


def _rig(path: Path) -> None:
    rig = load_rig(path)
    for kind, known in KINDS.items():
        left_behind(rig, kind)
        with suppress(*expected()):  # a format may not hold this rig
            save_rig(rig, path.parents[1] / "out" / f"{kind}{next(iter(known.writers))}", kind)
    rig.cameras[0].project(np.array([[0.1, 0.2, 3.0]]))


def _openpose(_: Path) -> list[bytes]:
    people = [
        [float(k) for k in range(3 * len(joints))] for joints in (LAYOUTS["COCO_18"], LAYOUTS["COCO_17"], LAYOUTS["BODY_25"])
    ]
    return [json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": person}]}).encode() for person in people]


def _coco_results(_: Path) -> list[bytes]:
    entry = {"image_id": 3, "category_id": 1, "keypoints": [float(k) for k in range(51)], "score": 0.9}
    return [json.dumps(found).encode() for found in ([entry, {**entry, "image_id": "cam/0004.jpg"}], {"annotations": [entry]})]


def _coco_labels(session: Path) -> list[bytes]:
    (session / "coco" / "images").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(session / "coco" / "images" / "a.png"), np.zeros((48, 64, 3), np.uint8))
    points = [float(v) for k in range(17) for v in (3 * k, 2 * k, 2)]
    label = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": points, "bbox": [0, 0, 50, 40], "area": 900, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "width": 64, "height": 48, "split": "test", "ignore_boxes": [[0, 0, 5, 5]]}
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": [[1, 2]]}
    return [json.dumps({"images": [image], "annotations": [label], "categories": [category]}).encode()]


def _photos(path: Path) -> None:
    for photo in labelled_photos(path.parent, None, COCO17):
        photo.image()


def _clothes(session: Path, kind: str) -> list[bytes]:
    (session / kind / "patch.mhclo").write_bytes(MHCLO)
    (session / kind / "patch.obj").write_bytes(OBJ)
    return [MHCLO if kind == "mhclo" else OBJ]


def _wear(path: Path) -> None:
    rest_m = np.random.default_rng(0).normal(size=(20, 3))
    try:
        garments = load_wardrobe(path.parent)
    except ValueError as error:  # the studio hands its words on as an InputError
        assert str(path.parent) in str(error), error
        raise InputError(str(error)) from error
    for garment in garments:
        garment.fit(rest_m)


def _track() -> Trajectories:
    xyz_m = np.random.default_rng(0).normal(size=(4, 17, 3))
    xyz_m[1, 3] = np.nan
    return Trajectories(COCO17.joints, np.arange(4) * 33_333_333, xyz_m, 30.0)


def _trajectories(session: Path, ending: str, write: Callable[[Trajectories, Path], Any]) -> list[bytes]:
    write(_track(), session / f"whole{ending}")
    return [(session / f"whole{ending}").read_bytes()]


def _journal(session: Path) -> list[bytes]:
    numbered_video(session / "raw" / "cam" / "000.mkv", 6)
    rows = [b"0,%d,%d" % (k * 33_000_000, 10**18 + k * 33_100_000) for k in range(6)]
    return [b"segment,pts_ns,arrived_ns\n" + b"\n".join(rows) + b"\n"]


def _recording(path: Path) -> None:
    reader = RecordingReader(path.parent)
    reader.probe()
    reader.check(lambda _: None)


def _manifest(session: Path) -> list[bytes]:
    (session / "stored").mkdir(exist_ok=True)
    save_session(Session(name="gym", cameras=("cam1",)), session / "stored")
    slot = Store(session / "stored").slot("detect", "1", DetectConfig(), Ref((), "walk", "cam1"))
    slot.commit(lambda temporary: temporary.write_text("rows"), 3, {"weights": "photo"})
    return [slot.manifest_path.read_bytes()]


def _stored(path: Path) -> None:
    store = Store(path.parents[1])
    slot = store.slot("detect", "1", DetectConfig(), Ref((), "walk", "cam1"))
    slot.path.parent.mkdir(parents=True, exist_ok=True)
    slot.manifest_path.write_bytes(path.read_bytes())
    if done := slot.done():
        manifest_of(done)
    why_stale(store.slot("detect", "2", DetectConfig(), Ref((), "walk", "cam1")))


def _decided(path: Path) -> None:
    decisions(path.parents[1])
    for each in decisions(path.parents[1]):
        assert each.text
    decided_settings(path.parents[1])


def _marked(session: Path) -> list[bytes]:
    made = made_export(session / "marked")
    ids = [f"walk-cam1-{0:015d}", "walk-cam2-000000033333333"]
    lines = "".join(f"x,{each},walk,cam1,0.0,captured,1,17,,,\n" for each in ids)
    review_file(session / "marked", made).parent.mkdir(exist_ok=True)
    return [f"exclude,id,clip,camera,time_s,origin,people,joints,least_p,least_oks,parent\n{lines}".encode()]


def _excluded(path: Path) -> None:
    from pipeline.store import digest_of
    from pipeline.types import Artefact

    session = path.parents[1]
    dataset = Artefact("export", session / "export" / "dataset", digest_of([session.name, 4, 1]), 9)
    review_file(session, dataset).write_bytes(path.read_bytes())
    excluded(session, dataset)


def _sums(session: Path) -> list[bytes]:
    import hashlib

    (session / "release" / "card.md").write_text("card")
    return [f"{hashlib.sha256(b'card').hexdigest()}  card.md\n".encode()]


TARGETS = (
    Target("session", "s/session.yaml", lambda _: [yaml.safe_dump(SESSION).encode()], _session, yaml_files, 1.5, text=True),
    Target("setting", "setting.txt", lambda _: SETTINGS, _setting, share=4, text=True),
    Target("word", "word.txt", lambda _: WORDS, _word, share=4, text=True),
    Target("credentials", "c/.credentials.yaml", lambda _: [b"cam1: rtsp://a:b@host/1\n"],
           lambda path: full_url(path.parent, "cam1", "rtsp://a:***@host/1"), yaml_files, 1, text=True),
    Target("rig-posemill", "rig/rig.yaml", partial(_rigs, kind="posemill"), _rig, yaml_files, 0.7, text=True),
    Target("rig-kalibr", "rig/camchain.yaml", partial(_rigs, kind="kalibr"), _rig, yaml_files, 1, text=True),
    Target("rig-opencv", "rig/opencv.yml", partial(_rigs, kind="opencv"), _rig, share=1.5, text=True),
    Target("rig-toml", "rig/rig.toml", partial(_rigs, kind="pose2sim"), _rig, share=1.5, text=True),
    Target("rig-caliscope", "rig/camera_array.toml", partial(_rigs, kind="caliscope"), _rig, share=1.5, text=True),
    Target("openpose", "op/cam_000012_keypoints.json", _openpose, lambda p: read_detections(p.parent), json_files, 3,
           text=True),
    Target("coco-results", "results/results.json", _coco_results, read_detections, json_files, 3, text=True),
    Target("coco-labels", "coco/annotations.json", _coco_labels, _photos, json_files, 2.5, text=True),
    Target("mhclo", "mhclo/patch.mhclo", partial(_clothes, kind="mhclo"), _wear, share=4, text=True),
    Target("obj", "obj/patch.obj", partial(_clothes, kind="obj"), _wear, share=3, text=True),
    Target("trc", "t/walk-person0.trc", partial(_trajectories, ending=".trc", write=write_trc), read_people, share=4,
           text=True),
    Target("people-json", "t/walk-person0.json", partial(_trajectories, ending=".json", write=write_json), read_people,
           json_files, 2, text=True),
    Target("journal", "raw/cam/times.csv", _journal, _recording, share=1.5, text=True),
    Target("manifest", "stored/m/manifest.json", _manifest, _stored, json_files, 2, text=True),
    Target("decisions", "decided/review/decisions.json", lambda _: [json.dumps([DECIDED]).encode()], _decided, json_files, 2,
           text=True),
    Target("review", "marked/review/marks.csv", _marked, _excluded, share=0.2, text=True),
    Target("sums", "release/SHA256SUMS", _sums, lambda path: check_release(path.parent), share=2, text=True),
)  # fmt: skip
