"""Errors as a client reads them: a status, a stable code and one sentence; never a traceback.

What an exception of the ledger is called stands in :mod:`api.errors`, once for all faces. Here is
only what is particular to HTTP: errors of the web framework, and what a stranger is not told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api import errors
from ledger.queries.book_names import UnknownBookError
from ledger.queries.costs import UnknownCostError


class MalformedParameterError(ValueError):
    """A parameter that cannot be what it says; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a client is told: HTTP status, code, one sentence."""

    status: int
    code: str
    message: str


UNEXPECTED: Final = Told(
    500, "internal_error", "something unexpected happened here; it was logged for the operator"
)

_ABOUT_THE_QUESTION: Final = frozenset(
    {
        "unknown_arena",
        "block_out_of_range",
        "unknown_address",
        "malformed_parameter",
        "view_behind",
    }
)
"""Codes whose sentence is for whoever asked. Any other failure of a read is a defect here."""

_FOR_STRANGERS: Final = {
    "database_unreachable": "the database did not answer; ask again, and see /v1/health",
    "database_locked": "the database was busy for too long; ask again",
    "database_full": "the disk of the database is full; its operator must free space",
}
"""Sentences in place of the operator's own, which may name hosts and files."""

_LISTED_AT: Final = {
    "account": "the arena's /treasury lists those with postings, under 'balances'",
    "asset": "the arena's /treasury lists those with postings, under 'balances'",
    "contest": "the arena's /contests lists those there are",
    "submission": "the arena's /submissions lists those there are",
}
"""Where to look up what was asked for and is not known."""

_HTTP_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


def told_of(error: Exception) -> Told:
    """How an exception is told to a client; what is not known here is an internal error."""
    match error:
        case MalformedParameterError():
            return Told(422, "malformed_parameter", str(error))
        case RequestValidationError():
            return Told(422, "malformed_parameter", _sentence(error))
        case HTTPException():
            code = _HTTP_CODES.get(error.status_code, "http_error")
            return Told(error.status_code, code, _http_sentence(error))
    problem = errors.problem_of(error)
    message = _message(error, problem)
    return UNEXPECTED if message is None else Told(problem.http_status, problem.code, message)


def _message(error: Exception, problem: errors.Problem) -> str | None:
    """The sentence for whoever asked; None where there is none that a stranger may read."""
    if isinstance(error, UnknownBookError | UnknownCostError):
        return errors.one_line(f"{error}; {_LISTED_AT[error.what]}")
    if problem.code in _ABOUT_THE_QUESTION:
        return problem.message
    return _FOR_STRANGERS.get(problem.code)


def _sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place, *names = first["loc"]
    name = ".".join(str(part) for part in names)
    # Only the first letter: the rest may quote a pattern, in which case matters.
    said = first["msg"][:1].lower() + first["msg"][1:]
    return f"{place} parameter '{name}' is malformed: {said}"


def _http_sentence(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is no such page; the endpoints are listed in /v1/openapi.json"
    if error.status_code == 405:
        return "this ledger is read-only over HTTP; only GET and HEAD are answered"
    return str(error.detail)
