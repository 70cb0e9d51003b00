"""What the recorded runtime did to its subnet is in the log as the truth file says it.

Read from the chain through the real libraries, recorded as facts, and asked of the views.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import Services, open_services
from api.following import Follower
from api.settings import Settings
from chain.node import NodeChain
from ledger.commands.arena import open_arena
from ledger.facts import Fact
from ledger.keys import ArenaKey
from ledger.observations import (
    AlertRaised,
    EpochObserved,
    OwnerChanged,
    PriceObserved,
    UidEmptied,
    WeightsReadBack,
)
from ledger.queries.subnet import burns, locks, pools, registration_costs
from ledger.queries.weights import registry
from ledger.store.logs import read_log
from tests.cassette import TRUTH, needs_cassette, replay_server, truth
from tests.contract.test_season_in_the_ledger import OPENS_AT, season_policy

pytestmark = [needs_cassette, pytest.mark.cassette]

SAID: dict[str, Any] = truth() if TRUTH.exists() else {}
NETUID = 2


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A ledger that has read the whole recording, with a new reader every ten blocks."""
    path: Path = tmp_path_factory.mktemp("season") / "ledger.db"
    services = open_services(Settings(database_url=f"sqlite:///{path}"))
    open_arena(
        services.engine,
        ArenaKey(SAID["genesis_hash"], NETUID),
        network="season",
        at_block=OPENS_AT,
        policy=season_policy(SAID["treasury"]),
        actor="test",
    )
    with replay_server() as url:
        chain = NodeChain(url)
        try:
            for until in (*range(10, SAID["head"], 10), SAID["head"]):
                Follower(services, chain, "season", NETUID).catch_up(until)
        finally:
            chain.close()
    yield services
    services.close()


def facts(season: Services, kind: type[Fact]) -> list[Any]:
    with season.at("season", NETUID) as scope:
        log = read_log(scope.connection, scope.head.log_id, after=0, limit=1_000_000)
    return [logged.fact for logged in log if isinstance(logged.fact, kind)]


def operations(*names: str) -> list[dict[str, Any]]:
    return [one for one in SAID["operations"] if one["what"] in names]


def test_who_holds_each_uid_is_as_recorded_after_every_block(season: Services) -> None:
    for block in range(OPENS_AT, SAID["head"] + 1):
        expected = {
            known["uid"]: (known["hotkey"], known["coldkey"])
            for known in SAID["neurons"]
            if known["from_block"] <= block <= known["to_block"]
        }
        owners = {
            hotkey: [one["coldkey"] for one in history if one["from_block"] <= block][-1]
            for hotkey, history in SAID["hotkey_owners"].items()
        }
        with season.at("season", NETUID, block) as scope:
            held = registry(scope)
        assert {uid: hotkey for uid, (hotkey, _) in held.items()} == {
            uid: hotkey for uid, (hotkey, _) in expected.items()
        }, block
        assert all(coldkey == owners[hotkey] for hotkey, coldkey in held.values()), block


def test_no_epoch_found_the_registry_wrong_and_none_was_missed(season: Services) -> None:
    kinds = {fact.kind for fact in facts(season, AlertRaised)}
    # The recording cannot tell the treasury's alpha, which is said once, at the opening.
    assert kinds == {"balance_unknown"}
    assert [fact.block for fact in facts(season, AlertRaised)] == [OPENS_AT]
    assert facts(season, UidEmptied) == []


def test_a_swapped_coldkey_is_seen_once_at_its_block(season: Services) -> None:
    (swap,) = operations("swap_coldkey")
    moved = [
        (fact.block, fact.old_coldkey, fact.new_coldkey) for fact in facts(season, OwnerChanged)
    ]
    assert moved == [(swap["block"], swap["old"], swap["new"])]


