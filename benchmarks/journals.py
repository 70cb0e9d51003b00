"""Our journal against plain-text accounting: the same movements, imported and summed by account.

Whole processes on both sides, from start to exit: theirs reads a ready text journal, ours reads
ready facts into a fresh SQLite database with its schema, folds the journal's view and asks it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.measuring import RUN, CannotMeasureError, Ratio, in_child, interleaved, tell
from benchmarks.movements.drawn import movements
from benchmarks.movements.texts import (
    Balances,
    beancount_journal,
    hledger_journal,
    smallest_units,
)
from benchmarks.registry import Measurement, benchmark
from ledger.books.plain_names import beancount_account, commodity_of, hledger_account
from ledger.facts import Fact
from ledger.store.codec import encode
from ledger.store.database import open_engine
from ledger.store.migrate import upgrade

EVENTS_PER_MOVEMENT: Final = 10
"""100,000 movements in a whole run."""


@benchmark(
    "time of `hledger balance` on a journal of 100,000 money movements, over that of our import of "
    "the same movements, the journal's view and its balances",
    goal=1.0,
)
def journal_vs_hledger() -> Measurement:
    """hledger comes from the system."""
    program = shutil.which("hledger")
    if program is None:
        msg = "hledger is not installed; install it, on Debian with 'apt-get install hledger'"
        raise CannotMeasureError(msg)
    version = _ran([program, "--version"]).split(",")[0].strip()
    with _prepared() as given:
        journal = given.folder / "movements.journal"
        _write(journal, hledger_journal(given.facts))
        command = [program, "-f", str(journal), "balance", "--flat", "--no-total", "-O", "json"]
        return _compared(given, lambda: hledger_balances(_ran(command)), hledger_account, version)


@benchmark(
    "time of beancount's loader and balances on a journal of 100,000 money movements, over that of "
    "our import of the same movements, the journal's view and its balances",
    goal=1.0,
)
def journal_vs_beancount() -> Measurement:
    """beancount comes with the development dependencies."""
    if importlib.util.find_spec("beancount") is None:
        msg = "beancount is not installed; run 'make setup', which installs it"
        raise CannotMeasureError(msg)
    import beancount

    with _prepared() as given:
        journal = given.folder / "movements.beancount"
        _write(journal, beancount_journal(given.facts))
        os.environ["BEANCOUNT_DISABLE_LOAD_CACHE"] = "1"

        def theirs() -> Balances:
            return _beancount_balances(in_child("benchmarks.movements.in_beancount", str(journal)))

        return _compared(given, theirs, beancount_account, f"beancount {beancount.__version__}")


# -- both sides -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Given:
    folder: Path
    facts: list[Fact]
    movements: int


@contextmanager
def _prepared() -> Iterator[_Given]:
    """The movements, our file of them, and an empty database to copy for every round."""
    amount = RUN.events // EVENTS_PER_MOVEMENT
    tell(f"drawing {amount:,} movements")
    opening, moved = movements(amount)
    facts = [*opening, *moved]
    with tempfile.TemporaryDirectory(prefix="cacheon-bench-") as name:
        folder = Path(name)
        with (folder / "facts").open("wb") as file:
            file.writelines(fact.topic.encode() + b"\t" + encode(fact) + b"\n" for fact in facts)
        engine = open_engine(f"sqlite:///{folder / 'empty.db'}")
        upgrade(engine)
        engine.dispose()
        yield _Given(folder, facts, amount)


def _compared(
    given: _Given, theirs: Callable[[], Balances], named: Callable[[str], str], version: str
) -> Measurement:
    numbers = count(1)

    def fresh() -> Path:
        database = given.folder / f"{next(numbers)}.db"
        shutil.copy(given.folder / "empty.db", database)
        return database

    def ours() -> Balances:
        database = fresh()
        printed = in_child(
            "benchmarks.movements.ours", str(given.folder / "facts"), f"sqlite:///{database}"
        )
        database.unlink()
        return {
            (named(line["account"]), commodity_of(line["asset"])): line["amount"]
            for line in json.loads(printed)
            if line["amount"]
        }

    expected = ours()
    if not expected or theirs() != expected:
        msg = "the two sides' balances differ: the comparison is worth nothing"
        raise AssertionError(msg)
    tell(f"both sides have the same {len(expected)} balances")
    ours_s, theirs_s = interleaved([ours, theirs], RUN.rounds)
    ratio = Ratio.of(theirs_s, ours_s)
    return Measurement(
        ratio.value,
        RUN.rounds,
        f"{median(ours_s):.2f} s against {median(theirs_s):.2f} s for {given.movements:,} "
        f"movements of {len({asset for _, asset in expected})} assets, their {len(expected)} "
        f"balances equal (medians of {RUN.rounds} interleaved rounds; {ratio}; {version}); whole "
        "processes on both sides, start included; ours also makes every fact durable",
    )


def _write(path: Path, lines: Iterator[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines)


# -- theirs ---------------------------------------------------------------------------------------


def _ran(command: list[str]) -> str:
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        msg = f"{command[0]} failed: {done.stderr.strip()[-2_000:]}"
        raise RuntimeError(msg)
    return done.stdout


def hledger_balances(printed: str) -> Balances:
    """The balances of ``hledger balance -O json``."""
    rows, _total = json.loads(printed)
    held: Balances = {}
    for account, _, _, amounts in rows:
        for amount in amounts:
            quantity = amount["aquantity"]
            exact = Decimal(quantity["decimalMantissa"]).scaleb(-quantity["decimalPlaces"])
            if exact:
                commodity = amount["acommodity"]
                held[account, commodity] = smallest_units(exact, commodity)
    return held


def _beancount_balances(printed: str) -> Balances:
    return {
        (account, commodity): smallest_units(Decimal(quantity), commodity)
        for account, commodity, quantity in json.loads(printed)
        if Decimal(quantity)
    }
