"""Errors as answers: a status, a stable code and one sentence; never a traceback."""

from __future__ import annotations

from typing import Final

from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from ledger.application import UnknownArenaError
from ledger.queries.payouts import UnknownAccountError
from ledger.queries.scope import BlockOutOfRangeError, ViewBehindError


class MalformedParameterError(ValueError):
    """A parameter that cannot be what it says; the message is one sentence."""


class Problem(Exception):  # noqa: N818  not raised: what an exception is told as
    """What a client is told: HTTP status, code, one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


UNEXPECTED: Final = Problem(
    500, "internal_error", "something unexpected happened here; it was logged for the operator"
)

_HTTP_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


def problem_of(error: Exception) -> Problem:  # noqa: PLR0911  one per kind of error
    """How an exception is told to a client; what is not known here is an internal error."""
    match error:
        case Problem():
            return error
        case UnknownArenaError():
            return Problem(404, "unknown_arena", str(error))
        case BlockOutOfRangeError():
            return Problem(404, "block_out_of_range", str(error))
        case UnknownAccountError():
            return Problem(404, "unknown_address", str(error))
        case MalformedParameterError():
            return Problem(422, "malformed_parameter", str(error))
        case RequestValidationError():
            return Problem(422, "malformed_parameter", _sentence(error))
        case ViewBehindError():
            return Problem(503, "view_behind", str(error))
        case DBAPIError() | PoolTimeoutError():
            message = "the database did not answer; ask again, and see /v1/health"
            return Problem(503, "database_unreachable", message)
        case HTTPException():
            code = _HTTP_CODES.get(error.status_code, "http_error")
            return Problem(error.status_code, code, _http_sentence(error))
        case _:
            return UNEXPECTED


def _sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    place, *names = first["loc"]
    name = ".".join(str(part) for part in names)
    return f"{place} parameter '{name}' is malformed: {first['msg'].lower()}"


def _http_sentence(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is no such page; the endpoints are listed in /v1/openapi.json"
    if error.status_code == 405:
        return "this ledger is read-only over HTTP; only GET is answered"
    return str(error.detail)
