"""The ramp and the epochs, and statements of what was paid."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.http.addresses import require_known
from api.http.answers import Emissions, Payouts
from api.http.reading import Ask, Paged, Paging
from api.http.schema import described
from ledger.queries.emissions import epochs, ramp_now
from ledger.queries.payouts import statement
from ledger.queries.scope import Scope

MAX_ADDRESS_CHARS = 64

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}", tags=["emission"])

Address = Annotated[
    str,
    Path(
        max_length=MAX_ADDRESS_CHARS,
        pattern="^[1-9A-HJ-NP-Za-km-z]+$",
        description="a hotkey or a coldkey, SS58",
    ),
]


@router.get(
    "/emissions",
    summary="Emissions",
    description="The pool of each track at the block in ppm (null while nobody is king: then "
    "everything goes to the burn UID), and every epoch observed so far with the miners' "
    "incentive, its burned part and the validators' dividends in 10^-9 alpha.",
    responses=described(Emissions),
)
def emissions(ask: Ask, page: Paged) -> Response:
    """The ramp now and the epochs so far."""
    return ask.answer(
        lambda scope: Emissions(
            scope.block,
            scope.position,
            page.limit,
            page.offset,
            ramp_now(scope),
            page.part(epochs(scope)),
        )
    )


@router.get(
    "/payouts/{address}",
    summary="Statement",
    description="Per epoch what a hotkey was entitled to by the vector in force and what it was "
    "paid, in 10^-9 alpha; for a coldkey, everything paid to it. An address that was never paid "
    "has an empty statement; one that is nowhere in the log is an error.",
    responses=described(Payouts),
)
def payouts(ask: Ask, page: Paged, address: Address) -> Response:
    """The statement of a hotkey or a coldkey."""
    return ask.answer(lambda scope: _statement(scope, page, address))


def _statement(scope: Scope, page: Paging, address: str) -> Payouts:
    whole = statement(scope, address)
    if not whole.lines:
        require_known(scope, address)
    return Payouts(
        address=address,
        block=scope.block,
        position=scope.position,
        entitled_alpha=whole.entitled_alpha,
        paid_alpha=whole.paid_alpha,
        withheld_alpha=whole.withheld_alpha,
        dividends_alpha=whole.dividends_alpha,
        total=len(whole.lines),
        limit=page.limit,
        offset=page.offset,
        lines=page.cut(whole.lines),
    )
