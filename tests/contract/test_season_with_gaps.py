"""The recorded season with blocks missing: after healing it says what the undisturbed run says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.app import Services, open_services
from api.following import Caught, Follower
from api.opening import open_from_node
from api.settings import Settings
from chain.node import NodeChain
from chain.nodes import Nodes
from chain.port import ChainReader
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.observations import AlertRaised, BalanceObserved
from ledger.queries.emissions import epochs
from ledger.queries.payouts import all_payouts
from ledger.queries.scope import Scope
from ledger.queries.standing import gaps, missing_blocks, safe_block
from ledger.queries.submissions import submissions
from ledger.queries.treasury import payments
from ledger.queries.weights import registry, vector_in_force
from tests.cassette import needs_cassette, replay_server, truth
from tests.contract.test_season_in_the_ledger import season_policy
from tests.pruning import pruning
from tests.scripted_node import Script, scripted_node

pytestmark = [needs_cassette, pytest.mark.cassette]

NETUID = 2
OPENS_AT = 3


@pytest.fixture(scope="module")
def node() -> Iterator[NodeChain]:
    with replay_server() as url:
        chain = NodeChain(url)
        yield chain
        chain.close()


@dataclass(frozen=True)
class Run:
    """A ledger of its own that reads the season."""

    services: Services

    def read(self, chain: ChainReader, **options: Any) -> Caught:
        """One run of the program over a chain."""
        until = options.pop("until_block", None)
        follower = Follower(self.services, chain, "season", NETUID, **options)
        return follower.catch_up(until)

    def says(self) -> dict[str, Any]:
        """What must not depend on how the blocks were come by."""
        with self.services.at("season", NETUID) as scope:
            return said(scope)


def said(scope: Scope) -> dict[str, Any]:
    late = {"changed_at_block"}  # when a verdict was recorded
    return {
        "submissions": [
            {name: value for name, value in line.items() if name not in late}
            for line in submissions(scope)
        ],
        "payments": payments(scope),
        "payouts": sorted(all_payouts(scope), key=lambda line: (line.epoch_block, line.hotkey)),
        "epochs": sorted(epochs(scope), key=lambda line: line.epoch_block),
        "registry": registry(scope),
        "vector": vector_in_force(scope),
    }


def begun(folder: Path, opens_at: int = OPENS_AT) -> Run:
    services = open_services(Settings(database_url=f"sqlite:///{folder / 'ledger.db'}"))
    open_arena(
        services.engine,
        ArenaKey(truth()["genesis_hash"], NETUID),
        network="season",
        at_block=opens_at,
        policy=season_policy(truth()["treasury"]),
        actor="test",
    )
    return Run(services)


@pytest.fixture(scope="module")
def undisturbed(node: NodeChain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = begun(tmp_path_factory.mktemp("undisturbed"))
    run.read(node)
    return run.says()


RANGES = {
    "one block": [(29, 29)],
    "some": [(23, 29)],
    "the beginning": [(4, 9)],
    "the opening, too": [(3, 9)],
    "several": [(4, 19), (22, 29), (40, 46), (48, 49), (51, 59)],
}


@pytest.mark.parametrize("name", RANGES)
def test_a_season_with_gaps_that_are_healed_ends_as_the_undisturbed_one(
    name: str, node: NodeChain, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    missing = RANGES[name]
    _, chain = pruning(node, lambda n: any(first <= n <= last for first, last in missing))
    run = begun(tmp_path)
    first = run.read(chain)
    assert first.head_block == truth()["head"]
    with run.services.at("season", NETUID) as scope:
        assert missing_blocks(gaps(scope)) == [
            (max(start, OPENS_AT + 1), end) for start, end in missing
        ]
        assert safe_block(scope) == max(missing[0][0], OPENS_AT + 1) - 1
    second = run.read(node)
    assert (second.missing, second.unfilled) == (0, "")
    says = run.says()
    for what, value in undisturbed.items():
        assert says[what] == value, what


def test_a_gap_found_by_the_nodes_own_window_is_one_gap(node: NodeChain, tmp_path: Path) -> None:
    """As a node that keeps the newest states answers one that was away for long."""
    made, chain = pruning(node, lambda number: number < 60)
    run = begun(tmp_path)
    run.read(node, until_block=12)
    made.asked.clear()
    caught = run.read(chain)
    assert (caught.head_block, caught.missing) == (truth()["head"], 47)
    assert made.asked.index(62) <= 20  # all that was asked until the cursor was past the gap
    with run.services.at("season", NETUID) as scope:
        (line,) = gaps(scope)
    assert (line.from_block, line.to_block, line.seen_at_block) == (13, 59, 60)


def test_blocks_that_the_operator_left_out_are_filled_by_a_later_run(
    node: NodeChain, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run = begun(tmp_path)
    first = run.read(node, from_block=47, until_block=60)
    assert (first.missing, first.filled, first.head_block) == (43, 0, 60)
    assert run.read(node).missing == 0
    assert run.says() == undisturbed
    follower = Follower(run.services, node, "season", NETUID, from_block=10)
    first, second = follower.catch_up(), follower.catch_up()
    assert (first.reread + second.reread, second.to_reread) == (68, 0)
    assert (first.differences, second.differences) == ((), ())


@pytest.mark.parametrize("opens_at", [3, 30, 34, 60])
def test_an_arena_opened_in_mid_history_says_of_its_blocks_what_a_whole_one_says(
    opens_at: int, node: NodeChain, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'ledger.db'}"))
    opened = open_from_node(
        services,
        node,
        "season",
        NETUID,
        policy=season_policy(truth()["treasury"]),
        at_block=opens_at,
        actor="test",
    )
    assert opened.at_block == opens_at
    ledger = services.ledger("season", NETUID)
    balance = ledger.newest(BalanceObserved, where=lambda fact: fact.asset == "TAO")
    assert balance is not None
    by_block = dict(truth()["treasury_balance"]["by_block"])
    assert (balance.about_block, balance.amount) == (opens_at, by_block[opens_at])
    run = Run(services)
    assert run.read(node).head_block == truth()["head"]
    says = run.says()
    later = [line for line in undisturbed["submissions"] if line["block"] > opens_at]
    for mine, theirs in zip(says["submissions"], later, strict=True):
        # Nobody from before the opening stands before them in the queue.
        assert {**mine, "queue_place": None} == {**theirs, "queue_place": None}
    for what in ("registry", "epochs", "payouts"):
        mine = says[what]
        if what != "registry":
            assert mine == [line for line in undisturbed[what] if line.epoch_block > opens_at]
        else:
            assert mine == undisturbed[what]
    earlier = [line for line in says["payments"] if line["block"] <= opens_at]
    # A payment from before the opening is known as soon as a commit takes it.
    claimed = [
        line
        for line in undisturbed["payments"]
        if line["block"] <= opens_at
        and line["submission_id"] in {one["submission_id"] for one in later}
    ]
    assert [line["payment_id"] for line in earlier if line["status"] == "consumed"] == [
        line["payment_id"] for line in claimed
    ]
    assert [line for line in says["payments"] if line["block"] > opens_at] == [
        line for line in undisturbed["payments"] if line["block"] > opens_at
    ]
    services.close()


def test_some_commit_of_the_season_takes_a_payment_from_before_an_opening(
    undisturbed: dict[str, Any],
) -> None:
    """Else the test above would compare two empty lists."""
    block_of = {line["payment_id"]: line["block"] for line in undisturbed["payments"]}
    pairs = [
        (block_of[line["payment_id"]], line["block"])
        for line in undisturbed["submissions"]
        if line["payment_id"]
    ]
    assert any(paid <= 34 < known for paid, known in pairs)


def test_a_node_that_keeps_few_states_leaves_a_gap_that_an_archive_fills(
    undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run = begun(tmp_path)
    with scripted_node(Script(keeps_states=18)) as pruned, scripted_node(Script()) as archive:
        nodes = Nodes([pruned.url])
        first = run.read(nodes, workers=4)
        nodes.close()
        assert (first.head_block, first.missing) == (truth()["head"], 59 - OPENS_AT)
        with run.services.at("season", NETUID) as scope:
            assert safe_block(scope) == OPENS_AT
        nodes = Nodes([pruned.url], archive=archive.url)
        second = run.read(nodes, workers=4)
        nodes.close()
    assert (second.filled, second.missing, second.unfilled) == (59 - OPENS_AT, 0, "")
    assert run.says() == undisturbed


def test_with_an_archive_there_is_no_gap_to_begin_with(
    undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    run = begun(tmp_path)
    with scripted_node(Script(keeps_states=18)) as pruned, scripted_node(Script()) as archive:
        nodes = Nodes([pruned.url], archive=archive.url)
        assert run.read(nodes, workers=4).missing == 0
        nodes.close()
    with run.services.at("season", NETUID) as scope:
        assert gaps(scope) == []
    assert run.says() == undisturbed


def test_a_runtime_upgrade_is_told_at_its_block(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with scripted_node(Script(upgrades={50: 294})) as node:
        nodes = Nodes([node.url])
        run.read(nodes)
        nodes.close()
    told = run.services.ledger("season", NETUID).newest(
        AlertRaised, where=lambda fact: fact.kind == "runtime_upgraded"
    )
    assert told is not None
    assert told.block == 51  # the state of block 50 holds the code that makes the next one
    assert "version 294 from block 51 on, and was of version 293" in told.detail
