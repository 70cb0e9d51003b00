"""Unknown query parameters are refused: a misspelt ``at_block`` must not answer about now."""

from __future__ import annotations

from fastapi import Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute

from api.http.errors import MalformedParameterError


def refuse_unknown(request: Request) -> None:
    """Raise ``MalformedParameterError`` for a query parameter that the route does not have."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = {field.alias for field in get_flat_dependant(route.dependant).query_params}
    for name in request.query_params:
        if name not in known:
            offered = ", ".join(sorted(known)) or "none"
            shown = name[:40]
            msg = f"query parameter '{shown}' is unknown here; this endpoint has: {offered}"
            raise MalformedParameterError(msg)
