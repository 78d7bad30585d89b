"""Augment: new images under the poses of accepted skeletons, each checked against its labels before it may be trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.rig import Rig
from models.diffusion.digest import folder_digest
from models.shipped import weights_folder, weights_path
from pipeline.captions import fill_template
from pipeline.clip_rig import clip_rig
from pipeline.conditions import pose_map, square_around
from pipeline.config import AugmentConfig, DetectConfig
from pipeline.detect import FindsPeople, keep_good
from pipeline.errors import InputError
from pipeline.fidelity import Gates, LabelCheck, check_labels
from pipeline.progress import progress
from pipeline.samples import derive_seed, encode_png, generated_id, keep_accepted, project_labels, sample_id, sample_rows
from pipeline.session import resolve
from pipeline.store import Ref, Store
from pipeline.tables import SAMPLES, frames_of, read_rows, skeletons3d_from_rows, write_rows
from pipeline.types import Array, Artefact, Poses2D, Sample, Skeletons3D

if TYPE_CHECKING:
    from models.diffusion.controlnet import Generator
    from models.diffusion.guidance import Guide

VERSION = "2"

SHIPPED = "studio-diffusion"  # below data/weights
BATCH = 8  # images asked of the generator at once; it cuts them further by the memory there is

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Request:
    """One image to be made: whose pose, seen from where, with the labels (P, J, 2) in its own pixels, NaN where none."""

    parent: str
    clip: str
    camera: str
    t_ns: int
    variant: int
    xy_px: Array
    xyz_m: Array
    condition: Image
    prompt: str
    seed: int


def plan(
    skeletons: Sequence[Skeletons3D], rig: Rig, filmed: Mapping[str, set[int]], owner: tuple[str, str], config: AugmentConfig
) -> Iterator[Request]:
    """The images to make from accepted skeletons. filmed: camera -> t_ns it has a frame at; owner: names of session and clip.

    Seeds and prompts follow from names and numbers alone. All cameras of an instant and variant share a prompt.
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
    crop = square_around(xy_px[seen], config.size_px, config.margin)
    if crop is None:
        return
    xyz_m, labels_px = instant.xyz_m[seen], crop.to_crop(xy_px[seen])
    depth_m = camera.cam_from_world.apply(xyz_m)[..., 2]
    draw = np.random.default_rng(derive_seed("prompt", *owner, instant.t_ns, variant, config.seed))
    template = config.prompts[variant % len(config.prompts)]
    yield Request(
        parent=sample_id(owner[1], camera.name, instant.t_ns),
        clip=owner[1],
        camera=camera.name,
        t_ns=instant.t_ns,
        variant=variant,
        xy_px=labels_px,
        xyz_m=xyz_m,
        condition=pose_map(labels_px, (config.size_px, config.size_px), depth_m),
        prompt=fill_template(template, config.attributes, int(seen.sum()), draw),
        seed=derive_seed(*owner, instant.t_ns, camera.name, variant, config.seed),
    )


def augment(
    requests: Sequence[Request],
    generator: Generator,
    detector: FindsPeople,
    config: AugmentConfig,
    advance: Callable[[int], None] = lambda n: None,
    guide: Guide | None = None,
) -> Iterator[Sample]:
    """Make the images, guided by a detector where one is given, find the people in them again, and give each its verdict.

    Images with NaN latents are left out.
    """
    for begin in range(0, len(requests), BATCH):
        batch = requests[begin : begin + BATCH]
        made = generator.generate(
            np.stack([request.condition for request in batch]),
            [request.prompt for request in batch],
            [request.seed for request in batch],
            config.negative_prompt,
            config.steps,
            config.guidance_scale,
            None if guide is None else guide.aimed_at([request.xy_px for request in batch]),
        )
        for number, image in zip(made.index, made.images, strict=True):
            request = batch[int(number)]
            check = check_image(request.xy_px, image, detector, config)
            yield _sample(request, image, check, f"{generator.name}@{generator.digest[:16]}")
        advance(len(batch))


def check_image(labels_px: Array, image: Image, detector: FindsPeople, config: AugmentConfig) -> LabelCheck:
    """Whether labels (P, J, 2) hold in an image, by the thresholds of the configuration."""
    found = find_again(detector, image, config)
    return check_labels(labels_px, found.xy_px, gates_of(config), score=found.score)


def gates_of(config: AugmentConfig) -> Gates:
    """The thresholds of the label check."""
    return Gates(config.min_oks, config.swap_margin, config.max_drift, config.drift_min_score)


def find_again(detector: FindsPeople, image: Image, config: AugmentConfig) -> Poses2D:
    """The people that the detector finds in one image, by the rules of the detect stage."""
    [(xy_px, score, tag)] = detector.detect(image[None])
    rules = DetectConfig(min_score=config.check_min_score)
    return keep_good(Poses2D("", 0, xy_px, score, tag), rules)


def _sample(request: Request, image: Image, check: LabelCheck, generator: str) -> Sample:
    labelled = np.isfinite(request.xy_px).all(-1)
    return Sample(
        id=generated_id(request.parent, request.variant),
        clip=request.clip,
        camera=request.camera,
        t_ns=request.t_ns,
        image=encode_png(image),
        size_wh=(image.shape[1], image.shape[0]),
        xy_px=request.xy_px,
        xyz_m=request.xyz_m,
        visible=np.where(labelled, 2, 0),
        origin="generated",
        prompt=request.prompt,
        seed=request.seed,
        generator=generator,
        parent=request.parent,
        verdict="accepted" if check.accepted else "rejected",
        reasons=check.reasons,
        oks=tuple(float(value) for value in check.oks),
        drift_px=tuple(tuple(float(value) for value in person) for person in check.drift_px),
    )


