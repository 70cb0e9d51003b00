"""A ledger in a process that dies before it commits, or that another one overtakes."""

from __future__ import annotations

from collections.abc import Callable

from ledger.application import Ledger, ResultT, Unit


class KilledError(BaseException):
    """The process is gone. Nothing catches this as a mere failure."""


class DisturbedLedger(Ledger):
    """When a command has decided and nothing is written yet, ``meanwhile`` happens, once."""

    meanwhile: Callable[[], None] | None = None

    def decide(self, work: Callable[[Unit], ResultT], *, opening_at: int | None = None) -> ResultT:
        """As ever, with what happens meanwhile."""

        def disturbed(unit: Unit) -> ResultT:
            result = work(unit)
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile is not None:
                meanwhile()
            return result

        return super().decide(disturbed, opening_at=opening_at)


def killed() -> None:
    """What happens to a process that dies there."""
    raise KilledError
