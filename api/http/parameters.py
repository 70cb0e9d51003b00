"""Unknown query parameters are refused: a misspelt ``at_block`` must not answer about now."""

from __future__ import annotations

from typing import Final

from fastapi import Request

from api.http.errors import MalformedParameterError

QUERY_PARAMETERS: Final = frozenset({"at_block", "limit", "offset", "hotkey", "unclaimed"})
"""Every query parameter that any endpoint has."""
MAX_SHOWN_CHARS: Final = 40


def refuse_unknown(request: Request) -> None:
    """Raise ``MalformedParameterError`` for a query parameter that no endpoint has."""
    for name in request.query_params:
        if name not in QUERY_PARAMETERS:
            offered = ", ".join(sorted(QUERY_PARAMETERS))
            msg = f"query parameter '{name[:MAX_SHOWN_CHARS]}' is unknown; there are: {offered}"
            raise MalformedParameterError(msg)
