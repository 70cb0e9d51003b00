"""Money is booked at a provider that is known, or said to be new; never at a slip of the pen."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from api.providers import ProviderSettings
from evaluation.pods import lium, shadeform, targon
from ledger.commands import treasury as book
from ledger.commands.invoices import InvoiceLine, import_invoice
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.rental import Rental
from ledger.decisions.treasury import PayablePaid, Treasury
from ledger.keys import treasury_id
from ledger.observations import BalanceObserved, InvoiceLineSeen
from ledger.rental_policy import PROVIDERS
from tests.unit.ledger.scenes import Scene
from tests.unit.ledger.test_treasury_commands import BILL, FIX, GIFT, SALE, STATEMENT, TAO

LINE = InvoiceLine("inv-1", "1", "i-0", None, None, None, None, 5_000_000)


def bill(ledger: Any, *, provider: str, **words: Any) -> Any:
    return import_invoice(ledger, provider, [LINE], **words)


def observe(scene: Scene, kind: type[Any], key: str, **content: Any) -> None:
    scene.ledger.decide(
        lambda unit: unit.observe(kind, key, about_block=unit.block, **content) and None
    )


NAMING: list[tuple[Any, dict[str, Any]]] = [
    (book.convert, {**SALE, "about_block": 11}),
    (book.contribute, GIFT),
    (book.adjust, FIX),
    (book.pay, BILL),
    (book.observe_statement, STATEMENT),
    (bill, {}),
]
IDS = [one[0].__name__ for one in NAMING]


def test_the_program_knows_the_providers_that_it_can_ask() -> None:
    assert set(PROVIDERS) == {shadeform.NAME, targon.NAME, lium.NAME}
    keys = {name for name in ProviderSettings.model_fields if name.endswith("_key")}
    assert {f"{name}_key" for name in PROVIDERS} <= keys


@pytest.mark.parametrize(("booking", "content"), NAMING, ids=IDS)
@pytest.mark.parametrize("name", ["shadefrom", "Lium", "lium ", "x"])
def test_a_slip_in_a_providers_name_books_nothing_and_the_known_ones_are_named(
    scene: Scene, booking: Any, content: dict[str, Any], name: str
) -> None:
    scene.block()
    before = len(scene.log())
    said = f"no provider '{name}' is known here, only lium, shadeform, targon; mend the name"
    with pytest.raises(DecisionRefusedError, match=said):
        booking(scene.ledger, **{**content, "provider": name})
    assert len(scene.log()) == before


@pytest.mark.parametrize(("booking", "content"), NAMING, ids=IDS)
def test_a_new_provider_is_new_once_and_then_known_to_every_booking(
    scene: Scene, booking: Any, content: dict[str, Any]
) -> None:
    scene.block()
    host = {"provider": "our-rack"}
    booking(scene.ledger, **{**content, **host, "new_provider": True})
    before = len(scene.log())
    booking(scene.ledger, **{**content, **host})
    booking(scene.ledger, **{**content, **host, "new_provider": True})
    assert len(scene.log()) == before  # the same booking again, with and without the word
    other, words = next(one for one in NAMING if one[0] is not booking)
    other(scene.ledger, **{**words, **host})
    with pytest.raises(DecisionRefusedError, match="only lium, our-rack, shadeform, targon"):
        booking(scene.ledger, **{**content, "provider": "our-rock"})


@pytest.mark.parametrize("name", ["payable:lium", "payable:targon"])
def test_what_is_owed_to_a_known_provider_may_be_stated(scene: Scene, name: str) -> None:
    scene.block()
    assert book.observe_statement(scene.ledger, **{**STATEMENT, "provider": name}).new


def test_what_is_owed_to_an_unknown_provider_is_not_stated(scene: Scene) -> None:
    scene.block()
    slip = {**STATEMENT, "provider": "payable:liun"}
    with pytest.raises(DecisionRefusedError, match="no provider 'liun' is known here"):
        book.observe_statement(scene.ledger, **slip)
    book.observe_statement(scene.ledger, **slip, new_provider=True)
    book.pay(scene.ledger, **{**BILL, "provider": "liun"})


def test_nothing_is_paid_out_of_dollars_that_were_never_paid_in_anywhere(scene: Scene) -> None:
    scene.block()
    for new in (False, True):
        with pytest.raises(DecisionRefusedError, match="no dollars can have left 'bank'"):
            book.pay(scene.ledger, **{**BILL, "paid_from": "bank"}, new_provider=new)
    book.contribute(scene.ledger, **{**GIFT, "provider": "bank"}, new_provider=True)
    assert book.pay(scene.ledger, **{**BILL, "paid_from": "bank"}).new


def test_no_provider_can_be_new_where_none_is_named(scene: Scene) -> None:
    scene.block()
    for asset in ("TAO", "ALPHA"):
        fix = {**FIX, "asset": asset, "amount": TAO, "provider": None}
        with pytest.raises(DecisionRefusedError, match="leave --new-provider out"):
            book.adjust(scene.ledger, **fix, new_provider=True)


# -- what logs hold that were written when every name was taken ---------------------------------


def adjusted(scene: Scene, name: str) -> None:
    content = {**FIX, "provider": name}
    scene.ledger.decide(
        lambda unit: unit.get(Treasury, treasury_id(unit.context.arena)).adjust(
            unit.context, **content
        )
    )


def rented(scene: Scene, name: str) -> None:
    scene.ledger.decide(
        lambda unit: unit.get(Rental, uuid4()).request(
            unit.context, provider=name, tier="t", max_usd_micros_per_hour=9, contest_id=None
        )
    )


def billed(scene: Scene, name: str) -> None:
    observe(
        scene,
        InvoiceLineSeen,
        f"invoice:{scene.ledger.arena}:{name}:inv:1",
        provider=name,
        invoice="inv",
        line="1",
        instance="i",
        tag=None,
        seconds=None,
        from_s=None,
        to_s=None,
        billed_usd_micros=7,
    )


def stated(scene: Scene, name: str) -> None:
    observe(
        scene,
        BalanceObserved,
        f"balance:{scene.ledger.arena}:USD:payable:{name}:11",
        asset="USD",
        account=f"payable:{name}",
        amount=1,
        source="provider",
    )


@pytest.mark.parametrize("was", [adjusted, rented, billed, stated])
def test_a_provider_of_an_older_log_is_known(scene: Scene, was: Any) -> None:
    scene.block()
    was(scene, "old-host")
    assert book.pay(scene.ledger, **{**BILL, "provider": "old-host"}).new
    assert [fact.provider for fact in scene.facts(PayablePaid)] == ["old-host"]


def test_an_address_whose_balance_was_seen_on_chain_is_no_provider(scene: Scene) -> None:
    scene.block()
    observe(
        scene,
        BalanceObserved,
        f"balance:{scene.ledger.arena}:TAO:5address:11",
        asset="TAO",
        account="5address",
        amount=1,
        source="chain",
    )
    with pytest.raises(DecisionRefusedError, match="no provider '5address'"):
        book.pay(scene.ledger, **{**BILL, "provider": "5address"})
