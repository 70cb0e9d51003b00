"""What ingest notices of the subnet: holders whatever moved them, weights, pool, burns, locks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.following import Follower
from chain.beside import Beside
from chain.port import ChainUnavailableError
from chain.reader import BlockReader
from chain.simulated import (
    BuyAndBurn,
    LockStake,
    Register,
    ScriptedExtrinsic,
    SetPerpetualLock,
    SetSubnetOwner,
    SetWeights,
    SwapColdkey,
    SwapHotkey,
    Transfer,
    TrimUids,
    account,
)
from ledger.commands.arena import adopt_policy
from ledger.facts import Fact
from ledger.observations import (
    AlertRaised,
    AlphaBurnSeen,
    BalanceObserved,
    BlockObserved,
    EpochObserved,
    LockObserved,
    NeuronObserved,
    PoolObserved,
    PriceObserved,
    SubnetOwnerObserved,
    UidEmptied,
    WeightsReadBack,
)
from ledger.policy import parse_policy_toml
from ledger.queries.subnet import alerts, burns, locks, pools
from ledger.queries.weights import registry
from ledger.store.logs import read_log
from tests.pruning import pruning
from tests.unit.following.support import (
    MINER,
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    OWNER,
    OWNER_COLD,
    POLICY,
    TAO,
    TREASURY,
    VALIDATOR,
    VALIDATOR_COLD,
    Following,
    follow,
)

BURNS_ELSEWHERE = POLICY.replace("[weights]", "[weights]\nburn_uid = 2")
EPOCH = next(block for block in range(OPENS_AT + 1, OPENS_AT + 20) if (block + NETUID + 1) % 7 == 6)
"""The first epoch after the opening."""


def facts(place: Following, kind: type[Fact]) -> list[Any]:
    with place.services.engine.connect() as connection:
        log = read_log(connection, place.ledger.head().log_id, after=0, limit=100_000)
    return [logged.fact for logged in log if isinstance(logged.fact, kind)]


def holders(place: Following, block: int | None = None) -> dict[int, str]:
    with place.services.at(NETWORK, NETUID, block) as scope:
        return {uid: hotkey for uid, (hotkey, _) in registry(scope).items()}


def weights(block_values: dict[int, int]) -> ScriptedExtrinsic:
    return SetWeights(
        hotkey=VALIDATOR,
        uids=tuple(block_values),
        values=tuple(block_values.values()),
        version_key=7,
    )


def test_a_swapped_hotkey_holds_the_uid_from_its_block_on(tmp_path: Path) -> None:
    swap = SwapHotkey(coldkey=MINER_COLD, old=MINER, new=account("renamed"))
    place = follow(tmp_path, {OPENS_AT + 2: [swap]})
    place.advance(3)
    assert holders(place, OPENS_AT + 1)[2] == MINER
    assert holders(place)[2] == account("renamed")
    seen = place.ledger.newest(NeuronObserved)
    assert seen is not None
    assert (seen.uid, seen.replaced_hotkey, seen.block) == (2, MINER, OPENS_AT + 2)


def test_a_trimmed_uid_is_nobodys_although_no_event_says_so(tmp_path: Path) -> None:
    place = follow(tmp_path, {OPENS_AT + 2: [TrimUids(max_uids=2)]})
    place.advance(2)
    assert holders(place) == {0: OWNER, 1: VALIDATOR}
    left = place.ledger.newest(UidEmptied)
    assert left is not None
    assert (left.uid, left.hotkey, left.block) == (2, MINER, OPENS_AT + 2)
    place.advance(8)  # an epoch finds nothing to correct
    assert facts(place, AlertRaised) == []


def test_an_epoch_corrects_a_registry_that_drifted_and_says_so(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.advance_to(EPOCH - 1)
    place.follower.catch_up()
    # A reader that believes something else: as if a change had come by a way nobody knows.
    wrong = {0: (OWNER, OWNER_COLD), 1: (VALIDATOR, account("other")), 3: (account("x"), OWNER)}
    place.chain.advance_to(EPOCH)
    BlockReader(place.chain, place.ledger, wrong, Beside()).ingest()
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert (alert.kind, alert.block) == ("registry_drifted", EPOCH)
    assert "3 UIDs were not as recorded" in alert.detail
    assert holders(place) == {0: OWNER, 1: VALIDATOR, 2: MINER}
    assert [fact.uid for fact in facts(place, UidEmptied)] == [3]


def test_an_epoch_that_is_not_in_the_log_is_missed_aloud(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.advance_to(EPOCH + 7)
    epochs = place.chain.epoch

    def but_one(block: object, netuid: int) -> object:
        found = epochs(block, netuid)  # type: ignore[arg-type]
        return None if found is None or found.block.number == EPOCH else found

    place.chain.epoch = but_one  # type: ignore[method-assign, assignment]
    place.follower.catch_up()
    assert [fact.block for fact in facts(place, EpochObserved)] == [EPOCH + 7]
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert (alert.kind, alert.block) == ("epoch_missed", EPOCH + 7)
    assert f"the epoch of block {EPOCH} is not in the log" in alert.detail


def test_weights_are_seen_when_they_are_set_and_no_second_time(tmp_path: Path) -> None:
    first, second = {0: 65_535, 2: 655}, {0: 65_535}
    place = follow(tmp_path, {EPOCH + 1: [weights(first)], EPOCH + 4: [weights(second)]})
    place.chain.advance_to(EPOCH + 8)
    place.follower.catch_up()
    seen = facts(place, WeightsReadBack)
    assert [(fact.block, fact.uids, fact.values, fact.last_update) for fact in seen] == [
        (EPOCH + 1, (0, 2), (65_535, 655), EPOCH + 1),
        (EPOCH + 4, (0,), (65_535,), EPOCH + 4),
    ]
    assert all(fact.raw_values is None for fact in seen)


def test_weights_nobody_told_of_are_seen_at_the_next_epoch(tmp_path: Path) -> None:
    place = follow(tmp_path, {OPENS_AT + 1: [weights({0: 65_535})]})
    asked = place.chain.validator_weights

    def deaf(netuid: int, block_hash: str, uids: object = None) -> object:
        return [] if uids is not None else asked(netuid, block_hash)

    place.chain.validator_weights = deaf  # type: ignore[method-assign, assignment]
    place.chain.advance_to(EPOCH + 7)
    place.follower.catch_up()
    assert [fact.block for fact in facts(place, WeightsReadBack)] == [EPOCH]


def test_what_a_validator_lost_with_its_uid_is_not_carried_on(tmp_path: Path) -> None:
    swap = SwapHotkey(coldkey=VALIDATOR_COLD, old=VALIDATOR, new=account("renamed"))
    place = follow(tmp_path, {OPENS_AT + 1: [weights({0: 65_535})], EPOCH + 1: [swap]})
    place.chain.advance_to(EPOCH + 7)
    place.follower.catch_up()
    assert [(fact.block, fact.validator_hotkey) for fact in facts(place, WeightsReadBack)] == [
        (OPENS_AT + 1, VALIDATOR),
        (EPOCH + 7, account("renamed")),
    ]


def test_a_publisher_and_ingest_read_back_one_and_the_same_fact(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    receipt = place.publish()
    assert receipt is not None
    assert receipt.success
    place.follower.catch_up()
    (held,) = facts(place, WeightsReadBack)
    assert held.block == receipt.block == held.last_update
    assert place.ledger.head().effective_block == receipt.block


def test_opening_shows_weights_and_pool_and_each_epoch_the_pool(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.advance_to(EPOCH + 7)
    place.follower.catch_up()
    with place.services.at(NETWORK, NETUID) as scope:
        assert [line["block"] for line in pools(scope)] == [OPENS_AT, EPOCH, EPOCH + 7]
    price = place.ledger.newest(PriceObserved)
    assert price is not None
    assert (price.pair, price.price, price.source) == ("ALPHA/TAO", TAO // 20, "chain")


def test_everybodys_burns_are_seen_and_only_the_treasurys_are_its_business(tmp_path: Path) -> None:
    mine = BuyAndBurn(
        coldkey=TREASURY, hotkey=OWNER, amount_rao=TAO, max_price_rao=TAO, netuid=NETUID
    )
    others = BuyAndBurn(
        coldkey=OWNER_COLD, hotkey=OWNER, amount_rao=2 * TAO, max_price_rao=TAO, netuid=NETUID
    )
    place = follow(tmp_path, {OPENS_AT + 1: [others], OPENS_AT + 2: [mine]})
    place.advance(2)
    seen = facts(place, AlphaBurnSeen)
    assert [(fact.coldkey, fact.spent_rao, fact.by_treasury) for fact in seen] == [
        (OWNER_COLD, 2 * TAO, False),
        (TREASURY, TAO, True),
    ]
    with place.services.at(NETWORK, NETUID) as scope:
        assert len(burns(scope)) == 2
    # The treasury's own is worth a look at the pool and at its alpha, the other is not.
    assert [fact.block for fact in facts(place, PoolObserved)] == [OPENS_AT, OPENS_AT + 2]


def test_the_treasurys_alpha_is_seen_at_each_epoch(tmp_path: Path) -> None:
    swap = SwapColdkey(old=OWNER_COLD, new=account("new owner"))
    place = follow(tmp_path, {EPOCH + 8: [swap]})
    place.chain.advance_to(EPOCH + 7)
    place.follower.catch_up()
    alpha = [fact for fact in facts(place, BalanceObserved) if fact.asset == "ALPHA"]
    assert [(fact.about_block, fact.amount) for fact in alpha] == [
        (OPENS_AT, 0),
        (EPOCH, 0),
        (EPOCH + 7, 0),
    ]


def test_alpha_a_node_cannot_tell_stays_unknown_with_one_alert(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    place.chain.advance_to(EPOCH)
    place.follower.catch_up()

    def unable(*_: object) -> int:
        raise ChainUnavailableError("no such read")

    place.chain.stake_alpha = unable  # type: ignore[method-assign, assignment]
    place.chain.advance_to(EPOCH + 35)
    place.follower.catch_up()
    alpha = [fact for fact in facts(place, BalanceObserved) if fact.asset == "ALPHA"]
    assert [fact.about_block for fact in alpha] == [OPENS_AT, EPOCH]
    assert [fact.kind for fact in facts(place, AlertRaised)] == ["balance_unknown"]


def test_an_outage_at_an_epoch_skips_no_alpha(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    made, chain = pruning(place.chain, lambda _: False)
    place.chain.advance_to(EPOCH)
    Follower(place.services, chain, NETWORK, NETUID).catch_up()

    def away(question: str) -> None:
        if question in {"balance_rao", "stake_alpha"}:
            raise ChainUnavailableError(question)

    follower = Follower(place.services, chain, NETWORK, NETUID)
    place.chain.advance_to(EPOCH + 21)
    made.before = away
    for _ in range(3):
        with pytest.raises(ChainUnavailableError):
            follower.catch_up()
    assert place.ledger.head().effective_block == EPOCH + 6
    made.before = lambda _: None
    follower.catch_up()
    alpha = [fact for fact in facts(place, BalanceObserved) if fact.asset == "ALPHA"]
    assert [fact.about_block for fact in alpha] == [OPENS_AT, *range(EPOCH, EPOCH + 22, 7)]
    assert facts(place, AlertRaised) == []


def test_a_burn_uid_that_stops_being_the_owners_is_told_in_its_block(tmp_path: Path) -> None:
    sold = SetSubnetOwner(hotkey=account("buyer"), coldkey=account("buyer cold"))
    place = follow(tmp_path, {OPENS_AT + 3: [sold]})
    place.advance(6)
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert (alert.kind, alert.block) == ("burn_uid_not_eligible", OPENS_AT + 3)
    assert OWNER in alert.detail
    with place.services.at(NETWORK, NETUID) as scope:
        assert len(alerts(scope)) == 1


def test_an_opening_with_a_burn_uid_that_is_not_the_owners_is_told_once(tmp_path: Path) -> None:
    place = follow(tmp_path, {}, rules=BURNS_ELSEWHERE)
    place.advance(4)
    (alert,) = facts(place, AlertRaised)
    assert (alert.kind, alert.block) == ("burn_uid_not_eligible", OPENS_AT)
    assert (
        f"burn UID 2 does not belong to the subnet's owner after block {OPENS_AT}" in alert.detail
    )


def test_a_policy_with_a_burn_uid_that_is_not_the_owners_is_told_at_its_block(
    tmp_path: Path,
) -> None:
    place = follow(tmp_path, {})
    rules = parse_policy_toml(BURNS_ELSEWHERE)
    adopt_policy(place.ledger, rules, from_block=OPENS_AT + 3, actor="op")
    place.advance(5)
    (alert,) = facts(place, AlertRaised)
    assert (alert.kind, alert.block) == ("burn_uid_not_eligible", OPENS_AT + 3)


def test_a_new_reader_knows_the_owner_and_notices_that_the_burn_uid_went(tmp_path: Path) -> None:
    newcomer = Register(hotkey=account("n"), coldkey=account("nc"), replacing_uid=0)
    fund = Transfer(source=MINER_COLD, destination=account("nc"), rao=TAO)
    place = follow(tmp_path, {OPENS_AT + 1: [fund], OPENS_AT + 3: [newcomer]})
    place.advance(2)
    place.chain.advance_to(OPENS_AT + 4)
    Follower(place.services, place.chain, NETWORK, NETUID).catch_up()
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert (alert.kind, alert.block) == ("burn_uid_not_eligible", OPENS_AT + 3)


def test_the_owner_is_recorded_when_it_changes_and_not_when_somebody_else_does(
    tmp_path: Path,
) -> None:
    swaps = {
        OPENS_AT + 1: [SwapColdkey(old=MINER_COLD, new=account("m2"))],
        OPENS_AT + 2: [SwapColdkey(old=OWNER_COLD, new=account("o2"))],
    }
    place = follow(tmp_path, swaps)
    place.advance(3)
    assert [(fact.block, fact.coldkey) for fact in facts(place, SubnetOwnerObserved)] == [
        (OPENS_AT, OWNER_COLD),
        (OPENS_AT + 2, account("o2")),
    ]
    assert facts(place, AlertRaised) == []


def test_locks_are_seen_at_their_touches_and_evaluated_from_the_last(tmp_path: Path) -> None:
    script: dict[int, list[ScriptedExtrinsic]] = {
        EPOCH + 1: [LockStake(coldkey=VALIDATOR_COLD, hotkey=VALIDATOR, alpha=1_000_000)],
        EPOCH + 4: [SetPerpetualLock(coldkey=VALIDATOR_COLD, enabled=True)],
    }
    place = follow(tmp_path, script)
    place.chain.advance_to(EPOCH + 10)
    place.follower.catch_up()
    seen = facts(place, LockObserved)
    assert [(fact.block, fact.perpetual, fact.last_update) for fact in seen] == [
        (EPOCH + 1, False, EPOCH + 1),
        (EPOCH + 4, True, EPOCH + 4),
    ]
    with place.services.at(NETWORK, NETUID) as scope:
        (line,) = locks(scope)
    # A perpetual lock keeps its mass, which had decayed for three blocks (1,000,000 x 3 / 934,866).
    assert line.locked_alpha == line.locked_alpha_then == 999_996
    # Conviction matures with the mass: three blocks before the touch, six after it.
    assert (line.conviction_alpha_then, line.conviction_alpha) == (3, 9)


def test_every_block_is_read_once_whatever_happens_in_it(tmp_path: Path) -> None:
    place = follow(tmp_path, {EPOCH: [weights({0: 65_535}), TrimUids(max_uids=2)]})
    place.chain.advance_to(EPOCH + 1)
    for _ in range(2):
        place.chain.fail_next("reserves", ChainUnavailableError("gone"))
    for _ in range(2):
        try:
            place.follower.catch_up()
        except ChainUnavailableError:
            continue
    place.follower.catch_up()
    assert [fact.number for fact in facts(place, BlockObserved)] == list(
        range(OPENS_AT + 1, EPOCH + 2)
    )
    assert holders(place) == {0: OWNER, 1: VALIDATOR}
