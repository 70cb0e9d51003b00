"""`treasury reconcile` as a treasurer reads it: lights, breaks in words, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api.app import open_services
from api.errors import ExitCode
from api.settings import Settings
from ledger.application import Ledger, Unit
from ledger.commands.money import record_balances
from ledger.decisions.treasury import Treasury
from ledger.keys import treasury_id
from tests.unit.api.cli.conftest import Run, failed
from tests.unit.api.season import (
    HEAD,
    LOST_RAO,
    PERIOD_END,
    TREASURY,
    extrinsic_hash,
    record_blocks,
    record_season,
)

AT_CLOSING_RAO = 5_268_000_000


@pytest.fixture
def own_url(tmp_path: Path) -> str:
    """A season of the test's own, that it may add to."""
    url = f"sqlite:///{tmp_path / 'own.db'}"
    services = open_services(Settings(database_url=url))
    record_season(services)
    services.close()
    return url


def add(url: str, work: Any) -> None:
    services = open_services(Settings(database_url=url))
    work(services.ledger("demo", 14))
    services.close()


def stated(rao: int) -> Any:
    """A block more, and a balance of it."""

    def work(ledger: Ledger) -> None:
        head = ledger.head().effective_block + 1
        record_blocks(ledger, head)
        record_balances(ledger, (("TAO", TREASURY, rao, "chain"),), about_block=head)

    return work


def test_a_break_is_told_in_words_with_its_amount_and_reference(run: Run, season_url: str) -> None:
    result = run("treasury", "reconcile", "--period", 1, url=season_url)
    assert result.exit_code == 0
    (row,) = [line for line in result.stdout.splitlines() if extrinsic_hash("lost") in line]
    assert "on chain, not in the books" in row
    assert "-0.007000000" in row
    assert " 127 " in row
    (row,) = [line for line in result.stdout.splitlines() if "assets:provider:lium" in line]
    assert row.split()[:3] == ["green", "assets:provider:lium", "USD"]
    assert "2026-05-28 20:54:40 UTC" in row


def test_something_unexplained_ends_with_a_code_of_its_own(run: Run, own_url: str) -> None:
    fee = 100_000_000
    add(own_url, stated(AT_CLOSING_RAO + fee - 1))
    result = run("treasury", "reconcile", url=own_url)
    assert result.exit_code == ExitCode.UNEXPLAINED == 28
    (row,) = [line for line in result.stdout.splitlines() if "nothing in the log" in line]
    assert "-0.000000001" in row
    assert f"after {PERIOD_END}, up to {HEAD + 1}" in row
    told = run("treasury", "reconcile", "--format", "json", url=own_url)
    assert (told.exit_code, json.loads(told.stdout)["light"]) == (28, "red")
    assert run("treasury", "reconcile", "--period", 1, url=own_url).exit_code == 0
    assert run("treasury", "reconcile", "--known-at", HEAD, url=own_url).exit_code == 0


def test_an_adjustment_of_a_closed_period_is_shown_in_both(run: Run, own_url: str) -> None:
    def book(ledger: Ledger) -> None:
        def work(unit: Unit) -> None:
            unit.get(Treasury, treasury_id(unit.context.arena)).adjust(
                unit.context,
                reference=extrinsic_hash("lost"),
                asset="TAO",
                amount=-LOST_RAO,
                provider=None,
                reason="sent to a wrong address",
                about_block=127,
                actor="alice",
            )

        ledger.decide(work)

    add(own_url, book)
    closed = run("treasury", "reconcile", "--period", 1, url=own_url).stdout
    assert "on chain, not in the books" in closed
    late = closed.partition("With what was recorded after the closing")[2]
    (row,) = [line for line in late.splitlines() if "assets:treasury" in line]
    assert row.split()[2:6] == ["0.000000000", "0.007000000", "0.000000000", "0.000000000"]
    now = run("treasury", "reconcile", url=own_url).stdout
    (row,) = [line for line in now.splitlines() if "sent to a wrong address" in line]
    assert row.split()[:2] == ["1", "assets:treasury"]


def test_a_period_is_no_stretch_of_blocks(run: Run, season_url: str) -> None:
    result = run("treasury", "reconcile", "--period", 1, "--to-block", 120, url=season_url)
    assert result.exit_code == 2
    assert "a stretch of its own" in result.output


def test_a_period_there_is_not_is_one_sentence(run: Run, season_url: str) -> None:
    failed(run("treasury", "reconcile", "--period", 7, url=season_url), 4, "there is no period 7")


def test_an_unknown_account_is_told_with_the_command_that_lists_them(
    run: Run, season_url: str
) -> None:
    result = run("treasury", "journal", "--account", "assets:provider:tragon", url=season_url)
    failed(result, 13, "no account 'assets:provider:tragon' by block 150; 'cacheon-ledger treasury")
    known = run("treasury", "journal", "--account", "assets:provider:targon", url=season_url)
    assert (known.exit_code, known.stderr) == (0, "")


def test_the_journal_is_listed_with_events_and_running_balances(run: Run, season_url: str) -> None:
    words = ("treasury", "journal", "--account", "assets:treasury", "--asset", "TAO")
    result = run(*words, "--limit", 2, url=season_url)
    rows = [line.split() for line in result.stdout.splitlines() if "assets:treasury" in line]
    assert [row[5:7] for row in rows] == [
        ["0.100000000", "0.100000000"],
        ["0.125000000", "0.225000000"],
    ]
    assert {row[7] for row in rows} == {"payment.seen.v1"}
    assert "2 of 6 items shown" in result.stderr
