"""Who is who: people matched at an instant, and identities over a recording (IDF1, identity switches)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[np.float64]
Identities = NDArray[np.int64]
# Identities predicted (P,), true (Q,) and the distance (P, Q) between them in m at one instant.
Instant = tuple[Identities, Identities, Array]


@dataclass(frozen=True)
class IdentityFigures:
    """idf1, idp and idr in 0..1 (NaN where nobody is); identity: true person -> the predicted one that stands for it, -1 when
    none does; switches: true person -> how often it went on under another predicted identity."""

    idf1: float
    idp: float
    idr: float
    identity: dict[int, int]
    switches: dict[int, int]


def distances_m(pred: Array, truth: Array) -> Array:
    """(P, Q) mean distance in metres of people (P, J, 3) and (Q, J, 3) over the joints known in both; inf without any."""
    distance = np.linalg.norm(pred[:, None] - truth[None], axis=-1)
    known = np.isfinite(distance)
    mean = np.where(known, distance, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)
    return np.where(known.any(-1), mean, np.inf)


def assign(distance_m: Array, limit_m: float) -> list[tuple[int, int]]:
    """Pairs (row, column) no further apart than limit_m: as many as there can be, then the least total distance (Kuhn 1955)."""
    near = distance_m <= limit_m
    refused = 1.0 + 2.0 * limit_m * min(distance_m.shape, default=0)  # one pair refused costs more than all pairs at the limit
    rows, columns = linear_sum_assignment(np.where(near, distance_m, refused))
    return [(int(p), int(q)) for p, q in zip(rows, columns, strict=True) if near[p, q]]


def identity_figures(instants: Sequence[Instant], limit_m: float) -> IdentityFigures:
    """IDF1, IDP, IDR (Ristani et al. 2016, ECCV workshops) and identity switches (Bernardin & Stiefelhagen 2008) over instants.

    Each true identity is assigned one predicted identity for the whole recording, so that most true people at their instants
    are within limit_m of the one assigned (IDTP): IDF1 = 2 IDTP / (true + predicted), IDP = IDTP / predicted,
    IDR = IDTP / true.
    """
    predicted = Counter(int(who) for persons, _, _ in instants for who in persons)
    true = Counter(int(who) for _, persons, _ in instants for who in persons)
    identity, together = _one_to_one(list(predicted), list(true), _near(instants, limit_m))
    n_pred, n_true = predicted.total(), true.total()
    return IdentityFigures(
        idf1=_share(2 * together, n_pred + n_true),
        idp=_share(together, n_pred),
        idr=_share(together, n_true),
        identity={who: identity.get(who, -1) for who in true},
        switches=_switches(instants, limit_m),
    )


def _near(instants: Iterable[Instant], limit_m: float) -> Counter[tuple[int, int]]:
    """At how many instants each predicted and true person are within limit_m."""
    return Counter(
        (int(predicted[p]), int(true[q]))
        for predicted, true, distance in instants
        for p, q in zip(*np.nonzero(distance <= limit_m), strict=True)
    )


def _one_to_one(predicted: list[int], true: list[int], near: Counter[tuple[int, int]]) -> tuple[dict[int, int], int]:
    """The assignment of identities with the most instants together: true -> predicted, and that number of instants."""
    counts = np.array([[near[p, t] for t in true] for p in predicted], dtype=np.int64).reshape(len(predicted), len(true))
    rows, columns = linear_sum_assignment(counts, maximize=True)
    pairs = [(p, t) for p, t in zip(rows, columns, strict=True) if counts[p, t]]
    return {true[t]: predicted[p] for p, t in pairs}, int(sum(counts[p, t] for p, t in pairs))


def _switches(instants: Iterable[Instant], limit_m: float) -> dict[int, int]:
    """Per true person: matches with another predicted identity than its last. A match holds as long as it is within limit_m."""
    last: dict[int, int] = {}
    switches: dict[int, int] = {}
    for predicted, true, distance in instants:
        for who in true.tolist():
            switches.setdefault(who, 0)
        for p, q in _matched(predicted, true, distance, limit_m, last):
            now, who = int(predicted[p]), int(true[q])
            switches[who] += last.get(who, now) != now
            last[who] = now
    return switches


def _matched(
    predicted: Identities, true: Identities, distance: Array, limit_m: float, last: dict[int, int]
) -> list[tuple[int, int]]:
    """Pairs (p, q) of one instant: those of before that still hold, then the assignment of all others."""
    row = {int(who): p for p, who in enumerate(predicted)}
    held = [(row[last[who]], q) for q, who in enumerate(true.tolist()) if last.get(who) in row]
    held = [(p, q) for p, q in held if distance[p, q] <= limit_m]
    held = list({p: (p, q) for p, q in reversed(held)}.values())  # the first of two keeps it, as in py-motmetrics
    rows = [p for p in range(len(predicted)) if p not in {p for p, _ in held}]
    columns = [q for q in range(len(true)) if q not in {q for _, q in held}]
    free = assign(distance[np.ix_(rows, columns)], limit_m)
    return held + [(rows[p], columns[q]) for p, q in free]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
