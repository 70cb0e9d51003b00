"""A claim kept alive while its contest runs, which may take longer than any claim lasts."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from ledger.application import Ledger
from ledger.commands.contests import renew_claim
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Holder

LOOK_EVERY_S: Final = 20.0
"""How often a claim is looked at: many times in the blocks that are left when it is prolonged."""

_LOG: Final = logging.getLogger(__name__)


class KeptClaim:
    """Prolongs a worker's claim from a thread of its own until the contest is over.

    ``lost`` says why the claim cannot be prolonged any more. The contest should end then: the
    ledger takes nothing of it. A database that does not answer is asked again; whether the claim
    held is seen when it answers.
    """

    def __init__(
        self, ledger: Ledger, contest: UUID, holder: Holder, *, every_s: float = LOOK_EVERY_S
    ) -> None:
        self.lost: str | None = None
        self._ledger = ledger
        self._contest = contest
        self._holder = holder
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"claim on {contest}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                renew_claim(self._ledger, self._contest, self._holder)
            except DecisionRefusedError as refused:
                self.lost = str(refused)
                return
            except Exception as error:  # noqa: BLE001  the database's: the next look tells
                _LOG.warning("the claim on %s is not prolonged now: %s", self._contest, error)
