"""Journals for others: Beancount and hledger accept them and come to our balances."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from beancount.loader import load_file
from beancount.ops.summarize import balance_by_account
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.movements.drawn import movements
from ledger.books import accounts
from ledger.books.csv_text import csv_lines
from ledger.books.plain_names import (
    account_of_beancount,
    account_of_hledger,
    beancount_account,
    commodity_of,
    hledger_account,
    quantity,
)
from ledger.books.plain_text import (
    Balances,
    Booking,
    Calendar,
    Day,
    Price,
    balances_of,
    beancount_journal,
    hledger_journal,
)
from ledger.books.postings import Posting, entry_of
from ledger.units import Alpha, Rao, UsdMicros

HLEDGER = shutil.which("hledger")
DAY = Day(date(2026, 6, 1), known=True)
UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
ODD_NAMES = (
    *("lium", "Lium", "LIUM", "lium ", " lium", "li  um", "li um", "li_um", "li-um", "li:um"),
    *("", ":", "::", "x__", "X--", "x--", "X--6C", "Straße", "雲", "\U0001f680", "a;b", 'a"b\\'),
    *("=cmd", "-1", "8x H200", "8xH200", "(virtual)", "[balanced]", "*", "!", "a\nb", "a\tb"),
    *("a,b", "x" * 60, "clearing", UUID, UUID.upper(), UUID.replace("-", "_"), "2026-01-01", "\0"),
)


def booked(account: str, value: int = 1_500_000, about: str = "fact:1") -> Booking:
    """Dollars from the operator to an account."""
    moved = (
        Posting.of(account, UsdMicros(value)),
        Posting.of(accounts.CONTRIBUTIONS, UsdMicros(-value)),
    )
    return Booking(DAY, "treasury.contributed.v1", {"fact": about, "position": 7}, moved)


def drawn(amount: int) -> list[Booking]:
    """A treasury's drawn movements, over some days."""
    _, facts = movements(amount)
    entries = [(fact, entry) for fact in facts if (entry := entry_of(fact)) is not None]
    days = Calendar.of({block: block * 3_600_000 for block in range(0, amount, 2)})
    return [
        Booking(
            days.day(entry.about_block),
            fact.topic,
            {"fact": fact.fact_key, "position": place, "block": entry.about_block},
            entry.postings,
        )
        for place, (fact, entry) in enumerate(entries, 1)
    ]


def beancount_balances(path: Path) -> Balances:
    """What the library comes to, by our account and the commodity; zero left out."""
    entries, errors, _ = load_file(str(path))
    assert errors == []
    return {
        (account_of_beancount(account), position.units.currency): smallest(position.units.number)
        for account, inventory in balance_by_account(entries)[0].items()
        for position in inventory
    }


def smallest(number: Decimal) -> int:
    """All digits of it: both sides write as many as the unit has."""
    return int(number.scaleb(-int(number.as_tuple().exponent)))


def ours(bookings: Sequence[Booking]) -> Balances:
    return {
        (account, commodity_of(asset)): value
        for (account, asset), value in balances_of(bookings).items()
        if value
    }


