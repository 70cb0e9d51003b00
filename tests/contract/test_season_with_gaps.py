"""The recorded season with blocks missing: after healing it says what the undisturbed run says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.app import Services, open_services
from api.following import Caught, Follower
from api.settings import Settings
from chain.node import NodeChain
from chain.port import ChainReader
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
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
