"""Films with sound of one scene, by cameras whose clocks differ."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
SOUND_HZ = 48_000


def write_film(
    path: Path,
    pictures: Callable[[float], NDArray[np.uint8]] | None,
    heard: Callable[[Array], Array] | None,
    session_s: Callable[[Array], Array],
    seconds: float,
    fps: int = 30,
) -> Path:
    """A film of what is seen (session time -> RGB; none: grey) and heard (session times -> -1..1) by a camera whose own times
    0..seconds are session times session_s(own)."""
    own_s = np.arange(round(seconds * fps)) / fps
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=Fraction(fps), options={"preset": "ultrafast", "crf": "20"})
        audio = out.add_stream("aac", rate=SOUND_HZ, layout="mono") if heard else None
        grey = np.full((48, 64, 3), 90, np.uint8)
        for number, at_s in enumerate(session_s(own_s)):
            picture = pictures(float(at_s)) if pictures else grey
            if not number:
                video.height, video.width, video.pix_fmt = *picture.shape[:2], "yuv420p"
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode())
        if audio is not None and heard is not None:
            sound = heard(session_s(np.arange(round(seconds * SOUND_HZ)) / SOUND_HZ)).astype(np.float32)
            for begin in range(0, len(sound), 1024):
                frame = av.AudioFrame.from_ndarray(sound[None, begin : begin + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = SOUND_HZ, begin
                out.mux(audio.encode(frame))
            out.mux(audio.encode())
    return path


def crowd_noise(seed: int, seconds: float) -> Callable[[Array], Array]:
    """A random sound up to 6 kHz at any session time from -10 s on, loud and quiet by turns as people are."""
    rng = np.random.default_rng(seed)
    grid_s = np.arange(-10.0, seconds + 10.0, 1 / 12_000)
    loudness = np.repeat(rng.gamma(0.7, 0.1, len(grid_s) // 3000 + 1), 3000)[: len(grid_s)]
    values = np.clip(rng.normal(0, 1, len(grid_s)) * loudness, -1, 1)
    return lambda t_s: np.interp(t_s, grid_s, values)


def lamp(flashes_s: tuple[float, ...]) -> Callable[[float], NDArray[np.uint8]]:
    """A grey room that is bright for a twentieth of a second at each of the session times."""
    rng = np.random.default_rng(0)

    def seen(t_s: float) -> NDArray[np.uint8]:
        bright = 90 * any(0 <= t_s - flash_s < 0.05 for flash_s in flashes_s)
        return np.clip(80 + bright + rng.normal(0, 2, (48, 64, 3)), 0, 255).astype(np.uint8)

    return seen


def walker(seed: int, seconds: float) -> Callable[[float], NDArray[np.uint8]]:
    """A square that wanders through the picture by fits and starts."""
    rng = np.random.default_rng(seed)
    grid_s = np.arange(-10.0, seconds + 10.0, 0.2)
    path = np.cumsum(rng.gamma(0.5, 6.0, len(grid_s)))

    def seen(t_s: float) -> NDArray[np.uint8]:
        image = np.full((96, 128, 3), 60, np.uint8)
        at = int(np.interp(t_s, grid_s, path)) % 100
        image[30:70, at : at + 20] = 200
        return image

    return seen
