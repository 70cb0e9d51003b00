"""The recorded season of a real runtime, read into the log: the same verdicts and money."""

from __future__ import annotations

import json
import subprocess
import sys
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
from chain.node_decode import NO_ACCOUNT
from ledger.books import accounts
from ledger.commands.arena import open_arena
from ledger.decisions.payment import PaymentSeen
from ledger.decisions.submission import CommitSeen
from ledger.facts import Fact
from ledger.keys import ArenaKey
from ledger.observations import (
    BalanceObserved,
    EpochObserved,
    NetworkFeeSeen,
    NeuronObserved,
    SealedCommitSeen,
    TreasuryTransferSeen,
)
from ledger.policies import load
from ledger.policy import Policy, checked, parse_policy_toml
from ledger.queries.emissions import epochs
from ledger.queries.payouts import all_payouts
from ledger.queries.submissions import every_commit, submissions
from ledger.queries.treasury import account_balances, payments
from ledger.queries.weights import registry
from ledger.store.logs import read_log
from tests.cassette import needs_cassette, replay_server, truth

pytestmark = [needs_cassette, pytest.mark.cassette]

OPENS_AT = 3
"""The first block whose registry the recording holds after the subnet was registered."""

BURN_UID = 0
"""Of the policy below."""


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


def facts_of(season: Services) -> list[Fact]:
    with season.engine.connect() as connection:
        log = season.ledger("season", truth()["netuid"]).head().log_id
        return [one.fact for one in read_log(connection, log, after=0, limit=100_000)]


def lines_of(season: Services) -> list[dict[str, Any]]:
    with season.at("season", truth()["netuid"]) as scope:
        return submissions(scope)


def known_lines() -> list[tuple[tuple[str, int, int], dict[str, Any]]]:
    """The truth's commits by (form, block, place), in the order in which they became known."""
    found = []
    for entry in truth()["commits"]:
        if entry["encoding"] == "TimelockEncrypted":
            place = [
                one["event_index"]
                for one in truth()["reveals"]
                if (one["block"], one["attributes"]["who"])
                == (entry["reveal_block"], entry["hotkey"])
            ]
            found.append((("timelocked", entry["reveal_block"], place[0]), entry))
        else:
            found.append((("plain", entry["block"], entry["extrinsic_index"]), entry))
    return sorted(found, key=lambda pair: (pair[0][1], pair[0][0] == "plain", pair[0][2]))


def expected_codes(entry: dict[str, Any]) -> list[str]:
    """The truth's reasons. Of two remarks in one payment it refuses the second commit also as one
    whose payment is used, for the reader that accepts the first; here the first is refused, and
    nobody has used that payment."""
    codes: list[str] = entry["reasons"]
    return ["ambiguous_remarks"] if entry["id"] == "k17" else codes


def test_every_recorded_verdict_is_reproduced_with_all_of_its_reasons(season: Services) -> None:
    found = [
        (
            (line["form"], line["block"], line["place"]),
            (line["hotkey"], line["uid"], line["coldkey"], line["accepted"], line["codes"]),
        )
        for line in lines_of(season)
    ]
    assert found == [
        (
            place,
            (
                entry["hotkey"],
                entry["uid_at_commit"],
                None if entry["owner_at_commit"] == NO_ACCOUNT else entry["owner_at_commit"],
                entry["verdict"] == "accepted",
                expected_codes(entry),
            ),
        )
        for place, entry in known_lines()
    ]
    accepted = Counter(
        entry["group"]
        for (_, entry), (_, line) in zip(known_lines(), found, strict=True)
        if entry["group"] and line[3]
    )
    assert all(count <= 1 for count in accepted.values())


def test_what_a_commit_says_is_what_its_miner_wrote(season: Services) -> None:
    for line, (_, entry) in zip(lines_of(season), known_lines(), strict=True):
        said = (line["image"], line["digest"], line["payment_tx"], line["payment_block"])
        if entry["reasons"] == ["malformed_payload"]:
            assert said == (None, None, None, None)
        else:
            assert said == tuple(json.loads(entry["payload_text"]).values()), entry["id"]


def test_timelocked_commits_are_sealed_until_their_reveal(season: Services) -> None:
    timelocked = [entry for entry in truth()["commits"] if entry["encoding"] == "TimelockEncrypted"]
    seen = [fact for fact in facts_of(season) if isinstance(fact, SealedCommitSeen)]
    assert [
        (fact.block, fact.extrinsic_index, fact.hotkey, fact.uid, fact.coldkey, fact.reveal_round)
        for fact in seen
    ] == [
        (
            entry["block"],
            entry["extrinsic_index"],
            entry["hotkey"],
            entry["uid_at_commit"],
            entry["owner_at_commit"],
            entry["reveal_round"],
        )
        for entry in timelocked
    ]
    assert all(fact.succeeded for fact in seen)
    for block in range(OPENS_AT, truth()["head"] + 1):
        with season.at("season", truth()["netuid"], block) as scope:
            sealed = [line["hotkey"] for line in every_commit(scope) if line["state"] == "sealed"]
        assert sealed == [
            entry["hotkey"]
            for entry in timelocked
            if entry["block"] <= block < entry["reveal_block"]
        ], block
    reveals = [
        (fact.block, fact.index, fact.hotkey)
        for fact in facts_of(season)
        if isinstance(fact, CommitSeen) and fact.form == "timelocked"
    ]
    assert reveals == [
        (one["block"], one["event_index"], one["attributes"]["who"]) for one in truth()["reveals"]
    ]