def run(store: Store, ref: Ref, config: AugmentConfig) -> Artefact:
    """Augment one clip; SAMPLES rows. Raises InputError when the generator or the detector cannot be loaded."""
    slot = store.slot("augment", VERSION, config, ref, given=_told(store, config))
    if done := slot.done():
        return done
    requests, reason = _requests(store, ref, config)
    samples: list[Sample] = []
    if requests:
        generator, detector, guide = _load(store, config)
        with progress(f"augment {ref.clip}", len(requests), "images") as advance:
            samples = list(augment(requests, generator, detector, config, advance, guide))
    figures = {"reason": reason} if reason else summarise(requests, samples)
    return slot.commit(lambda path: write_rows(path, sample_rows(samples), SAMPLES), len(samples), figures)


def _requests(store: Store, ref: Ref, config: AugmentConfig) -> tuple[list[Request], str]:
    """What is to be made, or the reason why nothing is."""
    if not config.enabled:
        return [], "augment.enabled is false"
    skeletons = skeletons3d_from_rows(read_rows(ref.only("reconstruct").path))
    accepted = list(keep_accepted(skeletons, read_rows(ref.only("audit").path)))
    if not accepted:
        return [], "no accepted skeletons"
    frames = ref.only("ingest").path
    cameras = store.session.clip(ref.clip).sources
    filmed = {name: {t for times in frames_of(frames, name).values() for t in times} for name in cameras}
    requests = list(plan(accepted, clip_rig(ref, cameras), filmed, (store.session.name, ref.clip), config))
    return requests, "" if requests else f"no camera sees {config.min_joints} joints of an accepted skeleton"


def summarise(requests: Sequence[Request], samples: Iterable[Sample]) -> dict[str, Any]:
    """Figures for the result table: images made and accepted, why others were not, and seeds dropped for NaN latents."""
    kept = list(samples)
    ids = {sample.id for sample in kept}
    dropped = [request.seed for request in requests if generated_id(request.parent, request.variant) not in ids]
    oks = [value for sample in kept for value in sample.oks]
    accepted = sum(sample.verdict == "accepted" for sample in kept)
    reasons = Counter(kind for sample in kept for kind in {_kind(reason) for reason in sample.reasons})
    figures: dict[str, Any] = {
        "images": len(kept),
        "accepted": accepted,
        "accepted_share": round(accepted / len(kept), 3) if kept else 0.0,
        "mean_oks": round(float(np.mean(oks)), 3) if oks else 0.0,
        "rejected_by_reason": dict(sorted(reasons.items())),
    }
    return figures | ({"dropped_nan_seeds": dropped} if dropped else {})


def _kind(reason: str) -> str:
    words = {"found": "number of people", "OKS": "OKS", "swapped": "left and right swapped", "drifted": "joint drifted"}
    return next((kind for word, kind in words.items() if word in reason.split()), reason)


def generator_folder(store: Store, config: AugmentConfig) -> Path:
    """The folder that config.model names, relative to the session, or the shipped one."""
    return resolve(store.root, config.model) if config.model else weights_folder() / SHIPPED


def _told(store: Store, config: AugmentConfig) -> dict[str, Any]:
    """What decides the result beside the config: session name, generator and checking detector. Nothing when turned off."""
    if not config.enabled:
        return {}
    folders = [generator_folder(store, config)] + ([resolve(store.root, config.controlnet)] if config.controlnet else [])
    guides = [config.guidance_weights] if config.detector_guidance else []
    detectors = [weights_path(name) for name in (config.weights, *guides)]
    return {
        "session": store.session.name,
        "generator": [folder_digest(folder) if folder.is_dir() else "" for folder in folders],
        "detector": [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in detectors],
    }


def _load(store: Store, config: AugmentConfig) -> tuple[Generator, FindsPeople, Guide | None]:
    from models.detector import load_detector
    from models.diffusion.controlnet import load_generator
    from models.weights import WeightsError

    control = [resolve(store.root, config.controlnet)] if config.controlnet else []
    try:
        generator = load_generator(generator_folder(store, config), config.device, control, config.scheduler)
        detector = load_detector(config.weights, config.device, flip=True, size_px=config.check_size_px)
        guide = load_guide(config)
    except WeightsError as error:
        raise InputError(f"{error}. To go on without generated images: --set augment.enabled=false") from error
    if config.size_px % generator.stride_px:
        raise InputError(
            f"augment.size_px: {generator.name} makes images whose sides are multiples of {generator.stride_px} px (it was "
            f"trained at {generator.size_px}), got {config.size_px}"
        )
    return generator, detector, guide


def load_guide(config: AugmentConfig) -> Guide | None:
    """The detector that guides, if any. Raises WeightsError, and InputError for a sampler that cannot be guided."""
    from models.detector import load_network
    from models.diffusion.guidance import Guide
    from models.diffusion.schedulers import GUIDABLE

    if not config.detector_guidance:
        return None
    if config.scheduler not in GUIDABLE:
        raise InputError(
            f"augment.detector_guidance needs the scheduler {' or '.join(GUIDABLE)}, got {config.scheduler}; set one of them: "
            "augment.scheduler=ddim, or augment.detector_guidance=0"
        )
    network, _ = load_network(config.guidance_weights)
    return Guide(network.to(config.device).eval().requires_grad_(False), config.detector_guidance)
