"""Asking a question at a block: the parameters all endpoints share, and how an answer is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import Depends, Path, Query, Request, Response

from api.app import Services
from api.http.answers import Listing, Part
from ledger.projections.all import PROJECTIONS
from ledger.queries.scope import Scope, ViewBehindError, find_arena, scope_at

MAX_BLOCK: Final = 2**32 - 1
"""Block numbers are u32 on the chain."""
MAX_LIMIT: Final = 10_000
DEFAULT_LIMIT: Final = 1_000
MAX_OFFSET: Final = 2**31 - 1
MAX_NETWORK_CHARS: Final = 64
REFRESH_TRIES: Final = 5
"""How often views are brought up to date for one question while writers keep adding facts."""

IMMUTABLE: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "no-cache"

AnswerT = TypeVar("AnswerT")
ItemT = TypeVar("ItemT")

Network = Annotated[str, Path(max_length=MAX_NETWORK_CHARS, description="e.g. `finney`")]
Netuid = Annotated[int, Path(ge=0, le=65_535, description="the subnet, e.g. 14")]
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


@contextmanager
def open_scope(
    services: Services, network: str, netuid: int, at_block: int | None
) -> Iterator[Scope]:
    """An open read with every view at least as far as the prefix it reads.

    Views are only written to when they lag, so that a read costs no write lock. Raises
    ``ViewBehindError`` if writers stay faster for :data:`REFRESH_TRIES` tries.
    """
    for left in reversed(range(REFRESH_TRIES)):
        with services.engine.connect() as connection:
            scope = scope_at(connection, find_arena(connection, network, netuid), at_block)
            try:
                for projection in PROJECTIONS:
                    scope.needs(projection)
            except ViewBehindError:
                if not left:
                    raise
            else:
                yield scope
                return
        services.refresh()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What prefix of a log an answer rests on; ``final`` once no fact can join that prefix."""

    block: int
    position: int
    final: bool

    @classmethod
    def of(cls, scope: Scope) -> Stamp:
        """The scope's prefix. At the newest block more facts can still be recorded."""
        return cls(scope.block, scope.position, scope.block < scope.head.effective_block)


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

        An answer that names the log's head besides its own block is never cached for good.
        """
        with open_scope(self.services, self.network, self.netuid, self.at_block) as scope:
            body, stamp = encoded(question(scope)), Stamp.of(scope)
        # Asked without a block, the same address answers otherwise tomorrow.
        final = stamp.final and self.at_block is not None and not names_head
        return stamped(self.request, body, stamp, final=final)


def asking(request: Request, network: Network, netuid: Netuid, at_block: AtBlock = None) -> Asking:
    """The parameters of an arena's endpoints."""
    return Asking(request, request.app.state.services, network, netuid, at_block)


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is asked for."""

    limit: int
    offset: int

    def part(self, items: Sequence[ItemT]) -> Part[ItemT]:
        """The page of a list inside an answer."""
        return Part(len(items), self.cut(items))

    def listing(self, scope: Scope, items: Sequence[ItemT]) -> Listing[ItemT]:
        """The page of a list that is the answer."""
        total = len(items)
        page = self.cut(items)
        return Listing(scope.block, scope.position, total, self.limit, self.offset, page)

    def cut(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """The items of the page."""
        return items[self.offset : self.offset + self.limit]


def paging(limit: Limit = DEFAULT_LIMIT, offset: Offset = 0) -> Paging:
    """The parameters of endpoints that list."""
    return Paging(limit, offset)


Ask = Annotated[Asking, Depends(asking)]
Paged = Annotated[Paging, Depends(paging)]


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
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    sent: dict[str, Any] = {
        "ETag": tag,
        "Cache-Control": IMMUTABLE if final else REVALIDATE,
        "X-Ledger-Block": str(stamp.block),
        "X-Ledger-Position": str(stamp.position),
        **(headers or {}),
    }
    asked_for = request.headers.get("if-none-match", "")
    known = {item.strip().removeprefix("W/") for item in asked_for.split(",")}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=sent)
    return Response(body, media_type=media_type, headers=sent)
