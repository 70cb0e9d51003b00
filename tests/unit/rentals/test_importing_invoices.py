"""Invoices: read whole or refused, every line counted once and held against its rental."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from sqlalchemy import Engine

from evaluation.pods.invoices import InvoiceFileError, read_invoice
from evaluation.pods.port import tag_of
from ledger.commands.invoices import MAX_LINES, InvoiceLine, import_invoice
from ledger.commands.rentals import accept_bill
from ledger.decisions.base import DecisionRefusedError
from ledger.observations import FactConflictSeen, InvoiceLineSeen
from ledger.queries.rentals import invoice_lines
from ledger.store.conflicts import FactConflictError
from tests.unit.rentals.renting import Renting

HEADING = "invoice,line,instance,tag,seconds,from,to,amount_usd"


def line(instance: str = "i-0", number: str = "1", **changes: Any) -> InvoiceLine:
    found = InvoiceLine(
        invoice="inv-1",
        line=number,
        instance=instance,
        tag=None,
        seconds=None,
        from_s=None,
        to_s=None,
        billed_usd_micros=5_000_000,
    )
    return msgspec.structs.replace(found, **changes)


def booked(renting: Renting) -> Any:
    desk = renting.desk()
    rented = desk.rent("r")
    renting.clock.now += 600
    desk.stop(rented.rental, "done")
    return rented


def test_csv_and_json_say_the_same() -> None:
    request = uuid4()
    text = f"""{HEADING}
