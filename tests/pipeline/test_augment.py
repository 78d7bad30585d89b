from pathlib import Path

import numpy as np
import pytest

from calibration.formats import save_rig
from calibration.rig import Rig
from models.diffusion.controlnet import Generator, load_generator
from pipeline.augment import augment, run
from pipeline.augment_plan import Request, draw_conditions, plan
from pipeline.config import AugmentConfig
from pipeline.errors import InputError
from pipeline.pose_rows import skeletons3d_rows
from pipeline.samples import decode_image, derive_seed, sample_id
from pipeline.session import Clip, Session, Source, save_session
from pipeline.store import Ref, Store
from pipeline.tables import AUDIT, FRAMES, SKELETONS3D, read_rows, write_rows
from pipeline.types import Artefact, Skeletons3D
from pipeline.walkers import ring, time_ns, walk
from tests.models.diffusion.tiny import make_tiny_pipeline

OWNER = ("virtual", "walk")
CONFIG = AugmentConfig(every=2, size_px=32, steps=2)


class Finds:
    """A detector that finds the given people in every image."""

    def __init__(self, people_px: np.ndarray) -> None:
        self.people_px = people_px

    def detect(self, images: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        people = self.people_px
        return [(people, np.full(people.shape[:2], 0.9), np.zeros((len(people), 1)))] * len(images)


NOBODY = Finds(np.zeros((0, 17, 2)))


@pytest.fixture(scope="module")
def rig() -> Rig:
    return ring(2)


@pytest.fixture(scope="module")
def skeletons() -> list[Skeletons3D]:
    people = np.stack([walk((0.0, 0.0), (0.3, 0.0), 5), walk((0.9, 0.5), (0.0, 0.2), 5)])
    ones, views = np.ones((2, 17)), np.full((2, 17), 2)
    return [Skeletons3D(time_ns(f), np.array([0, 1]), people[:, f], ones, ones, views) for f in range(5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_pipeline(tmp_path_factory.mktemp("generators") / "tiny")


@pytest.fixture(scope="module")
def generator(folder: Path) -> Generator:
    return load_generator(folder)


@pytest.fixture
def requests(rig: Rig, skeletons: list[Skeletons3D]) -> list[Request]:
    return list(plan(skeletons, rig, everywhere(rig), OWNER, CONFIG))


def everywhere(rig: Rig) -> dict[str, set[int]]:
    return {name: {time_ns(f) for f in range(5)} for name in rig.names}


def test_every_second_instant_is_planned_for_each_camera_that_filmed_it(rig: Rig, skeletons: list[Skeletons3D]) -> None:
    filmed = everywhere(rig)
    filmed["cam2"].remove(time_ns(2))
    planned = [(r.t_ns, r.camera.name) for r in plan(skeletons, rig, filmed, OWNER, CONFIG)]
    assert planned == [(time_ns(f), c) for f in (0, 2, 4) for c in ("cam1", "cam2") if (f, c) != (2, "cam2")]


def test_seeds_and_parents_follow_from_names_alone(requests: list[Request]) -> None:
    first = requests[0]
    assert first.seed == derive_seed("virtual", "walk", 0, "cam1", 0, 0)
    assert first.parent == sample_id("walk", "cam1", 0)
    assert len({request.seed for request in requests}) == len(requests)


def test_the_cameras_of_an_instant_share_their_prompt(requests: list[Request]) -> None:
    assert requests[0].prompt == requests[1].prompt
    assert requests[0].prompt.startswith("two people in a ")
    assert len({request.prompt for request in requests}) > 1


def test_labels_lie_on_the_pose_map(requests: list[Request]) -> None:
    for request in requests:
        x, y = request.xy_px.reshape(-1, 2).round().astype(int).T
        [condition] = draw_conditions(request, ("pose",))
        assert (condition[y, x].max(-1) > 80).all()


def test_a_person_out_of_sight_of_a_camera_is_not_asked_of_it(rig: Rig) -> None:
    people = np.stack([walk((0.0, 0.0), (0.0, 0.0), 1), walk((0.0, 0.0), (0.0, 0.0), 1) + (0.0, 0.0, 30.0)])
    ones = np.ones((2, 17))
    instant = Skeletons3D(0, np.array([0, 1]), people[:, 0], ones, ones, np.full((2, 17), 2))
    [first, _] = plan([instant], rig, everywhere(rig), OWNER, CONFIG)
    assert first.xy_px.shape == (1, 17, 2)
    assert first.prompt.startswith("a person in a ")


def test_an_unknown_field_in_a_prompt_is_refused_with_the_known_ones(rig: Rig, skeletons: list[Skeletons3D]) -> None:
    config = CONFIG.model_copy(update={"prompts": ("a person with {hats}",)})
    with pytest.raises(InputError, match="{hats}.*known fields: bottoms, light, people, place, top"):
        list(plan(skeletons, rig, everywhere(rig), OWNER, config))


def test_an_image_is_accepted_only_where_its_people_are_found_again(requests: list[Request], generator: Generator) -> None:
    [good] = augment(requests[:1], generator, Finds(requests[0].xy_px), CONFIG)
    assert (good.verdict, good.reasons, good.origin) == ("accepted", (), "generated")
    assert good.oks == (1.0, 1.0)
    assert decode_image(good.image).shape == (32, 32, 3)
    [bad] = augment(requests[:1], generator, NOBODY, CONFIG)
    assert bad.verdict == "rejected"
    assert bad.reasons[0] == "found 0 people, expected 2"
    assert bad.image == good.image


def test_one_image_made_again_alone_has_the_same_bytes(requests: list[Request], generator: Generator) -> None:
    together = list(augment(requests, generator, NOBODY, CONFIG))
    [alone] = augment(requests[-1:], generator, NOBODY, CONFIG)
    assert together[-1].image == alone.image


@pytest.fixture
def session(tmp_path: Path, rig: Rig, skeletons: list[Skeletons3D], folder: Path) -> tuple[Store, Ref, AugmentConfig]:
    sources = {name: Source(path=f"{name}.mp4") for name in rig.names}
    save_session(Session(name="virtual", cameras=rig.names, clips=(Clip(name="walk", sources=sources),)), tmp_path)
    frames = [
        {
            "instant": f,
            "t_ns": time_ns(f),
            "camera": c,
            "frame_index": f,
            "frame_t_ns": time_ns(f),
            "width_px": 960,
            "height_px": 720,
        }
        for f in range(5)
        for c in rig.names
    ]
    audit = [
        {"t_ns": s.t_ns, "person": p, "accepted": p == 0, "reasons": [], "error_px": 1.0, "joints": 17, "limb_deviation": 0.0}
        for s in skeletons
        for p in (0, 1)
    ]
    (tmp_path / "rig").mkdir()
    save_rig(rig, tmp_path / "rig" / "rig.yaml")
    write_rows(tmp_path / "frames.parquet", frames, FRAMES)
    write_rows(tmp_path / "skeletons.parquet", skeletons3d_rows(skeletons), SKELETONS3D)
    write_rows(tmp_path / "audit.parquet", audit, AUDIT)
    sizes = {"size_wh": {name: [960, 720] for name in rig.names}, "image_origin_px": {}, "image_scale": {}}
    inputs = (
        Artefact("ingest", tmp_path / "frames.parquet", "i", 10, sizes),
        Artefact("calibrate", tmp_path / "rig", "c", 2),
        Artefact("reconstruct", tmp_path / "skeletons.parquet", "r", 10),
        Artefact("audit", tmp_path / "audit.parquet", "a", 10),
    )
    config = CONFIG.model_copy(update={"model": str(folder)})
    return Store(tmp_path), Ref(inputs, "walk"), config


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.detector.load_detector", lambda *args, **options: NOBODY)


@pytest.mark.usefixtures("detector")
def test_only_accepted_people_are_drawn_and_a_second_run_does_nothing(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, config = session
    made = run(store, ref, config)
    rows = read_rows(made.path)
    assert [len(row["x_px"]) for row in rows] == [1] * 6  # three instants, two cameras, the accepted one of two people
    assert {row["origin"] for row in rows} == {"generated"}
    assert made.summary["images"] == 6
    assert made.summary["rejected_by_reason"] == {"OKS": 6, "number of people": 6}
    assert not run(store, ref, config).made


@pytest.mark.usefixtures("detector")
def test_the_same_run_gives_the_same_bytes(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, config = session
    before = run(store, ref, config).path.read_bytes()
    assert run(Store(store.root, redo=("augment",)), ref, config).path.read_bytes() == before


def test_without_accepted_skeletons_the_table_is_empty_and_says_why(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, config = session
    write_rows(ref.only("audit").path, [], AUDIT)
    made = run(store, ref, config)
    assert made.rows == 0
    assert made.summary == {"reason": "no accepted skeletons"}
    assert read_rows(made.path) == []


def test_turned_off_it_needs_no_generator(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, _ = session
    made = run(store, ref, AugmentConfig(enabled=False, model="nowhere"))
    assert made.summary == {"reason": "augment.enabled is false"}


def test_a_missing_generator_says_how_to_go_on_without(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, config = session
    with pytest.raises(InputError, match="no such folder.*augment.enabled=false"):
        run(store, ref, config.model_copy(update={"model": "nowhere"}))


@pytest.mark.usefixtures("detector")
def test_images_have_the_size_the_model_was_trained_at(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, config = session
    made = run(store, ref, config.model_copy(update={"size_px": None}))
    assert {(row["width_px"], row["height_px"]) for row in read_rows(made.path)} == {(32, 32)}


@pytest.mark.usefixtures("detector")
def test_a_size_the_generator_cannot_make_is_refused(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, config = session
    with pytest.raises(InputError, match="multiples of 4 px .*trained at 32"):
        run(store, ref, config.model_copy(update={"size_px": 34}))


def test_a_size_the_guiding_detector_cannot_take_is_refused(session: tuple[Store, Ref, AugmentConfig]) -> None:
    store, ref, config = session
    with pytest.raises(InputError, match="guidance_size_px: expected a multiple of 64, which studio asks for, got 100"):
        run(store, ref, config.model_copy(update={"detector_guidance": 0.2, "guidance_size_px": 100}))
