"""The worlds that tests of the pipeline are about."""

from pipeline.walkers import FPS, NS, STANDING_M, ring, see, time_ns, walk

__all__ = ["FPS", "NS", "STANDING_M", "ring", "see", "time_ns", "walk"]
