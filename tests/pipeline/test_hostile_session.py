"""A session that somebody sent: its names, settings and links must not say where on this machine is written."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from calibration.formats import save_rig
from pipeline import augment as augment_stage
from pipeline import detect as detect_stage
from pipeline import export as export_stage
from pipeline.config import AugmentConfig, DetectConfig, ExportConfig, load_config
from pipeline.credentials import full_url
from pipeline.decisions import decisions
from pipeline.demo import compare_people
from pipeline.errors import InputError
from pipeline.failures import failure_of
from pipeline.generated_sheet import generated_sheet
from pipeline.ingest import read_frame_sets
from pipeline.lineage import manifest_of
from pipeline.pose_rows import skeletons3d_rows
from pipeline.report import contact_sheet
from pipeline.session import load_session
from pipeline.status import why_stale
from pipeline.store import Ref, Store
from pipeline.tables import AUDIT, FRAMES, POSES2D, SKELETONS3D, write_rows
from pipeline.types import Artefact
from tests.calibration.rigs import some_rig

CLIP = {"name": "walk", "sources": {}}


def _session(root: Path, **changed: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    content = {"name": "gym", "cameras": ["cam1"], "clips": [CLIP]} | changed
    (root / "session.yaml").write_text(yaml.safe_dump(content))
    return root


@pytest.mark.parametrize("name", ["../../x", "/x", "a/b", "a\\b", "..", ".", "", ".lock", "a\nb", "a\x00b", "x" * 200])
def test_no_camera_clip_or_session_is_a_way_out(tmp_path: Path, name: str) -> None:
    for changed in ({"cameras": [name]}, {"clips": [CLIP | {"name": name}]}, {"name": name}):
        with pytest.raises(InputError, match="session.yaml"):
            load_session(_session(tmp_path, **changed))


@pytest.mark.parametrize("name", ["cam 1", "caméra 3", "left", "GH01-2.a", "机位1"])
def test_names_that_people_give_are_fine(tmp_path: Path, name: str) -> None:
    assert load_session(_session(tmp_path, cameras=[name])).cameras == (name,)


def test_two_cameras_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="camera names must differ"):
        load_session(_session(tmp_path, cameras=["cam1", "cam1"]))


@pytest.mark.parametrize("name", ["..", ".", "../../x", "", "x/y", ".hidden"])
def test_no_export_takes_the_place_of_the_session(tmp_path: Path, name: str) -> None:
    """SESSION/export/.. is the session: a finished export would have replaced it, recordings and all."""
    with pytest.raises(InputError, match=r"export\.name"):
        load_config(settings=[f"export.name={name!r}"])
    store = Store(_session(tmp_path))
    slot = ("export", "1", ExportConfig(), Ref())
    if name:
        with (
            pytest.raises(InputError, match="must not lead to another folder")
            if name != ".hidden"
            else pytest.raises(StopIteration)
        ):
            store.slot(*slot, suffix="", name=name)
            raise StopIteration
    with pytest.raises(InputError, match="must not lead to another folder"):
        store.slot("detect", "1", DetectConfig(), Ref((), "..", "cam1"))


@pytest.mark.parametrize("folder", ["clips", "clips/walk", "rig", "export", "review", "failed"])
def test_a_folder_of_results_that_is_a_link_out_is_refused_and_one_inside_is_not(tmp_path: Path, folder: str) -> None:
    root = _session(tmp_path / "session")
    (tmp_path / "elsewhere").mkdir()
    (root / folder).parent.mkdir(exist_ok=True)
    (root / folder).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match="found a link to .*elsewhere; put a folder in its place, or move the whole session there$"
    ):
        Store(root)
    (root / folder).unlink()
    (root / "kept").mkdir()
    (root / folder).symlink_to(root / "kept")
    Store(root)


def test_a_session_may_be_reached_by_a_link(tmp_path: Path) -> None:
    _session(tmp_path / "disk" / "session")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "session")
    Store(tmp_path / "link").slot("detect", "1", DetectConfig(), Ref((), "walk", "cam1")).commit(lambda p: p.write_text("x"), 1)


def test_the_lock_never_empties_what_a_link_in_its_place_leads_to(tmp_path: Path) -> None:
    root = _session(tmp_path / "session")
    (tmp_path / "precious").write_text("kept")
    (root / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(InputError, match=r"\.lock: expected a file, found a link"), Store(root).lock():
        pytest.fail("locked")
    assert (tmp_path / "precious").read_text() == "kept"


def test_nothing_is_written_through_a_link_of_a_temporary_name(tmp_path: Path) -> None:
    root = _session(tmp_path / "session")
    (tmp_path / "precious").write_text("kept")
    slot = Store(root).slot("detect", "1", DetectConfig(), Ref((), "walk", "cam1"))
    slot.path.parent.mkdir(parents=True)
    for path in (slot.path, slot.manifest_path):
        path.with_name(f".{os.getpid()}-{path.name}").symlink_to(tmp_path / "precious")
    slot.commit(lambda file: file.write_text("rows"), 1)
    assert (tmp_path / "precious").read_text() == "kept" and slot.path.read_text() == "rows"


@pytest.mark.parametrize("content", ["[]", "{}", "{", '{"digest": 1}', "[" * 100_000, '{"error": [1]}', "\xff"])
def test_a_damaged_manifest_is_as_if_it_were_not_there(tmp_path: Path, content: str) -> None:
    store = Store(_session(tmp_path))
    slot = store.slot("detect", "1", DetectConfig(), Ref((), "walk", "cam1"))
    made = slot.commit(lambda file: file.write_text("rows"), 1)
    slot.manifest_path.write_text(content, encoding="latin-1")
    assert slot.done() is None and isinstance(manifest_of(made), dict) and why_stale(slot) == ""
    (tmp_path / "failed").mkdir()
    (tmp_path / "failed" / "detect.json").write_text(content, encoding="latin-1")
    assert isinstance(failure_of(store, "detect", Ref()), str)


def test_kept_passwords_that_cannot_be_read_are_not_quoted(tmp_path: Path) -> None:
    for content in ("cam1: rtsp://a:hunter2@host: x", "[cam1]", "cam1: 3", "\x00hunter2", "{" * 5000):
        (tmp_path / ".credentials.yaml").write_text(content)
        with pytest.raises(InputError, match=r"\.credentials\.yaml: expected lines") as caught:
            full_url(tmp_path, "cam1", "rtsp://a:***@host/1")
        assert "hunter2" not in str(caught.value) and caught.value.__cause__ is None


def test_a_decision_of_no_time_is_refused(tmp_path: Path) -> None:
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "decisions.json").write_text(
        '[{"dataset": "ab", "verdict": "approved", "by": "Ada", "at": "yesterday"}]'
    )
    with pytest.raises(InputError, match="expected a list of decisions"):
        decisions(tmp_path)


@pytest.mark.parametrize(
    "text", ["detect.size_px={", "detect.size_px=\x00", "detect.size_px=" + "[" * 3000, "detect.x=0x" + "f" * 9000]
)
def test_a_setting_that_is_no_yaml_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"--set detect\."):
        load_config(settings=[text])


def test_a_session_that_is_wrong_all_over_gives_a_message_that_can_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="and 290 more") as caught:
        load_session(_session(tmp_path, live={f"{n}" + "x" * 1000: 1 for n in range(300)}))
    assert len(str(caught.value)) < 6000


DAMAGE = {
    "no Parquet": b"PAR1 and nothing else",
    "other columns": pa.table({"other": [1]}),
    "other kinds": pa.table({name: [["x"]] for schema in (FRAMES, POSES2D, SKELETONS3D, AUDIT) for name in schema.names}),
}


def _damaged(path: Path, damage: bytes | pa.Table) -> Path:
    path.write_bytes(damage) if isinstance(damage, bytes) else pq.write_table(damage, path)
    return path


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_is_named_by_every_stage_that_reads_it(tmp_path: Path, damage: str) -> None:
    store = Store(_session(tmp_path, clips=[CLIP | {"sources": {"cam1": {"path": "raw/cam1.mp4"}}}]))
    path = _damaged(tmp_path / "table.parquet", DAMAGE[damage])
    good = tmp_path / "good.parquet"
    write_rows(good, skeletons3d_rows([]), SKELETONS3D)
    ingest, detect, augment = (Artefact(kind, path, "0" * 64, 1) for kind in ("ingest", "detect", "augment"))
    skeletons, audit, whole = (
        Artefact(kind, file, "0" * 64, 1) for kind, file in (("reconstruct", path), ("audit", path), ("reconstruct", good))
    )
    enabled = AugmentConfig(enabled=True)
    readers: list[Callable[[], object]] = [
        lambda: augment_stage._requests(store, Ref((skeletons, audit), "walk"), enabled),
        lambda: augment_stage._requests(store, Ref((whole, audit), "walk"), enabled),
        lambda: list(read_frame_sets(store, ingest, "walk", ["cam1"], [0])),
        lambda: contact_sheet(store, ingest, detect, "walk", "cam1"),
        lambda: detect_stage._instants_with_image(Ref((ingest,), "walk"), "cam1"),
        lambda: list(export_stage._accepted(Ref((skeletons, audit), "walk"))),
        lambda: list(export_stage._generated_rows(Ref((augment,), "walk"), accepted=True)),
        lambda: generated_sheet(store, Ref((ingest,), "walk"), augment),
    ]
    for read in readers:
        with pytest.raises(InputError, match=r"table\.parquet: "):
            read()


@pytest.mark.parametrize("stage", ["reconstruct", "audit", "truth"])
def test_a_comparison_with_the_truth_names_the_table_that_is_damaged(tmp_path: Path, stage: str) -> None:
    save_rig(some_rig(), tmp_path / "rig.yaml")
    write_rows(tmp_path / "reconstruct", [], SKELETONS3D)
    write_rows(tmp_path / "audit", [], AUDIT)
    kinds = {"calibrate": ".", "reconstruct": "reconstruct", "audit": "audit"}
    made = [(Ref(), Artefact(kind, tmp_path / name, "0" * 64, 1)) for kind, name in kinds.items()]
    named = _damaged(tmp_path / ("joints.parquet" if stage == "truth" else stage), DAMAGE["other columns"])
    with pytest.raises(InputError, match=f"{named}: "):
        compare_people(tmp_path, made)
