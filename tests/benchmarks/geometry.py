"""The shared problems that figures are quoted on, in posemill's types; POSEMILL_BENCH names their folder (../shared/bench)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from calibration.camera import Camera
from calibration.rig import Rig
from calibration.transforms import Rigid

ROOT = Path(__file__).resolve().parents[2]


def problems() -> ModuleType:
    path = Path(os.environ.get("POSEMILL_BENCH", ROOT.parent / "shared" / "bench")) / "problems.py"
    spec = importlib.util.spec_from_file_location("problems", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"{path} not found; set POSEMILL_BENCH to the folder of problems.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rig_of(cameras: list[dict[str, Any]]) -> Rig:
    """The problem's cameras, which speak millimetres."""
    return Rig(
        tuple(
            Camera(f"cam{i}", c["size"], c["K"], c["dist"], "brown", Rigid(c["R"], c["t"] / 1000.0))
            for i, c in enumerate(cameras)
        )
    )
