"""The season read from nodes that misbehave is the season: nothing lost, nothing doubled.

Two nodes play the recording with every fault there is, by a seeded script. The log must hold what
an undisturbed reading holds. A commit whose payment nobody could show in time is judged later,
which leaves a note of its own and moves its verdict: those are compared by what was decided.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
from typer.testing import CliRunner

from api.app import Services, open_services
from api.cli.main import app
from api.following import Follower
from api.settings import Settings
from chain.node import NodeChain
from chain.nodes import Nodes
from chain.port import ChainReader, ChainUnavailableError, OtherChainError
from ledger.commands.arena import open_arena
from ledger.decisions.submission import PaymentCheckDeferred
from ledger.facts import Fact, Observation
from ledger.keys import ArenaKey
from ledger.observations import AlertRaised, BalanceObserved, GapObserved
from ledger.queries.submissions import submissions
from ledger.store import logs
from tests.cassette import needs_cassette, replay_server, truth
from tests.contract.test_season_in_the_ledger import OPENS_AT, season_policy
from tests.scripted_node import (
    ALL_FAULTS,
    DRIP,
    HANG,
    LATE,
    STRANGE,
    Script,
    ScriptedNode,
    scripted_node,
)

pytestmark = [needs_cassette, pytest.mark.cassette]

TIMEOUT_S: Final = 0.6
LATE_S: Final = 0.9
KEEPS: Final = 6
"""States that a pruning node keeps before its head."""
SHARE: Final = 0.03
"""Of the answers, spoilt."""
MAX_TRIES: Final = 300
"""Catch-ups begun; each brings at least the blocks read before its fault."""


def opened(folder: Path) -> Services:
    """A ledger with the season's arena in it."""
    said = truth()
    services = open_services(Settings(database_url=f"sqlite:///{folder / 'ledger.db'}"))
    open_arena(
        services.engine,
        ArenaKey(said["genesis_hash"], said["netuid"]),
        network="season",
        at_block=OPENS_AT,
        policy=season_policy(said["treasury"]),
        actor="test",
    )
    return services


def read_whole(services: Services, chain: ChainReader, workers: int) -> None:
    """Follow the chain to the season's end, as often as it takes; each time as a new process."""
    said = truth()
    for _ in range(MAX_TRIES):
        try:
            caught = Follower(services, chain, "season", said["netuid"], workers=workers).catch_up()
        except (ChainUnavailableError, OtherChainError):
            continue  # of another chain only where all the nodes said so at once: begun anew, too
        if caught.head_block == said["head"] and caught.deferred == 0:
            return
    pytest.fail(f"the season's end was not reached in {MAX_TRIES} tries")


def facts_of(services: Services) -> list[Fact]:
    with services.engine.connect() as connection:
        return [logged.fact for logged in logs.facts_of(connection, 1)]


def observed(facts: list[Fact]) -> list[tuple[str, dict[str, Any]]]:
    """What was seen, in order, but for what may be missing: alerts and balances."""
    return [
        (fact.topic, fact.content())
        for fact in facts
        if isinstance(fact, Observation) and not isinstance(fact, AlertRaised | BalanceObserved)
    ]


def balances(facts: list[Fact]) -> set[str]:
    """The balances seen. One that no node could tell in time is unknown for good, and alerted."""
    return {str(fact.content()) for fact in facts if isinstance(fact, BalanceObserved)}


