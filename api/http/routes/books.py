"""What the treasury's periods came to, and what contests and submissions cost."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api import books
from api.answers import Listing
from api.http.reading import Ask, Paged
from api.http.schema import described
from ledger.queries.periods import PeriodLine

router = APIRouter(prefix="/v1/arenas/{network}/{netuid}/treasury", tags=["treasury"])

MAX_ID_CHARS = 64

ContestId = Annotated[str, Path(max_length=MAX_ID_CHARS, description="an attempt's UUID")]
SubmissionId = Annotated[str, Path(max_length=MAX_ID_CHARS, description="a submission's UUID")]


@router.get(
    "/periods",
    summary="Closed periods",
    description="What each period came to by the rule 'rental first', as its closing froze it. The "
    "`late_` parts are of facts about earlier periods that were recorded in this one.",
    responses=described(Listing[PeriodLine]),
)
def periods(ask: Ask, page: Paged) -> Response:
    """The closed periods."""
    return ask.answer(lambda scope: books.periods(scope, page))


@router.get(
    "/costs",
    summary="Costs of contests",
    description="What every attempt at a contest cost on rented machines, and which image bears "
    "how much of it: by GPU seconds where all are known, else in equal parts.",
    responses=described(books.Costs),
)
def costs(ask: Ask, page: Paged) -> Response:
    """Every attempt and its cost."""
    return ask.answer(lambda scope: books.costs(scope, page))


@router.get(
    "/costs/contests/{contest_id}",
    summary="Cost of a contest",
    description="One contest with all its attempts, void ones, too; `usd_micros` is null while a "
    "part of it is not known. An unknown one is `unknown_contest`.",
    responses=described(books.RoundCosts),
)
def contest(ask: Ask, contest_id: ContestId) -> Response:
    """One contest."""
    return ask.answer(lambda scope: books.contest_costs(scope, contest_id))


@router.get(
    "/costs/submissions/{submission_id}",
    summary="Cost of a submission",
    description="The fee that a submission paid against its part of its contests' cost. An unknown "
    "one is `unknown_contest`.",
    responses=described(books.SubmissionCosts),
)
def submission(ask: Ask, submission_id: SubmissionId) -> Response:
    """One submission."""
    return ask.answer(lambda scope: books.submission_costs(scope, submission_id))
