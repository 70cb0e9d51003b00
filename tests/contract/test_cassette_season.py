"""A recorded season of a real runtime, read over a real socket, gives what its truth file says.

Every block is decoded once for the whole module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from chain.node import NodeChain
from chain.payments import (
    gather_payment,
    treasury_deposits,
    treasury_network_fees,
    treasury_withdrawals,
)
from chain.port import Block, ChainReader, ChainUnavailableError, Commit, UnknownBlockError
from ledger.policy import FeePolicy
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import (
    CommitFacts,
    PaymentAccepted,
    PaymentEvidence,
    PaymentRefused,
    PaymentVerdict,
    judge_payment,
)
from tests.cassette import needs_cassette, replay_server, truth

pytestmark = [pytest.mark.cassette, needs_cassette]

NETUID = 2


@dataclass(frozen=True)
class Season:
    """The decoded recording beside what is known to have happened in it."""

    url: str
    chain: NodeChain
    blocks: list[Block]
    truth: dict[str, Any]

    @property
    def treasury(self) -> str:
        return str(self.truth["treasury"])

    @property
    def fee(self) -> FeePolicy:
        return FeePolicy(treasury_ss58=self.treasury, fee_rao=self.truth["fee_rao"])

    def commits(self) -> list[Commit]:
        return [c for block in self.blocks for c in self.chain.commits(block, NETUID)]


@pytest.fixture(scope="module")
def season() -> Iterator[Season]:
    with replay_server() as url:
        chain = NodeChain(url, timeout_s=30)
        head = chain.finalized_head()
        blocks = [chain.block(number) for number in range(head.number + 1)]
        yield Season(url, chain, blocks, truth())
        chain.close()


def known_commit(season: Season, commit: Commit) -> dict[str, Any]:
    """The truth file's entry of a commit: by extrinsic, or by hotkey and reveal block."""
    found = [
        entry
        for entry in season.truth["commits"]
        if (
            entry["extrinsic_hash"] == commit.extrinsic_hash
            if commit.form == "plain"
            else (entry["hotkey"], entry.get("reveal_block"))
            == (commit.hotkey, commit.block.number)
        )
    ]
    assert len(found) == 1
    entry: dict[str, Any] = found[0]
    return entry


def judged(season: Season) -> list[tuple[dict[str, Any], PaymentVerdict]]:
    """Every commit judged in order, each accepted one taking its payment."""
    consumed: dict[tuple[str, int], str] = {}
    verdicts = []
    for commit in sorted(season.commits(), key=lambda item: item.order):
        entry = known_commit(season, commit)
        payload = parse_payload(commit.payload)
        evidence = PaymentEvidence()
        key = None
        if commit.succeeded and isinstance(payload, CommitPayload):
            evidence = gather_payment(
                season.chain,
                hotkey=commit.hotkey,
                payload=payload,
                commit_block_number=commit.block.number,
            )
            if evidence.extrinsic is not None:
                key = (payload.payment_block, evidence.extrinsic.index)
                evidence = evidence.consumed(consumed.get(key))
        facts = CommitFacts(
            entry["id"], commit.hotkey, commit.block.number, payload, commit.succeeded
        )
        verdict = judge_payment(facts, evidence, season.fee)
        if isinstance(verdict, PaymentAccepted):
            assert key is not None
            consumed[key] = entry["id"]
        verdicts.append((entry, verdict))
    return verdicts


def test_every_block_is_the_one_that_was_recorded(season: Season) -> None:
    assert [block.number for block in season.blocks] == list(range(78))
    for block, known in zip(season.blocks, season.truth["blocks"], strict=True):
        assert block.hash == known["hash"]
        if known["n_events"] is not None:  # the truth file says nothing of blocks 0 and 1
            assert [x.hash for x in block.extrinsics] == known["extrinsic_hashes"]
            assert len(block.events) == known["n_events"]
        for extrinsic in known["extrinsics"]:
            mine = block.extrinsics[extrinsic["extrinsic_index"]]
            assert mine.hash == extrinsic["extrinsic_hash"]
            assert mine.success == extrinsic["success"]
            assert mine.signer == extrinsic["signer_ss58"]
            assert mine.call.name == extrinsic["call"]
    for parent, child in pairwise(season.blocks):
        assert child.parent_hash == parent.hash
    assert season.chain.genesis_hash() == season.truth["genesis_hash"]
    assert {block.spec_version for block in season.blocks} == {season.truth["spec_version"]}
    times = [block.timestamp_ms for block in season.blocks[1:]]
    assert all(
        later is not None and earlier is not None and later - earlier == 1_000
        for earlier, later in pairwise(times)
    )


