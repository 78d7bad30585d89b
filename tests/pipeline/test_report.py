from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.pose_rows import poses2d_rows
from pipeline.report import contact_sheet, people_by_instant, sheet, shrink_to, spread, thumbnail
from pipeline.store import Ref, Store
from pipeline.tables import read_rows
from pipeline.types import Poses2D
from tests.pipeline.sessions import INSTANTS, made_session


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Ref]:
    return made_session(tmp_path_factory.mktemp("session"))


def _decode(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_contact_sheet_shows_every_instant_with_its_people(session: tuple[Store, Ref]) -> None:
    store, ref = session
    [detect] = [artefact for artefact in ref.all("detect") if artefact.summary["camera"] == "cam2"]
    image = _decode(contact_sheet(store, ref.only("ingest"), detect, "walk", "cam2"))
    assert image.shape == (300, 400 * INSTANTS, 3)
    rows = [row for row in read_rows(detect.path) if row["t_ns"] == 0]
    for f in range(INSTANTS):
        tile = image[:, 400 * f : 400 * (f + 1)]
        assert abs(int(np.median(tile)) - (40 + 10 * f)) <= 2  # the image of this camera and instant
        assert tile.max() > 200  # somebody is drawn on it
    x, y = (int((rows[0][name][15] + 0.5) * 400 / 320 - 0.5) for name in ("x_px", "y_px"))
    assert image[y, x, 0] > 180 > 120 > image[y, x, 2]  # the left ankle, in its colour, where it was detected


def test_a_contact_sheet_fits_the_size_it_may_have(session: tuple[Store, Ref]) -> None:
    store, ref = session
    jpeg = contact_sheet(store, ref.only("ingest"), ref.all("detect")[0], "walk", "cam1", max_bytes=9000)
    assert len(jpeg) <= 9000
    noise = np.random.default_rng(0).integers(0, 255, (1200, 1600, 3)).astype(np.uint8)
    assert len(shrink_to(noise, 200_000)) <= 200_000


def test_instants_are_spread_over_the_whole_clip() -> None:
    assert spread(100, 4) == [0, 33, 66, 99]
    assert spread(3, 12) == [0, 1, 2]
    assert spread(1, 12) == [0]


def test_tiles_of_different_heights_stand_beside_each_other() -> None:
    image = sheet([np.full((20, 30, 3), 9, np.uint8), np.full((10, 30, 3), 8, np.uint8)])
    assert image.shape == (20, 60, 3)
    assert (image[10:, 30:] == 114).all()


def test_a_portrait_image_keeps_its_shape() -> None:
    assert thumbnail(np.zeros((1920, 1080, 3), np.uint8), None, "").shape == (711, 400, 3)


def test_people_are_grouped_by_instant(tmp_path: Path) -> None:
    poses = [
        Poses2D("cam1", t, np.full((n, 17, 2), t), np.ones((n, 17)), np.zeros((n, 1))) for t, n in ((5, 2), (7, 0), (9, 1))
    ]
    found = people_by_instant(list(poses2d_rows(poses)))
    assert {t: people.shape for t, people in found.items()} == {5: (2, 17, 2), 9: (1, 17, 2)}
