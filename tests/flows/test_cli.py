import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from calibration.formats import load_rig, save_rig
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from flows.cli import app, main
from pipeline.store import Ref
from pipeline.types import Artefact
from tests.flows.fakes import FakeStage

runner = CliRunner()
Stages = dict[str, FakeStage]


def _invoke(*words: object, status: int = 0) -> str:
    result = runner.invoke(app, [str(word) for word in words])
    assert result.exit_code == status, result.stderr
    return result.stdout


def _values(*words: object, status: int = 0) -> dict:
    """The one JSON object on stdout; json.loads refuses anything more."""
    return json.loads(_invoke(*words, "--json", status=status))


def test_a_second_run_makes_nothing_and_says_so(session: Path, stages: Stages) -> None:
    first = _values("run", session)
    assert first["made"] == len(first["steps"]) == 8  # ingest, calibrate, two detects, reconstruct, audit, augment, export
    assert first["datasets"] == [str(session / "export" / "dataset")]
    second = _values("run", session)
    assert second["made"] == 0
    assert "nothing to do" in second["message"]
    assert "nothing to do: everything is done already" in _invoke("run", session)


def test_a_changed_setting_makes_its_stage_and_those_below_again(session: Path, stages: Stages) -> None:
    _invoke("run", session)
    again = _values("run", session, "--set", "audit.max_error_px=9")
    assert [step["stage"] for step in again["steps"] if not step["skipped"]] == ["audit", "augment", "export"]


def test_from_makes_a_stage_again_and_until_stops_after_one(session: Path, stages: Stages) -> None:
    _invoke("run", session)
    again = _values("run", session, "--from", "reconstruct", "--until", "audit")
    assert [step["stage"] for step in again["steps"] if not step["skipped"]] == ["reconstruct", "audit"]
    assert again["steps"][-1]["stage"] == "audit"


def test_status_tells_done_stale_missing_and_failed_with_reasons(session: Path, stages: Stages) -> None:
    assert {at["state"] for at in _values("status", session)["steps"]} == {"missing"}
    _invoke("run", session)
    assert {at["state"] for at in _values("status", session)["steps"]} == {"done"}
    stale = _values("status", session, "--set", "detect.size_px=320")
    states = {(at["stage"], at["part"]): (at["state"], at["why"]) for at in stale["steps"]}
    assert states["calibrate", ""] == ("done", "")
    assert states["detect", "cam1"] == ("stale", "size_px None -> 320")
    assert states["reconstruct", ""] == ("stale", "inputs changed")
    stages["audit"].broken = "no skeleton passed"
    _invoke("run", session, "--set", "audit.max_error_px=2", status=1)
    failed = _values("status", session, "--set", "audit.max_error_px=2")
    [audit] = [at for at in failed["steps"] if at["stage"] == "audit"]
    assert (audit["state"], audit["why"]) == ("failed", "StageError: no skeleton passed")
    assert stages["audit"].calls == 2


def test_status_makes_nothing(session: Path, stages: Stages) -> None:
    before = sorted(session.rglob("*"))
    _invoke("status", session)
    assert sorted(session.rglob("*")) == before
    assert all(stage.calls == 0 for stage in stages.values())


def test_work_that_fails_is_one_message_and_status_1(session: Path, stages: Stages) -> None:
    stages["detect"].broken = "nobody in 6 images of cam1; film with more light"
    result = runner.invoke(app, ["run", str(session)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "posemill: nobody in 6 images of cam1; film with more light"
    assert "Traceback" not in result.stderr
    assert _values("run", session, status=1) == {"error": "nobody in 6 images of cam1; film with more light"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "detect.sise_px=256"), "nearest known key is detect.size_px"),
        (("--until", "detekt"), "expected one of ingest, calibrate"),
        (("--from", "detekt"), "expected one of ingest, calibrate"),
        (("--preset", "quick"), "expected one of"),
    ],
)
def test_a_wrong_request_is_one_message_and_status_2(session: Path, stages: Stages, words: tuple, message: str) -> None:
    assert message in _values("run", session, *words, status=2)["error"]
    assert not (session / "clips").exists()


def test_a_folder_that_is_no_session_says_how_to_make_one(tmp_path: Path) -> None:
    for command in ("run", "status"):
        assert "posemill new" in _values(command, tmp_path, status=2)["error"]


def test_a_bug_keeps_its_traceback(session: Path, stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(stages["audit"], "run", bug)
    result = runner.invoke(app, ["run", str(session), "--json"])
    assert result.exit_code == 1
    assert "unexpected ZeroDivisionError: oh" in json.loads(result.stdout)["error"]
    assert "Traceback" in result.stderr


def test_a_usage_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["run", "--json", "--nonsense"])
    assert leaving.value.code == 2
    assert "--nonsense" in json.loads(capsys.readouterr().out)["error"]


def test_new_writes_a_session_from_a_tiled_file(session: Path, tmp_path: Path) -> None:
    made = _values("new", tmp_path / "other", "--tiled", session / "cam1.mp4", "--layout", "2x2", "--clip", "walk")
    assert [source["camera"] for source in made["sources"]] == ["cam1", "cam2", "cam3", "cam4"]
    assert yaml.safe_load((tmp_path / "other" / "session.yaml").read_text())["clips"][0]["name"] == "walk"


def test_new_names_the_source_that_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video at all")
    error = _values("new", tmp_path / "other", "--camera", f"cam1={tmp_path / 'notes.mp4'}", status=2)["error"]
    assert "notes.mp4" in error
    assert "cam1" in error