def bean_check(path: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("bean-check")
    return subprocess.run(  # noqa: S603
        [str(program), "--no-cache", str(path)], capture_output=True, text=True, check=False
    )


def hledger(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert HLEDGER is not None
    return subprocess.run(  # noqa: S603
        [HLEDGER, "-f", str(path), *words],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C.UTF-8"},
    )


SEASONS: dict[str, Callable[[], list[Booking]]] = {
    "thousands of movements": lambda: drawn(3_000),
    "odd names": lambda: [
        booked(make(name), number + 1, about=f"fact;{name}")
        for make in (accounts.provider, accounts.payable)
        for number, name in enumerate(ODD_NAMES)
    ],
    "nothing": list,
}


@pytest.mark.parametrize("named", SEASONS)
def test_beancount_accepts_the_journal_and_comes_to_our_balances(
    named: str, tmp_path: Path
) -> None:
    bookings, path = SEASONS[named](), tmp_path / "books.beancount"
    path.write_text("".join(beancount_journal("books", bookings)), encoding="utf-8")
    checked = bean_check(path)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    assert beancount_balances(path) == ours(bookings)


@pytest.mark.skipif(HLEDGER is None, reason="hledger is not installed")
@pytest.mark.parametrize("named", SEASONS)
def test_hledger_accepts_the_journal_strictly(named: str, tmp_path: Path) -> None:
    bookings, path = SEASONS[named](), tmp_path / "books.journal"
    path.write_text("".join(hledger_journal("books", bookings)), encoding="utf-8")
    for check in (("check", "--strict"), ("check", "ordereddates")):
        checked = hledger(path, *check)
        assert (checked.returncode, checked.stderr) == (0, ""), check
    listed = hledger(path, "accounts", "--declared").stdout.splitlines()
    assert {account_of_hledger(name) for name in listed} == {
        account for account, _ in balances_of(bookings)
    }


def test_a_wrong_balance_would_be_noticed_by_both(tmp_path: Path) -> None:
    bookings = drawn(50)
    for write, name in ((beancount_journal, "beancount"), (hledger_journal, "journal")):
        path, pieces = tmp_path / f"books.{name}", list(write("books", bookings))
        last = pieces[-1]
        # One smallest unit more in the last balance.
        said = last.split(" ~ ")[0] if name == "beancount" else last.rstrip().rpartition(" ")[0]
        amount = said.split()[-1]
        wrong = str(Decimal(amount) + Decimal(1).scaleb(int(Decimal(amount).as_tuple().exponent)))
        pieces[-1] = wrong.join(last.rsplit(amount, 1))
        path.write_text("".join(pieces), encoding="utf-8")
        if name == "beancount":
            assert bean_check(path).returncode != 0
        elif HLEDGER is not None:
            assert hledger(path, "check").returncode != 0


def test_every_entry_names_its_event(tmp_path: Path) -> None:
    bookings, path = drawn(200), tmp_path / "books.beancount"
    path.write_text("".join(beancount_journal("books", bookings)), encoding="utf-8")
    entries, _, _ = load_file(str(path))
    told = [entry.meta["fact"] for entry in entries if type(entry).__name__ == "Transaction"]
    assert sorted(told) == sorted(str(booking.about["fact"]) for booking in bookings)


@given(st.lists(st.text(), min_size=1, max_size=4), st.sampled_from(["assets", "clearing"]))
def test_names_lead_back_to_their_accounts(parts: list[str], root: str) -> None:
    account = ":".join([root, *parts])
    assert account_of_beancount(beancount_account(account)) == account
    assert account_of_hledger(hledger_account(account)) == account


def test_our_own_accounts_read_as_words() -> None:
    assert beancount_account("assets:treasury") == "Assets:Treasury"
    assert beancount_account("expenses:gpu_rental") == "Expenses:Gpu-rental"
    assert beancount_account("clearing:buyback") == "Equity:Clearing:Buyback"
    assert beancount_account(f"expenses:gpu_rental:{UUID}").endswith(UUID.upper())
    assert account_of_beancount(beancount_account("equity:clearing")) == "equity:clearing"
    assert hledger_account("expenses:gpu_rental") == "expenses:gpu_rental"
    assert commodity_of("ALPHA:14") == "ALPHA14"
    assert (quantity(-1, "TAO"), quantity(1_500_000, "USD")) == ("-0.000000001", "1.500000")


def test_a_block_without_a_time_has_the_day_of_the_one_before_and_says_so() -> None:
    hours = 3_600_000
    days = Calendar.of({10: 23 * hours, 20: 25 * hours})
    assert days.day(10) == Day(date(1970, 1, 1), known=True)
    assert days.day(15) == Day(date(1970, 1, 1), known=False)
    assert days.day(20) == Day(date(1970, 1, 2), known=True)
    assert days.day(99) == Day(date(1970, 1, 2), known=False)
    assert days.day(3) == Day(date(1970, 1, 1), known=False)
    assert Calendar().day(3) == Day(date(1970, 1, 1), known=False)
    unknown = Booking(days.day(15), "x", {}, booked(accounts.TREASURY).postings)
    assert '  time: "unknown"\n' in "".join(beancount_journal("t", [unknown]))


def test_prices_stand_in_both(tmp_path: Path) -> None:
    moved = (
        Posting.of("assets:stake:5Grw", Alpha(5, 14)),
        Posting.of("income:incentive", Alpha(-5, 14)),
    )
    bookings = [Booking(DAY, "epoch 7", {}, moved)]
    prices = [Price(DAY.date, "ALPHA:14", Rao(25_000_000).value, "TAO")]
    path = tmp_path / "paid.beancount"
    path.write_text("".join(beancount_journal("t", bookings, prices)), encoding="utf-8")
    assert bean_check(path).returncode == 0
    assert "2026-06-01 price ALPHA14 0.025000000 TAO" in path.read_text(encoding="utf-8")
    if HLEDGER is not None:
        path = tmp_path / "paid.journal"
        path.write_text("".join(hledger_journal("t", bookings, prices)), encoding="utf-8")
        assert hledger(path, "check", "--strict").stderr == ""


def test_a_spreadsheet_takes_no_text_for_a_formula() -> None:
    rows = [{"who": text, "paid_alpha": -5} for text in ("=1+1", "+1", "-1", "@x", " =1", "a,b\n")]
    rows.append({"who": None, "paid_alpha": 7})
    text = "".join(csv_lines(("who", "paid_alpha"), rows))
    read = list(csv.DictReader(io.StringIO(text)))
    assert [row["who"] for row in read] == ["'=1+1", "'+1", "'-1", "'@x", "' =1", "a,b\n", ""]
    assert {row["paid_alpha"] for row in read} == {"-5", "7"}
