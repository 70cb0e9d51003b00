"""The arena in one look, and its thrones' history."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.http.answers import Listing, ReignLine, Status, shaped
from api.http.reading import Ask, Paged
from api.http.schema import described
from api.http.status import status_of
from ledger.queries.reigns import reigns as reigns_of

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}", tags=["arena"])


@router.get(
    "/status",
    summary="Status",
    description="Head block and position, what is paused and why, the policy in force with its "
    "digest, the king of each track, the pool now (ppm), and how many submissions wait.",
    responses=described(Status),
)
def status(ask: Ask) -> Response:
    """The arena in one look."""
    return ask.answer(status_of, names_head=True)


@router.get(
    "/reigns",
    summary="Reigns",
    description="Every reign by track and number: how it was won (`needed_ppm` against "
    "`reached_ppm`), how often defended, and how it ended. A defended crown is the same reign.",
    responses=described(Listing[ReignLine]),
)
def reigns(ask: Ask, page: Paged) -> Response:
    """The thrones' history."""
    return ask.answer(lambda scope: page.listing(scope, shaped(ReignLine, reigns_of(scope))))
