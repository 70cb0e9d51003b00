"""The page's addresses: ``/``, ``/{network}/{netuid}`` and its ``.json`` twin."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import RedirectResponse

from api.app import Services
from api.http.errors import MalformedParameterError
from api.http.reading import Network, Stamp, stamped
from api.limits import MAX_BLOCK, MAX_NETUID
from api.pages.problem import problem_page
from api.pages.render import PAGE_HEADERS, render
from api.pages.view import arena_page
from ledger.store.logs import all_heads

router = APIRouter(include_in_schema=False)

PageNetuid = Annotated[int, Path(ge=0, le=MAX_NETUID)]
BlockText = Annotated[str, Query(max_length=10)]


@router.get("/")
def first(request: Request) -> Response:
    """On to the first arena."""
    services: Services = request.app.state.services
    heads = services.arenas()
    if not heads:
        message = "no arena is open in this database yet; open one with 'cacheon-ledger arena open'"
        return problem_page(404, message, {"Cache-Control": "no-store"})
    return RedirectResponse(f"/{quote(heads[0].network, safe='')}/{heads[0].netuid}")


@router.get("/{network}/{netuid:int}")
def page(
    request: Request, network: Network, netuid: PageNetuid, at_block: BlockText = ""
) -> Response:
    """An arena at a block. Pages are never cached for good: their look changes with the program."""
    services: Services = request.app.state.services
    with services.at(network, netuid, _block(at_block)) as scope:
        stamp = Stamp.of(scope)
        body = render(
            "arena.html",
            page=arena_page(scope),
            base=f"/v1/arenas/{quote(network, safe='')}/{netuid}",
            here=f"/{quote(network, safe='')}/{netuid}",
            at=f"?at_block={scope.block}" if at_block else "",
            asked=bool(at_block),
            # Not services.arenas(): a second connection a request would drain the pool.
            arenas=all_heads(scope.connection),
        )
    media = "text/html; charset=utf-8"
    return stamped(request, body, stamp, final=False, media_type=media, headers=PAGE_HEADERS)


@router.get("/{network}/{netuid:int}.json")
def twin(network: Network, netuid: PageNetuid, at_block: BlockText = "") -> Response:
    """The page's twin for programs: the API's status."""
    block = _block(at_block)
    query = "" if block is None else f"?at_block={block}"
    return RedirectResponse(f"/v1/arenas/{quote(network, safe='')}/{netuid}/status{query}")


def _block(text: str) -> int | None:
    """The block of the page's own form, where an empty field means the newest."""
    if not text.strip():
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= MAX_BLOCK):
        msg = f"'{text}' is no block number; give a whole number or nothing for the newest"
        raise MalformedParameterError(msg)
    return int(text)
