"""Asking a question at a block: the parameters all endpoints share, and how an answer is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, Path, Query, Request, Response

from api.app import Services
from api.limits import DEFAULT_LIMIT, MAX_BLOCK, MAX_LIMIT, MAX_NETUID, MAX_OFFSET
from api.reads import Window
from ledger.queries.scope import Scope

MAX_NETWORK_CHARS: Final = 64
GENESIS_DIGITS: Final = 12

FINAL: Final = "public, max-age=3600"
"""For an answer that no later fact can change.

Not `immutable`: an arena played again on a new genesis answers at the same address, and a browser
must not show the old chain's answer for longer than an hour.
"""
REVALIDATE: Final = "no-cache"

Network = Annotated[str, Path(max_length=MAX_NETWORK_CHARS, description="e.g. `finney`")]
Netuid = Annotated[int, Path(ge=0, le=MAX_NETUID, description="the subnet, e.g. 14")]
AtBlock = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAX_BLOCK,
        description="answer as of this finalized block; the newest ingested one by default",
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="how many items at most")]
Offset = Annotated[int, Query(ge=0, le=MAX_OFFSET, description="how many items to leave out")]


@dataclass(frozen=True, slots=True)
class Stamp:
    """What prefix of a log an answer rests on; ``final`` once no fact can join that prefix."""

    genesis: str
    block: int
    position: int
    final: bool

    @classmethod
    def of(cls, scope: Scope) -> Stamp:
        """The scope's prefix. At the newest block more facts can still be recorded."""
        return cls(
            scope.head.arena.genesis,
            scope.block,
            scope.position,
            scope.block < scope.head.effective_block,
        )


@dataclass(frozen=True, slots=True)
class Asking:
    """A request for an arena at a block."""

    request: Request
    services: Services
    network: str
    netuid: int
    at_block: int | None

    def answer(self, question: Callable[[Scope], object], *, names_head: bool = False) -> Response:
        """The answer as JSON, with the headers that say what it rests on.

        An answer that names the log's head besides its own block is always asked for again.
        """
        with self.services.at(self.network, self.netuid, self.at_block) as scope:
            body, stamp = encoded(question(scope)), Stamp.of(scope)
        # Asked without a block, the same address answers otherwise tomorrow.
        final = stamp.final and self.at_block is not None and not names_head
        return stamped(self.request, body, stamp, final=final)


def asking(request: Request, network: Network, netuid: Netuid, at_block: AtBlock = None) -> Asking:
    """The parameters of an arena's endpoints."""
    return Asking(request, request.app.state.services, network, netuid, at_block)


def paging(limit: Limit = DEFAULT_LIMIT, offset: Offset = 0) -> Window:
    """The parameters of endpoints that list."""
    return Window(limit, offset)


Ask = Annotated[Asking, Depends(asking)]
Paged = Annotated[Window, Depends(paging)]


def encoded(content: object) -> bytes:
    """JSON with a stable order of keys: structs as declared, mappings sorted."""
    return msgspec.json.encode(content, order="deterministic")


def stamped(
    request: Request,
    body: bytes,
    stamp: Stamp,
    *,
    final: bool,
    media_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Response:
    """A response that names its prefix of the log; 304 where the client has it already."""
    # Two chains under one network name share every address, so that the tag says which it was.
    chain = stamp.genesis.removeprefix("0x")[:GENESIS_DIGITS]
    tag = f'"{chain}-{hashlib.sha256(body).hexdigest()[:32]}"'
    sent: dict[str, Any] = {
        "ETag": tag,
        "Cache-Control": FINAL if final else REVALIDATE,
        "X-Ledger-Block": str(stamp.block),
        "X-Ledger-Position": str(stamp.position),
        **(headers or {}),
    }
    asked_for = request.headers.get("if-none-match", "")
    known = {item.strip().removeprefix("W/") for item in asked_for.split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=sent)
    return Response(body, media_type=media_type, headers=sent)
