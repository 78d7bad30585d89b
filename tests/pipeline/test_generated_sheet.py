"""Generated images beside the squares they were posed after."""

from pathlib import Path

import cv2
import numpy as np

from pipeline.generated_sheet import BAD_RGB, GOOD_RGB, SIDE_PX, generated_sheet
from pipeline.pose_rows import SkeletonFile
from pipeline.samples import encode_png, generated_id, sample_id, sample_rows
from pipeline.store import Ref
from pipeline.tables import SAMPLES, write_rows
from pipeline.types import Artefact, Sample
from tests.pipeline.sessions import made_session


def _augment(root: Path, ref: Ref, verdicts: list[str]) -> Artefact:
    """Plain blue images under the first skeleton, one for each verdict."""
    skeleton = next(iter(SkeletonFile(ref.only("reconstruct").path)))
    image = encode_png(np.full((96, 96, 3), (20, 60, 230), np.uint8))
    nowhere = np.full((1, 17, 2), np.nan)
    samples = [
        Sample(
            generated_id(sample_id("walk", "cam1", skeleton.t_ns), n), "walk", "cam1", skeleton.t_ns, image, (96, 96), nowhere,
            skeleton.xyz_m[:1], np.zeros((1, 17)), "generated", verdict=verdict, reasons=("OKS 0.2",),  # type: ignore[arg-type]
        )
        for n, verdict in enumerate(verdicts)
    ]  # fmt: skip
    path = root / "clips" / "walk" / "augment-0.parquet"
    write_rows(path, sample_rows(samples), SAMPLES)
    return Artefact("augment", path, "generated", len(samples))


def _picture(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)


def test_each_pair_shows_what_was_filmed_what_was_made_and_the_verdict(tmp_path: Path) -> None:
    store, ref = made_session(tmp_path)
    ref = Ref(ref.inputs, "walk")
    jpeg = generated_sheet(store, ref, _augment(tmp_path, ref, ["accepted", "rejected"]))
    assert jpeg is not None
    shown = _picture(jpeg)
    assert shown.shape[1] == 4 * SIDE_PX
    for pair, colour in enumerate((GOOD_RGB, BAD_RGB)):
        left = shown[:SIDE_PX, 2 * pair * SIDE_PX : (2 * pair + 1) * SIDE_PX]
        right = shown[:SIDE_PX, (2 * pair + 1) * SIDE_PX : (2 * pair + 2) * SIDE_PX]
        assert abs(left[60:140, 60:140] - left[100, 100]).max() < 40  # the plain frame of the session, cut around the person
        assert abs(right[100, 100] - (20, 60, 230)).max() < 40
        assert abs(right[100, 1] - colour).max() < 60


def test_accepted_and_rejected_images_share_the_sheet(tmp_path: Path) -> None:
    store, ref = made_session(tmp_path)
    ref = Ref(ref.inputs, "walk")
    many = generated_sheet(store, ref, _augment(tmp_path, ref, ["accepted"] * 9 + ["rejected"] * 2), pairs=6)
    assert many is not None and _picture(many).shape[0] == 2 * (SIDE_PX + 32)  # six pairs in two rows of three
    few = generated_sheet(store, ref, _augment(tmp_path, ref, ["rejected"]), pairs=6, max_bytes=5_000)
    assert few is not None and len(few) <= 5_000


def test_there_is_no_sheet_where_nothing_was_generated(tmp_path: Path) -> None:
    store, ref = made_session(tmp_path)
    ref = Ref(ref.inputs, "walk")
    assert generated_sheet(store, ref, _augment(tmp_path, ref, [])) is None
