import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from calibration.formats import save_rig
from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.handout import hand_out
from pipeline.trc import Trajectories, write_trc
from pipeline.viewer import MOST_INSTANTS, write_viewer
from pipeline.walkers import ring, time_ns, walk

INSTANTS = 30
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def _track(x_m: float, instants: int = INSTANTS) -> Trajectories:
    times = np.array([time_ns(f) for f in range(instants)])
    return Trajectories(COCO17.joints, times, walk((x_m, 0.0), (0.0, 0.5), instants), 30.0)


def _scene(page: Path) -> dict:
    match = re.search(r"<script type=application/json id=scene-data>(.*?)</script>", page.read_text())
    assert match
    return json.loads(match[1], parse_constant=lambda word: pytest.fail(word))


def _session(root: Path) -> Path:
    dataset = root / "export" / "dataset"
    (dataset / "trc").mkdir(parents=True)
    (dataset / "README.md").write_text("card")
    for clip, person in (("run", 0), ("walk", 0), ("walk", 3)):
        write_trc(_track(0.5 * person), dataset / "trc" / f"{clip}-person{person}.trc")
    (root / "rig" / "0123abcd").mkdir(parents=True)
    save_rig(ring(3), root / "rig" / "0123abcd" / "rig.yaml")
    dataset.with_name("dataset.json").write_text(json.dumps({"inputs": ["f" * 64, "0123abcd" + "0" * 56]}))
    return root


def test_each_clip_gets_a_page_with_its_people_and_the_rig_they_were_made_with(tmp_path: Path) -> None:
    assert hand_out(_session(tmp_path / "s"), tmp_path / "out", "html").files == 3  # two clips and the card
    scene = _scene(tmp_path / "out" / "html" / "walk.html")
    assert [track["name"] for track in scene["people"]["tracks"]] == ["person 0", "person 3"]
    assert [camera["name"] for camera in scene["cameras"]] == ["cam1", "cam2", "cam3"]
    np.testing.assert_allclose(scene["cameras"][1]["centre"], ring(3).cameras[1].centre_m, atol=1e-3)
    assert len(_scene(tmp_path / "out" / "html" / "run.html")["people"]["tracks"]) == 1


def test_a_dataset_whose_rig_is_gone_has_no_page(tmp_path: Path) -> None:
    session = _session(tmp_path / "s")
    shutil.rmtree(session / "rig")
    with pytest.raises(InputError, match="the rig of dataset is not there"):
        hand_out(session, tmp_path / "out", "html")
    assert not (tmp_path / "out").exists()


def test_joints_are_where_they_were_to_a_millimetre_and_gaps_are_null(tmp_path: Path) -> None:
    track = _track(1.0)
    track.xyz_m[3, 9], track.xyz_m[4] = np.nan, np.nan
    assert write_viewer(tmp_path / "x.html", "x", ring(2), {"a": track}) == ""
    people = _scene(tmp_path / "x.html")["people"]
    frames = people["tracks"][0]["xyz_mm"]
    assert frames[4] is None and frames[3][9] is None
    np.testing.assert_allclose(np.array(frames[5]) / 1000, track.xyz_m[5], atol=5.1e-4)
    np.testing.assert_allclose(people["t_s"], track.t_ns / 1e9, atol=1e-4)
    assert [tuple(limb) for limb in people["limbs"]] == list(COCO17.limbs)


def test_a_long_recording_is_thinned_and_that_is_told(tmp_path: Path) -> None:
    told = write_viewer(tmp_path / "x.html", "x", ring(2), {"a": _track(0.0, MOST_INSTANTS + 1)})
    assert told == f"every 2nd of {MOST_INSTANTS + 1} instants is shown"
    assert len(_scene(tmp_path / "x.html")["people"]["t_s"]) == MOST_INSTANTS // 2 + 1


def test_the_page_asks_no_network_for_anything_and_names_cannot_break_it(tmp_path: Path) -> None:
    write_viewer(tmp_path / "x.html", "<b>clip", ring(2), {"</script><b>": _track(0.0)})
    text = (tmp_path / "x.html").read_text()
    assert not re.search(r"https?:|src=|@import|url\(|<link|<b>", text)
    assert _scene(tmp_path / "x.html")["people"]["tracks"][0]["name"] == "</script><b>"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium to open the page")
def test_the_slider_shows_another_instant_and_playing_comes_to_the_end(tmp_path: Path) -> None:
    write_viewer(tmp_path / "x.html", "x", ring(3), {"a": _track(0.0), "b": _track(1.5)})
    asked = (
        "<script>const $ = id => document.getElementById(id), shot = () => $('scene').toDataURL(), first = shot();"
        "$('time').value = 20; $('time').dispatchEvent(new Event('input'));"
        "document.body.dataset.moved = shot() !== first; document.body.dataset.clock = $('clock').textContent;"
        "$('play').click(); setTimeout(() => { document.body.dataset.end = $('time').value + $('play').textContent; }, 20000);"
        "</script></body>"
    )
    page = tmp_path / "asked.html"
    page.write_text((tmp_path / "x.html").read_text().replace("</body>", asked))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--virtual-time-budget=30000"]
    call = [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    text = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True).stdout
    body = re.search(r"<body[^>]*>", text)
    assert (
        body and 'data-moved="true"' in body[0] and 'data-clock="0.67 s of 0.97"' in body[0] and 'data-end="29play"' in body[0]
    )
