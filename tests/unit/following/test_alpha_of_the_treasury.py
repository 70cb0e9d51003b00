"""The treasury's stake reconciles where epochs pay into it: nothing arrives by a transfer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from api.app import open_services
from api.following import Follower
from api.settings import Settings
from chain.port import ChainUnavailableError
from chain.simulated import GenesisNeuron, SimulatedChain
from ledger.application import Ledger
from ledger.books import accounts
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.observations import AlertRaised, AlphaEarned, BalanceObserved, EpochObserved
from ledger.queries.treasury import account_balances
from ledger.store.logs import read_log
from tests.contract.stores import sqlite_copy
from tests.unit.following.support import (
    MINER,
    MINER_COLD,
    NETUID,
    NETWORK,
    OPENS_AT,
    OWNER,
    TREASURY,
    VALIDATOR,
    Following,
    genesis,
    policy,
)

EPOCHS = 4
BLOCKS = EPOCHS * 7
"""The tempo of 6 pays every 7 blocks."""


def followed(folder: Path, owner_coldkey: str, validator_coldkey: str) -> Following:
    first = replace(
        genesis(),
        owner_coldkey=owner_coldkey,
        neurons=(
            GenesisNeuron(OWNER, owner_coldkey),
            GenesisNeuron(VALIDATOR, validator_coldkey, validator_permit=True),
            GenesisNeuron(MINER, MINER_COLD),
        ),
        epoch_alpha=1_000_000_007,
    )
    chain = SimulatedChain(folder / "chain.db", first, {})
    services = open_services(Settings(database_url=f"sqlite:///{sqlite_copy(folder, 'ledger.db')}"))
    ledger = open_arena(
        services.engine,
        ArenaKey(chain.genesis_hash(), NETUID),
        network=NETWORK,
        at_block=OPENS_AT,
        policy=policy(),
        actor="test",
    )
    follower = Follower(services, chain, NETWORK, NETUID)
    follower.catch_up()
    return Following(services, chain, ledger, follower)


def seen(ledger: Ledger, kind: type) -> list:  # type: ignore[type-arg]  # facts of any one kind
    with ledger.engine.connect() as connection:
        log = read_log(connection, ledger.head().log_id, after=0, limit=100_000)
    return [logged.fact for logged in log if isinstance(logged.fact, kind)]


def alpha_booked(place: Following) -> int:
    with place.services.at(NETWORK, NETUID) as scope:
        lines = account_balances(scope)
    return sum(
        line["amount"]
        for line in lines
        if line["account"] == accounts.TREASURY and line["asset"] == accounts.alpha(NETUID)
    )


def alpha_observed(place: Following) -> list[int]:
    return [fact.amount for fact in seen(place.ledger, BalanceObserved) if fact.asset == "ALPHA"]


@pytest.mark.parametrize(
    ("owner", "validator", "hows"),
    [
        (TREASURY, "5validator", {"owner_cut"}),
        (TREASURY, TREASURY, {"owner_cut", "dividends"}),
        ("5owner", TREASURY, {"dividends"}),
        ("5owner", "5validator", set()),
    ],
)
def test_what_epochs_paid_is_what_the_stake_grew_by(
    tmp_path: Path, owner: str, validator: str, hows: set[str]
) -> None:
    from chain.simulated import account

    named = {name: name if name == TREASURY else account(name) for name in (owner, validator)}
    place = followed(tmp_path, named[owner], named[validator])
    place.advance(BLOCKS)
    opening, *_, closing = alpha_observed(place)
    earned = seen(place.ledger, AlphaEarned)
    assert len(seen(place.ledger, EpochObserved)) == EPOCHS
    assert {fact.how for fact in earned} == hows
    assert len(earned) == EPOCHS * len(hows)
    assert closing - opening == alpha_booked(place) == sum(fact.alpha for fact in earned)
    assert bool(hows) == (closing > opening)


def test_a_cut_that_the_chain_cannot_tell_shows_as_a_residual_and_an_alert(tmp_path: Path) -> None:
    place = followed(tmp_path, TREASURY, TREASURY)
    place.advance(1)
    while not seen(place.ledger, EpochObserved):
        for _ in range(2):
            place.chain.fail_next("owner_cut", ChainUnavailableError("no such storage"))
        place.advance(1)
    assert {fact.how for fact in seen(place.ledger, AlphaEarned)} == {"dividends"}
    (alert,) = [
        fact for fact in seen(place.ledger, AlertRaised) if fact.kind == "alpha_earned_unknown"
    ]
    assert "owner's cut" in alert.detail
    opening, *_, closing = alpha_observed(place)
    assert closing - opening > alpha_booked(place)
