"""Which images augment makes: whose pose, seen from where, with which words and seeds, and the conditions drawn for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.rig import Rig
from pipeline.captions import fill_template
from pipeline.conditions import Crop, pose_map, square_around
from pipeline.config import AugmentConfig
from pipeline.depth_map import as_disparity, body_depth_m, person_mask
from pipeline.samples import derive_seed, project_labels, sample_id
from pipeline.types import Array, Skeletons3D

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Request:
    """One image to be made: people (P,) of an instant seen by a camera through a crop, with the labels (P, J, 2) in its own
    pixels, NaN where none. shared_seed: the same for all cameras of an instant and variant."""

    parent: str
    clip: str
    camera: Camera
    t_ns: int
    variant: int
    person: NDArray[np.int64]
    xy_px: Array
    xyz_m: Array
    crop: Crop
    prompt: str
    seed: int
    shared_seed: int

    @property
    def instant(self) -> tuple[int, int]:
        """What the views of one person at one instant have in common."""
        return self.t_ns, self.variant


def plan(
    skeletons: Sequence[Skeletons3D], rig: Rig, filmed: Mapping[str, set[int]], owner: tuple[str, str], config: AugmentConfig
) -> Iterator[Request]:
    """The images to make from accepted skeletons. filmed: camera -> t_ns it has a frame at; owner: names of session and clip.

    Seeds and prompts follow from names and numbers alone. All cameras of an instant and variant share a prompt. Raises
    ValueError where config.size_px is left open (`augment_load.sized`).
    """
    for instant in skeletons[:: config.every]:
        for variant in range(config.variants):
            for camera in rig.cameras:
                if instant.t_ns in filmed.get(camera.name, set()):
                    yield from _request(instant, camera, variant, owner, config)


def _request(
    instant: Skeletons3D, camera: Camera, variant: int, owner: tuple[str, str], config: AugmentConfig
) -> Iterator[Request]:
    """One request, or none where the camera sees too little of everybody."""
    xy_px, visible = project_labels(camera, instant.xyz_m)
    seen = (visible > 0).sum(1) >= config.min_joints
    if config.size_px is None:
        raise ValueError("plan: expected augment.size_px, got None")
    crop = square_around(xy_px[seen], config.size_px, config.margin)
    if crop is None:
        return
    draw = np.random.default_rng(derive_seed("prompt", *owner, instant.t_ns, variant, config.seed))
    template = config.prompts[variant % len(config.prompts)]
    yield Request(
        parent=sample_id(owner[1], camera.name, instant.t_ns),
        clip=owner[1],
        camera=camera,
        t_ns=instant.t_ns,
        variant=variant,
        person=instant.person[seen],
        xy_px=crop.to_crop(xy_px[seen]),
        xyz_m=instant.xyz_m[seen],
        crop=crop,
        prompt=fill_template(template, config.attributes, int(seen.sum()), draw),
        seed=derive_seed(*owner, instant.t_ns, camera.name, variant, config.seed),
        shared_seed=derive_seed("views", *owner, instant.t_ns, variant, config.seed),
    )


def draw_conditions(request: Request, kinds: Sequence[str], around_m: Array | None = None) -> Image:
    """Conditions RGB uint8 (K, S, S, 3) of a request: pose, depth or mask. around_m: depth (S, S) of the scene, where known."""
    size_wh = (request.crop.size_px, request.crop.size_px)
    drawn = []
    for kind in kinds:
        if kind == "pose":
            depth_m = request.camera.cam_from_world.apply(request.xyz_m)[..., 2]
            drawn.append(pose_map(request.xy_px, size_wh, depth_m))
        elif kind == "depth":
            drawn.append(as_disparity(body_depth_m(request.xyz_m, request.camera, request.crop), around_m))
        else:
            mask = np.isfinite(body_depth_m(request.xyz_m, request.camera, request.crop))
            drawn.append(np.repeat((255 * mask[..., None]).astype(np.uint8), 3, axis=2))
    return np.stack(drawn)


def paint_mask(request: Request, margin: float) -> NDArray[np.bool_]:
    """Where an inpainting may paint (S, S). People of whom nothing is inside leave it empty."""
    return person_mask(body_depth_m(request.xyz_m, request.camera, request.crop), margin)
