"""An error as a page."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import HTMLResponse

from api.pages.render import PAGE_HEADERS, render


def problem_page(status: int, message: str, headers: Mapping[str, str]) -> HTMLResponse:
    """One sentence and the way back."""
    title = HTTPStatus(status).phrase
    body = render("problem.html", status=status, title=title, message=message)
    return HTMLResponse(body, status, {**headers, **PAGE_HEADERS})
