"""``python -m benchmarks.movements.ours FACTS URL``: facts into a fresh ledger, then its balances.

``FACTS`` holds one fact a line: its topic, a tab, and its JSON. The balances are printed as JSON:
account, asset and amount in the asset's smallest unit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from ledger.application import Ledger
from ledger.facts import Fact
from ledger.projections.journal import JournalProjection
from ledger.projections.runner import catch_up
from ledger.queries.scope import scope_at
from ledger.queries.treasury import account_balances
from ledger.store.codec import FactMapper, decode
from ledger.store.database import open_engine
from ledger.store.logs import head_of

BATCH: Final = 20_000


def main(path: Path, url: str) -> None:
    """Append, fold, ask."""
    engine = open_engine(url)
    facts = _facts(path)
    opening = next(facts)
    arena, mapper = opening.arena_key, FactMapper()
    recorder = Ledger(engine, arena).construct_recorder()
    recorder.insert_events([mapper.to_stored_event(opening)])
    while batch := [mapper.to_stored_event(fact) for fact in islice(facts, BATCH)]:
        recorder.insert_events(batch)
    catch_up(engine, [JournalProjection()])
    with engine.connect() as connection:
        head = head_of(connection, arena)
        if head is None:
            msg = f"{path} opens no arena"
            raise LookupError(msg)
        balances = account_balances(scope_at(connection, head, None))
    engine.dispose()
    sys.stdout.write(msgspec.json.encode(balances).decode())


def _facts(path: Path) -> Iterator[Fact]:
    with path.open("rb") as lines:
        for line in lines:
            topic, _, state = line.partition(b"\t")
            yield decode(topic.decode(), state)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