def test_every_payment_attempt_is_booked_claimed_or_visible_as_unclaimed(
    season: Services,
) -> None:
    treasury = truth()["treasury"]
    claimed = {
        entry["payment_label"] for entry in truth()["commits"] if entry["verdict"] == "accepted"
    }
    expected = []
    for payment in truth()["payments"]:
        came = [one["amount"] for one in payment["transfers"] if one["to"] == treasury]
        if came:
            status = "consumed" if payment["label"] in claimed else "unclaimed"
            names = ("block", "block_hash", "extrinsic_index", "extrinsic_hash")
            place = [payment[name] for name in names]
            told = [payment["signer_ss58"], payment["call"], payment["remarks"]]
            expected.append((*place, *told, sum(came), status))
    with season.at("season", truth()["netuid"]) as scope:
        seen = payments(scope)
        unclaimed = payments(scope, unclaimed_only=True)
    names = ("block", "block_hash", "extrinsic_index", "extrinsic_hash", "sender", "outer_call")
    further = ("remarks", "amount_rao", "status")
    assert [tuple(line[name] for name in (*names, *further)) for line in seen] == expected
    assert unclaimed == [line for line in seen if line["status"] == "unclaimed"]
    assert {line["overpaid_rao"] for line in seen if line["status"] == "consumed"} == {0}


def test_the_treasury_s_balance_is_what_the_log_adds_up_to_at_every_block(
    season: Services,
) -> None:
    by_block = dict(truth()["treasury_balance"]["by_block"])
    facts = facts_of(season)
    (opening,) = [
        fact.amount
        for fact in facts
        if isinstance(fact, BalanceObserved) and (fact.asset, fact.about_block) == ("TAO", OPENS_AT)
    ]
    moved: Counter[int] = Counter()
    for fact in facts:
        match fact:
            case PaymentSeen():
                moved[fact.block] += fact.amount_rao
            case TreasuryTransferSeen():
                moved[fact.block] -= fact.amount_rao
            case NetworkFeeSeen():
                moved[fact.block] -= fact.fee_rao
            case _:
                pass  # moves nothing of the treasury's TAO
    balance = opening
    for block in range(OPENS_AT, truth()["head"] + 1):
        balance += moved[block]
        assert balance == by_block[block], block
        with season.at("season", truth()["netuid"], block) as scope:
            books = {line["account"]: line["amount"] for line in account_balances(scope)}
        assert opening + books.get(accounts.TREASURY, 0) == by_block[block], block


def test_who_holds_and_owns_each_uid_is_as_recorded_at_every_block(season: Services) -> None:
    for block in range(OPENS_AT, truth()["head"] + 1):
        with season.at("season", truth()["netuid"], block) as scope:
            held = registry(scope)
        assert held == {
            neuron["uid"]: (neuron["hotkey"], neuron["coldkey"])
            for neuron in truth()["neurons"]
            if neuron["from_block"] <= block <= neuron["to_block"]
        }, block
        for hotkey, coldkey in held.values():
            owners = [
                owner["coldkey"]
                for owner in truth()["hotkey_owners"][hotkey]
                if owner["from_block"] <= block
            ]
            assert owners[-1] == coldkey, (block, hotkey)


def test_a_deregistered_hotkey_leaves_where_another_takes_its_uid(season: Services) -> None:
    replaced = [
        (fact.uid, fact.replaced_hotkey, fact.block - 1)
        for fact in facts_of(season)
        if isinstance(fact, NeuronObserved) and fact.replaced_hotkey is not None
    ]
    assert replaced == [
        (one["uid"], one["hotkey"], one["last_block"]) for one in truth()["deregistered"]
    ]


def test_a_coldkey_swap_moves_the_owner_from_its_block_on(season: Services) -> None:
    swapped = next(o for o in truth()["operations"] if o["what"] == "swap_coldkey")
    for block, coldkey in ((47, swapped["old"]), (48, swapped["new"])):
        with season.at("season", truth()["netuid"], block) as scope:
            assert coldkey in {owner for _, owner in registry(scope).values()}


