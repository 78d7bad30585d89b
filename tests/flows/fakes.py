"""A tiny session whose stages are cheap: ingest is the real one, the others write small results through the real store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Section
from pipeline.errors import StageError
from pipeline.pose_rows import poses2d_rows
from pipeline.progress import progress
from pipeline.session import Clip, Session, Source, save_session
from pipeline.store import Ref, Store
from pipeline.tables import AUDIT, POSES2D, SAMPLES, SKELETONS3D, read_rows, write_rows
from pipeline.types import Artefact, Poses2D
from tests.pipeline.footage import numbered_video

CAMERAS = ("cam1", "cam2")


def make_session(root: Path, frames: int = 6) -> Path:
    """Two cameras, one clip."""
    root.mkdir(parents=True, exist_ok=True)
    sources = {name: Source(path=numbered_video(root / f"{name}.mp4", frames).name) for name in CAMERAS}
    save_session(Session(name=root.name, cameras=CAMERAS, clips=(Clip(name="walk", sources=sources),)), root)
    return root


@dataclass
class FakeStage:
    """Counts its calls; raises StageError with `broken` when that is not empty."""

    name: str
    calls: int = 0
    broken: str = ""
    refs: list[Ref] = field(default_factory=list)

    def run(self, store: Store, ref: Ref, config: Section) -> Artefact:
        folder = self.name in ("calibrate", "export")
        slot = store.slot(self.name, "1", config, ref, suffix="" if folder else ".parquet", name=getattr(config, "name", ""))
        if done := slot.done():
            return done
        self.calls += 1
        self.refs.append(ref)
        if self.broken:
            raise StageError(self.broken)
        rows = list(self.rows(ref))
        with progress(f"{self.name} {ref.part}", max(len(rows), 1), "frames") as advance:
            advance(max(len(rows), 1))
        print(f"chatter of {self.name} on stdout")
        return slot.commit(_folder if folder else lambda path: _table(path, self.name, rows), len(rows), {"figure": 1.25})

    def rows(self, ref: Ref) -> Iterator[dict[str, Any]]:
        if self.name == "detect":
            times = sorted({row["t_ns"] for row in read_rows(ref.only("ingest").path)})
            joints = np.stack([np.linspace(5, 60, 17), np.linspace(5, 40, 17)], -1)[None]
            yield from poses2d_rows(Poses2D(ref.part, t_ns, joints, np.ones((1, 17)), np.zeros((1, 1))) for t_ns in times)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "content").write_text("content")
    (path / "report.html").write_text("report")


def _table(path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    schemas = {"detect": POSES2D, "audit": AUDIT, "augment": SAMPLES}
    write_rows(path, rows, schemas.get(name, SKELETONS3D))


def fake_stages() -> dict[str, FakeStage]:
    """Stand-ins for every stage but ingest."""
    names = ("calibrate", "rectify", "detect", "reconstruct", "audit", "augment", "export")
    return {name: FakeStage(name) for name in names}
