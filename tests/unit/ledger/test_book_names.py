"""The journal tells an account that has no posting yet from one that is not known."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from ledger.books import accounts
from ledger.commands import treasury as book
from ledger.queries.book_names import UnknownBookError
from ledger.queries.treasury import Asked, journal
from tests.unit.ledger.scenes import Scene
from tests.unit.ledger.test_known_providers import bill, billed, rented, stated
from tests.unit.ledger.test_treasury_commands import BILL, GIFT, STATEMENT

HOST = "our-rack"
OF_HOST = (accounts.provider(HOST), accounts.payable(HOST))


def total(scene: Scene, account: str, at_block: int | None = None) -> int:
    return scene.read(lambda scope: journal(scope, Asked(account), limit=9)[1], at=at_block)


@pytest.mark.parametrize("name", ["shadeform", "targon", "lium"])
def test_a_provider_that_can_be_asked_has_both_its_accounts_from_the_first_block(
    scene: Scene, name: str
) -> None:
    scene.block()
    for account in (accounts.provider(name), accounts.payable(name)):
        assert total(scene, account) == 0
        with pytest.raises(UnknownBookError, match=f"no account '{account}:x' by block 11"):
            total(scene, f"{account}:x")


@pytest.mark.parametrize("was", [rented, billed, stated])
def test_a_provider_that_the_log_names_has_both_its_accounts_from_then_on(
    scene: Scene, was: Any
) -> None:
    scene.block()
    scene.block()
    was(scene, HOST)
    for account in OF_HOST:
        assert total(scene, account) == 0
        with pytest.raises(UnknownBookError, match="by block 11"):
            total(scene, account, at_block=11)


def test_a_provider_that_is_paid_in_advance_has_the_other_account_too(scene: Scene) -> None:
    scene.block()
    book.contribute(scene.ledger, **{**GIFT, "provider": HOST}, new_provider=True)
    assert [total(scene, account) for account in OF_HOST] == [1, 0]
    book.pay(scene.ledger, **{**BILL, "provider": HOST, "paid_from": HOST})
    assert [total(scene, account) for account in OF_HOST] == [2, 1]


@pytest.mark.parametrize("booking", [book.observe_statement, bill])
def test_whoever_is_said_to_be_new_has_accounts(scene: Scene, booking: Any) -> None:
    scene.block()
    content = STATEMENT if booking is book.observe_statement else {}
    booking(scene.ledger, **{**content, "provider": HOST, "new_provider": True})
    assert [total(scene, account) for account in OF_HOST] == [0, 0]


@pytest.mark.parametrize(
    "account",
    [
        *("assets:provider:shadefrom", "liabilities:payable:", "assets:provider:", "assets:x"),
        *("expenses:gpu_rental:1", f"expenses:gpu_rental:{UUID(int=1)}", str(UUID(int=1)), ""),
        "payable:lium",
    ],
)
def test_what_can_be_no_account_is_unknown(scene: Scene, account: str) -> None:
    scene.block()
    with pytest.raises(UnknownBookError, match=f"no account '{account}' by block 11$"):
        total(scene, account)


def test_only_the_accounts_of_contests_are_of_one() -> None:
    contest = uuid4()
    assert accounts.contest_of(accounts.rental_of(contest)) == contest
    shouted = f"{accounts.RENTAL}:{contest}".upper()
    for other in (accounts.RENTAL, str(contest), shouted, f"{accounts.RENTAL}:{contest.hex}"):
        assert accounts.contest_of(other) is None
