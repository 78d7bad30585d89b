"""Training curves as CSV: running means, one row at a time."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


class Meter:
    """Running means of named scalars."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Add one scalar tensor per name; they stay on their device, for a GPU would be waited for at every step."""
        self.count += 1
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value.double() if name in self.sums else value.double()

    def means(self) -> dict[str, float]:
        """Mean since the beginning, by name."""
        return {name: float(total) / self.count for name, total in self.sums.items()}


def append_row(path: Path, columns: tuple[str, ...], row: Mapping[str, Any]) -> None:
    """One line more of a CSV file, with a header when it is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if new:
            writer.writeheader()
        writer.writerow(dict(row))
