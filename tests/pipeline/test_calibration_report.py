"""The page stands alone, holds every camera and survives rigs that are wrong."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from calibration.board import Board
from calibration.extrinsics import calibrate_rig
from calibration.intrinsics import DetectorFigure, calibrate_intrinsics
from calibration.quality import Gate
from calibration.rig import Rig
from calibration.synthetic import moving_board, project_board, ring_rig
from pipeline.calibrated import BoardClip, Calibrated, Lens
from pipeline.calibration_report import views_html, write_report
from pipeline.config import CalibrateConfig

BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")
NAMES = ("<b>left</b>", "cam '2'", 'a & "b"', "$x_1$")
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Tags with their attributes, text by tag, and every element closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def _renamed(rig: Rig) -> Rig:
    return replace(rig, cameras=tuple(replace(c, name=name) for c, name in zip(rig.cameras, NAMES, strict=True)))


@pytest.fixture(scope="module")
def solved() -> Calibrated:
    """A rig of four cameras with awkward names, solved from a board clip; the first lens from its own views as well."""
    truth = _renamed(ring_rig(4, arc_deg=100))
    poses = moving_board(truth, BOARD, 25)
    corners = project_board(truth, BOARD, poses, 0.3, outlier=0.02).observations
    rig, report = calibrate_rig(corners, BOARD, [(1920, 1080)] * 4, truth.names, truth.cameras, world="board:3")
    lens, own = calibrate_intrinsics(corners[0], BOARD, (1920, 1080), name=truth.names[0])
    figure = DetectorFigure("standard", 25, 1400.0, 1400.0, 0.4, "brown, k3 = 0", (), 1400.0)
    own = replace(own, figures=(figure,))
    lenses = {name: Lens(rig[name], "imported") for name in rig.names} | {lens.name: Lens(lens, "25 photos", 25, own, True)}
    return Calibrated(rig, lenses, report, filmed=BoardClip(BOARD, tuple(f"instant {at}" for at in range(0, 50, 2)), "board:3"))


def _page(path: Path, made: Calibrated, *more: Gate) -> tuple[str, Page]:
    write_report(path, made, (*made.gates(CalibrateConfig()), *more))
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, solved: Calibrated) -> tuple[str, Page]:
    return _page(tmp_path_factory.mktemp("page") / "report.html", solved)


def test_the_page_needs_no_network_and_closes_every_element(written: tuple[str, Page]) -> None:
    text, page = written
    assert page.open == []
    assert "http" not in text
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("src", "href", "action", "data", "poster", "srcset"):
                assert (value or "").startswith("data:image/svg+xml;base64,"), f"{tag} {name}={value}"
    assert not re.search(r"@import|url\(|import\(|fetch\(|XMLHttp", text)
    for attrs in page.all("img"):
        svg = base64.b64decode((attrs["src"] or "").split(",")[1]).decode()
        assert not re.search(r"""(href|src)=["'](?!#|data:)""", svg)
    assert len(text) < 3e6


def test_every_camera_is_named_as_it_is_and_never_as_markup(solved: Calibrated, written: tuple[str, Page]) -> None:
    text, page = written
    cells = [data for tag, data in page.text if tag == "td"]
    for name in NAMES:
        assert cells.count(name) >= 2  # lenses and poses
        assert any(name in (attrs["alt"] or "") for attrs in page.all("img"))
    assert page.all("b") and not any(data == "left" for tag, data in page.text if tag == "b")
    [data] = [data for tag, data in page.text if tag == "script" and data.startswith("{")]
    scene = json.loads(data)
    assert [camera["name"] for camera in scene["cameras"]] == list(NAMES)
    assert len(scene["boards"]) == 25
    assert np.allclose(scene["cameras"][1]["centre"], solved.rig.cameras[1].centre_m, atol=1e-3)


def test_every_picture_says_in_words_what_it_shows(written: tuple[str, Page]) -> None:
    _, page = written
    pictures = page.all("img")
    assert len(pictures) == 2 + 4 + 1  # space, certainty, corners of four cameras and of one lens
    assert all(len(attrs["alt"] or "") > 30 for attrs in pictures)
    assert [attrs["aria-label"] is not None for attrs in page.all("canvas")] == [True]
    assert page.all("html")[0]["lang"] == "en"


def test_checks_come_first_and_a_failed_one_says_what_to_do(
    tmp_path: Path, solved: Calibrated, written: tuple[str, Page]
) -> None:
    assert "checks passed: the rig can be used" in written[0]
    gate = Gate("depth of <i>", False, "3 boards behind it", "none", "its image is mirrored & wrong")
    text, page = _page(tmp_path / "bad.html", Calibrated(solved.rig), gate)
    assert "1 of" in text and "do not use this rig" in text
    order = [data for tag, data in page.text if tag == "h2"]
    assert order[:3] == ["Checks", "Lenses", "Poses (imported)"]
    cells = [data for tag, data in page.text if tag == "td"]
    assert cells[:4] == [gate.name, gate.found, gate.expected, gate.advice]


def test_a_view_that_fits_badly_is_marked(solved: Calibrated) -> None:
    assert solved.poses is not None
    bundle = solved.poses.bundle
    camera, frame = (int(at[0]) for at in np.nonzero(bundle.used.any(2)))
    worse = bundle.residual_px.copy()
    worse[camera, frame] += 5.0
    spoiled = replace(solved, poses=replace(solved.poses, bundle=replace(bundle, residual_px=worse)))
    marked, before = (
        [attrs for attrs in Page(views_html(made)).all("td") if attrs.get("class") == "worse"] for made in (spoiled, solved)
    )
    assert len(marked) == len(before) + 1


def test_an_imported_rig_has_its_picture_of_space_but_no_certainty(tmp_path: Path, solved: Calibrated) -> None:
    imported = Calibrated(Rig(solved.rig.cameras))
    text, page = _page(tmp_path / "report.html", imported)
    assert len(page.all("img")) == 1
    assert "an imported rig counts as exact" in text
    assert "Certainty of the poses" not in text


@pytest.mark.parametrize("n_cameras", [1, 2, 12])
def test_any_number_of_cameras_can_be_shown(tmp_path: Path, n_cameras: int) -> None:
    _, page = _page(tmp_path / "report.html", Calibrated(ring_rig(n_cameras)))
    assert len(page.all("img")) == 1


def test_a_rig_that_is_wrong_is_shown_all_the_same(tmp_path: Path, solved: Calibrated) -> None:
    first, second, *others = solved.rig.cameras
    twice = replace(second, cam_from_world=first.cam_from_world)
    assert solved.poses is not None
    bundle = solved.poses.bundle
    unknown = {name: np.full((24, 24), np.inf) for name in ("pose_covariance", "joint_covariance")}
    lost = replace(bundle, used=np.zeros_like(bundle.used), **unknown)
    poses = replace(solved.poses, bundle=lost, centre_sigma_mm=(np.inf,) * 4)
    wrong = Rig((first, twice, *others), (), np.full((24, 24), np.inf))
    text, _ = _page(tmp_path / "report.html", replace(solved, rig=wrong, poses=poses))
    assert "The rig in 3D" in text


def test_the_same_rig_gives_the_same_bytes(tmp_path: Path, solved: Calibrated, written: tuple[str, Page]) -> None:
    assert _page(tmp_path / "again.html", solved)[0] == written[0]
