"""The virtual studio: a four-way rig and a stereo pair film a moving board and moving people, with the truth beside it.

SESSION/raw/board, raw/people   cam1..cam4.mp4, the same four as fourway.mp4 (2x2), the pair as stereo.mp4 (side by side)
SESSION/truth                   rig.yaml, board.parquet, joints.parquet, views.parquet, studio.yaml
Everything follows from the seed: the same configuration gives the same bytes on the same machine.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field

from calibration.board import parse_board
from calibration.formats import save_rig
from calibration.rig import Rig
from calibration.transforms import Rigid
from pipeline.atomic import disk_error
from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.progress import progress
from pipeline.render import Drawable, Image, Light, Mesh, Renderer
from pipeline.studio_people import Actor, Posed, make_actor
from pipeline.studio_scene import (
    FLOOR_DROP_M,
    STEREO,
    Track,
    board_mesh,
    board_poses,
    film_track,
    grid_mesh,
    room,
    studio_rig,
)
from pipeline.studio_video import Deck
from pipeline.tables import TRUTH_BOARD, TRUTH_JOINTS, TRUTH_VIEWS, write_rows
from pipeline.visibility import seen

Array = NDArray[np.float64]

FOURWAY = ("cam1", "cam2", "cam3", "cam4")
# The board lies flat on the floor, printed face up, at these first instants of the board clip.
FLOOR_INSTANTS = 3
# What each person does; the first walks past the second.
PERFORMANCES = (("walk", (0.25, -0.4), 0.6), ("reach", (-0.6, 0.8), 1.7), ("squat", (-1.1, -0.4), 1.2))


class StudioConfig(Section):
    """What the virtual studio films."""

    seed: int = Field(0, ge=0, description="everything random follows from it")
    people: int = Field(2, ge=1, le=len(PERFORMANCES), description="how many people")
    people_instants: int = Field(75, ge=1, description="frames of the people clip")
    board_instants: int = Field(60, ge=FLOOR_INSTANTS, description="frames of the board clip")
    fps: float = Field(30.0, gt=0, le=240, description="frames per second")
    size_wh: tuple[int, int] = Field((640, 480), description="picture size of every camera in px, even numbers")
    radius_m: float = Field(3.3, gt=1.5, lt=4.2, description="distance of the cameras from the middle, in m")
    arc_deg: float = Field(150.0, gt=0, le=270, description="angle from the first camera to the last, in degrees")
    baseline_m: float = Field(0.16, gt=0, lt=1, description="distance between the stereo cameras, in m")
    board: str = Field("charuco:5x7:0.12:0.09:DICT_4X4_50", description="what is shown to the cameras")
    wardrobe: str = Field("", description="folder of MakeHuman clothes; empty: painted clothes")
    crf: int = Field(18, ge=0, le=40, description="H.264 quality, lower is better")
    noise: float = Field(1.5, ge=0, lt=50, description="sensor noise, standard deviation in grey levels")


@dataclass(frozen=True, eq=False)
class Recording:
    """A finished recording: its folder, the true rig, and CPU seconds per picture drawn, filmed and encoded."""

    folder: Path
    rig: Rig
    config: StudioConfig
    pictures: int
    cpu_s: float
    cpu_s_per_picture: float


def simulate(out_dir: Path | str, config: StudioConfig | None = None) -> Recording:
    """Film a virtual session into out_dir, which must not exist or be empty; it appears whole or not at all.

    Raises InputError for a folder in use, odd sizes, a board the studio cannot print or an empty wardrobe; StageError when
    EGL is missing or the disk is full.
    """
    config, out = config or StudioConfig(), Path(out_dir)
    _check(out, config)
    started_s = time.process_time()
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        rig = _film_session(partial, config)
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except OSError as error:
        raise disk_error(error, out) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    pictures = len(rig) * (config.people_instants + config.board_instants)
    cpu_s = time.process_time() - started_s
    return Recording(out, rig, config, pictures, cpu_s, cpu_s / pictures)


def _check(out: Path, config: StudioConfig) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: expected a new or empty folder for the recording, found files in it; choose another")
    if any(side <= 0 or side % 2 for side in config.size_wh):
        raise InputError(f"size_wh: H.264 needs positive even numbers, got {config.size_wh}")
    board_mesh(parse_board(config.board), Rigid.identity())


def _film_session(folder: Path, config: StudioConfig) -> Rig:
    rng = np.random.default_rng(config.seed)
    rig = studio_rig(rng, config.size_wh, len(FOURWAY), config.radius_m, config.arc_deg, config.baseline_m)
    board = parse_board(config.board)
    poses = board_poses(rng, board, config.board_instants, config.arc_deg, FLOOR_INSTANTS)
    cast = _cast(rng, config)
    with Renderer(config.size_wh) as renderer:
        studio = Studio(renderer, rig, config, rng)
        studio.film(folder / "raw" / "board", ([board_mesh(board, pose)] for pose in poses), len(poses))
        people = Truth(rig)
        acted = (people.watch(instant) for instant in _instants(cast, config.people_instants))
        studio.film(folder / "raw" / "people", acted, config.people_instants)
    _write_truth(folder / "truth", config, rig, poses, people)
    return rig


class Studio:
    """A lit room with its cameras. The empty room is drawn once per camera; people and their shadows are laid over it."""

    def __init__(self, renderer: Renderer, rig: Rig, config: StudioConfig, rng: np.random.Generator) -> None:
        self.renderer, self.rig, self.config = renderer, rig, config
        self.light = Light()
        width, height = config.size_wh
        self.noise = np.clip(rng.normal(0, config.noise, (16, height, width, 3)).round(), -128, 127).astype(np.int8)
        self.order = np.random.default_rng(rng.integers(2**32))
        self.backdrop = self._empty_room(rng)
        reach_m = self.light.radius_m
        corner, side = np.array([-reach_m, -reach_m, -FLOOR_DROP_M]), 2 * reach_m * np.eye(3)
        floor = grid_mesh(corner, side[0], side[1])
        self.floor = renderer.upload(replace(floor, shadow_only=True))

    def _empty_room(self, rng: np.random.Generator) -> dict[str, Image]:
        walls = [self.renderer.upload(mesh) for mesh in room(rng)]
        self.renderer.shine(self.light, [])
        pictures = {camera.name: self.renderer.draw(camera, walls)[..., :3].copy() for camera in self.rig.cameras}
        self.renderer.release(walls)
        return pictures

    def film(self, folder: Path, instants: Iterator[Sequence[Mesh]], count: int) -> None:
        """Record a clip of `count` instants, each a list of meshes in the room."""
        size_wh, fps = self.config.size_wh, self.config.fps
        with Deck(folder, FOURWAY, size_wh, fps, self.config.crf) as deck, progress(f"film {folder.name}", count) as advance:
            for meshes in instants:
                drawables = [self.renderer.upload(mesh) for mesh in meshes]
                self.renderer.shine(self.light, drawables)
                deck.write({camera.name: self._picture(camera.name, drawables) for camera in self.rig.cameras}, STEREO)
                self.renderer.release(drawables)
                advance(1)

    def _picture(self, name: str, drawables: list[Drawable]) -> Image:
        clean = laid_over(self.renderer.draw(self.rig[name], [*drawables, self.floor]), self.backdrop[name])
        noise = self.noise[self.order.integers(len(self.noise))]
        return np.asarray(cv2.add(clean, noise, dtype=cv2.CV_8U), dtype=np.uint8)


def laid_over(front: Image, back: Image) -> Image:
    """A premultiplied RGBA picture (H, W, 4) over an RGB one (H, W, 3)."""
    clear = 255 - front[..., 3:].astype(np.uint16)
    return (front[..., :3] + back * clear // 255).astype(np.uint8)


class Truth:
    """What really was in front of the cameras, collected while it is filmed. joints_m (F, P, J, 3), seen (F, C, P, J)."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.joints_m: list[Array] = []
        self.seen: list[NDArray[np.bool_]] = []

    def watch(self, people: Sequence[Posed]) -> list[Mesh]:
        """Note the joints and who sees them; hands on what there is to draw."""
        joints_m = np.stack([person.joints_m for person in people])
        surfaces = [surface for person in people for surface in person.surfaces]
        self.joints_m.append(joints_m)
        self.seen.append(np.stack([seen(camera, joints_m, surfaces) for camera in self.rig.cameras]))
        return [mesh for person in people for mesh in person.meshes]


