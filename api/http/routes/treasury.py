"""The treasury's reconciled periods and journal, and the payments it received."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from api import reads
from api.answers import JournalLine, Listing, PaymentLine, TreasuryAnswer, TreasuryReconciled
from api.http.reading import Ask, Paged
from api.http.schema import described
from api.limits import MAX_BLOCK
from ledger.queries.treasury import Asked

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}", tags=["treasury"])

MAX_NAME_CHARS: Final = 200

Period = Annotated[
    int | None, Query(ge=1, le=MAX_BLOCK, description="a period's number; the open one by default")
]
FromBlock = Annotated[int | None, Query(ge=0, le=MAX_BLOCK, description="after this block")]
ToBlock = Annotated[int | None, Query(ge=0, le=MAX_BLOCK, description="up to and with this block")]
Since = Annotated[
    int | None, Query(ge=0, le=MAX_BLOCK, description="what moved in this block or later")
]
Account = Annotated[
    str | None,
    Query(max_length=MAX_NAME_CHARS, description="an account and its sub-accounts"),
]
Asset = Annotated[
    str | None, Query(max_length=MAX_NAME_CHARS, description="`TAO`, `USD` or `ALPHA:<netuid>`")
]
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
    "/treasury/reconcile",
    summary="Treasury, reconciled",
    description="Each account of the books against what the outside states: a period, a stretch of "
    "blocks, or the open period. `at_block` gives it as known then. A period goes before a "
    "stretch. Residuals are broken down into named breaks and into unexplained parts, each with "
    "the blocks between which it arose.",
    responses=described(TreasuryReconciled),
)
def reconcile(
    ask: Ask, period: Period = None, from_block: FromBlock = None, to_block: ToBlock = None
) -> Response:
    """The accounts with their lights."""
    if period is not None:
        return ask.answer(lambda scope: reads.reconciled(scope, period=period))
    return ask.answer(
        lambda scope: reads.reconciled(scope, from_block=from_block, to_block=to_block)
    )


@router.get(
    "/treasury/journal",
    summary="Journal",
    description="The postings in the order of the log, each with its event and the running balance "
    "of its account and asset. One that is known and has no posting yet gives an empty "
    "list; a provider, contest or other name that the log does not know is `unknown_account`.",
    responses=described(Listing[JournalLine]),
)
def journal(
    ask: Ask,
    page: Paged,
    account: Account = None,
    asset: Asset = None,
    from_block: Since = None,
    to_block: ToBlock = None,
) -> Response:
    """The general ledger."""
    asked = Asked(account, asset, from_block, to_block)
    return ask.answer(lambda scope: reads.journal(scope, page, asked))


@router.get(
    "/payments",
    summary="Payments",
    description="Payments to the treasury by block, in rao, with what became of each.",
    responses=described(Listing[PaymentLine]),
)
def payments(ask: Ask, page: Paged, unclaimed: Unclaimed = False) -> Response:
    """The payments, or those nobody claimed."""
    return ask.answer(lambda scope: reads.payments(scope, page, unclaimed_only=unclaimed))
