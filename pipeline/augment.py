"""Augment: new images under the poses of accepted skeletons, each checked against its labels before it may be trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.augment_load import FORMS, load, networks_of, pictures_of, sized, told_of
from pipeline.augment_plan import Request, draw_conditions, paint_mask, plan
from pipeline.augment_scene import Scene, composed
from pipeline.clip_rig import clip_rig
from pipeline.config import AugmentConfig, DetectConfig
from pipeline.consistency import disagreements
from pipeline.detect import FindsPeople, detect
from pipeline.fidelity import Gates, LabelCheck, background_reasons, check_labels
from pipeline.pose_rows import SkeletonFile
from pipeline.progress import progress
from pipeline.samples import accepted_people, encode_png, generated_id, keep_accepted, sample_rows
from pipeline.store import Ref, Store
from pipeline.tables import SAMPLES, frames_of, write_rows
from pipeline.types import Array, Artefact, Poses2D, Sample

if TYPE_CHECKING:
    from models.diffusion.controlnet import Generator
    from models.diffusion.guidance import Guide

VERSION = "7"

BATCH = 8  # images asked of the generator at once; it cuts them further by the memory there is

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image that was made, with the captured background where that is kept, and what the label check says of it."""

    request: Request
    image: Image
    check: LabelCheck


def augment(
    requests: Sequence[Request],
    generator: Generator,
    detector: FindsPeople,
    config: AugmentConfig,
    advance: Callable[[int], None] = lambda n: None,
    guide: Guide | None = None,
    scene: Scene | None = None,
    pictures: Sequence[Image] = (),
) -> Iterator[Sample]:
    """Make the images, guided by a detector where one is given, find the people in them again, and give each its verdict.

    Requests come in the order of time, the views of an instant together. scene: what was filmed, for the modes that keep some
    of it; pictures: of the people that an IP-Adapter shows. Images with NaN latents are left out.
    """
    for batch in _batches(requests):
        drawn = list(_draw(batch, generator, detector, config, guide, scene, pictures))
        for _, views in groupby(drawn, lambda one: one.request.instant):
            for one in agreeing(list(views), config.max_mpjpe_mm):
                yield _sample(one, f"{generator.name}@{generator.digest[:16]}")
        advance(len(batch))


def _batches(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Whole instants, joined until there are BATCH requests or more."""
    batch: list[Request] = []
    for _, views in groupby(requests, lambda request: request.instant):
        batch += views
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _draw(
    batch: Sequence[Request],
    generator: Generator,
    detector: FindsPeople,
    config: AugmentConfig,
    guide: Guide | None,
    scene: Scene | None,
    pictures: Sequence[Image],
) -> Iterator[Drawn]:
    from models.diffusion.controlnet import Captured, Shared

    form, strength = FORMS[config.mode]
    images = [scene.image(request) for request in batch] if scene and form != "text" else []
    masks = [paint_mask(request, config.mask_margin) for request in batch] if form == "inpaint" else []
    begin = Captured(np.stack(images), np.stack(masks) if masks else None, strength or config.strength) if images else None
    picked = tuple(request.variant % max(1, len(pictures)) for request in batch)
    made = generator.generate(
        np.stack([draw_conditions(r, config.conditions, _around_m(scene, r, config)) for r in batch]),
        [request.prompt for request in batch],
        [request.seed for request in batch],
        config.negative_prompt,
        config.steps,
        config.guidance_scale,
        None if guide is None else guide.aimed_at([request.xy_px for request in batch]),
        begin,
        Shared(tuple(r.shared_seed for r in batch), config.shared_noise, pictures or None, picked),
    )
    for number, image in zip(made.index, made.images, strict=True):
        request = batch[int(number)]
        whole = composed(images[number], image, masks[number]) if masks else image
        check = check_image(request.xy_px, whole, detector, config)
        if masks:
            check = check.but(background_reasons(whole, images[number], masks[number], config.max_background_change))
        yield Drawn(request, whole, check)


def _around_m(scene: Scene | None, request: Request, config: AugmentConfig) -> Array | None:
    return scene.around_m(request) if scene and "depth" in config.conditions else None


def agreeing(views: Sequence[Drawn], allowed_mm: float) -> Iterator[Drawn]:
    """The views of one instant, those rejected whose people do not stand where the other accepted views have them."""
    good = [one for one in views if one.check.accepted]
    told = iter(disagreements([one.request for one in good], [one.check.matched_px for one in good], allowed_mm))
    for one in views:
        yield replace(one, check=one.check.but(next(told) if one.check.accepted else []))


def check_image(labels_px: Array, image: Image, detector: FindsPeople, config: AugmentConfig) -> LabelCheck:
    """Whether labels (P, J, 2) hold in an image, by the thresholds of the configuration."""
    found = find_again(detector, image, config)
    return check_labels(labels_px, found.xy_px, gates_of(config), score=found.score)


def gates_of(config: AugmentConfig) -> Gates:
    """The thresholds of the label check."""
    return Gates(config.min_oks, config.swap_margin, config.max_drift, config.drift_min_score)


def find_again(detector: FindsPeople, image: Image, config: AugmentConfig) -> Poses2D:
    """The people that the detector finds in one image, by the rules of the detect stage."""
    [people] = detect(detector, [(0, image)], "", DetectConfig(min_score=config.check_min_score))
    return people


def _sample(drawn: Drawn, generator: str) -> Sample:
    request, check, image = drawn.request, drawn.check, drawn.image
    labelled = np.isfinite(request.xy_px).all(-1)
    return Sample(
        id=generated_id(request.parent, request.variant),
        clip=request.clip,
        camera=request.camera.name,
        t_ns=request.t_ns,
        image=encode_png(image),
        size_wh=(image.shape[1], image.shape[0]),
        xy_px=request.xy_px,
        xyz_m=request.xyz_m,
        visible=np.where(labelled, 2, 0),
        person=request.person,
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
    slot = store.slot("augment", VERSION, config, ref, given=told_of(store, config))
    if done := slot.done():
        return done
    config = sized(store, config) if config.enabled else config
    requests, reason = _requests(store, ref, config)
    samples: list[Sample] = []
    if requests:
        generator, detector, guide = load(store, config)
        scene = Scene(store, ref, clip_rig(ref, store.session.clip(ref.clip).sources), requests)
        with progress(f"augment {ref.clip}", len(requests), "images") as advance:
            samples = list(augment(requests, generator, detector, config, advance, guide, scene, pictures_of(store, config)))
    figures = {"reason": reason} if reason else summarise(requests, samples) | networks_of(store, config)
    return slot.commit(lambda path: write_rows(path, sample_rows(samples), SAMPLES), len(samples), figures)


def _requests(store: Store, ref: Ref, config: AugmentConfig) -> tuple[list[Request], str]:
    """What is to be made, or the reason why nothing is."""
    if not config.enabled:
        return [], "augment.enabled is false"
    skeletons = SkeletonFile(ref.only("reconstruct").path)
    accepted = list(keep_accepted(skeletons, accepted_people(ref.only("audit").path)))
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
    words = {
        "found": "number of people", "OKS": "OKS", "swapped": "left and right swapped", "drifted": "joint drifted",
        "background": "background changed", "views": "views disagree",
        "nobody": "nobody inside the mask",
    }  # fmt: skip
    return next((kind for word, kind in words.items() if word in reason.split()), reason)