def _cast(rng: np.random.Generator, config: StudioConfig) -> list[tuple[Actor, Track]]:
    from models.body import load_body
    from models.wardrobe import load_wardrobe

    try:
        wardrobe = load_wardrobe(config.wardrobe) if config.wardrobe else ()
    except ValueError as error:
        raise InputError(str(error)) from error
    body, cast = load_body(), []
    for motion, floor_m, facing_rad in PERFORMANCES[: config.people]:
        actor = make_actor(body, rng, wardrobe)
        facing = facing_rad + rng.normal(0, 0.2)
        cast.append((actor, film_track(actor, motion, config.people_instants, config.fps, np.array(floor_m), facing)))
    return cast


def _instants(cast: list[tuple[Actor, Track]], count: int) -> Iterator[list[Posed]]:
    for k in range(count):
        yield [actor.posed(t.pose[k], t.yaw_rad[k], t.floor_m[k], person) for person, (actor, t) in enumerate(cast)]


def _write_truth(folder: Path, config: StudioConfig, rig: Rig, poses: list[Rigid], people: Truth) -> None:
    folder.mkdir(parents=True)
    save_rig(rig, folder / "rig.yaml")
    write_rows(folder / "board.parquet", _board_rows(poses, config.fps), TRUTH_BOARD)
    write_rows(folder / "joints.parquet", _joint_rows(people, config.fps), TRUTH_JOINTS)
    write_rows(folder / "views.parquet", _view_rows(people, config), TRUTH_VIEWS)
    about: dict[str, Any] = {"studio": config.model_dump(mode="json"), "floor_instants": list(range(FLOOR_INSTANTS))}
    (folder / "studio.yaml").write_text(yaml.safe_dump(about, sort_keys=False))


