"""The ramp and the epochs, and statements of what was paid."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api import reads
from api.answers import Emissions, Payouts
from api.http.reading import Ask, Paged
from api.http.schema import described

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}", tags=["emission"])

Address = Annotated[str, Path(description="a hotkey or a coldkey, SS58 of format 42")]
By = Annotated[reads.PayoutsBy, Query(description="lines by epoch, or sums by period")]


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
    return ask.answer(lambda scope: reads.emissions(scope, page))


@router.get(
    "/payouts/{address}",
    summary="Statement",
    description="Per epoch what a hotkey was entitled to by the vector in force and what it was "
    "paid, in 10^-9 alpha and at the epoch's price in rao; for a coldkey, over all hotkeys while "
    "they were its. What was paid to another than the vector meant is told on both their lines. By "
    "period it has sums for each of the treasury's periods instead of lines. An address that was "
    "never paid has an empty statement; one that is nowhere in the log is an error.",
    responses=described(Payouts),
)
def payouts(ask: Ask, page: Paged, address: Address, by: By = "epoch") -> Response:
    """The statement of a hotkey or a coldkey."""
    return ask.answer(lambda scope: reads.payouts(scope, page, address, by=by))
