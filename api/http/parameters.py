"""Query parameters that are unknown, or given twice with different values, are refused.

A misspelt ``at_block`` must not answer about now, nor a second one about another block.
"""

from __future__ import annotations

from typing import Final

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.http.errors import MalformedParameterError

MAX_SHOWN_CHARS: Final = 40


def refuse_unknown(request: Request) -> None:
    """Raise ``MalformedParameterError`` for a query parameter that is unknown or ambiguous."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not request.query_params:
        return
    offered = _query_names(route.dependant)
    for name in request.query_params:
        if name not in offered:
            there = f"there are: {', '.join(sorted(offered))}" if offered else "there are none here"
            msg = f"query parameter '{name[:MAX_SHOWN_CHARS]}' is unknown; {there}"
            raise MalformedParameterError(msg)
        if len(set(request.query_params.getlist(name))) > 1:
            msg = f"query parameter '{name}' is given with different values; give it once"
            raise MalformedParameterError(msg)


def _query_names(dependant: Dependant) -> set[str]:
    """The query parameters of an endpoint and of everything it depends on."""
    names = {field.alias for field in dependant.query_params}
    return names.union(*map(_query_names, dependant.dependencies))
