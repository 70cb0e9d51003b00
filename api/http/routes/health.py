"""Is it alive, which arenas are there, and how far is each view."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from api import reads
from api.answers import ArenaHealth, Arenas, Health, ViewLine
from api.app import Services
from api.http.reading import REVALIDATE, encoded
from api.http.schema import described
from api.status import arena_line
from ledger.projections.all import PROJECTIONS
from ledger.store.logs import all_heads
from ledger.store.schema import tracking

router = APIRouter(prefix="/v1", tags=["service"])


@router.get(
    "/health",
    summary="Health",
    description="Whether the database answers, the arenas with their heads, and how far each view "
    "has folded each log. Asking changes nothing: a view that is behind stays so until it is read.",
    responses=described(Health, arena=False),
)
def health(request: Request) -> Response:
    """Look at the database without bringing anything up to date."""
    return _fresh(health_of(request.app.state.services))


@router.get(
    "/arenas",
    summary="Arenas",
    description="All arenas of this database with the head of each log.",
    responses=described(Arenas, arena=False),
)
def arenas(request: Request) -> Response:
    """List the arenas."""
    services: Services = request.app.state.services
    return _fresh(reads.arenas(services.arenas()))


def health_of(services: Services) -> Health:
    """The heads of all logs and the position of every view; raises what the database raises."""
    with services.engine.connect() as connection:
        heads = all_heads(connection)
        rows = connection.execute(
            select(tracking.c.log_id, tracking.c.projection, tracking.c.position)
        )
        positions = {(log_id, name): position for log_id, name, position in rows}
    lines = []
    for head in heads:
        at = {view.name: positions.get((head.log_id, view.name), 0) for view in PROJECTIONS}
        views = [ViewLine(name, place, head.position - place) for name, place in at.items()]
        lines.append(ArenaHealth(arena_line(head), views))
    return Health("ok", "reachable", lines)


def _fresh(content: object) -> Response:
    headers = {"Cache-Control": REVALIDATE}
    return Response(encoded(content), media_type="application/json", headers=headers)
