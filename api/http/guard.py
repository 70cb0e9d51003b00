"""What surrounds every request: errors told in one form, defects logged, safe headers."""

from __future__ import annotations

from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answers import ErrorAnswer, ErrorDetail
from api.errors import problem_of
from api.http.errors import UNEXPECTED, Told, told_of
from api.http.reading import encoded
from api.pages.problem import problem_page

API_PREFIX: Final = "/v1/"

_log = structlog.get_logger("api.http")

_SAFE_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Guard:
    """ASGI middleware: the last one to see an exception that no handler took.

    The client gets one sentence; the traceback goes to the log and nowhere else. HEAD is answered
    as GET without its body (RFC 9110, 9.1 and 9.3.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, headless = False, scope["method"] == "HEAD"
        if headless:
            scope = {**scope, "method": "GET"}

        async def safely(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", []), *_SAFE_HEADERS]
            elif headless and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(scope, receive, safely)
        except Exception as error:
            found = told_of(error)
            _log.exception("request failed", path=scope["path"], code=found.code)
            if started:
                raise  # half an answer cannot be taken back; the connection must break
            await answer(Request(scope), found)(scope, receive, safely)


async def on_error(request: Request, error: Exception) -> Response:
    """The handler of every exception that has a meaning for the client."""
    told = told_of(error)
    if told.status >= 500:
        # The client's sentence leaves out what only the operator may know.
        _log.error(
            "request failed",
            path=request.url.path,
            code=told.code,
            cause=problem_of(error).message,
            exc_info=error if told is UNEXPECTED else None,
        )
    return answer(request, told)


def answer(request: Request, told: Told) -> Response:
    """An error as the client reads it: JSON under ``/v1/``, a page elsewhere."""
    headers = {"Cache-Control": "no-store"}
    if told.status == 503:
        headers["Retry-After"] = "1"
    if told.status == 405:
        headers["Allow"] = "GET, HEAD"  # which RFC 9110, 15.5.6 asks for
    if not request.url.path.startswith(API_PREFIX):
        return problem_page(told.status, told.message, headers)
    body = encoded(ErrorAnswer(ErrorDetail(told.code, told.message)))
    return Response(body, told.status, headers, "application/json")
