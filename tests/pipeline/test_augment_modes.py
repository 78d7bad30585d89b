"""What augment keeps of the captured pictures, and what the views of one instant must agree on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.rig import Rig
from pipeline import augment
from pipeline.augment import Drawn, agreeing
from pipeline.augment_plan import Request, draw_conditions, paint_mask, plan
from pipeline.augment_scene import Scene, composed
from pipeline.clip_rig import clip_rig
from pipeline.config import AugmentConfig
from pipeline.consistency import retriangulated_mm, view_reasons
from pipeline.errors import InputError, StageError
from pipeline.export import clips_of
from pipeline.fidelity import background_reasons, check_labels
from pipeline.pose_rows import SkeletonFile
from pipeline.samples import decode_image
from pipeline.store import Ref, Store
from pipeline.tables import read_rows
from pipeline.types import Skeletons3D
from pipeline.walkers import ring, time_ns, walk
from tests.models.diffusion.tiny import make_tiny_pipeline
from tests.models.diffusion.tiny_xl import write_ip_adapter
from tests.pipeline.sessions import made_session
from tests.pipeline.test_augment import NOBODY

CONFIG = AugmentConfig(every=2, size_px=32, steps=2, detector_guidance=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pipeline(tmp_path_factory.mktemp("generators") / "tiny")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Ref]:
    """A session of pictures that are one grey each: 40 times the camera's number and 10 times the frame's."""
    monkeypatch.setattr("models.detector.load_detector", lambda *args, **options: NOBODY)
    store, ref = made_session(tmp_path / "session")
    return store, clips_of(store, ref)[0]


@pytest.fixture
def views() -> list[Request]:
    """Two people seen by four cameras at one instant."""
    rig = ring(4)
    people = np.stack([walk((0.0, 0.0), (0.3, 0.0), 1), walk((0.9, 0.5), (0.0, 0.2), 1)])
    ones = np.ones((2, 17))
    instant = Skeletons3D(time_ns(0), np.array([4, 7]), people[:, 0], ones, ones, np.full((2, 17), 4))
    return list(plan([instant], rig, {name: {time_ns(0)} for name in rig.names}, ("s", "c"), CONFIG))


def grey_of(row: dict) -> int:
    return 40 * (int(row["camera"][-1]) - 1) + 10 * round(row["t_ns"] * 30 / 1e9)


@pytest.mark.parametrize("mode", ["keep_background", "change_person"])
def test_the_captured_background_stays_bit_for_bit(session: tuple[Store, Ref], folder: Path, mode: str) -> None:
    store, ref = session
    made = augment.run(store, ref, CONFIG.model_copy(update={"model": str(folder), "mode": mode}))
    rows = read_rows(made.path)
    assert len(rows) > 2 and len({grey_of(row) for row in rows}) > 2
    for row in rows:
        image = decode_image(row["image"]["bytes"])
        same = (image == image[0, 0]).all(-1)
        assert image[0, 0, 0] == pytest.approx(grey_of(row), abs=1)
        assert 0.1 < same.mean() < 0.95  # the corner's grey around, something else within
    assert "background changed" not in made.summary["rejected_by_reason"]


def test_restyling_begins_with_the_captured_picture(session: tuple[Store, Ref], folder: Path) -> None:
    store, ref = session
    config = CONFIG.model_copy(update={"model": str(folder), "mode": "restyle", "strength": 0.5})
    first = augment.run(store, ref, config)
    other = augment.run(store, ref, config.model_copy(update={"strength": 1.0}))
    assert first.rows == other.rows > 2
    assert [r["image"] for r in read_rows(first.path)] != [r["image"] for r in read_rows(other.path)]


def test_depth_and_mask_go_to_controlnets_of_their_own(session: tuple[Store, Ref], folder: Path) -> None:
    store, ref = session
    three = (str(folder / "controlnet"),) * 3
    config = CONFIG.model_copy(update={"model": str(folder), "controlnets": three, "conditions": ("pose", "depth", "mask")})
    assert augment.run(store, ref, config).rows > 2
    with pytest.raises(InputError, match=r"conditions: 1 \(pose\) for 3 ControlNets.*augment.enabled=false"):
        augment.run(store, ref, config.model_copy(update={"conditions": ("pose",)}))


def test_every_view_of_an_instant_shows_the_same_picture(
    session: tuple[Store, Ref], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    store, ref = session
    looks = []
    for number in range(2):
        looks.append(str(tmp_path / f"look{number}.png"))
        cv2.imwrite(looks[-1], np.random.default_rng(number).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    adapter = str(write_ip_adapter(tmp_path / "ip", folder))
    told = {"model": str(folder), "ip_adapter": adapter, "identities": tuple(looks), "variants": 2, "shared_noise": 0.5}
    given = []
    from models.diffusion.controlnet import Generator

    generate = Generator.generate
    monkeypatch.setattr(Generator, "generate", lambda self, *args: given.append(args[-1]) or generate(self, *args))
    augment.run(store, ref, CONFIG.model_copy(update=told))
    for shared in given:
        assert len(set(zip(shared.seeds, shared.picture, strict=True))) == len(set(shared.seeds))
        assert shared.share == 0.5
    assert {number for shared in given for number in shared.picture} == {0, 1}
    with pytest.raises(
        InputError, match="augment.ip_adapter and augment.identities go together.*got no adapter and 2 pictures"
    ):
        augment.run(store, ref, CONFIG.model_copy(update=told | {"ip_adapter": ""}))
    with pytest.raises(InputError, match="augment.identities: .*look9.png: not a readable image .*No such file"):
        augment.run(store, ref, CONFIG.model_copy(update=told | {"identities": ("look9.png",)}))


def test_conditions_are_drawn_in_the_order_asked_for(views: list[Request]) -> None:
    pose, depth, mask = draw_conditions(views[0], ("pose", "depth", "mask"))
    body = mask[..., 0] == 255
    assert set(np.unique(mask)) == {0, 255} and (depth[body].min() > 0) and not depth[~body].any()
    joints = pose.max(-1) > 80
    assert (joints & body).sum() > 0.7 * joints.sum()
    wide = paint_mask(views[0], 0.1)
    assert wide[body].all() and wide.sum() > 1.2 * body.sum()
    around = np.full(body.shape, 100.0)
    [far] = draw_conditions(views[0], ("depth",), around)
    assert (far[~body] > 0).all() and (far[body] == depth[body]).all()


def test_what_is_made_is_seen_inside_the_mask_alone() -> None:
    captured, made = np.full((50, 50, 3), 10, np.uint8), np.full((50, 50, 3), 200, np.uint8)
    mask = np.zeros((50, 50), bool)
    mask[10:40, 10:40] = True
    image = composed(captured, made, mask)
    assert (image[~mask] == 10).all() and (image[14:36, 14:36] == 200).all()
    assert background_reasons(image, captured, mask, 0.0) == []
    [reason] = background_reasons(made, captured, mask, 2.0)
    assert reason == "background changed by 190.0 levels outside the people, allowed 2.0"
    assert background_reasons(made, captured, np.ones((50, 50), bool), 2.0) == []
    assert background_reasons(captured, captured, np.zeros((50, 50), bool), 2.0)[0].startswith("nobody inside the mask")


def test_the_scene_says_which_frame_is_gone(session: tuple[Store, Ref]) -> None:
    store, ref = session
    rig: Rig = clip_rig(ref, store.session.clip("walk").sources)
    skeletons = list(SkeletonFile(ref.only("reconstruct").path))
    times = {skeleton.t_ns for skeleton in skeletons}
    requests = list(plan(skeletons, rig, dict.fromkeys(rig.names, times), ("demo", "walk"), CONFIG))
    scene = Scene(store, ref, rig, requests)
    assert scene.image(requests[0]).shape == (32, 32, 3) and scene.around_m(requests[0]) is None
    with pytest.raises(StageError, match=r"clip walk: camera cam1: no frame at 7 ns any more"):
        scene.image(replace(requests[0], t_ns=7))


def test_views_of_one_person_triangulate_to_that_person(views: list[Request]) -> None:
    errors = retriangulated_mm(views, [view.xy_px for view in views])
    assert set(errors) == {4, 7} and max(errors.values()) < 1e-3
    assert retriangulated_mm(views[:1], [views[0].xy_px]) == {}
    none = [np.full_like(view.xy_px, np.nan) for view in views]
    assert retriangulated_mm(views, none) == {}


def shifted(views: Sequence[Request], shifts_px: dict[int, float]) -> list[Drawn]:
    """Views whose people were all found, in some of them elsewhere."""
    found = [view.xy_px + shifts_px.get(number, 0.0) for number, view in enumerate(views)]
    checks = [check_labels(v.xy_px, f, augment.gates_of(CONFIG)) for v, f in zip(views, found, strict=True)]
    assert all(check.accepted for check in checks)  # alone, each holds
    return [Drawn(v, np.zeros((32, 32, 3), np.uint8), c) for v, c in zip(views, checks, strict=True)]


def test_of_views_that_disagree_the_odd_one_goes(views: list[Request]) -> None:
    def accepted(drawn: list[Drawn], allowed_mm: float = 5.0) -> list[bool]:
        return [one.check.accepted for one in agreeing(drawn, allowed_mm)]

    assert accepted(shifted(views, {})) == [True] * 4
    for odd in range(4):
        assert accepted(shifted(views, {odd: 0.5})) == [number != odd for number in range(4)]
    assert accepted(shifted(views, {0: 0.5, 3: -0.5})) == [False, True, True, False]
    assert accepted(shifted(views, {1: 0.5}), 500.0) == [True] * 4
    [odd] = [one for one in agreeing(shifted(views, {1: 0.5}), 5.0) if not one.check.accepted]
    assert "views disagree" in odd.check.reasons[0] and odd.check.reasons[0].startswith("person 0: ")


def test_of_two_views_that_disagree_nothing_tells_which_is_right(views: list[Request]) -> None:
    pair = shifted(views[:2], {1: 0.5})
    assert not any(one.check.accepted for one in agreeing(pair, 5.0))
    failed = replace(pair[1], check=pair[1].check.but(["found nobody"]))
    assert [one.check.accepted for one in agreeing([pair[0], failed], 5.0)] == [True, False]  # what failed is not asked
    assert view_reasons(views[0], {4: 3.0}, 5.0) == []