def time_ns(instant: int, fps: float) -> int:
    """Time of an instant on the session clock, which starts with the clip."""
    return round(instant * 1e9 / fps)


def _board_rows(poses: list[Rigid], fps: float) -> Iterator[dict[str, Any]]:
    for k, pose in enumerate(poses):
        yield {"instant": k, "t_ns": time_ns(k, fps), "rvec_rad": pose.rvec.tolist(), "t_m": pose.t.tolist()}


def _joint_rows(people: Truth, fps: float) -> Iterator[dict[str, Any]]:
    for k, joints_m in enumerate(people.joints_m):
        for (person, joint), at in zip(np.ndindex(joints_m.shape[:2]), joints_m.reshape(-1, 3), strict=True):
            yield {"t_ns": time_ns(k, fps), "instant": k, "person": person, "joint": joint} | _metres(at)


def _metres(at: Array) -> dict[str, float]:
    return {"x_m": float(at[0]), "y_m": float(at[1]), "z_m": float(at[2])}


def _view_rows(people: Truth, config: StudioConfig) -> Iterator[dict[str, Any]]:
    for k, (joints_m, free) in enumerate(zip(people.joints_m, people.seen, strict=True)):
        for camera, sees in zip(people.rig.cameras, free, strict=True):
            xy_px = camera.project(joints_m.reshape(-1, 3)).reshape(*joints_m.shape[:2], 2)
            flags = coco_flags(xy_px, sees, config.size_wh)
            head = {"t_ns": time_ns(k, config.fps), "instant": k, "camera": camera.name}
            for person, joint in np.ndindex(flags.shape):
                x, y = xy_px[person, joint]
                row = {"person": person, "joint": joint, "x_px": float(x), "y_px": float(y)}
                yield head | row | {"visible": int(flags[person, joint])}


def coco_flags(xy_px: Array, free: NDArray[np.bool_], size_wh: tuple[int, int]) -> NDArray[np.int64]:
    """COCO's v (P, J) of projected joints (P, J, 2): 2 seen, 1 in the picture but hidden, 0 outside the picture."""
    inside = ((xy_px >= -0.5) & (xy_px < np.array(size_wh) - 0.5)).all(-1)
    return inside * (1 + free.astype(np.int64))
