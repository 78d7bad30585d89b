"""Do generated views of one instant show one person? Joints found again, triangulated, against the skeleton behind them.

Run: ``python -m tests.benchmarks.bench_views --session demo`` on a session that was built (``make demo``). The same squares of
the captured pictures, at the size of the generated ones, go the same way: what they lose is the detector's and the pixels'.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.detector import load_detector
from models.diffusion.controlnet import Generator, Shared, load_generator
from pipeline.augment import Drawn, agreeing, check_image
from pipeline.augment_load import generator_folder, load_guide, sized
from pipeline.augment_plan import Request, draw_conditions, plan
from pipeline.augment_scene import Scene
from pipeline.clip_rig import clip_rig
from pipeline.config import AugmentConfig, session_config
from pipeline.consistency import retriangulated_mm
from pipeline.fidelity import LabelCheck
from pipeline.job import LocalRunner, StopAfter, build_dataset
from pipeline.pose_rows import SkeletonFile
from pipeline.samples import accepted_people, encode_png, keep_accepted
from pipeline.store import Ref, Store
from pipeline.tables import frames_of

BAR = 1.5
SHARES = (0.0, 0.5, 1.0)
Images = NDArray[np.uint8]


def audited(store: Store) -> Ref:
    """The first clip of people with its skeletons and verdicts; what is done already is not done again."""
    runner = LocalRunner(store, until="audit")
    with suppress(StopAfter):
        build_dataset(store, session_config(store.session), runner)
    ref, artefact = next((ref, made) for ref, made in runner.made if made.kind == "audit")
    return Ref((*ref.inputs, artefact), ref.clip)


def views_of(store: Store, ref: Ref, config: AugmentConfig) -> list[Request]:
    """The views to be made of accepted skeletons."""
    passed = accepted_people(ref.only("audit").path)
    accepted = list(keep_accepted(SkeletonFile(ref.only("reconstruct").path), passed))
    sources = store.session.clip(ref.clip).sources
    frames = ref.only("ingest").path
    filmed = {name: {t for times in frames_of(frames, name).values() for t in times} for name in sources}
    return list(plan(accepted, clip_rig(ref, sources), filmed, (store.session.name, ref.clip), config))


def made_of(requests: Sequence[Request], generator: Generator, config: AugmentConfig) -> Images:
    """An image for every request, as the stage makes them."""
    guide = load_guide(config)
    return generator.generate(
        np.stack([draw_conditions(request, config.conditions) for request in requests]),
        [request.prompt for request in requests], [request.seed for request in requests], config.negative_prompt,
        config.steps, config.guidance_scale, guide and guide.aimed_at([request.xy_px for request in requests]),
        shared=Shared(tuple(r.shared_seed for r in requests), config.shared_noise, None, (0,) * len(requests)),
    ).images  # fmt: skip


def judged(images: Images, requests: Sequence[Request], detector: Any, config: AugmentConfig) -> list[LabelCheck]:
    return [check_image(request.xy_px, image, detector, config) for image, request in zip(images, requests, strict=True)]


def by_stage(images: Images, requests: Sequence[Request], checks: Sequence[LabelCheck], allowed_mm: float) -> list[LabelCheck]:
    """The checks with the stage's last word: views whose people stand elsewhere than the others have them are rejected."""
    drawn = [Drawn(*each) for each in zip(requests, images, checks, strict=True)]
    groups = groupby(drawn, lambda one: one.request.instant)
    return [one.check for _, views in groups for one in agreeing(list(views), allowed_mm)]


def instants(requests: Sequence[Request], checks: Sequence[LabelCheck], accepted: bool) -> Iterator[float]:
    """MPJPE in mm of the people of each instant, of all views or of those that passed alone."""
    pairs = [(r, c) for r, c in zip(requests, checks, strict=True) if c.accepted or not accepted]
    for _, group in groupby(pairs, lambda pair: pair[0].instant):
        views = list(group)
        yield from retriangulated_mm([r for r, _ in views], [c.matched_px for _, c in views]).values()


def colour_spread(images: Images, requests: Sequence[Request]) -> float:
    """How far the mean colours of the views of an instant lie apart (standard deviation in levels of 255)."""
    numbers = groupby(range(len(requests)), lambda k: requests[k].instant)
    return float(np.mean([images[list(group)].mean((1, 2)).std(0).mean() for _, group in numbers]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--session", type=Path, required=True)
    parser.add_argument("--every", type=int, default=9)
    parser.add_argument("--model", default="", help="another generator")
    parser.add_argument("--out", type=Path, help="a sheet of the first instant: captured, then one row a share of noise")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the first noise that views have in common")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    store = Store(chosen.session)
    config = sized(store, AugmentConfig(every=chosen.every, model=chosen.model and str(Path(chosen.model).resolve())))
    ref = audited(store)
    requests = views_of(store, ref, config)
    scene = Scene(store, ref, clip_rig(ref, store.session.clip(ref.clip).sources), requests)
    detector = load_detector(config.weights, flip=True)
    generator = load_generator(generator_folder(store, config))
    captured = np.stack([scene.image(request) for request in requests])
    checks = judged(captured, requests, detector, config)
    usual, passing = (float(np.mean(list(instants(requests, checks, accepted)))) for accepted in (False, True))
    print(f"{len(requests)} views of {len({r.instant for r in requests})} instants, {config.size_px} px")
    passed_share = np.mean([c.accepted for c in checks])
    print(f"captured squares: MPJPE {usual:.1f} mm; {passed_share:.0%} of the views pass, and of those it is {passing:.1f} mm")
    bands = [captured]
    for share in chosen.shares:
        told = config.model_copy(update={"shared_noise": share})
        bands.append(made_of(requests, generator, told))
        checks = judged(bands[-1], requests, detector, told)
        every, passed = (list(instants(requests, checks, accepted)) for accepted in (False, True))
        last = by_stage(bands[-1], requests, checks, told.max_mpjpe_mm)
        agreed = list(instants(requests, last, True))
        off = float(np.mean(passed)) if passed else float("nan")
        print(
            f"generated, {share:.0%} of the noise shared: MPJPE of the views that pass {off:.1f} mm ({len(passed)} people): "
            f"{off / usual:.2f} x (bar {BAR}); of all views {np.mean(every) if every else np.nan:.1f} mm; "
            f"of those that agree, too, as the stage has it ({np.mean([c.accepted for c in last]):.0%}), "
            f"{np.mean(agreed) if agreed else np.nan:.1f} mm; "
            f"{np.mean([c.accepted for c in checks]):.0%} pass; colours {colour_spread(bands[-1], requests):.1f} levels apart",
            flush=True,
        )
    if chosen.out:
        first = sum(request.instant == requests[0].instant for request in requests)
        chosen.out.write_bytes(encode_png(np.vstack([np.hstack(list(band[: 2 * first])) for band in bands])))


if __name__ == "__main__":
    main()
