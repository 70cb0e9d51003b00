"""Following a chain into an arena: blocks first, then the gaps that can be filled by now, then the
commits that had to be deferred."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from api.app import Services
from chain.beside import Beside
from chain.gathering import evidence_for
from chain.healing import LateReader
from chain.port import ChainReader, ChainUnavailableError
from chain.reader import BlockReader, OnBlock, never
from ledger.commands.commits import judge_deferred
from ledger.commands.registry import Registry
from ledger.queries.scope import Scope
from ledger.queries.standing import gaps, missing_blocks
from ledger.queries.submissions import deferred
from ledger.queries.subnet import held_digests, locked_hotkeys
from ledger.queries.weights import registry, subnet_owner

FILLED_AT_ONCE: Final = 200
"""Blocks of gaps that are read before new ones are looked for: the head must not fall behind."""

TRY_AGAIN_BLOCKS: Final = 300
"""How many blocks later gaps that nobody could fill are tried again: an hour of blocks."""


REREAD_AT_ONCE: Final = 50
"""Recorded blocks that are read again in one catch-up, for the same reason."""

DEFERRED_AT_ONCE: Final = 20
"""So many deferred commits are asked about before new blocks are looked for."""

LONGEST_WAIT_BLOCKS: Final = 300
"""The rarest that a deferred commit is asked about again; it doubles up to there: 0, 1, 3, 7 …"""


@dataclass(frozen=True, slots=True)
class Caught:
    """How far a catch-up came: blocks read, the newest one, deferred commits judged and left.

    Blocks that earlier catch-ups read before they failed count, too. ``filled`` blocks of gaps were
    read late and ``missing`` ones are not in the log still; ``unfilled`` says why where a node
    failed at it. ``reread`` blocks were read again, with ``differences`` to what the log has, and
    ``to_reread`` are left for the next catch-ups.
    """

    blocks: int
    head_block: int
    judged: int
    deferred: int
    filled: int = 0
    missing: int = 0
    unfilled: str = ""
    reread: int = 0
    differences: tuple[str, ...] = ()
    to_reread: int = 0


def beside_at(scope: Scope) -> Beside:
    """What the log knows at a scope besides the registry, for a reader to go on from."""
    return Beside(
        subnet_owner=subnet_owner(scope),
        held=held_digests(scope),
        locked=locked_hotkeys(scope),
    )


@dataclass(slots=True)
class _Counted:
    """Blocks since the last catch-up that came to its end: one that fails has read some, too."""

    blocks: int = 0
    filled: int = 0
    reread: int = 0
    differences: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Wait:
    """A deferred commit that was asked about in vain, and the block from which it is again."""

    failures: int = 0
    due: int = 0

    def failed(self, head: int) -> None:
        self.failures += 1
        self.due = head + min(2 ** (self.failures - 1) - 1, LONGEST_WAIT_BLOCKS)


class Follower:
    """Reads one arena's chain. Made anew after a restart, it goes on where the log stands.

    ``workers`` blocks are fetched at once. ``from_block`` is where the operator wants it to begin:
    after the next block of the log, the blocks between are a recorded gap; at or before the log's
    newest, blocks are read again from there and compared, some with each catch-up and after the new
    ones. Gaps before it are left alone.
    """

    def __init__(
        self,
        services: Services,
        chain: ChainReader,
        network: str,
        netuid: int,
        *,
        workers: int = 1,
        from_block: int | None = None,
    ) -> None:
        self._services = services
        self._chain = chain
        self._where = (network, netuid)
        self._ledger = services.ledger(network, netuid)
        with services.at(network, netuid) as scope:
            held, beside = registry(scope), beside_at(scope)
        self._reader = BlockReader(chain, self._ledger, held, beside, workers=workers)
        self._late = LateReader(chain, self._ledger, self._known_at, workers=workers)
        self._from_block = from_block
        self._begun = from_block is None
        self._to_reread = range(0)
        self._filling_failed_at: int | None = None
        self._counted = _Counted()
        self._waits: dict[str, _Wait] = {}

    def catch_up(
        self,
        until_block: int | None = None,
        *,
        on_block: OnBlock | None = None,
        stop: Callable[[], bool] = never,
    ) -> Caught:
        """Read up to ``until_block`` (default: the finalized head) and judge what was deferred.

        ``on_block(number, last)`` is told of each block; ``stop`` is asked after each.
        """
        counted = self._counted
        told = on_block or (lambda *_: None)

        def read(number: int, last: int) -> None:
            counted.blocks += 1
            told(number, last)

        self._reader.observe_opening()
        self._begin(until_block)
        self._reader.ingest(until_block, on_block=read, stop=stop)
        unfilled = self._fill(until_block, read, told, stop)
        self._reread(told, stop)
        judged, left = self._judge_deferred(stop)
        self._counted = _Counted()
        return Caught(
            blocks=counted.blocks,
            head_block=self._head(),
            judged=judged,
            deferred=left,
            filled=counted.filled,
            missing=sum(last - first + 1 for first, last in self._missing(0)),
            unfilled=unfilled,
            reread=counted.reread,
            differences=tuple(counted.differences),
            to_reread=len(self._to_reread),
        )

    def _begin(self, until_block: int | None) -> None:
        """Begin where the operator wants it, once."""
        if self._begun or self._from_block is None:
            return
        head = self._head()
        if self._from_block > head:
            self._counted.blocks += self._reader.leave_out(self._from_block)
        else:
            first = max(self._from_block, self._ledger.arena_state().opened_at_block + 1)
            last = head if until_block is None else min(head, until_block)
            self._to_reread = range(first, last + 1)
        self._begun = True

    def _reread(self, told: OnBlock, stop: Callable[[], bool]) -> None:
        """Read some of the recorded blocks again that the operator wants compared."""
        some = self._to_reread[:REREAD_AT_ONCE]
        if not some or stop():
            return
        read, differences = self._late.reread(some[0], some[-1], on_block=told, stop=stop)
        self._counted.reread += read
        self._counted.differences += differences
        self._to_reread = self._to_reread[len(some) :]

    # -- gaps -------------------------------------------------------------------------------

    def _fill(
        self, until_block: int | None, read: OnBlock, told: OnBlock, stop: Callable[[], bool]
    ) -> str:
        """Fill what can be filled, and read what came meanwhile; why not more where a node failed.

        A node that fails here may still give the newest blocks, so it stops nothing else.
        """
        failed_at = self._filling_failed_at
        if failed_at is not None and self._head() < failed_at + TRY_AGAIN_BLOCKS:
            return ""

        def filled(number: int, last: int) -> None:
            self._counted.filled += 1
            told(number, last)

        while missing := self._missing(self._from_block or 0):
            try:
                done = self._late.fill(missing, limit=FILLED_AT_ONCE, on_block=filled, stop=stop)
            except ChainUnavailableError as error:
                self._filling_failed_at = self._head()
                return str(error)
            if not done:
                self._filling_failed_at = None if stop() else self._head()
                break
            self._reader.ingest(until_block, on_block=read, stop=stop)
        return ""

    def _missing(self, from_block: int) -> list[tuple[int, int]]:
        with self._services.at(*self._where) as scope:
            runs = missing_blocks(gaps(scope))
        return [run for run in runs if run[0] >= from_block]

    def _known_at(self, block: int) -> tuple[Registry, Beside]:
        with self._services.at(*self._where, block) as scope:
            return registry(scope), beside_at(scope)

    # -- commits ----------------------------------------------------------------------------

    def _head(self) -> int:
        return self._ledger.head().effective_block

    def _judge_deferred(self, stop: Callable[[], bool]) -> tuple[int, int]:
        """Judge the deferred commits that a node can tell of by now: how many, and how many wait.

        Of one payment, who became known first comes first (R8), which the ledger sees to: that may
        be a commit of a later block, where this one was read late. So the line is gone through
        again after each verdict.
        """
        with self._services.at(*self._where) as scope:
            waiting = deferred(scope)
        head = self._head()
        waits = self._waits
        self._waits = {}
        lines: dict[tuple[str, str], list[str]] = {}
        for row in waiting:
            identity = row["submission_id"]
            self._waits[identity] = waits.get(identity) or _Wait()
            lines.setdefault((row["payment_block"], row["payment_tx"]), []).append(identity)
        asked = judged = 0
        # Who waits longest first; those of one payment stay together.
        for line in sorted(
            lines.values(), key=lambda line: min(self._waits[one].due for one in line)
        ):
            left = list(line)
            while left:
                before = len(left)
                for identity in tuple(left):
                    wait = self._waits[identity]
                    if wait.due > head or asked >= DEFERRED_AT_ONCE or stop():
                        continue
                    asked += 1
                    if self._judge(UUID(identity)):
                        left.remove(identity)
                        judged += 1
                    else:
                        wait.failed(head)
                if len(left) == before:
                    break
        return judged, len(waiting) - judged

    def _judge(self, submission: UUID) -> bool:
        """Whether it is judged now; else it stays deferred, as the log and the count both say."""
        try:
            evidence = evidence_for(self._chain, self._ledger, submission)
        except ChainUnavailableError:
            return False
        return judge_deferred(self._ledger, submission, evidence)
