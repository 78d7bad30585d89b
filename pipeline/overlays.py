"""Images and videos with people drawn, one for every file that was looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.atomic import replacing, write_atomically
from pipeline.draw import draw_people
from pipeline.encode import VideoWriter
from pipeline.errors import InputError
from pipeline.probe import Image, Shot
from pipeline.samples import encode_jpeg
from pipeline.types import Poses2D

Show = Callable[[Shot, Poses2D], None]
JPEG_QUALITY = 92


class Overlays:
    """A folder of overlays: JPEG for stills, mp4 for videos, named as their files; equal names get -2, -3, ... in order."""

    def __init__(self, folder: Path, files: Sequence[Path]) -> None:
        self._folder, self._taken = folder, set[str]()
        self._sources = {file.resolve() for file in files}
        folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def of(self, file: Path, is_video: bool) -> Iterator[Show]:
        """Takes the frames of one file and their people. Raises InputError when a source would be written over."""
        target = self._target(file, ".mp4" if is_video else ".jpg")
        if not is_video:
            yield lambda shot, people: write_atomically(target, encode_jpeg(_drawn(shot, people), JPEG_QUALITY))
            return
        with replacing(target) as temporary, VideoWriter(temporary) as video:
            yield lambda shot, people: video.write(_drawn(shot, people), shot.t_ns)

    def _target(self, file: Path, ending: str) -> Path:
        names = (f"{file.stem}{'' if n == 1 else f'-{n}'}{ending}" for n in range(1, len(self._taken) + 2))
        name = next(name for name in names if name not in self._taken)
        self._taken.add(name)
        if (self._folder / name).resolve() in self._sources:
            raise InputError(
                f"{file}: its overlay would be written over {self._folder / name}, a source; draw to another folder"
            )
        return self._folder / name


def _drawn(shot: Shot, people: Poses2D) -> Image:
    return draw_people(shot.image, people.xy_px)
