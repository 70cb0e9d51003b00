"""The treasury's reconciled periods and journal, and the payments it received."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import reads
from api.answers import Listing, PaymentLine, TreasuryAnswer
from api.http.reading import Ask, Paged
from api.http.schema import described

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
    return ask.answer(lambda scope: reads.treasury(scope, page))


@router.get(
    "/payments",
    summary="Payments",
    description="Payments to the treasury by block, in rao, with what became of each.",
    responses=described(Listing[PaymentLine]),
)
def payments(ask: Ask, page: Paged, unclaimed: Unclaimed = False) -> Response:
    """The payments, or those nobody claimed."""
    return ask.answer(lambda scope: reads.payments(scope, page, unclaimed_only=unclaimed))
