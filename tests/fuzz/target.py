"""What is fuzzed: a reader, valid files for it, and how they are broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from hypothesis.strategies import SearchStrategy

from tests.fuzz.mutation import mangled, reworded


@dataclass(frozen=True)
class Target:
    """A reader of one file.

    file: name of the input below the session's folder. make: valid files for it, made in a folder that stays. read: reads the
    file, and does with it what a command would. documents: the structure-aware inputs, from the valid files. share: of all
    inputs; text: words and lines are changed as well as bytes.
    """

    name: str
    file: str
    make: Callable[[Path], Sequence[bytes]]
    read: Callable[[Path], Any]
    documents: Callable[[Sequence[bytes]], SearchStrategy[bytes]] | None = None
    share: float = 1.0
    text: bool = False


@dataclass(frozen=True)
class Ready:
    """A target with its valid files in a session's folder."""

    target: Target
    session: Path

    @cached_property
    def samples(self) -> Sequence[bytes]:
        """Valid files."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.target.make(self.session)

    @property
    def path(self) -> Path:
        """Where inputs are put."""
        return self.session / self.target.file

    def input(self, seed: int, number: int) -> bytes:
        """The number-th broken file of a seed."""
        rng = Random(f"{self.target.name} {seed} {number}")
        change = reworded if self.target.text and rng.random() < 0.7 else mangled
        return change(rng.choice(self.samples), rng)

    def read(self, data: bytes) -> Any:
        """Let the reader have an input."""
        self.path.write_bytes(data)
        return self.target.read(self.path)
