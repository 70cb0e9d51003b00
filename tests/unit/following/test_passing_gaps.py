"""Following a node that threw blocks away: gaps are passed, told, and filled by a later run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api import following
from api.app import open_services
from api.following import Follower
from api.ingesting import LONGEST_PAUSE_S, OUTAGE_AFTER_TRIES, Ingest
from api.opening import open_from_node
from api.settings import Settings
from api.status import status_of
from chain.port import Block, ChainReader, ChainUnavailableError, OtherChainError, PrunedStateError
from chain.reader import NotFinalizedError, NothingToReadError
from chain.simulated import Commit, Pay, Register, SwapColdkey, Transfer, account, paid_payload
from chain.watchdog import BlockWatchdog
from ledger.commands.arena import open_arena
from ledger.decisions.base import DecisionRefusedError
from ledger.observations import (
    AlertRaised,
    BalanceObserved,
    BlockFilled,
    GapObserved,
    NeuronObserved,
    OpeningObserved,
    SubnetOwnerObserved,
)
from ledger.queries.standing import GapLine, gaps
from ledger.queries.submissions import submissions
from ledger.queries.treasury import payments
from ledger.queries.weights import registry
from ledger.store.conflicts import FactConflictError
from ledger.store.logs import facts_of
from tests.pruning import PruningChain, failing, pruning
from tests.unit.following.support import (
    DIGEST,
    MINER,
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    TAO,
    TREASURY,
    VALIDATOR_COLD,
    Following,
    follow,
    policy,
)

PAY = Pay(label="fee", coldkey=MINER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY)
COMMIT = Commit(hotkey=MINER, payload=paid_payload("registry.test/m:v1", DIGEST, "fee"))
NEWCOMER = Register(hotkey=account("n"), coldkey=account("nc"), replacing_uid=2)
FUND = Transfer(source=MINER_COLD, destination=account("nc"), rao=TAO)
SWAP = SwapColdkey(old=VALIDATOR_COLD, new=account("swapped"))
SCRIPT = {
    OPENS_AT + 1: [FUND, PAY],
    OPENS_AT + 3: [COMMIT],
    OPENS_AT + 5: [NEWCOMER, SWAP],
    OPENS_AT + 9: [Transfer(source=MINER_COLD, destination=TREASURY, rao=TAO)],
}
BLOCKS = 14


def place_with(tmp_path: Path, *missing: int) -> tuple[Following, PruningChain, ChainReader]:
    """An arena at its opening, whose chain made :data:`BLOCKS` blocks and lacks some of them."""
    place = follow(tmp_path, SCRIPT)
    for _ in range(BLOCKS):
        place.chain.advance()
    numbers = {OPENS_AT + one for one in missing}
    made, chain = pruning(place.chain, numbers.__contains__)
    return place, made, chain


def follower(place: Following, chain: ChainReader, **options: int) -> Follower:
    return Follower(place.services, chain, NETWORK, NETUID, **options)


def lines(place: Following) -> list[GapLine]:
    with place.services.at(NETWORK, NETUID) as scope:
        return gaps(scope)


def says(place: Following) -> tuple[object, ...]:
    """What must not depend on when a block was read."""
    with place.services.at(NETWORK, NETUID) as scope:
        commits = [{**line, "changed_at_block": None} for line in submissions(scope)]
        return commits, payments(scope), registry(scope)


@pytest.fixture
def undisturbed(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "undisturbed").mkdir()
    place, _, _ = place_with(tmp_path / "undisturbed")
    place.follower.catch_up()
    return says(place)


def test_what_a_gap_hides_is_observed_anew_after_it(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path, *range(4, 10))
    caught = follower(place, chain).catch_up()
    assert (caught.head_block, caught.missing) == (OPENS_AT + BLOCKS, 6)
    with place.services.at(NETWORK, NETUID) as scope:
        held = registry(scope)
        status = status_of(scope)
    assert held[2] == (account("n"), account("nc"))
    assert account("swapped") in {coldkey for _, coldkey in held.values()}
    assert (status.last_safe_block, len(status.gaps)) == (OPENS_AT + 3, 1)
    after = OPENS_AT + 10
    seen = place.ledger.newest(NeuronObserved)
    assert seen is not None
    assert (seen.block, seen.replaced_hotkey) == (after, MINER)
    owner = place.ledger.newest(SubnetOwnerObserved)
    assert owner is not None
    assert owner.block == after
    balance = place.ledger.newest(BalanceObserved, where=lambda fact: fact.asset == "TAO")
    assert balance is not None
    assert balance.amount == place.chain.balance_rao(TREASURY, place.chain.block(after).hash)


def test_a_later_run_with_a_node_that_has_them_fills_the_gaps(
    tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    place, _, chain = place_with(tmp_path, 1, 2, 3, 5, 8, 9)
    follower(place, chain).catch_up()
    assert says(place) != undisturbed
    caught = follower(place, place.chain).catch_up()
    assert (caught.missing, caught.unfilled) == (0, "")
    assert says(place) == undisturbed
    position = place.ledger.head().position
    assert follower(place, place.chain).catch_up().filled == 0
    assert place.ledger.head().position == position


def test_a_node_that_merely_fails_is_never_a_gap(tmp_path: Path) -> None:
    place, made, chain = place_with(tmp_path)
    for what in ("block", "commits", "epoch", "finalized_head"):
        made.before = failing(1, what)
        with pytest.raises(ChainUnavailableError):
            follower(place, chain).catch_up()
    follower(place, chain).catch_up()
    assert place.ledger.newest(GapObserved) is None


def test_where_nobody_holds_any_block_nothing_is_recorded(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path, *range(1, BLOCKS + 1))
    position = place.ledger.head().position
    with pytest.raises(PrunedStateError):
        follower(place, chain).catch_up()
    assert place.ledger.head().position == position


def test_a_gap_grows_while_its_end_is_read(tmp_path: Path) -> None:
    place, made, chain = place_with(tmp_path)
    kept_from = OPENS_AT + 5
    made.pruned = lambda number: OPENS_AT < number < kept_from

    def moves_on(name: str) -> None:
        nonlocal kept_from
        if name == "neurons" and kept_from < OPENS_AT + 8:
            kept_from += 1  # the head moved, and with it what the node still holds

    made.before = moves_on
    follower(place, chain).catch_up()
    (line,) = lines(place)
    assert (line.from_block, line.to_block) == (OPENS_AT + 1, OPENS_AT + 7)


def test_a_second_outage_leaves_a_second_gap(tmp_path: Path) -> None:
    place, made, chain = place_with(tmp_path, 2, 3)
    made.head = OPENS_AT + 6
    assert follower(place, chain).catch_up().missing == 2
    made.head, made.pruned = None, lambda number: number < OPENS_AT + 10
    assert follower(place, chain).catch_up().missing == 5
    assert [(one.from_block, one.to_block) for one in lines(place)] == [
        (OPENS_AT + 2, OPENS_AT + 3),
        (OPENS_AT + 7, OPENS_AT + 9),
    ]


def test_a_gap_in_the_middle_of_what_is_read_ahead_loses_nothing(
    tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    place, _, chain = place_with(tmp_path, 4, 5, 11)
    follower(place, chain, workers=4).catch_up()
    assert [(one.from_block, one.to_block) for one in lines(place)] == [
        (OPENS_AT + 4, OPENS_AT + 5),
        (OPENS_AT + 11, OPENS_AT + 11),
    ]
    follower(place, place.chain, workers=4).catch_up()
    assert says(place) == undisturbed


def test_blocks_that_were_jumped_over_though_they_are_held_are_filled_in_the_same_run(
    tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    place, _, chain = place_with(tmp_path, 2, 4, 6, 8, 10)
    caught = follower(place, chain).catch_up()
    assert caught.missing == 5
    follower(place, place.chain).catch_up()
    assert says(place) == undisturbed


def test_an_archive_that_fails_while_a_gap_is_filled_stops_nothing_else(tmp_path: Path) -> None:
    place, made, chain = place_with(tmp_path, 2, 3, 4)
    follower(place, chain).catch_up()
    made.pruned = lambda _: False
    made.before = failing(1, "block")  # asked for the gap's first block, for there is no new one
    one = follower(place, chain)
    caught = one.catch_up()
    assert "did not answer block" in caught.unfilled
    assert (caught.missing, caught.filled) == (3, 0)
    place.chain.advance()
    assert one.catch_up().blocks == 1  # and the gap is left alone for an hour of blocks
    assert lines(place)[0].filled == 0
    assert follower(place, chain).catch_up().missing == 0


class CrashError(Exception):
    """The process died here."""


def test_whatever_question_it_dies_at_the_end_is_the_same(
    tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    place, made, chain = place_with(tmp_path, 2, 3, 4, 8)
    crashes = 0
    for may_ask in range(1, 1_000):
        left = may_ask

        def dies(_name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise CrashError

        made.before = dies
        if place.ledger.head().effective_block == OPENS_AT + BLOCKS:
            made.pruned = lambda _: False  # from then on the blocks of the gaps can be had
        try:
            caught = follower(place, chain).catch_up()
        except CrashError:
            crashes += 1
            continue
        if not caught.missing:
            break
    assert crashes > 10
    assert says(place) == undisturbed
    filled = {OPENS_AT + one for one in (2, 3, 4, 8)}
    known = [
        number
        for number in range(OPENS_AT + 1, OPENS_AT + BLOCKS + 1)
        if isinstance(
            place.ledger.known(f"block-filled:{place.ledger.arena}:{number}"), BlockFilled
        )
    ]
    assert set(known) == filled


def test_a_filled_block_of_another_chain_is_refused(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path, 2, 3)
    follower(place, chain).catch_up()
    (tmp_path / "other").mkdir()
    other = follow(tmp_path / "other", {OPENS_AT + 2: [FUND]}).chain
    for _ in range(BLOCKS):
        other.advance()

    class Foreign(PruningChain):
        def block(self, number: int) -> Block:
            return other.block(number) if number == OPENS_AT + 2 else super().block(number)

    with pytest.raises(OtherChainError, match="does not fit its recorded neighbours"):
        follower(place, Foreign(place.chain, lambda _: False)).catch_up()  # type: ignore[arg-type]
    assert len(lines(place)[0].missing) == 1


def test_after_a_gap_the_node_must_still_have_the_logs_newest_block(tmp_path: Path) -> None:
    place, _, _ = place_with(tmp_path)
    place.follower.catch_up(OPENS_AT + 3)
    (tmp_path / "other").mkdir()
    other = follow(tmp_path / "other", {OPENS_AT + 2: [FUND]}).chain
    for _ in range(BLOCKS):
        other.advance()
    _, chain = pruning(other, lambda number: number < OPENS_AT + 8)
    with pytest.raises(OtherChainError, match="not the one recorded"):
        follower(place, chain).catch_up()


# -- the opening ------------------------------------------------------------------------------


def test_an_opening_nobody_holds_is_told_and_observed_at_the_first_block_instead(
    tmp_path: Path,
) -> None:
    place = follow_unread(tmp_path)
    _, chain = pruning(place.chain, lambda number: number <= OPENS_AT)
    for _ in range(2):
        place.chain.advance()
    follower(place, chain).catch_up()
    alert = place.ledger.newest(AlertRaised, where=lambda fact: fact.kind == "opening_unknown")
    assert alert is not None
    assert place.ledger.newest(OpeningObserved) is None
    with place.services.at(NETWORK, NETUID) as scope:
        assert len(registry(scope)) == 3
    assert lines(place) == []


def follow_unread(tmp_path: Path) -> Following:
    """An arena that was opened offline and has asked no node yet."""
    place = follow(tmp_path, SCRIPT)

    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'unread.db'}"))
    ledger = open_arena(
        services.engine,
        place.ledger.arena,
        network=NETWORK,
        at_block=OPENS_AT,
        policy=policy(),
        actor="test",
    )
    return Following(services, place.chain, ledger, place.follower)


def test_an_arena_opened_from_a_node_knows_its_holders_and_balances_at_once(
    tmp_path: Path,
) -> None:
    place, _, chain = place_with(tmp_path)

    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'node.db'}"))
    opened = open_from_node(
        services, chain, NETWORK, NETUID, policy=policy(), at_block=None, actor="t"
    )
    assert (opened.at_block, opened.was_open) == (OPENS_AT + BLOCKS, False)
    ledger = services.ledger(NETWORK, NETUID)
    opening = ledger.newest(OpeningObserved)
    assert opening is not None
    assert opening.hash == place.chain.block(opened.at_block).hash
    assert ledger.newest(BalanceObserved) is not None
    position = ledger.head().position
    place.chain.advance()
    again = open_from_node(
        services, chain, NETWORK, NETUID, policy=policy(), at_block=None, actor="t"
    )
    assert (again.at_block, again.was_open) == (opened.at_block, True)
    assert ledger.head().position == position
    follower(Following(services, place.chain, ledger, place.follower), chain).catch_up()
    assert ledger.head().effective_block == OPENS_AT + BLOCKS + 1


def test_nothing_is_opened_where_the_state_or_the_subnet_is_not_there(tmp_path: Path) -> None:
    _, made, chain = place_with(tmp_path, 5)

    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'none.db'}"))
    with pytest.raises(PrunedStateError):
        open_from_node(
            services, chain, NETWORK, NETUID, policy=policy(), at_block=OPENS_AT + 5, actor="t"
        )
    with pytest.raises(DecisionRefusedError, match="subnet 9 does not exist"):
        open_from_node(services, chain, NETWORK, 9, policy=policy(), at_block=None, actor="t")
    assert services.arenas() == []
    assert made.asked


# -- beginning where the operator wants -------------------------------------------------------


def test_blocks_left_out_by_the_operator_are_a_gap_that_a_later_run_fills(
    tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    place, _, chain = place_with(tmp_path)
    caught = follower(place, chain, from_block=OPENS_AT + 7).catch_up()
    assert (caught.missing, caught.filled) == (6, 0)
    (line,) = lines(place)
    assert (line.from_block, line.to_block) == (OPENS_AT + 1, OPENS_AT + 6)
    assert line.reason == "left out by the operator"
    assert follower(place, chain).catch_up().missing == 0
    assert says(place) == undisturbed


def test_beginning_at_the_next_block_is_as_without_saying_so(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path)
    caught = follower(place, chain, from_block=OPENS_AT + 1).catch_up()
    assert (caught.blocks, caught.missing, caught.reread) == (BLOCKS, 0, 0)


def test_a_beginning_that_is_not_final_ends_also_a_run_that_follows(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path)
    run = Ingest(
        place.ledger,
        lambda: follower(place, chain, from_block=OPENS_AT + BLOCKS + 1),
        until_block=None,
        stop=Clock(5),
        say=lambda _: None,
    )
    with pytest.raises(NotFinalizedError, match="not finalized yet"):
        run.follow(BlockWatchdog(OneNode(), clock=lambda: 0.0))
    assert place.ledger.newest(AlertRaised) is None


def test_an_end_inside_what_nobody_holds_ends_also_a_run_that_follows(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path, *range(1, 8))
    run = Ingest(
        place.ledger,
        lambda: follower(place, chain),
        until_block=OPENS_AT + 5,
        stop=Clock(5),
        say=lambda _: None,
    )
    with pytest.raises(NothingToReadError, match="read further, or give an archive node"):
        run.follow(BlockWatchdog(OneNode(), clock=lambda: 0.0))
    assert lines(place) == []
    assert place.ledger.head().effective_block == OPENS_AT


def test_a_block_that_is_denied_once_is_no_gap(tmp_path: Path) -> None:
    place, made, chain = place_with(tmp_path)
    denied: list[int] = []

    def once(number: int) -> bool:
        if number == OPENS_AT + 6 and not denied:
            denied.append(number)
            return True
        return False

    made.pruned = once
    assert follower(place, chain).catch_up().blocks == BLOCKS
    assert (denied, lines(place)) == ([OPENS_AT + 6], [])


def test_recorded_blocks_are_read_again_and_found_alike(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path)
    follower(place, chain).catch_up(OPENS_AT + 10)
    caught = follower(place, chain, from_block=OPENS_AT).catch_up()
    assert (caught.reread, caught.differences, caught.blocks) == (10, (), BLOCKS - 10)
    assert place.ledger.newest(AlertRaised) is None


def test_reading_again_never_holds_new_blocks_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, made, chain = place_with(tmp_path)
    follower(place, chain).catch_up()
    monkeypatch.setattr(following, "REREAD_AT_ONCE", 4)
    again = follower(place, chain, from_block=OPENS_AT + 1)
    caught = []
    for _ in range(5):
        place.chain.advance()
        made.asked.clear()
        caught.append(again.catch_up())
        if caught[-1].blocks:
            assert made.asked[0] == caught[-1].head_block
    assert [(one.blocks, one.reread, one.to_reread) for one in caught] == [
        *[(1, 4, 10), (1, 4, 6), (1, 4, 2), (1, 2, 0), (1, 0, 0)]
    ]


@pytest.mark.parametrize("follows", [False, True])
def test_a_run_reads_all_of_them_again_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, follows: bool
) -> None:
    place, _, chain = place_with(tmp_path)
    follower(place, chain).catch_up()
    monkeypatch.setattr(following, "REREAD_AT_ONCE", 4)
    stop = Clock(1)
    run = Ingest(
        place.ledger,
        lambda: follower(place, chain, from_block=OPENS_AT + 1),
        until_block=OPENS_AT + BLOCKS,
        stop=stop,
        say=lambda _: None,
    )
    watchdog = BlockWatchdog(OneNode(), clock=lambda: 0.0)
    assert (run.follow(watchdog) if follows else run.once()) == "until_block"
    assert run.totals.reread == BLOCKS
    assert stop.waited == []


def test_a_recorded_block_that_is_another_one_now_is_a_conflict(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path)
    follower(place, chain).catch_up()

    class Forked(PruningChain):
        def block(self, number: int) -> Block:
            found = super().block(number)
            if number != OPENS_AT + 6:
                return found

            return replace(found, timestamp_ms=1)

    with pytest.raises(FactConflictError, match="timestamp_ms"):
        follower(
            place,
            Forked(place.chain, lambda _: False),  # type: ignore[arg-type]
            from_block=OPENS_AT + 5,
        ).catch_up()


# -- outages ----------------------------------------------------------------------------------


class Clock(threading.Event):
    """A stop that is set after so many waits, none of which lasts."""

    def __init__(self, waits: int, each: Callable[[float], None] = lambda _: None) -> None:
        super().__init__()
        self._left = waits
        self._each = each
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0)
        self._each(timeout or 0)
        self._left -= 1
        if self._left <= 0:
            self.set()
        return self.is_set()


class OneNode:
    """What a watchdog leaves: the only node there is."""

    place = "ws://only"

    def leave(self) -> str:
        return self.place


def run_of(place: Following, chain: ChainReader, stop: Clock, said: list[str]) -> Ingest:
    return Ingest(
        place.ledger,
        lambda: follower(place, chain),
        until_block=None,
        stop=stop,
        say=said.append,
    )


def test_an_outage_is_one_alert_and_healed_by_number(
    tmp_path: Path, undisturbed: tuple[object, ...]
) -> None:
    place, made, chain = place_with(tmp_path)
    made.before = failing(12, "finalized_head")
    said: list[str] = []
    stop = Clock(14)
    run = run_of(place, chain, stop, said)
    assert run.follow(BlockWatchdog(OneNode(), clock=lambda: 0.0)) == "stopped"
    alerts = [fact for fact in alerts_of(place) if fact.kind == "node_outage"]
    assert len(alerts) == 1
    assert stop.waited[: OUTAGE_AFTER_TRIES + 1] == [1.0, 2.0, 4.0, 8.0]
    assert max(stop.waited) <= LONGEST_PAUSE_S
    assert any("blocks come again after 12 failures" in line for line in said)
    assert run.totals.outages == 1
    assert run.totals.blocks == BLOCKS
    assert says(place) == undisturbed


def alerts_of(place: Following) -> list[AlertRaised]:
    with place.services.at(NETWORK, NETUID) as scope:
        return [
            logged.fact
            for logged in facts_of(scope.connection, scope.head.log_id)
            if isinstance(logged.fact, AlertRaised)
        ]


def test_a_failure_in_the_middle_of_a_back_fill_is_counted_with_what_it_read(
    tmp_path: Path,
) -> None:
    place, made, chain = place_with(tmp_path)
    asked = [0]

    def fails_once(name: str) -> None:
        asked[0] += name == "commits"
        if asked[0] == 6:
            asked[0] += 1
            msg = "the connection broke"
            raise ChainUnavailableError(msg)

    made.before = fails_once
    said: list[str] = []
    run = run_of(place, chain, Clock(2), said)
    run.follow(BlockWatchdog(OneNode(), clock=lambda: 0.0))
    assert run.totals.blocks == BLOCKS
    assert alerts_of(place) == []  # one broken connection is no outage


def test_a_chain_that_stands_still_raises_one_alert_a_block(tmp_path: Path) -> None:
    place, _, chain = place_with(tmp_path)
    now = [0.0]

    def passes(_seconds: float) -> None:
        now[0] += 50

    said: list[str] = []
    run = run_of(place, chain, Clock(10, passes), said)
    run.follow(BlockWatchdog(OneNode(), patience_s=100, clock=lambda: now[0]))
    assert [fact.kind for fact in alerts_of(place)] == ["no_new_block"]
    assert any("no finalized block after" in line for line in said)


def test_another_chain_ends_the_run(tmp_path: Path) -> None:
    place, _, _ = place_with(tmp_path)
    place.follower.catch_up()
    (tmp_path / "other").mkdir()
    other = follow(tmp_path / "other", {OPENS_AT + 2: [FUND]}).chain
    for _ in range(BLOCKS):
        other.advance()
    run = run_of(place, other, Clock(5), [])
    with pytest.raises(OtherChainError):
        run.follow(BlockWatchdog(OneNode(), clock=lambda: 0.0))
