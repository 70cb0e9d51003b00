"""The movements that journals are compared by: exact, balanced, and the same in every form."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from beancount.loader import load_file
from beancount.ops.summarize import balance_by_account
from sqlalchemy import select

from benchmarks import journals
from benchmarks.measuring import Ratio, interleaved
from benchmarks.movements.drawn import movements
from benchmarks.movements.texts import (
    Balances,
    beancount_journal,
    hledger_journal,
    smallest_units,
)
from benchmarks.year.mix import ARENA
from ledger.application import Ledger
from ledger.books.plain_names import beancount_account, commodity_of
from ledger.books.postings import MONEY_FACTS, entry_of
from ledger.facts import Fact
from ledger.store.codec import FactMapper
from ledger.store.database import open_engine
from ledger.store.logs import head_of
from ledger.store.migrate import upgrade
from ledger.store.schema import events

AMOUNT = 1_000


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    opening, moved = movements(AMOUNT)
    return [*opening, *moved]


@pytest.fixture(scope="module")
def balances(facts: list[Fact]) -> Balances:
    sums: Counter[tuple[str, str]] = Counter()
    for fact in facts:
        entry = entry_of(fact)
        for posting in entry.postings if entry else ():
            sums[posting.account, commodity_of(posting.asset)] += posting.value
    return {place: amount for place, amount in sums.items() if amount}


def test_there_are_exactly_so_many_movements_and_of_every_asset(
    facts: list[Fact], balances: Balances
) -> None:
    assert sum(type(fact) in MONEY_FACTS for fact in facts) == AMOUNT
    assert {commodity for _, commodity in balances} == {"TAO", "USD", "ALPHA14"}


def test_the_log_takes_every_movement(facts: list[Fact], tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'movements.db'}")
    upgrade(engine)
    mapper = FactMapper()
    recorder = Ledger(engine, ARENA).construct_recorder()
    recorder.insert_events([mapper.to_stored_event(fact) for fact in facts])
    with engine.connect() as connection:
        head = head_of(connection, ARENA)
        keys = connection.execute(select(events.c.fact_key).order_by(events.c.position)).scalars()
        assert list(keys) == [fact.fact_key for fact in facts]
    assert head is not None
    assert head.position == len(facts)


def test_beancount_reads_the_same_balances(
    facts: list[Fact], balances: Balances, tmp_path: Path
) -> None:
    journal = tmp_path / "movements.beancount"
    journal.write_text("".join(beancount_journal(facts)))
    entries, errors, _ = load_file(str(journal))
    assert errors == []
    read = {
        (account, position.units.currency): smallest_units(
            position.units.number, position.units.currency
        )
        for account, inventory in balance_by_account(entries)[0].items()
        for position in inventory
    }
    expected = {
        (beancount_account(account), commodity): amount
        for (account, commodity), amount in balances.items()
    }
    assert read == expected


@pytest.mark.skipif(shutil.which("hledger") is None, reason="hledger is not installed")
def test_hledger_reads_the_same_balances(
    facts: list[Fact], balances: Balances, tmp_path: Path
) -> None:
    journal = tmp_path / "movements.journal"
    journal.write_text("".join(hledger_journal(facts)))
    command = ["hledger", "-f", str(journal), "balance", "--flat", "--no-total", "-O", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert journals.hledger_balances(done.stdout) == balances


def test_a_part_of_a_smallest_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="no whole number of its smallest unit"):
        smallest_units(Decimal("0.0000000001"), "TAO")


def test_rounds_interleave_and_the_first_only_warms_up() -> None:
    calls: list[str] = []
    seconds = interleaved([lambda: calls.append("a"), lambda: calls.append("b")], 3)
    assert calls == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [len(side) for side in seconds] == [3, 3]


def test_a_ratio_is_the_median_over_rounds() -> None:
    assert Ratio.of([4, 9, 2], [2, 3, 2]) == Ratio(2.0, 1.0, 3.0)
