"""Pairs of wall times as they become known, for a display that shows a running ratio."""

from __future__ import annotations

from evaluation.measure import OnMeasured


class LiveRatios:
    """Tells ``on_measured`` of each entrant's prompt once, when both sides' times are known.

    In interleaved orders an entrant may be asked before the baseline. The first time of the
    baseline counts here; what is scored is computed from the evidence.
    """

    def __init__(self, on_measured: OnMeasured) -> None:
        self._on_measured = on_measured
        self._baseline_us: dict[int, int] = {}
        self._waiting: dict[int, list[tuple[str, int]]] = {}

    def note(self, entrant_id: str | None, prompt: int, wall_us: int) -> None:
        """A prompt was answered by an entrant, or (None) by the baseline."""
        if entrant_id is None:
            self._baseline_us.setdefault(prompt, wall_us)
            for waiting, own_us in self._waiting.pop(prompt, []):
                self._on_measured(waiting, prompt, self._baseline_us[prompt], own_us)
        elif prompt in self._baseline_us:
            self._on_measured(entrant_id, prompt, self._baseline_us[prompt], wall_us)
        else:
            self._waiting.setdefault(prompt, []).append((entrant_id, wall_us))