def test_every_commit_is_found_with_the_payload_its_miner_wrote(season: Season) -> None:
    commits = season.commits()
    entries = [known_commit(season, commit) for commit in commits]
    assert sorted(entry["id"] for entry in entries) == sorted(
        entry["id"] for entry in season.truth["commits"]
    )
    for commit, entry in zip(commits, entries, strict=True):
        assert commit.payload == entry["payload_text"].encode()
        assert commit.hotkey == entry["hotkey"]
        assert commit.succeeded == entry["extrinsic_success"]
        if commit.form == "plain":
            assert (commit.block.number, commit.index) == (
                entry["block"],
                entry["extrinsic_index"],
            )
            assert commit.block.hash == entry["block_hash"]


def test_reveals_come_in_the_order_of_their_events(season: Season) -> None:
    reveals = [commit for commit in season.commits() if commit.form == "timelocked"]
    assert [(c.block.number, c.index, c.hotkey) for c in reveals] == [
        (known["block"], known["event_index"], known["attributes"]["who"])
        for known in season.truth["reveals"]
    ]


def test_every_verdict_of_the_season_is_reproduced(season: Season) -> None:
    verdicts = judged(season)
    assert len(verdicts) == 25
    for entry, verdict in verdicts:
        accepted = isinstance(verdict, PaymentAccepted)
        assert accepted == (entry["verdict"] == "accepted"), entry["id"]
        if isinstance(verdict, PaymentRefused):
            assert verdict.codes[0] in entry["reasons"], entry["id"]
            assert set(verdict.codes) <= set(entry["reasons"]), entry["id"]
        else:
            assert (verdict.paid_rao, verdict.overpaid_rao) == (season.truth["fee_rao"], 0)


def test_of_a_contested_payment_at_most_one_commit_is_accepted(season: Season) -> None:
    groups: dict[str, int] = {}
    for entry, verdict in judged(season):
        if entry["group"]:
            groups[entry["group"]] = groups.get(entry["group"], 0) + isinstance(
                verdict, PaymentAccepted
            )
    assert groups
    assert all(count <= 1 for count in groups.values())


def test_all_broken_rules_are_named_but_use_of_a_payment_that_was_never_taken(
    season: Season,
) -> None:
    """The truth file refuses the second of two remarks also as already used; here the first was
    refused, so that nobody has taken that payment."""
    for entry, verdict in judged(season):
        if isinstance(verdict, PaymentRefused):
            missing = set(entry["reasons"]) - set(verdict.codes)
            assert missing <= ({"payment_already_used"} if entry["id"] == "k17" else set())


def test_deposits_less_outflows_are_the_treasurys_balance_block_by_block(season: Season) -> None:
    by_block = dict(season.truth["treasury_balance"]["by_block"])
    balance_rao = by_block[0]
    for block in season.blocks[1:]:
        balance_rao += sum(d.amount_rao for d in treasury_deposits(block, season.treasury))
        balance_rao -= sum(w.amount_rao for w in treasury_withdrawals(block, season.treasury))
        balance_rao -= sum(f.fee_rao for f in treasury_network_fees(block, season.treasury))
        assert balance_rao == by_block[block.number], block.number
        assert balance_rao == season.chain.balance_rao(season.treasury, block.hash)
    assert balance_rao == season.truth["treasury_balance"]["after"]


def test_payments_nobody_can_claim_stay_visible_as_deposits(season: Season) -> None:
    deposits = {
        deposit.extrinsic_hash: deposit
        for block in season.blocks
        for deposit in treasury_deposits(block, season.treasury)
    }
    for payment in season.truth["payments"]:
        to_treasury = [t for t in payment["transfers"] if t["to"] == season.treasury]
        deposit = deposits.get(payment["extrinsic_hash"])
        if not to_treasury:
            assert deposit is None
            continue
        assert deposit is not None
        assert deposit.amount_rao == sum(t["amount"] for t in to_treasury)
        assert deposit.event_indices == tuple(t["event_index"] for t in to_treasury)
        assert deposit.extrinsic_index == payment["extrinsic_index"]
        assert deposit.sender == payment["signer_ss58"]
        assert list(deposit.remarks) == payment["remarks"]
        assert deposit.outer_call == payment["call"]


def test_owners_are_those_of_the_block_asked_about(season: Season) -> None:
    for hotkey, history in season.truth["hotkey_owners"].items():
        for since, until in pairwise([*history, None]):
            assert since is not None
            last = len(season.blocks) - 1 if until is None else until["from_block"] - 1
            # The zero account is what the map answers before the hotkey was registered.
            expected = None if since["coldkey"].startswith("5C4hrfjw9DjX") else since["coldkey"]
            for number in (since["from_block"], last):
                assert season.chain.owner(hotkey, season.blocks[number].hash) == expected


RECORDED_NEURONS = (10, 20, 30, 47, 48, 50, 60, 77)
"""Blocks of which the recording holds the whole Keys map (README, Format)."""


def test_a_recycled_uid_belongs_to_whoever_held_it_at_the_block(season: Season) -> None:
    for number in RECORDED_NEURONS:
        neurons = season.chain.neurons(NETUID, season.blocks[number].hash)
        known = [n for n in season.truth["neurons"] if n["from_block"] <= number <= n["to_block"]]
        assert [(n.uid, n.hotkey, n.coldkey) for n in neurons] == sorted(
            (n["uid"], n["hotkey"], n["coldkey"]) for n in known
        )
    holders = {
        number: {n.uid: n.hotkey for n in season.chain.neurons(NETUID, season.blocks[number].hash)}
        for number in (48, 50)
    }
    assert holders[48][4] != holders[50][4]
    assert holders[48][4] == season.truth["deregistered"][0]["hotkey"]


