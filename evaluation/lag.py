"""How late the measuring client was, counted so that blocks can be taken together afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

LAG_STEP_US: Final = 50
"""Lateness is counted in steps of so many microseconds, so that no length of run needs more."""
FEW_LATE: Final = 2
"""So many late samples are chance, however few samples there are: a single send that waited for a
busy machine says nothing of a round."""

LateCounts = tuple[tuple[int, int], ...]
"""``(step, samples)``, ascending: so many were late by ``step`` times 50 us up to the next step."""


class LagMeter:
    """Lateness seen, one sample after another."""

    def __init__(self) -> None:
        self._seen: Counter[int] = Counter()
        self.max_us = 0

    def note(self, late_us: int) -> None:
        """One sample; early is not late."""
        late_us = max(0, late_us)
        self._seen[late_us // LAG_STEP_US] += 1
        self.max_us = max(self.max_us, late_us)

    @property
    def samples(self) -> int:
        """How many there were."""
        return self._seen.total()

    @property
    def p99_us(self) -> int:
        """The 99th percentile, rounded up to a step but never above the worst; 0 of no samples."""
        return min(self.max_us, _beyond(self._seen, self.samples // 100) or 0)

    def counts(self) -> LateCounts:
        """Everything seen, to be pooled with that of others."""
        return tuple(sorted(self._seen.items()))


def pooled_us(counts: Iterable[LateCounts]) -> int | None:
    """The 99th percentile of all samples together, in microseconds, rounded up to a step.

    The :data:`FEW_LATE` latest are left out in any case; None where nothing else was seen.
    """
    seen: Counter[int] = Counter()
    for some in counts:
        for step, samples in some:
            seen[step] += samples
    return _beyond(seen, max(FEW_LATE, seen.total() // 100))


def _beyond(seen: Counter[int], latest: int) -> int | None:
    """The worst but for so many of the latest; None where there are no more than those."""
    above = 0
    for step in sorted(seen, reverse=True):
        above += seen[step]
        if above > latest:
            return (step + 1) * LAG_STEP_US
    return None
