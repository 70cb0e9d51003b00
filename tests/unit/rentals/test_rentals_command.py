"""`cacheon-ledger rentals` against the stand-ins' servers: tables, JSON, exit codes, no keys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from api.cli import rentals
from api.cli.main import app
from api.cli.options import OutputFormat
from api.cli.output import show
from api.cli.rental_tables import SWEPT
from api.errors import ExitCode
from api.providers import record_of
from evaluation.pods.choosing import Record
from evaluation.pods.port import tag_of
from evaluation.pods.sweep import Swept
from ledger.application import ContentionError
from ledger.queries.rentals import Reliability
from ledger.store.database import open_engine
from tests.contract.stores import migrated_url
from tests.standins import lium, shadeform, targon
from tests.standins.serving import StandIn
from tests.unit.ledger.scenes import Scene
from tests.unit.rentals.renting import rules

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command over an arena whose policy rents machines; nothing of whoever runs the test."""
    for name in [name for name in os.environ if name.startswith("LEDGER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER_RENTAL_LOOK_EVERY_S", "1")
    url = migrated_url("sqlite", tmp_path)
    engine = open_engine(url)
    money = {"max_usd_micros_per_round": 10**9, "max_usd_micros_per_day": 10**9}
    tiers = rules().treasury.rental.tiers
    dear = tuple(
        type(tier)(name=tier.name, gpus=tier.gpus, max_usd_micros_per_hour=30_000_000)
        for tier in tiers
    )
    Scene(engine, rules=rules(tiers=dear, grace_seconds=0, **money))
    engine.dispose()
    where = ("--database", url, "--network", "test", "--netuid", "14")

    def ask(*words: str) -> Result:
        return CliRunner().invoke(app, ["rentals", *words, *where])

    yield ask


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A Shadeform that the settings name."""
    with shadeform.stand_in() as found:
        monkeypatch.setenv("LEDGER_SHADEFORM_URL", found.url)
        monkeypatch.setenv("LEDGER_SHADEFORM_KEY", found.key)
        yield found


def answer(done: Result) -> Any:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_a_machine_is_offered_rented_shown_stopped_billed_and_the_bill_accepted(
    run: Run, there: StandIn, tmp_path: Path
) -> None:
    offered = answer(run("offers", "--format", "json"))["items"]
    assert {line["tier"] for line in offered} == {"8x H200", "8x H100"}
    rented = answer(run("start", "--round", "qwen:1", "--actor", "al", "--format", "json"))
    (machine,) = there.do("machines").values()
    assert machine["tag"] == tag_of(UUID(rented["rental_id"]))
    shown = answer(run("show", rented["rental_id"], "--format", "json"))
    assert (shown["status"], shown["requested_by"]) == ("running", "al")
    stopped = answer(run("stop", rented["rental_id"], "--actor", "al", "--format", "json"))
    assert (stopped["status"], stopped["reason"]) == ("booked", "asked for (al)")
    bill = tmp_path / "bill.csv"
    bill.write_text(f"invoice,line,instance,amount_usd\n7,1,{rented['instance']},12.34\n7,2,x,1\n")
    imported = run("invoices", str(bill), "--provider", "shadeform", "--format", "json")
    lines = answer(imported)["items"]
    assert [line["rental_id"] for line in lines] == [rented["rental_id"], None]
    assert "1 of 2 lines bill no rental" in imported.stderr
    accepted = answer(
        run(
            *("accept-bill", rented["rental_id"], "--reason", "as billed", "--actor", "al"),
            *("--format", "json"),
        )
    )
    assert accepted["cost_usd_micros"] + accepted["corrected_usd_micros"] == 12_340_000
    listed = answer(run("--format", "json"))
    assert [line["rental_id"] for line in listed["items"]] == [rented["rental_id"]]
    assert "booked" in run().stdout


def test_a_sweep_stops_what_is_not_owned_and_its_code_tells(run: Run, there: StandIn) -> None:
    there.do("settings", stop_s=10)
    rented = answer(run("start", "--round", "r", "--actor", "al", "--format", "json"))
    dry = run("sweep", "--dry-run", "--format", "json")
    assert dry.exit_code == ExitCode.NO_MACHINE
    assert json.loads(dry.stdout)["lines"][0]["what"] == "would be stopped"
    swept = run("sweep", "--format", "json")
    assert swept.exit_code == ExitCode.NO_MACHINE
    assert json.loads(swept.stdout)["lines"][0]["what"] == "asked to stop"
    there.do("advance", seconds=10)
    again = answer(run("sweep", "--format", "json"))
    assert [(line["rental_id"], line["what"]) for line in again["lines"]] == [
        (rented["rental_id"], "ended and booked")
    ]
    assert answer(run("sweep", "--format", "json"))["lines"] == []


def test_a_provider_that_cannot_be_asked_is_said_and_its_key_is_not(
    run: Run, there: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with targon.stand_in() as other:
        monkeypatch.setenv("LEDGER_TARGON_URL", other.url)
        monkeypatch.setenv("LEDGER_TARGON_KEY", "a-key-that-is-wrong")
        done = run("sweep", "--format", "json")
    assert done.exit_code == ExitCode.PROVIDER_UNAVAILABLE
    (unasked,) = json.loads(done.stdout)["unasked"]
    assert unasked["provider"] == "targon"
    assert unasked["why"].endswith("unauthorized; check its key")
    assert "a-key-that-is-wrong" not in done.stdout + done.stderr


def test_a_sweep_tells_machines_that_it_leaves_alone_from_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show(Swept((), (), 2), SWEPT, OutputFormat.TABLE)
    first, *table = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert (first, table[-1]) == ("Swept: none", "2")
    show(Swept((), (), 0), SWEPT, OutputFormat.TABLE)
    assert capsys.readouterr().out == "Swept: none\n"


def test_every_provider_with_a_key_is_used(
    run: Run, there: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with targon.stand_in() as two, lium.stand_in() as three:
        for name, one in (("TARGON", two), ("LIUM", three)):
            monkeypatch.setenv(f"LEDGER_{name}_URL", one.url)
            monkeypatch.setenv(f"LEDGER_{name}_KEY", one.key)
        refused = run("offers")
        assert refused.exit_code == ExitCode.WRONG_SETTING
        assert "LEDGER_LIUM_TEMPLATE" in refused.stderr
        monkeypatch.setenv("LEDGER_LIUM_TEMPLATE", "t")
        monkeypatch.setenv("LEDGER_SSH_PUBLIC_KEYS", "ssh-ed25519 AAAA test")
        offered = answer(run("offers", "--format", "json"))["items"]
    assert {line["provider"] for line in offered} == {"shadeform", "targon", "lium"}


def test_without_a_key_the_command_says_what_to_set(run: Run) -> None:
    done = run("sweep")
    assert done.exit_code == ExitCode.WRONG_SETTING
    assert "LEDGER_SHADEFORM_KEY" in done.stderr


def test_nothing_left_to_rent_has_a_code_of_its_own(run: Run, there: StandIn) -> None:
    there.do("settings", no_capacity=True)
    done = run("start", "--round", "r", "--actor", "al")
    assert done.exit_code == ExitCode.NO_MACHINE
    assert "no machine could be rented" in done.stderr


@pytest.mark.parametrize("command", ["show", "stop"])
def test_an_unknown_rental_is_refused(run: Run, there: StandIn, command: str) -> None:
    done = run(command, str(UUID(int=3)))
    assert done.exit_code == ExitCode.REFUSED
    assert "there is no rental" in done.stderr


def test_a_bad_invoice_and_a_file_of_no_known_kind_are_told(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bill.csv"
    bad.write_text("invoice,line,instance,amount_usd\n7,1,i,free\n")
    done = run("invoices", str(bad), "--provider", "shadeform")
    assert done.exit_code == ExitCode.UNREADABLE_FILE
    assert "line 2: 'amount_usd'" in done.stderr
    bad.rename(tmp_path / "bill.txt")
    done = run("invoices", str(tmp_path / "bill.txt"), "--provider", "shadeform")
    assert done.exit_code == ExitCode.USAGE


def test_an_invoice_of_nobody_is_refused_until_it_is_said_that_its_provider_is_new(
    run: Run, tmp_path: Path
) -> None:
    bill = tmp_path / "bill.csv"
    bill.write_text("invoice,line,instance,amount_usd\n7,1,i,12.34\n")
    slip = run("invoices", str(bill), "--provider", "shadefrom")
    assert (slip.exit_code, slip.stderr.count("\n")) == (ExitCode.REFUSED, 1)
    assert "no provider 'shadefrom' is known here, only lium, shadeform, targon" in slip.stderr
    words = ("invoices", str(bill), "--provider", "our-rack", "--format", "json")
    new = answer(run(*words, "--new-provider"))
    known = answer(run(*words))
    assert [one["items"][0]["was_known"] for one in (new, known)] == [False, True]


def test_what_the_view_counted_is_what_choosing_weighs() -> None:
    seen = Reliability("p", "o", 15, stopped=5, refused=1, failed=2, lost=3, vanished=4)
    assert record_of(seen) == Record(successes=5, failures=3, lost=7)


def test_the_price_of_a_machine_that_nobody_stated_one_of_is_said_by_a_person(
    run: Run, there: StandIn
) -> None:
    there.do("settings", stop_s=0)
    rented = answer(run("start", "--round", "r", "--actor", "al", "--format", "json"))
    words = ("price", rented["rental_id"], "--reason", "its page", "--actor", "al")
    for usd in ("0", "-1", "1e9", "nan", "12,5", "\u0661", "", "9" * 40):
        refused = run(*words, "--usd-per-hour", usd)
        assert refused.exit_code != 0, usd
        assert "Traceback" not in refused.stderr and isinstance(refused.exception, SystemExit), usd
    known = run(*words, "--usd-per-hour", "12.50")
    assert known.exit_code == ExitCode.REFUSED
    assert "its price is known" in known.stderr


@pytest.mark.parametrize("bad", ["", "two\nlines", "x" * 501])
def test_a_reason_or_a_name_that_cannot_be_recorded_is_refused(
    run: Run, there: StandIn, bad: str
) -> None:
    asked = run("start", "--round", "r", "--actor", bad)
    assert (asked.exit_code, there.do("machines")) == (ExitCode.REFUSED, {})
    rented = answer(run("start", "--round", "r", "--actor", "al", "--format", "json"))
    words = ("stop", rented["rental_id"], "--actor", "al")
    refused = run(*words, "--reason", bad or "\x1b[0m")
    assert refused.exit_code == ExitCode.REFUSED
    assert "printable characters" in refused.stderr
    assert [one["state"] for one in there.do("machines").values()] == ["running"]


@pytest.mark.parametrize(("error", "outlasted"), [("busy", True), ("a defect", False)])
def test_a_followed_sweep_outlasts_a_busy_database_and_no_defect(
    run: Run, there: StandIn, monkeypatch: pytest.MonkeyPatch, error: str, outlasted: bool
) -> None:
    there.do("settings", stop_s=0)
    rented = answer(run("start", "--round", "r", "--actor", "al", "--format", "json"))
    sweep, swept = rentals._sweep, list[str]()

    def sweep_badly_once(*args: Any, **named: Any) -> Any:
        swept.append(error)
        if len(swept) == 1:
            raise ContentionError(error) if outlasted else RuntimeError(error)
        return sweep(*args, **named)

    def wait(_: float) -> None:
        if len(swept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(rentals, "_sweep", sweep_badly_once)
    monkeypatch.setattr("api.cli.ending.wait", wait)
    # As JSON: a table of this width may break an id in two.
    done = run("sweep", "--follow", "--format", "json")
    assert len(swept) == (2 if outlasted else 1)
    if outlasted:
        assert "busy; the next sweep goes on" in done.stderr
        assert rented["rental_id"] in done.stdout
        assert [one["state"] for one in there.do("machines").values()] == ["gone"]
