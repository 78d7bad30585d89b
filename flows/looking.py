"""Something that is looked at again and again beside what `posemill serve` runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from flows.terminal import say


@dataclass(kw_only=True)
class Looking:
    """Calls `look` until it is told to end. A look that fails is told, once for each reason, and made again: the server may be
    busy or restarting."""

    every_s: float = 5.0
    told: set[str] = field(default_factory=set)

    def look(self) -> object:
        """One look."""
        raise NotImplementedError

    def tell(self, text: str) -> None:
        """Say something that was not said before."""
        if text not in self.told:
            self.told.add(text)
            say(text)

    def run(self, ended: threading.Event) -> None:
        """Look until `ended` is set."""
        while not ended.wait(self.every_s):
            try:
                self.look()
            except Exception as error:
                self.tell(f"{type(self).__name__.lower()}: {type(error).__name__}: {error}")
