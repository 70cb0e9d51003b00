"""How much machine time one arm's servers used: from start to stop, less what they were frozen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ledger.units import PPM

_NS_PER_MS: Final = 1_000_000
_MS_PER_MINUTE: Final = 60_000


class Meter:
    """Runs while a server of the arm is launched and not frozen; several starts add up.

    Frozen time is another arm's: charged with it, an entrant would pay for how many others there
    are. With GPUs the time counts once for each, as a provider's bill does.
    """

    def __init__(self, gpus: int = 0, *, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._times = max(1, gpus)
        self._used_ns = 0
        self._since_ns: int | None = None
        self._forgiven_ms = 0

    def run(self) -> None:
        """A server was started or let go on; on a running meter it does nothing."""
        if self._since_ns is None:
            self._since_ns = self._clock_ns()

    def hold(self) -> None:
        """The server was frozen or stopped; on a held meter it does nothing."""
        if self._since_ns is not None:
            self._used_ns += self._clock_ns() - self._since_ns
            self._since_ns = None

    @property
    def gpu_ms(self) -> int:
        """Milliseconds used so far, times the GPUs; of the machine where there are none."""
        running_ns = 0 if self._since_ns is None else self._clock_ns() - self._since_ns
        return (self._used_ns + running_ns) * self._times // _NS_PER_MS

    def forgive(self, gpu_ms: int) -> None:
        """Take so much of what was used off the budget: it was not the server's to spend."""
        self._forgiven_ms += gpu_ms

    def left_s(self, budget_gpu_minutes: int, share_ppm: int = PPM) -> float:
        """Seconds of the clock until this share of the budget is used up; 0 when it is."""
        budget_ms = budget_gpu_minutes * _MS_PER_MINUTE * share_ppm // PPM
        left_ms = budget_ms - (self.gpu_ms - self._forgiven_ms)
        return max(0.0, left_ms / self._times / 1_000)
