"""A session so small that its real stages take seconds: two cameras of 64 x 48 px, twenty frames, the rig imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.formats import save_rig
from calibration.rig import Rig
from pipeline.session import CalibrationInputs, Clip, Session, Source, save_session
from pipeline.walkers import ring
from tests.pipeline.footage import numbered_video

SETTINGS = ["detect.size_px=64", "detect.scales=[1.0]", "detect.flip=false", "detect.batch=4", "detect.chunk_frames=8",
            "detect.backend=torch", "detect.weights=studio", "augment.enabled=false"]  # fmt: skip


def small_session(root: Path) -> Path:
    """Write it; returns its folder."""
    root.mkdir(parents=True)
    large = ring(2, size_wh=(960, 720))
    rig = Rig(tuple(replace(camera, size_wh=(64, 48), K=np.diag([1 / 15, 1 / 15, 1]) @ camera.K) for camera in large.cameras))
    save_rig(rig, root / "rig-given.yaml")
    sources = {name: Source(path=numbered_video(root / f"{name}.mp4", 20).name) for name in rig.names}
    clip = Clip(name="walk", sources=sources)
    calibration = CalibrationInputs(rig="rig-given.yaml")
    save_session(Session(name="small", cameras=rig.names, clips=(clip,), calibration=calibration), root)
    return root
