"""Two processes write to one arena at once: nothing is lost, positions stay dense."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from ledger.application import Ledger, Unit
from ledger.commands.arena import open_arena
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.observations import AlertRaised
from ledger.store.database import open_engine
from ledger.store.logs import read_log
from ledger.store.migrate import require_schema
from tests.contract.stores import SHARED_STORES, empty_url
from tests.unit.ledger.scenes import ARENA, OPENED_AT, policy

COMMANDS = 200
DEADLINE_S = 120


def write(url: str, name: str) -> None:
    """Make the tables, open the arena, and send 200 commands.

    Most see something; every tenth decides over the shared treasury.
    """
    engine = open_engine(url)
    require_schema(engine)
    ledger = open_arena(
        engine, ARENA, network="test", at_block=OPENED_AT, policy=policy(), actor="op"
    )
    for number in range(COMMANDS):
        ledger.decide(lambda unit, n=number: command(unit, name, n))  # type: ignore[misc]


def command(unit: Unit, name: str, number: int) -> None:
    if number % 10 == 0:
        unit.get(Treasury, treasury_id(ARENA)).plan_buyback(unit.context, 1, 1, name)
    else:
        key = f"alert:{name}:{number}"
        unit.observe(AlertRaised, key, kind="x", detail="", block=unit.block)


def run_both(target: object, arguments: list[tuple[str, ...]]) -> list[int | None]:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=target, args=own) for own in arguments]  # type: ignore[arg-type]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=DEADLINE_S)
    return [process.exitcode for process in processes]


@pytest.mark.parametrize("store", SHARED_STORES)
def test_two_processes_that_start_on_an_empty_database_lose_nothing(
    store: str, tmp_path: Path
) -> None:
    url = empty_url(store, tmp_path)
    assert run_both(write, [(url, "one"), (url, "two")]) == [0, 0]
    engine = open_engine(url)
    ledger = Ledger(engine, ARENA)
    with engine.connect() as connection:
        page = read_log(connection, ledger.head().log_id, after=0, limit=10_000)
    assert [logged.position for logged in page] == list(range(1, 2 * COMMANDS + 2))
    seen = {logged.fact.fact_key for logged in page if isinstance(logged.fact, AlertRaised)}
    assert len(seen) == 2 * COMMANDS * 9 // 10
    assert sorted(ledger.load(Treasury, treasury_id(ARENA)).buybacks) == list(range(1, 41))
    engine.dispose()
