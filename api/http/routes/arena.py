"""The arena in one look, its thrones' history, and the rules in force."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api import reads
from api.answers import Listing, PolicyView, ReignLine, Status
from api.http.reading import Ask, Paged
from api.http.schema import described

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
    return ask.answer(reads.status, names_head=True)


@router.get(
    "/reigns",
    summary="Reigns",
    description="Every reign by track and number: how it was won (`needed_ppm` against "
    "`reached_ppm`), how often defended, and how it ended. A defended crown is the same reign.",
    responses=described(Listing[ReignLine]),
)
def reigns(ask: Ask, page: Paged) -> Response:
    """The thrones' history."""
    return ask.answer(lambda scope: reads.reigns(scope, page))


@router.get(
    "/policy",
    summary="Policy",
    description="The policy in force at the block and since which block, with every default "
    "written out; `digest` is that of its canonical JSON.",
    responses=described(PolicyView),
)
def policy(ask: Ask) -> Response:
    """The rules in force."""
    return ask.answer(reads.policy)
