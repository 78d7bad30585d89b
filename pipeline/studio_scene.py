"""The virtual studio's things: room, board, cameras, and where people and the board are at each instant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from calibration.board import Board
from calibration.camera import Camera
from calibration.rig import Rig
from calibration.transforms import Rigid, look_at
from models.motion import MOTIONS
from pipeline.errors import InputError
from pipeline.render import Image, Mesh, vertex_normals
from pipeline.studio_people import Actor

Array = NDArray[np.float64]

ROOM_M = (9.0, 9.0, 3.4)
STEREO = ("left", "right")
# White border around the printed squares, in squares.
BORDER = 0.3
# Where the board lies, from the middle of the room towards the middle cameras.
LYING_M = 0.8
# Thickness of the board; its back is plain.
THICK_M = 0.002
# The drawn floor lies this far below z = 0, so that a sheet on the floor is not buried by rounding.
FLOOR_DROP_M = 0.004


def studio_rig(
    rng: np.random.Generator, size_wh: tuple[int, int], cameras: int = 4, radius_m: float = 3.3, arc_deg: float = 150.0,
    baseline_m: float = 0.16,
) -> Rig:  # fmt: skip
    """`cameras` on an arc around the origin (cam1, cam2, ...) and a nearly parallel stereo pair (left, right) in its middle.

    Field of view about 60 degrees; every camera has its own slight Brown distortion and a hand-held error of its pose.
    """
    azimuths = np.deg2rad(np.linspace(-arc_deg / 2, arc_deg / 2, cameras))
    placed = []
    for index, azimuth in enumerate(azimuths):
        eye = np.array([radius_m * np.cos(azimuth), radius_m * np.sin(azimuth), 2.6 - 0.4 * (index % 2)])
        pose = look_at(eye + rng.normal(0, 0.05, 3), np.array([0, 0, 0.9]) + rng.normal(0, 0.04, 3))
        placed.append(_camera(f"cam{index + 1}", size_wh, pose, rng))
    middle = look_at([radius_m, 0.0, 2.4], [0.0, 0.0, 0.85])
    for name, side in zip(STEREO, (-0.5, 0.5), strict=True):
        toe_in = Rigid.from_rvec(rng.normal(0, 0.006, 3), np.array([-side * baseline_m, 0, 0]) + rng.normal(0, 0.001, 3))
        placed.append(_camera(name, size_wh, toe_in @ middle, rng))
    return Rig(tuple(placed), (STEREO,))


def _camera(name: str, size_wh: tuple[int, int], pose: Rigid, rng: np.random.Generator) -> Camera:
    width, height = size_wh
    focal_px = 0.875 * width * rng.uniform(0.98, 1.02)
    centre_px = (np.array(size_wh) - 1) / 2 + rng.normal(0, 0.004 * width, 2)
    K = np.array([[focal_px, 0, centre_px[0]], [0, focal_px * rng.uniform(0.998, 1.002), centre_px[1]], [0, 0, 1]])
    dist = np.array([rng.uniform(-0.14, -0.08), rng.uniform(0.02, 0.06), *rng.normal(0, 3e-4, 2), 0.0])
    return Camera(name, size_wh, K, dist, "brown", pose)


def room(rng: np.random.Generator) -> list[Mesh]:
    """A floor of planks at z = 0, four papered walls and a ceiling, finely divided so that lenses bend them."""
    x, y, z = ROOM_M
    floor = grid_mesh(
        np.array([-x / 2, -y / 2, -FLOOR_DROP_M]), np.array([x, 0, 0]), np.array([0, y, 0]), plank_texture(rng), 1.6
    )
    paper = wall_texture(rng)
    corners = [(-x / 2, -y / 2), (x / 2, -y / 2), (x / 2, y / 2), (-x / 2, y / 2)]
    walls = []
    for k, (ax, ay) in enumerate(corners):
        bx, by = corners[(k + 1) % 4]
        walls.append(grid_mesh(np.array([ax, ay, 0]), np.array([bx - ax, by - ay, 0]), np.array([0, 0, z]), paper, 2.4))
    ceiling = grid_mesh(np.array([-x / 2, -y / 2, z]), np.array([x, 0, 0]), np.array([0, y, 0]))
    return [floor, *walls, replace(ceiling, rgb=ceiling.rgb * 0.9)]


def grid_mesh(
    origin: Array, along: Array, up: Array, texture: Image | None = None, tile_m: float = 1.0, step_m: float = 0.2
) -> Mesh:
    """A rectangle from origin (3,) spanned by along and up (3,), metres, in cells of about step_m; texture per tile_m."""
    counts = [max(1, round(float(np.linalg.norm(side)) / step_m)) for side in (along, up)]
    u, v = np.meshgrid(np.linspace(0, 1, counts[0] + 1), np.linspace(0, 1, counts[1] + 1))
    xyz_m = origin + u.reshape(-1, 1) * along + v.reshape(-1, 1) * up
    corner = np.arange(counts[1])[:, None] * (counts[0] + 1) + np.arange(counts[0])
    a, b = corner.ravel(), corner.ravel() + counts[0] + 1
    faces = np.concatenate([np.stack([a, a + 1, b + 1], 1), np.stack([a, b + 1, b], 1)])
    uv = np.stack([u.ravel() * np.linalg.norm(along), v.ravel() * np.linalg.norm(up)], axis=1) / tile_m
    normals = np.tile(np.cross(along, up) / np.linalg.norm(np.cross(along, up)), (len(xyz_m), 1))
    return Mesh(xyz_m, faces, np.ones_like(xyz_m), normals, uv, texture)


def plank_texture(rng: np.random.Generator) -> Image:
    """Wooden planks (256, 256, 3) with grain."""
    side, rows = 256, 8
    tone = np.repeat(rng.uniform(0.82, 1.0, (rows, 1)), side // rows, axis=0)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), sigmaX=14, sigmaY=0.8)
    wood = tone * (1 + 0.6 * grain)
    wood[:: side // rows] *= 0.6
    base = np.array([0.86, 0.7, 0.52]) * rng.uniform(0.92, 1.08, 3)
    return (np.clip(wood[..., None] * base, 0, 1) * 255).astype(np.uint8)


def wall_texture(rng: np.random.Generator) -> Image:
    """Blotchy plaster with a few framed rectangles (256, 256, 3), so that a stereo pair has something to match."""
    side = 256
    speckle = cv2.GaussianBlur(rng.normal(0, 1, (side, side)), (0, 0), 2.0)
    wall = 0.84 + 0.25 * speckle[..., None] * np.ones(3) * rng.uniform(0.8, 1.0, 3)
    for _ in range(3):
        x, y = rng.integers(10, side - 70, 2)
        width, height = rng.integers(25, 60, 2)
        wall[y - 3 : y + height + 3, x - 3 : x + width + 3] = 0.25
        wall[y : y + height, x : x + width] = cv2.resize(rng.uniform(0.2, 1, (3, 4, 3)), (int(width), int(height)))
    return (np.clip(wall, 0, 1) * 255).astype(np.uint8)


def board_mesh(board: Board, world_from_board: Rigid) -> Mesh:
    """A printed ChArUco board as one square of triangles per printed cell: its edges are exact at every size.

    Raises InputError unless a marker cell divides the squares evenly (a marker of 0.75 square with 4x4 bits does).
    """
    cells, cell_m = _print_cells(board)
    margin = max(1, round(BORDER * board.square_m / cell_m))
    cells = np.pad(cells, margin, constant_values=255)
    rows, cols = cells.shape
    x, y = np.meshgrid(np.arange(cols), np.arange(rows))
    corners = np.stack([np.stack([x + dx, y + dy], -1) for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1))], axis=2) - margin
    flat_m = corners.reshape(-1, 2) * cell_m
    xyz_m = world_from_board.apply(np.column_stack([flat_m, np.zeros(len(flat_m))]))
    first = np.arange(rows * cols) * 4
    faces = np.concatenate([np.stack([first, first + 1, first + 2], 1), np.stack([first, first + 2, first + 3], 1)])
    rgb = np.repeat(0.05 + 0.9 * cells.ravel() / 255, 4)[:, None] * np.ones(3)
    back_m = xyz_m + THICK_M * world_from_board.R[:, 2]
    both_m, both = np.concatenate([xyz_m, back_m]), np.concatenate([faces, faces + len(xyz_m)])
    return Mesh(both_m, both, np.concatenate([rgb, np.full_like(rgb, 0.55)]), vertex_normals(both_m, both))


def _print_cells(board: Board) -> tuple[NDArray[np.uint8], float]:
    if board.kind != "charuco" or board.marker_m is None:
        raise InputError(f"the virtual studio films ChArUco boards, got {board.spec}")
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, str(board.dictionary)))
    bits = dictionary.markerSize + 2  # with the black border
    cell_m = board.marker_m / bits
    per_square = round(board.square_m / cell_m)
    if abs(per_square * cell_m - board.square_m) > 1e-6 or (per_square - bits) % 2:
        raise InputError(f"board {board.spec}: the studio needs marker_m = 0.75 square_m with a 4x4 dictionary")
    printed = cv2.aruco.CharucoBoard((board.cols, board.rows), board.square_m, board.marker_m, dictionary)
    printed.setLegacyPattern(board.legacy)
    image = printed.generateImage((board.cols * per_square, board.rows * per_square))
    cells = np.asarray(image, np.uint8)
    return (255 - cells if board.inverted else cells), cell_m


def board_poses(rng: np.random.Generator, board: Board, instants: int, arc_deg: float, rest: int = 3) -> list[Rigid]:
    """world_from_board over a clip: `rest` instants flat on the floor face up, then waved at the cameras from end to end.

    The board turns along the arc and back, so that neighbours see it together, and nods, leans, rolls and wanders about.
    """
    half = np.array([board.cols, board.rows, 0]) * board.square_m / 2
    # Printed face up: z of the board frame points into the sheet. The board lies where the middle cameras look down on it.
    lying = Rigid(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]]), np.array([LYING_M, 0, 0]))
    poses = [lying @ Rigid(np.eye(3), -half)] * min(rest, instants)
    phases = rng.uniform(0, 2 * np.pi, 5)
    for k in range(instants - len(poses)):
        s = k / max(1, instants - len(poses) - 1)
        azimuth = np.deg2rad(arc_deg) * 0.42 * np.sin(4 * np.pi * s + 0.3)
        wave = np.sin(2 * np.pi * s * np.array([5, 7, 3, 4, 9]) + phases)
        away_m = 0.6 + 0.4 * wave[2]
        # Sideways and up and down until it reaches the borders of the pictures, where lenses bend most.
        aside_m = 0.5 * wave[4]
        centre = away_m * np.array([np.cos(azimuth), np.sin(azimuth), 0]) + [0, 0, 1.2 + 0.5 * wave[3]]
        centre += aside_m * np.array([-np.sin(azimuth), np.cos(azimuth), 0])
        facing = azimuth + 0.15 * wave[0]
        # The printed face looks towards (cos, sin) of `facing`: x to the viewer's right, y down, z into the sheet.
        upright = np.array([[-np.sin(facing), 0, -np.cos(facing)], [np.cos(facing), 0, -np.sin(facing)], [0, -1, 0]])
        tilt = Rotation.from_euler("xyz", [-0.3 + 0.35 * wave[1], 0.15 * wave[0], 0.5 * wave[0] * wave[3]]).as_matrix()
        poses.append(Rigid(upright @ tilt, centre) @ Rigid(np.eye(3), -half))
    return poses


@dataclass(frozen=True, eq=False)
class Track:
    """One actor over a clip: pose (F, S, 3, 3), yaw_rad (F,), floor_m (F, 2)."""

    pose: Array
    yaw_rad: Array
    floor_m: Array


def film_track(
    actor: Actor, motion: str, instants: int, fps: float, start_m: Array, facing_rad: float, cycle_s: float = 1.15
) -> Track:
    """A motion of `models.motion.MOTIONS` performed at start_m (2,); a walker follows a circle, feet fixed where they stand."""
    step: Callable[[float], Array] = MOTIONS[motion]
    phase = 2 * np.pi * np.arange(instants) / (fps * cycle_s)
    pose = np.stack([step(float(p)) for p in phase])
    turn = np.deg2rad(70) * np.arange(instants) / fps if motion == "walk" else np.zeros(instants)
    yaw = facing_rad + turn
    path = _walked(actor, pose, yaw) if motion == "walk" else np.zeros((instants, 2))
    return Track(pose, yaw, path - path.mean(0) + start_m)


def _walked(actor: Actor, pose: Array, yaw_rad: Array) -> Array:
    """Floor positions (F, 2) that keep the lower foot where it was between two instants."""
    path = np.zeros((len(pose), 2))
    before: Array | None = None
    for k, (angle, at) in enumerate(zip(yaw_rad, pose, strict=True)):
        feet, low = actor.footing(at)
        feet = feet @ Rotation.from_euler("z", angle).as_matrix().T
        if before is not None:
            path[k] = path[k - 1] + (before - feet)[low][0, :2]
        before = feet
    return path