inv-1,1,i-0,{tag_of(request)},3600,2026-06-01T00:00:00Z,1780275600,24.800001
inv-1,2,i-1,training,,,,-0.5
"""
    as_json = f"""{{"lines": [
      {{"invoice": "inv-1", "line": 1, "instance": "i-0", "tag": "{request}", "seconds": 3600,
        "from": 1780272000, "to": "2026-06-01T01:00:00+00:00", "amount_usd": 24.800001}},
      {{"invoice": "inv-1", "line": "2", "instance": "i-1", "tag": "training",
        "amount_usd": "-0.5"}}]}}"""
    found = read_invoice(text, "csv")
    assert found == read_invoice(as_json, "json")
    assert [one.billed_usd_micros for one in found] == [24_800_001, -500_000]
    assert [one.tag for one in found] == [str(request), None]
    assert (found[0].from_s, found[0].to_s) == (1_780_272_000, 1_780_275_600)


BAD_ROWS = {
    "inv,1,i,,,,,1.2345678": "at most six decimals",
    "inv,1,i,,,,,NaN": "amount_usd",
    "inv,1,i,,,,,1e400": "amount_usd",
    "inv,1,i,,,,,": "amount_usd",
    "inv,1,i,,,,,1000000001": "amount_usd",
    "inv:1,1,i,,,,,1": "no colon",
    ",1,i,,,,,1": "'invoice'",
    f"inv,{'9' * 61},i,,,,,1": "'line'",
    "inv,1,\x1b[31m,,,,,1": "'instance'",
    "inv,1,i,,-5,,,1": "'seconds'",
    "inv,1,i,,,yesterday,,1": "'from'",
    "inv,1,i,,,2026-06-01T00:00:00,,1": "'from'",
    "inv,1,i,,,20,10,1": "before it begins",
    "inv,1,i,,,,,1,234.56": "more fields than the heading; write amounts without a comma",
}


@pytest.mark.parametrize(("row", "said"), BAD_ROWS.items())
def test_a_bad_row_is_named_by_its_line(row: str, said: str) -> None:
    with pytest.raises(InvoiceFileError, match=f"line 3: .*{said}"):
        read_invoice(f"{HEADING}\ninv,0,i,,,,,1\n{row}\n", "csv")


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("", "csv", "lacks invoice"),
        (HEADING, "csv", "no lines"),
        (f"{HEADING},amount_usd\ninv,1,i,,,,,1,2", "csv", "names amount_usd more than once"),
        ("invoice,line\n1,2", "csv", "lacks instance, amount_usd"),
        (f'{HEADING}\n"inv,1', "csv", "is no CSV"),
        ("{", "json", "no JSON"),
        ("[1]", "json", "a list of objects"),
        ('[{"amount_usd": NaN}]', "json", "no JSON"),
        ("[" * 100_000, "json", "no JSON"),
        (f"{HEADING}\ninv,1,i,,,,,1\ninv,1,i,,,,,1", "csv", "line 3: .*stands there twice"),
        (f"{HEADING}\n" + "inv,1,i,,,,,1\n" * (MAX_LINES + 1), "csv", f"more than {MAX_LINES}"),
    ],
)
def test_a_file_that_is_no_invoice_is_refused(text: str, kind: Any, said: str) -> None:
    with pytest.raises(InvoiceFileError, match=said):
        read_invoice(text, kind)


def test_blank_fields_at_the_end_of_a_row_mean_nothing() -> None:
    (found,) = read_invoice(f"{HEADING}\ninv,1,i,,,,,1, ,\n", "csv")
    assert found == line("i", invoice="inv", billed_usd_micros=1_000_000)


MATCHES: dict[str, Callable[[Any], InvoiceLine]] = {
    "by our tag": lambda rented: line(rented.instance, tag=str(rented.rental)),
    "by its instance": lambda rented: line(rented.instance),
    "by our tag, whatever its instance is called there": lambda rented: line(
        "another", tag=str(rented.rental)
    ),
}


@pytest.mark.parametrize("how", MATCHES)
def test_a_line_is_matched(engine: Engine, how: str) -> None:
    renting = Renting(engine)
    rented = booked(renting)
    (done,) = import_invoice(renting.ledger, "shadeform", [MATCHES[how](rented)])
    assert done.rental_id == str(rented.rental)
    (row,) = renting.scene.read(invoice_lines)
    assert row["rental_id"] == str(rented.rental)
    assert renting.rows()[0]["billed_usd_micros"] == 5_000_000


NO_MATCHES: dict[str, Callable[[Any], tuple[str, InvoiceLine]]] = {
    "another instance": lambda rented: ("shadeform", line("i-9")),
    "another provider": lambda rented: ("targon", line(rented.instance)),
    "a request that is not known": lambda rented: ("shadeform", line("i-9", tag=str(uuid4()))),
    "another time": lambda rented: ("shadeform", line(rented.instance, from_s=2**32, to_s=2**32)),
}


@pytest.mark.parametrize("how", NO_MATCHES)
def test_a_line_that_matches_no_rental_stays_as_such(engine: Engine, how: str) -> None:
    renting = Renting(engine)
    provider, one = NO_MATCHES[how](booked(renting))
    (done,) = import_invoice(renting.ledger, provider, [one])
    assert done.rental_id is None
    (row,) = renting.scene.read(invoice_lines)
    assert (row["rental_id"], row["billed_usd_micros"]) == (None, 5_000_000)
    assert renting.rows()[0]["billed_usd_micros"] is None


def test_importing_again_counts_nothing_twice_also_at_a_later_block(engine: Engine) -> None:
    renting = Renting(engine)
    rented = booked(renting)
    lines = [line(rented.instance), line("i-9", "2"), line(rented.instance, "3")]
    import_invoice(renting.ledger, "shadeform", lines)
    before = len(renting.scene.log())
    renting.scene.block()
    again = import_invoice(renting.ledger, "shadeform", lines)
    assert [one.was_known for one in again] == [True, True, True]
    assert len(renting.scene.log()) == before + 1
    assert renting.rows()[0]["billed_usd_micros"] == 10_000_000


def test_the_same_line_with_another_amount_is_an_alarm_and_nothing_of_its_file_counts(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    rented = booked(renting)
    import_invoice(renting.ledger, "shadeform", [line(rented.instance)])
    changed = [line("i-8", "7"), line(rented.instance, billed_usd_micros=6_000_000)]
    with pytest.raises(FactConflictError, match="stays, and a correction is a fact of its own"):
        import_invoice(renting.ledger, "shadeform", changed)
    facts = [logged.fact for logged in renting.scene.log()]
    assert sum(isinstance(fact, InvoiceLineSeen) for fact in facts) == 1
    (conflict,) = [fact for fact in facts if isinstance(fact, FactConflictSeen)]
    assert "6000000" in conflict.differs
    assert renting.rows()[0]["billed_usd_micros"] == 5_000_000


def test_a_line_is_matched_later_when_its_rental_has_become_known(engine: Engine) -> None:
    renting = Renting(engine)
    import_invoice(renting.ledger, "shadeform", [line("i-0")])
    rented = booked(renting)
    assert rented.instance == "i-0"
    (done,) = import_invoice(renting.ledger, "shadeform", [line("i-0")])
    assert done.rental_id == str(rented.rental)
    assert renting.scene.read(invoice_lines)[0]["rental_id"] == str(rented.rental)


def test_a_line_about_a_booked_rental_is_about_the_block_of_its_booking(engine: Engine) -> None:
    renting = Renting(engine)
    rented = booked(renting)
    at = renting.scene.head
    for _ in range(3):
        renting.scene.block()
    import_invoice(renting.ledger, "shadeform", [line(rented.instance), line("i-9", "2")])
    rows = {row["line"]: row["about_block"] for row in renting.scene.read(invoice_lines)}
    assert rows == {"1": at, "2": at + 3}


def test_an_invoice_about_a_block_to_come_is_refused(engine: Engine) -> None:
    renting = Renting(engine)
    with pytest.raises(DecisionRefusedError, match="the newest is 10"):
        import_invoice(renting.ledger, "shadeform", [line()], about_block=11)
    with pytest.raises(DecisionRefusedError, match="without a colon"):
        import_invoice(renting.ledger, "a:b", [line()])
    with pytest.raises(DecisionRefusedError, match="too long"):
        import_invoice(renting.ledger, "shadeform", [line()] * (MAX_LINES + 1))


def test_a_bill_is_accepted_once_and_the_cost_is_what_was_billed(engine: Engine) -> None:
    renting = Renting(engine)
    rented = booked(renting)
    with pytest.raises(DecisionRefusedError, match="has no bill yet"):
        accept_bill(renting.ledger, rented.rental, reason="as billed", actor="alice")
    with pytest.raises(DecisionRefusedError, match="there is no rental"):
        accept_bill(renting.ledger, uuid4(), reason="as billed", actor="alice")
    import_invoice(renting.ledger, "shadeform", [line(rented.instance)])
    for _ in range(2):
        accept_bill(renting.ledger, rented.rental, reason="as billed", actor="alice")
    (row,) = renting.rows()
    assert row["cost_usd_micros"] + row["corrected_usd_micros"] == 5_000_000
    assert renting.topics().count("rental.cost_corrected") == 1
    with pytest.raises(DecisionRefusedError, match="reason must be"):
        accept_bill(renting.ledger, rented.rental, reason="", actor="alice")


def test_a_line_stays_with_its_rental_when_its_machine_s_name_is_used_again(
    engine: Engine,
) -> None:
    renting = Renting(engine)
    first = booked(renting)
    import_invoice(renting.ledger, "shadeform", [line(first.instance)])
    renting.provider.machines.clear()
    renting.provider.stopped_at.clear()
    second = booked(renting)
    assert second.instance == first.instance
    (again,) = import_invoice(renting.ledger, "shadeform", [line(first.instance)])
    assert again.rental_id == str(first.rental)
    billed = {row["rental_id"]: row["billed_usd_micros"] for row in renting.rows()}
    assert billed == {str(first.rental): 5_000_000, str(second.rental): None}
