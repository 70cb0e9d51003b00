"""The recorded season of a real runtime, read into the log: the same verdicts and money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.app import Services, open_services
from api.following import Follower
from api.settings import Settings
from chain.node import NodeChain
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.policies import load
from ledger.policy import Policy, checked, parse_policy_toml
from ledger.queries.emissions import epochs
from ledger.queries.payouts import all_payouts
from ledger.queries.submissions import submissions
from ledger.queries.treasury import payments
from ledger.queries.weights import registry
from tests.cassette import needs_cassette, replay_server, truth

pytestmark = [needs_cassette, pytest.mark.cassette]

OPENS_AT = 3
"""The first block whose registry the recording holds after the subnet was registered."""


def season_policy(treasury: str) -> Policy:
    """Phase 1 with the recording's treasury."""
    policy = parse_policy_toml(load("phase1"))
    fee = msgspec.structs.replace(policy.fee, treasury_ss58=treasury)
    return checked(msgspec.structs.replace(policy, fee=fee))


@pytest.fixture(scope="module")
def season(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A ledger that has read the whole recording."""
    said = truth()
    path: Path = tmp_path_factory.mktemp("season") / "ledger.db"
    services = open_services(Settings(database_url=f"sqlite:///{path}"))
    open_arena(
        services.engine,
        ArenaKey(said["genesis_hash"], said["netuid"]),
        network="season",
        at_block=OPENS_AT,
        policy=season_policy(said["treasury"]),
        actor="test",
    )
    with replay_server() as url:
        chain = NodeChain(url)
        try:
            follower = Follower(services, chain, "season", said["netuid"])
            caught = follower.catch_up()
            assert (caught.head_block, caught.deferred) == (said["head"], 0)
            assert follower.catch_up().blocks == 0
        finally:
            chain.close()
    yield services
    services.close()


def lines_of(season: Services) -> list[dict[str, Any]]:
    with season.at("season", truth()["netuid"]) as scope:
        return submissions(scope)


def test_every_recorded_verdict_is_reproduced(season: Services) -> None:
    found = {
        (line["hotkey"], line["block"], line["form"], line["place"]): line
        for line in lines_of(season)
    }
    assert len(found) == len(truth()["commits"])
    accepted_by_group: Counter[str] = Counter()
    for commit in truth()["commits"]:
        timelocked = commit["encoding"] == "TimelockEncrypted"
        candidates = [
            line
            for (hotkey, block, form, place), line in found.items()
            if hotkey == commit["hotkey"]
            and block == (commit["reveal_block"] if timelocked else commit["block"])
            and form == ("timelocked" if timelocked else "plain")
            and (timelocked or place == commit["extrinsic_index"])
        ]
        assert len(candidates) == 1, commit["id"]
        line = candidates[0]
        if line["accepted"] and commit["group"]:
            accepted_by_group[commit["group"]] += 1
        if commit["policy"]:
            continue  # either choice stands, within the group's limit
        assert line["accepted"] is (commit["verdict"] == "accepted"), commit["id"]
        if not line["accepted"]:
            assert line["codes"][0] in commit["reasons"], commit["id"]
    assert all(count <= 1 for count in accepted_by_group.values())


def test_every_deposit_is_booked_and_the_unclaimed_ones_stay_visible(season: Services) -> None:
    with season.at("season", truth()["netuid"]) as scope:
        seen = payments(scope)
        unclaimed = payments(scope, unclaimed_only=True)
    balance = dict(truth()["treasury_balance"]["by_block"])
    assert sum(line["amount_rao"] for line in seen) == balance[77] - balance[OPENS_AT]
    accepted = sum(line["accepted"] is True for line in lines_of(season))
    assert len(seen) - len(unclaimed) == accepted


def test_who_holds_each_uid_at_a_block_is_as_recorded(season: Services) -> None:
    for block in (10, 47, 49, 77):
        with season.at("season", truth()["netuid"], block) as scope:
            held = {uid: hotkey for uid, (hotkey, _) in registry(scope).items()}
        expected = {
            neuron["uid"]: neuron["hotkey"]
            for neuron in truth()["neurons"]
            if neuron["from_block"] <= block <= neuron["to_block"]
        }
        assert held == expected, block


def test_a_coldkey_swap_moves_the_owner_from_its_block_on(season: Services) -> None:
    swapped = next(o for o in truth()["operations"] if o["what"] == "swap_coldkey")
    for block, coldkey in ((47, swapped["old"]), (48, swapped["new"])):
        with season.at("season", truth()["netuid"], block) as scope:
            assert coldkey in {owner for _, owner in registry(scope).values()}


def test_epochs_pay_what_the_chain_says(season: Services) -> None:
    with season.at("season", truth()["netuid"]) as scope:
        blocks = [line.epoch_block for line in epochs(scope)]
        paid = all_payouts(scope)
    recorded = {epoch["block"]: epoch for epoch in truth()["epochs"]}
    assert blocks == sorted(recorded)
    for block, epoch in recorded.items():
        total = sum(
            line.paid_alpha + line.withheld_alpha + line.dividends_alpha
            for line in paid
            if line.epoch_block == block
        )
        assert total == sum(epoch["emission"]), block