def judged(services: Services) -> list[tuple[Any, ...]]:
    """What was decided on every commit."""
    named = ("hotkey", "block", "form", "place", "accepted")
    with services.at("season", truth()["netuid"]) as scope:
        return [tuple(line[name] for name in named) for line in submissions(scope)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Fact], list[Any]]:
    """All facts of a reading in which nothing went wrong, and all verdicts."""
    services = opened(tmp_path_factory.mktemp("undisturbed"))
    with replay_server() as url:
        chain = NodeChain(url)
        read_whole(services, chain, 1)
        chain.close()
    facts, verdicts = facts_of(services), judged(services)
    services.close()
    return facts, verdicts


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("turn", range(2))
def test_the_season_read_from_misbehaving_nodes_is_the_season(
    undisturbed: tuple[list[Fact], list[Any]], tmp_path: Path, seed: str, turn: int, workers: int
) -> None:
    chance = random.Random(f"{seed}/{turn}")
    scripts = [
        Script(
            seed=chance.random(),
            faults=ALL_FAULTS,
            share=SHARE,
            late_s=LATE_S,
            head=OPENS_AT + 1,
            grows=chance.randint(1, 9),
        )
        for _ in range(2)
    ]
    services = opened(tmp_path)
    nodes: list[ScriptedNode] = []
    with ExitStack() as stack:
        nodes = [stack.enter_context(scripted_node(script)) for script in scripts]
        chain = Nodes(
            [node.url for node in nodes], genesis=truth()["genesis_hash"], timeout_s=TIMEOUT_S
        )
        read_whole(services, chain, workers)
        chain.close()
    did = sum((node.did for node in nodes), Counter())
    assert did.total() > 0
    facts, verdicts = undisturbed
    mine = facts_of(services)
    assert observed(mine) == observed(facts), did
    assert judged(services) == verdicts, did
    assert balances(mine) <= balances(facts), did
    deferred = any(isinstance(fact, PaymentCheckDeferred) for fact in mine)
    if not deferred and balances(mine) == balances(facts):
        assert without_alerts(mine) == without_alerts(facts), did
    assert len({fact.fact_key for fact in mine}) == len(mine)
    services.close()


def without_alerts(facts: list[Fact]) -> list[tuple[str, dict[str, Any]]]:
    return [(f.topic, f.content()) for f in facts if not isinstance(f, AlertRaised)]


@pytest.mark.parametrize("fault", [fault for fault in ALL_FAULTS if fault != STRANGE])
def test_one_node_that_does_one_thing_wrong_again_and_again_is_read_in_the_end(
    undisturbed: tuple[list[Fact], list[Any]], tmp_path: Path, seed: str, fault: str
) -> None:
    script = Script(seed=f"{seed}/{fault}", faults=(fault,), share=SHARE * 2, most=6, late_s=LATE_S)
    services = opened(tmp_path)
    with scripted_node(script) as node:
        chain = Nodes([node.url], timeout_s=TIMEOUT_S)
        read_whole(services, chain, 2)
        chain.close()
    assert observed(facts_of(services)) == observed(undisturbed[0]), node.did
    assert judged(services) == undisturbed[1], node.did
    services.close()


@pytest.mark.slow
def test_ingest_follow_over_backends_at_different_heights_that_prune_is_the_season(
    undisturbed: tuple[list[Fact], list[Any]],
    tmp_path: Path,
    seed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command itself, as a user runs it: nothing is a gap that somebody holds."""
    for name in ("POLL_S", "FIRST_PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(f"api.ingesting.{name}", 0.01)
    chance = random.Random(f"{seed}/follow")
    scripts = [
        Script(
            seed=chance.random(),
            faults=tuple(fault for fault in ALL_FAULTS if fault not in {HANG, DRIP, LATE}),
            share=SHARE,
            head=OPENS_AT + 8,
            grows=grows,
            lags=lags,
            keeps_states=KEEPS,
            prunes_bodies=prunes_bodies,
        )
        for grows, lags, prunes_bodies in ((2, (0, 3, 6), True), (1, (5, 0), False))
    ]
    opened(tmp_path).close()
    said = truth()
    monkeypatch.setenv("LEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    with ExitStack() as stack:
        nodes = [stack.enter_context(scripted_node(script)) for script in scripts]
        archive = stack.enter_context(scripted_node(Script()))
        words = ["ingest", "--network", "season", "--netuid", str(said["netuid"]), "--follow"]
        words += ["--until-block", str(said["head"]), "--timeout-s", "5"]
        words += [word for node in nodes for word in ("--node", node.url)]
        result = CliRunner().invoke(app, [*words, "--archive-node", archive.url])
    structlog.reset_defaults()
    assert result.exit_code == 0, result.output
    did = sum((node.did for node in nodes), Counter())
    assert did.total() > 0
    assert min(node.connections for node in nodes) > 1  # several backends answered
    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'ledger.db'}"))
    mine = facts_of(services)
    assert archive.asked["chain_getBlock"] > 0
    assert not [fact for fact in mine if isinstance(fact, GapObserved)], result.output
    assert observed(mine) == observed(undisturbed[0]), did
    with replay_server() as url:  # for a commit that was deferred at the very end
        chain = NodeChain(url)
        read_whole(services, chain, 1)
        chain.close()
    assert judged(services) == undisturbed[1], did
    services.close()
