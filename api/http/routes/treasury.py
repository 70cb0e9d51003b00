"""The treasury's reconciled periods and journal, and the payments it received."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.http.answers import (
    AccountBalance,
    BuybackLine,
    Listing,
    PaymentLine,
    RentalLine,
    TreasuryAnswer,
    shaped,
)
from api.http.reading import Ask, Paged, Paging
from api.http.schema import described
from ledger.queries import treasury as ask_treasury
from ledger.queries.scope import Scope

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}", tags=["treasury"])

Unclaimed = Annotated[bool, Query(description="only those that no submission took")]


@router.get(
    "/treasury",
    summary="Treasury",
    description="Every closed period by asset (observed opening + inflows - outflows + residual = "
    "observed closing, each part of a residual named or unexplained), the journal's balances, "
    "buybacks and rentals. Amounts are in the smallest unit of the `asset` beside them.",
    responses=described(TreasuryAnswer),
)
def treasury(ask: Ask, page: Paged) -> Response:
    """The books."""
    return ask.answer(lambda scope: _books(scope, page))


@router.get(
    "/payments",
    summary="Payments",
    description="Payments to the treasury by block, in rao, with what became of each.",
    responses=described(Listing[PaymentLine]),
)
def payments(ask: Ask, page: Paged, unclaimed: Unclaimed = False) -> Response:
    """The payments, or those nobody claimed."""
    return ask.answer(
        lambda scope: page.listing(
            scope,
            shaped(PaymentLine, ask_treasury.payments(scope, unclaimed_only=unclaimed)),
        )
    )


def _books(scope: Scope, page: Paging) -> TreasuryAnswer:
    return TreasuryAnswer(
        block=scope.block,
        position=scope.position,
        limit=page.limit,
        offset=page.offset,
        lines=page.part(ask_treasury.treasury_lines(scope)),
        balances=page.part(shaped(AccountBalance, ask_treasury.account_balances(scope))),
        buybacks=page.part(shaped(BuybackLine, ask_treasury.buybacks(scope))),
        rentals=page.part(shaped(RentalLine, ask_treasury.rentals(scope))),
    )
