"""People drawn onto the live pictures, as far as a detector keeps up with them."""

from __future__ import annotations

import threading
import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.live_view import LiveView, step_back

# Of the shipped detector: pictures a person can be told in, at the least arithmetic.
SIZE_PX = 224


class _Detector(Protocol):
    def detect(
        self, images: NDArray[np.uint8]
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]: ...


class PeopleFinder(threading.Thread):
    """Looks for people in the newest picture of each camera in turn."""

    def __init__(self, view: LiveView, detector: _Detector | None = None) -> None:
        """detector: default the shipped one, loaded by the thread."""
        super().__init__(name="find people", daemon=True)
        self._view, self._detector, self._stop_asked = view, detector, threading.Event()

    def run(self) -> None:
        """Until `stop`."""
        step_back()
        if self._detector is None:
            from models.detector import load_detector

            self._detector = load_detector(size_px=SIZE_PX, flip=False, turned=False, scales=(1.0,))
        while not self._stop_asked.wait(0.02):
            for camera in self._view.cameras:
                seen_s = time.monotonic()
                image = self._view.newest().get(camera)
                if image is not None and not self._stop_asked.is_set():
                    self._view.put_people(camera, self._detector.detect(image[None])[0][0], seen_s)

    def stop(self) -> None:
        """End; waits for the thread."""
        self._stop_asked.set()
        self.join()
