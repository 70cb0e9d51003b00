"""Statements on the command line: the same numbers in every form, and files that others check."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.api.cli.conftest import Run
from tests.unit.api.season import ALICE, DAVE, VALIDATOR, coldkey_of

STATEMENTS = (
    ("statement", "treasury"),
    ("statement", "miner", ALICE),
    ("statement", "miner", coldkey_of(DAVE)),
    ("statement", "validator", VALIDATOR),
    ("payouts", ALICE),
)


@pytest.mark.parametrize("words", STATEMENTS, ids=" ".join)
def test_bean_check_and_hledger_check_accept_every_statement(
    run: Run, season_url: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    bean_check = str(Path(sys.executable).with_name("bean-check"))
    hledger = shutil.which("hledger")
    checks = {"beancount": [bean_check, "--no-cache"]}
    if hledger is not None:
        checks["hledger"] = [hledger, "check", "--strict", "-f"]
    for written, check in checks.items():
        result = run(*words, "--format", written, url=season_url)
        assert result.exit_code == 0, result.output
        path = tmp_path / f"statement.{'beancount' if written == 'beancount' else 'journal'}"
        path.write_bytes(result.stdout_bytes)
        done = subprocess.run(  # noqa: S603
            [*check, str(path)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), written


def test_the_journal_has_our_balances(run: Run, season_url: str) -> None:
    from beancount.loader import load_string
    from beancount.ops.summarize import balance_by_account

    from ledger.books.plain_names import account_of_beancount, commodity_of, quantity

    said = json.loads(run("statement", "treasury", "--format", "json", url=season_url).stdout)
    ours = {
        (line["account"], commodity_of(line["asset"])): quantity(line["amount"], line["asset"])
        for line in said["balances"]
        if line["amount"]
    }
    journal = run("statement", "treasury", "--format", "beancount", url=season_url).stdout
    entries, errors, _ = load_string(journal)
    theirs = {
        (account_of_beancount(account), position.units.currency): f"{position.units.number:f}"
        for account, inventory in balance_by_account(entries)[0].items()
        for position in inventory
    }
    assert errors == []
    assert theirs == ours
    assert len(ours) > 5


def test_flows_come_to_the_balances(run: Run, season_url: str) -> None:
    said = json.loads(run("statement", "treasury", "--format", "json", url=season_url).stdout)
    left: dict[tuple[str, str], int] = {}
    for line in said["flows"]:
        place = (line["account"], line["asset"])
        left[place] = left.get(place, 0) + line["debits"] - line["credits"]
        assert line["balance"] == left[place]
    assert left == {(one["account"], one["asset"]): one["amount"] for one in said["balances"]}
    assert said["closings"]


def test_a_payout_statement_by_period_adds_up_to_that_by_epoch(run: Run, season_url: str) -> None:
    by_epoch = json.loads(run("payouts", ALICE, "--format", "json", url=season_url).stdout)
    words = ("payouts", ALICE, "--by", "period", "--format", "json")
    by_period = json.loads(run(*words, url=season_url).stdout)
    assert by_period["lines"] == []
    assert by_epoch["periods"] is None
    assert by_period["total"] == len(by_period["periods"]) > 0
    for name in ("entitled_alpha", "paid_alpha", "difference_alpha", "lost_alpha"):
        whole = by_epoch[name]
        assert whole == by_period[name] == sum(line[name] for line in by_epoch["lines"])
        assert whole == sum(period[name] for period in by_period["periods"])


def test_periods_that_are_all_shown_are_not_said_to_be_cut(run: Run, season_url: str) -> None:
    words = ("payouts", ALICE, "--by", "period")
    assert run(*words, url=season_url).stderr == ""
    cut = run(*words, "--offset", "1", url=season_url).stderr
    assert cut.endswith("items shown; see --limit and --offset for the rest\n")


def test_known_at_shows_a_statement_as_it_was_at_that_block(run: Run, season_url: str) -> None:
    shown = json.loads(run("treasury", "periods", "--format", "json", url=season_url).stdout)
    closed = shown["items"][0]
    words = ("payouts", ALICE, "--by", "period", "--format", "json")
    then = json.loads(
        run(*words, "--known-at", str(closed["closed_at_block"]), url=season_url).stdout
    )
    assert then["block"] == closed["closed_at_block"]
    now = json.loads(run(*words, url=season_url).stdout)
    assert [p for p in then["periods"] if p["period"]] == [
        p for p in now["periods"] if p["period"] == closed["number"]
    ]
    treasury = ("statement", "treasury", "--known-at", str(closed["closed_at_block"]))
    assert run(*treasury, url=season_url).exit_code == 0


def test_a_statement_can_be_narrowed_by_block(run: Run, season_url: str) -> None:
    whole = json.loads(run("payouts", ALICE, "--format", "json", url=season_url).stdout)
    first = whole["lines"][0]["epoch_block"]
    words = ("payouts", ALICE, "--from-block", str(first), "--to-block", str(first))
    only = json.loads(run(*words, "--format", "json", url=season_url).stdout)
    assert [line["epoch_block"] for line in only["lines"]] == [first]
    assert only["paid_alpha"] == whole["lines"][0]["paid_alpha"]
    refused = run("payouts", ALICE, "--from-block", "9", "--to-block", "3", url=season_url)
    assert refused.exit_code == 2


def test_csv_has_the_lines_with_their_units(run: Run, season_url: str) -> None:
    lines = json.loads(run("payouts", ALICE, "--format", "json", url=season_url).stdout)["lines"]
    read = list(csv.DictReader(io.StringIO(run("payouts", ALICE, "--format", "csv").stdout)))
    assert [row["paid_alpha"] for row in read] == [str(line["paid_alpha"]) for line in lines]
    assert "paid_rao" in read[0]
    flows = run("statement", "treasury", "--format", "csv", url=season_url).stdout
    header = "period,adjusts,from_block,to_block,account,asset,debits,credits,balance"
    assert flows.splitlines()[0] == header


def test_the_tables_show_the_statement(run: Run, season_url: str) -> None:
    for words in (*STATEMENTS, ("payouts", ALICE, "--by", "period")):
        result = run(*words, url=season_url)
        assert result.exit_code == 0, result.output
        assert "-" in result.stdout


def test_a_stranger_has_no_statement(run: Run, season_url: str) -> None:
    from tests.unit.api.season import address

    for kind in ("miner", "validator"):
        assert run("statement", kind, address("a stranger"), url=season_url).exit_code == 13
        assert run("statement", kind, "nonsense", url=season_url).exit_code == 5
