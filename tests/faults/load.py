"""What writer processes do: single commands and batches from several threads, each acknowledged.

A command is acknowledged in the process's journal after ``decide`` has returned, and not before.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from api.errors import ExitCode, problem_of
from ledger.application import ContentionError, Ledger, Unit
from ledger.commands.block_facts import BlockFacts, NeuronChange
from ledger.commands.blocks import record_block
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from ledger.observations import AlertRaised
from ledger.store.database import open_engine, writing
from ledger.store.migrate import upgrade
from ledger.store.schema import logs
from tests.faults.processes import Journal
from tests.unit.ledger.scenes import ARENA, block_hash

SINGLES = 3
"""Threads that send single commands; one more sends batches."""

BATCH = (20, 80)
"""Facts of a batch, at least and at most; few enough that the views of them are soon checked."""

PLAN_ONE_IN = 10
BLOCK_ONE_IN = 25
PAUSE_S = 0.02
"""Longest pause of the thread that sends batches; without, they would be nearly all there is."""

RETRY_S = 0.05

Command = Callable[[], list[str]]
"""Sends a command; the keys of the facts it decided on."""


def note(ledger: Ledger, keys: list[str], detail: str = "") -> list[str]:
    """One command that notes an alert under each of these keys."""

    def work(unit: Unit) -> None:
        for key in keys:
            unit.observe(AlertRaised, key, kind="load", detail=detail, block=0)

    ledger.decide(work)
    return keys


def plan(ledger: Ledger, actor: str) -> list[str]:
    """One decision over the shared treasury: the key of the plan it recorded."""

    def work(unit: Unit) -> str:
        treasury = unit.get(Treasury, treasury_id(ARENA))
        return treasury.plan_buyback(unit.context, 1, 1, actor).fact_key

    return [ledger.decide(work)]


def next_block(ledger: Ledger) -> Command:
    """The next block, in which a UID changes hands; the same one however often it is sent."""
    found: list[BlockFacts] = []

    def send() -> list[str]:
        if not found:
            number = ledger.head().effective_block + 1
            owner = f"hotkey-{number}"
            change = NeuronChange(number % 7, owner, f"cold-{owner}", None)
            hashes = block_hash(number), block_hash(number - 1)
            found.append(BlockFacts(number, *hashes, None, 1, neurons=(change,)))
        record_block(ledger, found[0])
        return []

    return send


def _commands(ledger: Ledger, name: str, thread: int, chance: random.Random) -> Any:
    """What a thread sends, without end: base key, size of a batch, and how to send it."""
    for number in itertools.count():
        key = f"alert:{name}:{thread}:{number}"
        if thread == SINGLES:
            size = chance.randint(*BATCH)
            keys = [f"{key}:{place}" for place in range(size)]
            yield key, size, lambda keys=keys: note(ledger, keys)
            time.sleep(chance.uniform(0, PAUSE_S))
        elif thread == 0 and number % BLOCK_ONE_IN == BLOCK_ONE_IN - 1:
            yield "", 0, next_block(ledger)
        elif chance.randrange(PLAN_ONE_IN) == 0:
            yield "", 0, lambda: plan(ledger, name)
        else:
            yield key, 0, lambda key=key: note(ledger, [key])


def write_under_load(url: str, path: Path, enough: Path, name: str, seed: str) -> None:
    """Send commands from all threads until the file ``enough`` is there, or somebody kills us.

    What a failing database answers is told to the journal in the words a user would read, and the
    command is sent again until it is acknowledged.
    """
    ledger, journal = Ledger(open_engine(url), ARENA), Journal(path)

    def run(thread: int) -> None:
        for key, size, send in _commands(ledger, name, thread, random.Random(f"{seed}:{thread}")):
            if key:
                journal.write("try", key, size)
            keys: list[str] | None = None
            while keys is None:
                if enough.exists():
                    return
                try:
                    keys = send()
                except ContentionError:
                    continue  # nothing was recorded
                except SQLAlchemyError as error:
                    _report(journal, error)
                    time.sleep(RETRY_S)
            _acknowledge(journal, key, size, keys)

    def guarded(thread: int) -> None:
        try:
            run(thread)
        except BaseException as error:  # noqa: BLE001  the parent fails for it
            journal.write("fault", repr(error)[:500])

    threads = [
        threading.Thread(target=guarded, args=(number,), daemon=True)
        for number in range(SINGLES + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _report(journal: Journal, error: Exception) -> None:
    problem = problem_of(error)
    known = problem.exit_code in {ExitCode.DATABASE_FAILED, ExitCode.DATABASE_UNUSABLE}
    journal.write("error" if known else "fault", problem.message)


def _acknowledge(journal: Journal, key: str, size: int, keys: list[str]) -> None:
    if key:
        journal.write("ack", key, size)
    else:
        for planned in keys:
            journal.write("ack", planned)


def write_share(
    url: str, path: Path, name: str, count: int, batch: tuple[int, int], seed: str
) -> None:
    """Note ``count`` alerts in order, in batches with a single command after each, and end.

    Each is acknowledged by the number of alerts that this process has recorded by then.
    """
    ledger, journal = Ledger(open_engine(url), ARENA), Journal(path)
    chance = random.Random(f"{seed}:{name}")
    done = 0
    while done < count:
        for wanted in (chance.randint(*batch), 1):
            size = min(wanted, count - done)
            if size:
                note(ledger, [f"alert:{name}:{number}" for number in range(done, done + size)])
                done += size
                journal.write("ack", name, done)


def migrate(url: str, start: Any, applied: Any) -> None:
    """Migrate when everybody is there, and say what it applied."""
    engine = open_engine(url)
    start.wait()
    applied.send(upgrade(engine))
    applied.close()
    engine.dispose()


def hold_the_lock(url: str, held: Any, let_go: Any) -> None:
    """Hold the lock every writer of the arena needs, until told."""
    engine = open_engine(url)
    with writing(engine) as connection:  # SQLite's one lock; on PostgreSQL the head's row
        connection.execute(select(logs).with_for_update()).all()
        held.send("held")
        let_go.recv()
    engine.dispose()