def test_every_epoch_s_emission_is_split_by_hotkey_as_recorded(season: Services) -> None:
    """``Incentive`` and ``Dividends`` are shares in u16, of a total that only the split shows."""
    seen = {fact.block: fact for fact in facts_of(season) if isinstance(fact, EpochObserved)}
    assert sorted(seen) == [epoch["block"] for epoch in truth()["epochs"]]
    for epoch in truth()["epochs"]:
        fact = seen[epoch["block"]]
        assert fact.block_hash == epoch["block_hash"]
        assert list(fact.uids) == list(range(len(epoch["emission"])))
        holders = {
            neuron["uid"]: (neuron["hotkey"], neuron["coldkey"])
            for neuron in truth()["neurons"]
            if neuron["from_block"] <= epoch["block"] - 1 <= neuron["to_block"]
        }
        held = zip(fact.hotkeys, fact.coldkeys, strict=True)
        assert dict(zip(fact.uids, held, strict=True)) == holders
        parts = zip(fact.incentive_alpha, fact.dividends_alpha, strict=True)
        assert [one + other for one, other in parts] == epoch["emission"]
        for paid, shares in (
            (fact.incentive_alpha, epoch["incentive"]),
            (fact.dividends_alpha, epoch["dividends"]),
        ):
            total, whole = sum(paid), sum(shares)
            for amount, share in zip(paid, shares, strict=True):
                # Each share was rounded to one part in 65,535 of the largest.
                assert abs(amount * whole - total * share) <= 2 * total or not whole


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


def test_every_hotkey_is_paid_what_each_epoch_gave_its_uid(season: Services) -> None:
    """By the truth's own list of who held which UID. Incentive and dividends stand together in its
    ``emission``; its shares in u16 say which of the two it was, and here it is never both. Before
    anybody set weights neither was, and validators were paid by their stake."""
    with season.at("season", truth()["netuid"]) as scope:
        lines = all_payouts(scope)
        burned = {line.epoch_block: line.burned_alpha for line in epochs(scope)}
    found: dict[tuple[int, str], tuple[int, int]] = {}
    withheld: Counter[int] = Counter()
    for line in lines:
        key, uid = (line.epoch_block, line.hotkey), line.uid
        assert key not in found, "two lines of a hotkey in one epoch"
        withheld[line.epoch_block] += line.withheld_alpha
        if uid is not None:
            found[key] = (line.paid_alpha + line.withheld_alpha, line.dividends_alpha)
        assert not line.withheld_alpha or uid == BURN_UID
    expected: dict[tuple[int, str], tuple[int, int]] = {}
    coldkeys: dict[tuple[int, str], str] = {}
    for epoch in truth()["epochs"]:
        for neuron in truth()["neurons"]:
            # The epoch runs before the extrinsics of its block.
            if not neuron["from_block"] <= epoch["block"] - 1 <= neuron["to_block"]:
                continue
            uid = neuron["uid"]
            amount = epoch["emission"][uid]
            if not amount:
                continue
            as_miner, as_validator = epoch["incentive"][uid] > 0, epoch["dividends"][uid] > 0
            assert not (as_miner and as_validator)
            key = (epoch["block"], neuron["hotkey"])
            expected[key] = (amount, 0) if as_miner else (0, amount)
            coldkeys[key] = neuron["coldkey"]
    assert len(expected) > 20
    assert {key: paid for key, paid in found.items() if any(paid)} == expected
    assert {
        (line.epoch_block, line.hotkey): line.coldkey
        for line in lines
        if (line.epoch_block, line.hotkey) in coldkeys
    } == coldkeys
    assert withheld == Counter(burned)


def test_the_command_line_lists_every_commit_ever_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = truth()
    monkeypatch.setenv("LEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    monkeypatch.setenv("LEDGER_NETWORK", "season")
    monkeypatch.setenv("LEDGER_NETUID", str(said["netuid"]))
    policy = tmp_path / "policy.toml"
    text = load("phase1")
    known = parse_policy_toml(text).fee.treasury_ss58
    policy.write_text(text.replace(known, said["treasury"]), encoding="utf-8")

    def run(*words: object) -> str:
        program = (sys.executable, "-c", "from api.cli.main import main; main()")
        command = [*program, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = ("--genesis", said["genesis_hash"], "--at-block", OPENS_AT)
    with replay_server() as url:
        run("arena", "open", "--policy", policy, *where, "--actor", "test")
        run("ingest", "--node", url, "--until-block", 36)
        sealed = json.loads(run("submissions", "--format", "json"))[-3:]
        run("ingest", "--node", url)
    nothing = dict.fromkeys(("reveal_block", "image", "digest", "payment_tx", "payment_block"))
    assert sealed == [
        {
            "hotkey": entry["hotkey"],
            "uid": entry["uid_at_commit"],
            "coldkey": entry["owner_at_commit"],
            **nothing,
            "state": "sealed",
            "refusal": None,
            "refusals": [],
        }
        for entry in said["commits"]
        if entry["reveal_round"] is not None and entry["block"] <= 36
    ]
    listed = json.loads(run("submissions", "--format", "json"))
    assert listed == [
        {
            "hotkey": entry["hotkey"],
            "uid": entry["uid_at_commit"],
            "coldkey": None if entry["owner_at_commit"] == NO_ACCOUNT else entry["owner_at_commit"],
            "reveal_block": block,
            **(
                dict.fromkeys(("image", "digest", "payment_tx", "payment_block"))
                if entry["reasons"] == ["malformed_payload"]
                else json.loads(entry["payload_text"])
            ),
            "state": "queued" if entry["verdict"] == "accepted" else "refused",
            "refusal": next(iter(expected_codes(entry)), None),
            "refusals": expected_codes(entry),
        }
        for (_, block, _), entry in known_lines()
    ]