def test_epochs_pay_each_hotkey_what_the_chain_says(season: Services) -> None:
    seen = {fact.block: fact for fact in facts(season, EpochObserved)}
    assert sorted(seen) == [epoch["block"] for epoch in SAID["epochs"]]
    for epoch in SAID["epochs"]:
        fact = seen[epoch["block"]]
        both = zip(fact.incentive_alpha, fact.dividends_alpha, strict=True)
        assert [incentive + dividends for incentive, dividends in both] == epoch["emission"]
        for uid, share in enumerate(epoch["incentive"]):
            assert bool(fact.incentive_alpha[uid]) == bool(share)
        for known in SAID["neurons"]:
            if known["from_block"] < epoch["block"] <= known["to_block"]:
                assert fact.hotkeys[known["uid"]] == known["hotkey"]
    # UID 13 registered in block 47, one block before an epoch, and is paid nothing in it.
    assert (len(seen[35].uids), len(seen[48].uids)) == (13, 14)
    # UID 4 was taken over in block 49: the epoch before still pays its old slot to the old holder.
    gone = SAID["deregistered"][0]
    assert seen[48].hotkeys[gone["uid"]] == gone["hotkey"]
    assert seen[61].hotkeys[gone["uid"]] != gone["hotkey"]


def test_the_pool_is_seen_at_the_opening_and_at_each_epoch(season: Services) -> None:
    with season.at("season", NETUID) as scope:
        seen = {line["block"]: line for line in pools(scope)}
    assert sorted(seen) == [OPENS_AT, *(epoch["block"] for epoch in SAID["epochs"])]
    for epoch in SAID["epochs"]:
        line = seen[epoch["block"]]
        assert (line["tao_rao"], line["alpha_in"], line["alpha_out"]) == (
            epoch["subnettao"],
            epoch["subnetalphain"],
            epoch["subnetalphaout"],
        )


def test_the_runtimes_price_is_that_of_its_pool_rounded_down(season: Services) -> None:
    with season.at("season", NETUID) as scope:
        reserves = {line["block"]: line for line in pools(scope)}
    seen = facts(season, PriceObserved)
    assert {fact.about_block for fact in seen} == set(reserves)
    for fact in seen:
        pool = reserves[fact.about_block]
        by_reserves = pool["tao_rao"] * 10**9 // pool["alpha_in"]
        # The runtime keeps the pool's price as a root in fixed point: it may be a little off.
        assert abs(fact.price - by_reserves) <= by_reserves // 10**5


def test_burned_and_recycled_alpha_is_seen_whoever_did_it(season: Services) -> None:
    with season.at("season", NETUID) as scope:
        seen = burns(scope)
    done = operations("burn_alpha", "recycle_alpha")
    assert len(done) == 2
    assert [
        (line["block"], line["how"], line["coldkey"], line["alpha"], line["by_treasury"])
        for line in seen
    ] == [(one["block"], one["what"], one["signer_ss58"], one["amount"], False) for one in done]


def test_every_registration_shows_its_cost(season: Services) -> None:
    with season.at("season", NETUID) as scope:
        seen = registration_costs(scope)
    done = operations("register")
    assert [(line["block"], line["hotkey"], line["payer"]) for line in seen] == [
        (one["block"], one["hotkey"], one["coldkey"]) for one in done
    ]
    assert all(line["cost_rao"] > 0 for line in seen)


def test_weights_are_seen_when_they_are_set_and_hold_at_each_epoch(season: Services) -> None:
    sets = operations("set_weights")
    assert [
        (fact.block, fact.validator_hotkey, dict(zip(fact.uids, fact.values, strict=True)))
        for fact in facts(season, WeightsReadBack)
    ] == [
        (one["block"], one["validator"], {int(uid): w for uid, w in one["weights"].items()})
        for one in sets
    ]
    for fact in facts(season, WeightsReadBack):
        assert (fact.raw_values, fact.last_update) == (None, fact.block)
        for epoch in SAID["epochs"]:
            if epoch["block"] == fact.block:
                assert epoch["lastupdate"][1] == fact.last_update


def test_a_runtime_without_locks_has_none(season: Services) -> None:
    with season.at("season", NETUID) as scope:
        assert locks(scope) == []
