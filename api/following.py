"""Following a chain into an arena: blocks first, then the commits that had to be deferred."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from api.app import Services
from chain.beside import Beside
from chain.gathering import evidence_for
from chain.port import ChainReader, ChainUnavailableError
from chain.reader import BlockReader
from ledger.commands.commits import judge_deferred
from ledger.queries.scope import Scope
from ledger.queries.submissions import deferred
from ledger.queries.subnet import held_digests, locked_hotkeys
from ledger.queries.weights import registry, subnet_owner


@dataclass(frozen=True, slots=True)
class Caught:
    """How far a catch-up came: blocks read, the newest one, deferred commits judged and left."""

    blocks: int
    head_block: int
    judged: int
    deferred: int


def beside_at(scope: Scope) -> Beside:
    """What the log knows at a scope besides the registry, for a reader to go on from."""
    return Beside(
        subnet_owner=subnet_owner(scope),
        held=held_digests(scope),
        locked=locked_hotkeys(scope),
    )


class Follower:
    """Reads one arena's chain. Made anew after a restart, it goes on where the log stands."""

    def __init__(self, services: Services, chain: ChainReader, network: str, netuid: int) -> None:
        self._services = services
        self._chain = chain
        self._where = (network, netuid)
        self._ledger = services.ledger(network, netuid)
        with services.at(network, netuid) as scope:
            held, beside = registry(scope), beside_at(scope)
        self._reader = BlockReader(chain, self._ledger, held, beside)

    def catch_up(self, until_block: int | None = None) -> Caught:
        """Read up to ``until_block`` (default: the finalized head) and judge what was deferred."""
        self._reader.observe_opening()
        blocks = self._reader.ingest(until_block)
        judged, left = self._judge_deferred()
        return Caught(blocks, self._ledger.head().effective_block, judged, left)

    def _judge_deferred(self) -> tuple[int, int]:
        with self._services.at(*self._where) as scope:
            waiting = deferred(scope)
        judged = 0
        for line in waiting:
            try:
                evidence = evidence_for(self._chain, self._ledger, UUID(line["submission_id"]))
            except ChainUnavailableError:
                continue  # it stays deferred, which the log and the caller's count both say
            judge_deferred(self._ledger, UUID(line["submission_id"]), evidence)
            judged += 1
        return judged, len(waiting) - judged
