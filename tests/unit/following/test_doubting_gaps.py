"""A block is asked for twice before it is a gap, and a node without headers is no other chain."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from api.following import Follower
from api.ingesting import Ingest
from chain.port import ChainUnavailableError, PrunedStateError
from chain.reader import NothingToReadError
from chain.watchdog import BlockWatchdog
from ledger.observations import GapObserved
from tests.pruning import pruning
from tests.unit.following.support import NETUID, NETWORK, OPENS_AT, Following, follow

LATE = OPENS_AT + 3


@pytest.fixture
def place(tmp_path: Path) -> Following:
    made = follow(tmp_path, {})
    for _ in range(6):
        made.chain.advance()
    return made


def test_a_block_that_is_given_the_second_time_is_no_gap(place: Following) -> None:
    made, chain = pruning(place.chain, lambda _: False)
    made.pruned = lambda number: number == LATE and made.asked.count(LATE) == 1
    caught = Follower(place.services, chain, NETWORK, NETUID).catch_up()
    assert (caught.head_block, caught.missing) == (OPENS_AT + 6, 0)
    assert place.ledger.newest(GapObserved) is None


def test_a_block_that_is_not_given_the_second_time_either_is_a_gap(place: Following) -> None:
    _, chain = pruning(place.chain, lambda number: number == LATE)
    Follower(place.services, chain, NETWORK, NETUID).catch_up()
    gap = place.ledger.newest(GapObserved)
    assert gap is not None
    assert (gap.from_block, gap.to_block) == (LATE, LATE)


def test_a_node_without_the_headers_of_the_log_is_not_of_another_chain(place: Following) -> None:
    place.follower.catch_up()

    def lacks(name: str) -> None:
        if name == "block_ref":
            msg = "the node lacks some headers of its own chain"
            raise PrunedStateError(msg)

    made, chain = pruning(place.chain, lambda _: True)
    made.before = lacks
    with pytest.raises(ChainUnavailableError, match="no header of block") as failed:
        Follower(place.services, chain, NETWORK, NETUID)
    assert type(failed.value) is ChainUnavailableError


class Alone:
    """A node that there is no other one for."""

    place = "the node"

    def leave(self) -> str:
        return self.place


def test_to_end_at_a_block_that_nobody_can_give_is_told_at_once(place: Following) -> None:
    _, chain = pruning(place.chain, lambda number: LATE <= number < LATE + 2)
    said: list[str] = []
    run = Ingest(
        place.ledger,
        lambda: Follower(place.services, chain, NETWORK, NETUID),
        until_block=LATE + 1,
        stop=Event(),
        say=said.append,
    )
    with pytest.raises(NothingToReadError, match="read further, or give an archive node"):
        run.follow(BlockWatchdog(Alone()))
    assert not [line for line in said if "trying again" in line]