def test_export_hands_out_a_finished_dataset_only(session: Path, stages: Stages, tmp_path: Path) -> None:
    assert "posemill run" in _values("export", session, tmp_path / "out", status=2)["error"]
    assert "parquet, coco, yolo" in _values("export", session, tmp_path / "out", "--format", "voc", status=2)["error"]


def test_a_rig_is_converted_and_what_is_lost_is_told(tmp_path: Path) -> None:
    save_rig(Rig(ring_rig(3).cameras, (("cam1", "cam2"),)), tmp_path / "rig.yaml")
    made = _values("convert", tmp_path / "rig.yaml", tmp_path / "rig.xml")
    assert made == {
        "out": str(tmp_path / "rig.xml"),
        "format": "opencv",
        "cameras": ["cam1", "cam2", "cam3"],
        "left_behind": [],
    }
    made = _values("convert", tmp_path / "rig.xml", tmp_path / "chain.yaml", "--format", "kalibr")
    assert (made["format"], made["left_behind"]) == ("kalibr", ["stereo_pairs"])
    assert "not kept by this format: stereo_pairs" in _invoke(
        "convert", tmp_path / "rig.xml", tmp_path / "array.toml", "--format", "caliscope"
    )
    xyz_m = [[0.1, 0.2, 1.0], [-0.3, 0.1, 1.5]]
    for name in ("rig.xml", "chain.yaml", "array.toml"):
        for one, two in zip(load_rig(tmp_path / "rig.yaml").cameras, load_rig(tmp_path / name).cameras, strict=True):
            assert abs(one.project(xyz_m) - two.project(xyz_m)).max() < 1e-8


def test_a_rig_that_cannot_be_converted_is_a_wrong_request(tmp_path: Path) -> None:
    save_rig(ring_rig(2), tmp_path / "rig.yaml")
    (tmp_path / "broken.toml").write_text("[cam1]\nmatrix = 1\n")
    for words, says in (
        (("broken.toml", "a.yaml"), "broken.toml: camera cam1: distortions: missing"),
        (("rig.yaml", "a.json"), "a.json: expected a name that ends in"),
        (("rig.yaml", "a.yaml", "--format", "colmap"), "expected a format of posemill, caliscope"),
        (("rig.yaml", "a.yaml", "--unit", "mm"), "a file of posemill is in metres"),
        (("rig.yaml", "rig.yaml"), "never written over"),
    ):
        paths = [tmp_path / word for word in words[:2]]
        assert says in _values("convert", *paths, *words[2:], status=2)["error"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.toml", "rig.yaml"]


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_neither_help_nor_the_job_imports_what_takes_seconds() -> None:
    heavy = "{'torch', 'diffusers', 'transformers', 'open3d', 'prefect', 'anny', 'moderngl'}"
    assert _python(f"import sys, pipeline.job, pipeline.status, flows.cli; print({heavy} & set(sys.modules))") == "set()\n"
    light = "{'numpy', 'cv2', 'pandas', 'pyarrow', 'scipy'}"
    assert _python(f"import sys, flows.cli; print({light} & set(sys.modules))") == "set()\n"


def test_chatter_of_libraries_in_c_stays_off_stdout() -> None:
    code = (
        "import os\nfrom flows.terminal import answering\n"
        "with answering(True) as answer:\n    os.write(1, b'chatter'); print('more'); answer.values['a'] = 1"
    )
    assert json.loads(_python(code)) == {"a": 1}


def test_a_board_is_printed_and_its_measured_print_corrected(tmp_path: Path) -> None:
    spec, sheet = "charuco:5x7:0.032:0.024:DICT_4X4_50", tmp_path / "board.pdf"
    assert _values("board", spec, sheet, "--paper", "220x300")["page_mm"] == [220, 300]
    assert sheet.read_bytes().startswith(b"%PDF")
    assert "warning: the square is 31.6 mm" in _invoke("board", spec, "--measured", "31.6").replace("\n", " ")
    assert _values("board", spec, "--measured", "31.95")["warnings"] == []
    assert "expected SPEC OUT.pdf" in _values("board", spec, status=2)["error"]
    assert "the largest square that fits A4 is" in _values("board", spec.replace("0.032", "0.1"), sheet, status=2)["error"]


def test_a_measured_print_is_compared_with_its_session(session: Path) -> None:
    stated = yaml.safe_load((session / "session.yaml").read_text()) | {"board": "chessboard:4x7:0.06"}
    (session / "session.yaml").write_text(yaml.safe_dump(stated))
    found = _values("board", "--measured", "58.2", "--session", session)
    assert found["measured"] == "chessboard:4x7:0.0582"
    assert any(f"posemill new {session} --board chessboard:4x7:0.0582" in text for text in found["warnings"])


def test_a_view_of_damaged_skeletons_names_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"t_ns": [0], "other": ["x"]}), tmp_path / "walk.parquet")
    made = Artefact("reconstruct", tmp_path / "walk.parquet", "0" * 64, 1)
    monkeypatch.setattr("pipeline.status.reconstructed", lambda *_: (Ref((), "walk"), made))
    monkeypatch.setattr("pipeline.clip_rig.clip_rig", lambda *_: ring_rig(2))
    error = _values("view", tmp_path, "--clip", "walk", status=2)["error"]
    assert error.startswith(f"{tmp_path}/walk.parquet: cannot be read as Parquet of posemill")
