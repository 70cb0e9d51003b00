"""Blocks become facts once each; an outage stops the reader and loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api import following
from api.app import open_services
from api.following import Follower
from api.settings import Settings
from chain.gathering import evidence_for
from chain.port import ChainUnavailableError, OtherChainError
from chain.reader import BlockReader
from chain.simulated import Commit, Pay, Register, SwapColdkey, Transfer, account, paid_payload
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.observations import AlertRaised, BalanceObserved, NeuronObserved, OwnerChanged
from ledger.queries.submissions import submissions
from ledger.queries.treasury import payments
from ledger.queries.weights import registry
from ledger.rules.payments import PaymentEvidence
from tests.pruning import failing, pruning
from tests.unit.following.support import (
    DIGEST,
    MINER,
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    POLICY,
    TAO,
    TREASURY,
    VALIDATOR_COLD,
    follow,
    policy,
)

PAY = Pay(label="fee", coldkey=MINER_COLD, hotkey=MINER, digest=DIGEST, treasury=TREASURY)
COMMIT = Commit(hotkey=MINER, payload=paid_payload("registry.test/m:v1", DIGEST, "fee"))


def test_a_paid_commit_is_accepted_and_read_once(tmp_path: Path) -> None:
    place = follow(tmp_path, {OPENS_AT + 1: [PAY], OPENS_AT + 3: [COMMIT]})
    place.advance(5)
    position = place.ledger.head().position
    assert place.follower.catch_up().blocks == 0
    again = Follower(place.services, place.chain, NETWORK, NETUID)
    assert again.catch_up().blocks == 0
    assert place.ledger.head().position == position
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["status"] for line in submissions(scope)] == ["queued"]


def test_an_outage_stops_the_reader_and_loses_nothing(tmp_path: Path) -> None:
    place = follow(tmp_path, {OPENS_AT + 1: [PAY], OPENS_AT + 3: [COMMIT]})
    for _ in range(6):
        place.chain.advance()
    place.chain.fail_next("commits", ChainUnavailableError("the node went away"))
    with pytest.raises(ChainUnavailableError):
        place.follower.catch_up()
    caught = place.follower.catch_up()
    assert caught.head_block == OPENS_AT + 6
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["status"] for line in submissions(scope)] == ["queued"]


def test_an_outage_inside_a_block_that_changes_holders_loses_none_of_them(tmp_path: Path) -> None:
    newcomer = Register(hotkey=account("n"), coldkey=account("nc"), replacing_uid=2)
    fund = Transfer(source=MINER_COLD, destination=account("nc"), rao=TAO)
    swap = SwapColdkey(old=VALIDATOR_COLD, new=account("swapped"))
    place = follow(tmp_path, {OPENS_AT + 1: [fund], OPENS_AT + 2: [newcomer, swap]})
    for _ in range(3):
        place.chain.advance()
    for _ in range(2):
        place.chain.fail_next("commits", ChainUnavailableError("the node went away"))
        with pytest.raises(ChainUnavailableError):
            place.follower.catch_up()
    place.follower.catch_up()
    seen = place.ledger.newest(NeuronObserved)
    assert seen is not None
    assert (seen.hotkey, seen.replaced_hotkey) == (account("n"), MINER)
    owner = place.ledger.newest(OwnerChanged)
    assert owner is not None
    assert (owner.old_coldkey, owner.new_coldkey) == (VALIDATOR_COLD, account("swapped"))


def test_a_node_behind_the_log_is_no_gap(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.advance(3)
    (tmp_path / "fresh").mkdir()
    behind = follow(tmp_path / "fresh", {}).chain
    with pytest.raises(ChainUnavailableError, match="wait until"):
        Follower(place.services, behind, NETWORK, NETUID)


def test_a_payment_the_node_cannot_show_defers_and_is_judged_later(tmp_path: Path) -> None:
    place = follow(tmp_path, {OPENS_AT + 1: [PAY], OPENS_AT + 3: [COMMIT]})
    place.advance(2)
    place.chain.advance()
    for _ in range(2):  # once while the block is read, once when deferred commits are looked at
        place.chain.fail_next("block_ref", ChainUnavailableError("pruned"))
    assert place.follower.catch_up().deferred == 1
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["status"] for line in submissions(scope)] == ["deferred"]
    caught = place.follower.catch_up()
    assert (caught.judged, caught.deferred) == (1, 0)
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["status"] for line in submissions(scope)] == ["queued"]


def test_a_commit_whose_payment_nobody_holds_is_refused_by_its_age(tmp_path: Path) -> None:
    rules = POLICY.replace("[weights]", "payment_max_age_blocks = 3\n[weights]")
    script = {OPENS_AT + 1: [PAY], OPENS_AT + 6: [COMMIT]}
    place = follow(tmp_path, script, rules=rules)
    place.advance(2)
    for _ in range(6):
        place.chain.advance()
    _, chain = pruning(place.chain, lambda number: number == OPENS_AT + 1)
    caught = Follower(place.services, chain, NETWORK, NETUID).catch_up()
    assert caught.deferred == 0
    with place.services.at(NETWORK, NETUID) as scope:
        (line,) = submissions(scope)
    assert (line["status"], list(line["codes"])) == ("refused", ["payment_expired"])


def test_deferred_commits_are_asked_about_a_few_at_a_time_and_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = follow(tmp_path, {OPENS_AT + 1: [PAY], OPENS_AT + 3: [COMMIT]})
    place.advance(2)
    _, chain = pruning(place.chain, lambda number: number == OPENS_AT + 1)
    follower = Follower(place.services, chain, NETWORK, NETUID)
    asked: list[int] = []

    def asking(*arguments: Any) -> PaymentEvidence:
        asked.append(place.ledger.head().effective_block - OPENS_AT)
        return evidence_for(*arguments)

    monkeypatch.setattr(following, "evidence_for", asking)
    monkeypatch.setattr(following, "DEFERRED_AT_ONCE", 0)
    place.chain.advance()
    assert follower.catch_up().deferred == 1
    assert asked == []
    monkeypatch.setattr(following, "DEFERRED_AT_ONCE", 1)
    assert follower.catch_up(stop=lambda: True).deferred == 1
    assert asked == []
    for _ in range(16):
        follower.catch_up()
        follower.catch_up()  # nothing is new: nothing is asked again but once
        place.chain.advance()
    assert asked == [3, 3, 4, 7, 14]
    caught = Follower(place.services, place.chain, NETWORK, NETUID).catch_up()
    assert (caught.judged, caught.deferred) == (1, 0)


def test_money_of_nobody_stays_visible(tmp_path: Path) -> None:
    gift = Transfer(source=MINER_COLD, destination=TREASURY, rao=TAO)
    place = follow(tmp_path, {OPENS_AT + 1: [gift]})
    place.advance(2)
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["amount_rao"] for line in payments(scope, unclaimed_only=True)] == [TAO]


def test_a_recycled_uid_belongs_to_its_new_holder_from_its_block_on(tmp_path: Path) -> None:
    newcomer = Register(hotkey=account("n"), coldkey=account("nc"), replacing_uid=2)
    fund = Transfer(source=MINER_COLD, destination=account("nc"), rao=TAO)
    place = follow(tmp_path, {OPENS_AT + 1: [fund], OPENS_AT + 2: [newcomer]})
    place.advance(4)
    for block, hotkey in ((OPENS_AT + 1, MINER), (OPENS_AT + 2, account("n"))):
        with place.services.at(NETWORK, NETUID, block) as scope:
            assert registry(scope)[2][0] == hotkey


def test_a_swapped_coldkey_is_seen_at_its_block(tmp_path: Path) -> None:
    swap = SwapColdkey(old=MINER_COLD, new=account("swapped"))
    place = follow(tmp_path, {OPENS_AT + 2: [swap]})
    place.advance(3)
    seen = place.ledger.newest(OwnerChanged)
    assert seen is not None
    assert (seen.hotkey, seen.new_coldkey, seen.block) == (MINER, account("swapped"), OPENS_AT + 2)


def test_a_node_of_another_chain_is_refused(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    other = open_arena(
        place.services.engine,
        ArenaKey("0x" + "11" * 32, NETUID),
        network="elsewhere",
        at_block=OPENS_AT,
        policy=policy(),
        actor="test",
    )
    assert isinstance(other, Ledger)
    with pytest.raises(OtherChainError, match="give the right node"):
        BlockReader(place.chain, other, {})


def test_a_balance_the_node_cannot_give_stays_unknown_and_raises_an_alert(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    for _ in range(2):  # and no third time, for it says the same
        place.chain.fail_next("stake_alpha", ChainUnavailableError("no such read"))
    BlockReader(place.chain, place.ledger, {}).observe_balances()
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert alert.kind == "balance_unknown"


def test_an_outage_at_the_opening_leaves_no_balance_unknown(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'unread.db'}"))
    ledger = open_arena(
        services.engine,
        place.ledger.arena,
        network=NETWORK,
        at_block=OPENS_AT,
        policy=policy(),
        actor="test",
    )
    place.chain.advance()
    made, chain = pruning(place.chain, lambda _: False)
    reader = Follower(services, chain, NETWORK, NETUID)

    def away(question: str) -> None:
        if question in {"balance_rao", "stake_alpha"}:
            msg = "connection refused"
            raise ChainUnavailableError(msg)

    made.before = away
    for _ in range(3):  # however often it says the same
        with pytest.raises(ChainUnavailableError, match="refused"):
            reader.catch_up()
        assert ledger.head().effective_block == OPENS_AT
    made.before = failing(1, "stake_alpha")  # one connection that broke is no such node
    reader.catch_up()
    assert ledger.newest(AlertRaised) is None
    assert ledger.head().effective_block == OPENS_AT + 1
    for asset in ("TAO", "ALPHA"):
        seen = ledger.newest(BalanceObserved, where=lambda fact, asset=asset: fact.asset == asset)
        assert seen is not None
        assert seen.about_block == OPENS_AT
    services.close()