def test_epochs_are_observed_and_paid_out_as_recorded(season: Season) -> None:
    observed = {
        block.number: epoch
        for block in season.blocks
        if (epoch := season.chain.epoch(block, NETUID)) is not None
    }
    known = {epoch["block"]: epoch for epoch in season.truth["epochs"]}
    assert sorted(observed) == sorted(known)
    for number, epoch in observed.items():
        assert epoch.block.hash == known[number]["block_hash"]
        paid = [row.incentive_alpha + row.dividends_alpha for row in epoch.rows]
        assert paid == known[number]["emission"]
        for row in epoch.rows:
            if known[number]["incentive"][row.uid] == 0:
                assert row.incentive_alpha == 0
            if known[number]["dividends"][row.uid] == 0 and any(known[number]["dividends"]):
                assert row.dividends_alpha == 0


def test_an_epoch_is_paid_to_the_owner_before_the_blocks_own_extrinsics(season: Season) -> None:
    """A coldkey was swapped in block 48, after the epoch that ran at its start."""
    swap = next(op for op in season.truth["operations"] if op["what"] == "swap_coldkey")
    epoch = season.chain.epoch(season.blocks[swap["block"]], NETUID)
    assert epoch is not None
    assert swap["old"] in {row.coldkey for row in epoch.rows}
    assert swap["new"] not in {row.coldkey for row in epoch.rows}


def test_weights_are_on_chain_as_they_were_set(season: Season) -> None:
    sets = [op for op in season.truth["operations"] if op["what"] == "set_weights"]
    assert len(sets) == 2
    for operation in sets:
        (row,) = season.chain.validator_weights(NETUID, season.blocks[operation["block"]].hash)
        assert row.hotkey == operation["validator"]
        assert dict(row.weights) == {int(uid): w for uid, w in operation["weights"].items()}
    assert season.chain.validator_weights(NETUID, season.blocks[10].hash) == []


def test_the_subnets_owner_is_who_registered_it(season: Season) -> None:
    register = next(op for op in season.truth["operations"] if op["what"] == "register_network")
    hotkey = season.truth["accounts"]["hotkeys"]["oh"]
    head = season.blocks[-1].hash
    assert season.chain.subnet_owner(NETUID, head) == (hotkey, register["signer_ss58"])
    assert season.chain.subnet_owner(NETUID, season.blocks[2].hash) is None


def test_bittensor_sees_the_same_neurons_and_last_commitments(season: Season) -> None:
    """The two libraries share no code for this; where both can answer they must agree."""
    import bittensor

    async def read() -> tuple[Any, Any]:
        async with bittensor.Subtensor(season.url) as subtensor:
            snapshot = await subtensor.at(season.blocks[-1].number)
            return (
                await snapshot.read("neurons", netuid=NETUID),
                await snapshot.read("commitments", netuid=NETUID),
            )

    neurons, commitments = asyncio.run(asyncio.wait_for(read(), 60))
    assert [(n.uid, n.hotkey, n.coldkey) for n in neurons] == [
        (n.uid, n.hotkey, n.coldkey) for n in season.chain.neurons(NETUID, season.blocks[-1].hash)
    ]
    last: dict[str, bytes] = {}
    for commit in season.commits():
        if commit.form == "plain" and commit.succeeded:
            last[commit.hotkey] = commit.payload
    plain = [item for item in commitments if item["status"] == "plain"]
    assert plain
    for item in plain:
        text = item["commitment"].removeprefix("bigraw:")
        assert last[item["hotkey"]] == text.encode()


def test_what_was_not_recorded_defers_and_never_reads_as_zero(season: Season) -> None:
    head = season.blocks[-1].hash
    with pytest.raises(ChainUnavailableError, match=season.url):
        season.chain.stake_alpha(season.treasury, NETUID, head)
    with pytest.raises(ChainUnavailableError, match="not in the cassette"):
        season.chain.neurons(NETUID, season.blocks[49].hash)
    with pytest.raises(ChainUnavailableError, match="chain_getHeader"):
        season.chain.block_ref("0x" + "1" * 64)


def test_a_block_beyond_the_finalized_head_is_unknown(season: Season) -> None:
    with pytest.raises(UnknownBlockError, match="not finalized"):
        season.chain.block(len(season.blocks))


def test_the_node_reader_offers_the_whole_reading_half_of_the_port(season: Season) -> None:
    reader: ChainReader = season.chain
    assert reader.block_ref(season.blocks[8].hash) == season.blocks[8].ref
    assert reader.block_ref(season.blocks[8].hash.upper().replace("X", "x")) == season.blocks[8].ref
