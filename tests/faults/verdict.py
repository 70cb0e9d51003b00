"""After any fault: nothing acknowledged is lost, nothing is there twice or by half."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Engine

from ledger.application import Ledger
from ledger.projections.all import PROJECTIONS
from ledger.projections.rebuilding import rebuild
from ledger.projections.runner import catch_up
from ledger.store.database import open_engine
from ledger.store.logs import LoggedFact, read_log
from tests.faults.processes import Entry, journal_of
from tests.property.test_views_of_a_season import rows
from tests.unit.ledger.scenes import ARENA

PAGE = 5_000


def log_of(engine: Engine) -> list[LoggedFact]:
    """The arena's whole log, page by page."""
    log_id = Ledger(engine, ARENA).head().log_id
    found: list[LoggedFact] = []
    with engine.connect() as connection:
        while page := read_log(connection, log_id, after=len(found), limit=PAGE):
            found += page
    return found


def check(url: str, journals: Iterable[Path]) -> list[Entry]:
    """Hold the database to what its writers said; the acknowledged commands."""
    said = [entry for path in journals for entry in journal_of(path)]
    assert [entry for entry in said if entry.kind == "fault"] == []
    engine = open_engine(url)
    check_log(engine, said)
    check_views(engine)
    engine.dispose()
    return [entry for entry in said if entry.kind == "ack"]


def check_log(engine: Engine, said: list[Entry]) -> None:
    """Dense, in order, each key once, all that was acknowledged, and each batch whole or not."""
    log = log_of(engine)
    head = Ledger(engine, ARENA).head()
    assert [logged.position for logged in log] == list(range(1, head.position + 1))
    blocks = [logged.fact.effective_block for logged in log]
    assert blocks == sorted(blocks)
    assert head.effective_block == blocks[-1]
    times = Counter(logged.fact.fact_key for logged in log)
    assert [key for key, count in times.items() if count > 1] == []
    lost = [key for entry in said if entry.kind == "ack" for key in entry.facts()]
    assert [key for key in lost if key not in times] == []
    for entry in said:
        if entry.kind == "try":
            there = sum(key in times for key in entry.facts())
            assert there in {0, len(entry.facts())}, f"{there} facts of {entry} were recorded"
    tried = {key for entry in said if entry.kind == "try" for key in entry.facts()}
    alerts = {key for key in times if key.startswith("alert:")}
    assert alerts <= tried, "the log holds what nobody sent"


def check_views(engine: Engine) -> None:
    """The views catch up, and made anew from the log they are the same."""
    catch_up(engine, PROJECTIONS)
    incremental = rows(engine)
    assert incremental["weights_neurons"]
    rebuild(engine, PROJECTIONS)
    assert rows(engine) == incremental
