"""Submissions, the queue, and the contests behind them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api import reads
from api.answers import ContestLine, Listing, SubmissionLine
from api.http.reading import Ask, Paged
from api.http.schema import described

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}", tags=["submissions"])

Hotkey = Annotated[str | None, Query(description="only this hotkey's, SS58 of format 42")]


@router.get(
    "/submissions",
    summary="Submissions",
    description="Every commit so far in the order in which they became known: state, refusal and "
    "disqualification codes with the rules they stand for, fee in rao, score in ppm, place in the "
    "queue. A hotkey that is nowhere in the log is an error.",
    responses=described(Listing[SubmissionLine]),
)
def submissions(ask: Ask, page: Paged, hotkey: Hotkey = None) -> Response:
    """The commits and what became of them."""
    return ask.answer(lambda scope: reads.submissions(scope, page, hotkey))


@router.get(
    "/queue",
    summary="Queue",
    description="The submissions that wait for a contest, in the order of judging.",
    responses=described(Listing[SubmissionLine]),
)
def queue(ask: Ask, page: Paged) -> Response:
    """Who waits."""
    return ask.answer(lambda scope: reads.queue(scope, page))


@router.get(
    "/contests",
    summary="Contests",
    description="Every attempt by seed block with its baseline, its entrants in judging order "
    "(scores in ppm by the round's own formula, times in microseconds, margins in thousandths "
    "of a logit) and in sentences what the verdict meant for the throne.",
    responses=described(Listing[ContestLine]),
)
def contests(ask: Ask, page: Paged) -> Response:
    """The attempts and their verdicts."""
    return ask.answer(lambda scope: reads.contests(scope, page))
