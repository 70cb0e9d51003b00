"""OpenAPI of the answers: schemas come from the answer types themselves, so they cannot drift."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.answers import ErrorAnswer

_REF: Final = "#/components/schemas/{name}"
_KINDS: Final[list[Any]] = [ErrorAnswer]
"""Every answer type that a route described, in the order of description."""

_HEADERS: Final = {
    "X-Ledger-Block": {
        "description": "the block that the answer is about",
        "schema": {"type": "integer"},
    },
    "X-Ledger-Position": {
        "description": "the last position of the arena's log that the answer rests on",
        "schema": {"type": "integer"},
    },
    "ETag": {
        "description": "the chain's genesis (12 hex digits) and the digest of the answer",
        "schema": {"type": "string"},
    },
    "Cache-Control": {
        "description": "max-age=3600 where `at_block` is before the newest block, else no-cache",
        "schema": {"type": "string"},
    },
}

_ERRORS: Final = {
    404: "unknown arena (`unknown_arena`), a block that is not in the log (`block_out_of_range`) "
    "or an address, contest or account that is nowhere in it (`unknown_address`, "
    "`unknown_contest`, `unknown_account`)",
    422: "a malformed or unknown parameter, or one of two values (`malformed_parameter`)",
    500: "a defect here (`internal_error`)",
    503: "the database does not answer (`database_unreachable`), another program holds its lock "
    "(`database_locked`) or a view lags (`view_behind`)",
    507: "the disk of the database is full (`database_full`)",
}

DESCRIPTION: Final = """\
Read-only access to the ledger of a subnet's inference competition.

**Units.** Every amount is an integer in its smallest unit, and a field's name ends in that unit:
`_rao` (10^-9 TAO), `_alpha` (10^-9 alpha), `_usd_micros` (millionths of a dollar), `_ppm` (parts
per million), `_us` (microseconds). Where one field holds several assets, `asset` stands beside it:
`TAO` in rao, `USD` in millionths, `ALPHA:<netuid>` in 10^-9. `null` is unknown, never zero.

**Time.** `?at_block=` asks at any ingested block; the answer is a prefix of the log and does not
change once a later block is ingested. **At the newest block an answer is provisional**: facts that
are decided before the next block is ingested still join it.

**Errors** are `{"error": {"code": "...", "message": "one sentence"}}`.
"""


def described(kind: Any, *, arena: bool = True) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that answers with ``kind``."""
    _KINDS.append(kind)
    answer = {
        "description": "The answer.",
        "content": {"application/json": {"schema": _schema_of(kind)}},
        **({"headers": _HEADERS} if arena else {}),
    }
    error = {"application/json": {"schema": _schema_of(ErrorAnswer)}}
    wanted = _ERRORS if arena else {status: _ERRORS[status] for status in (422, 500, 503, 507)}
    return {
        200: answer,
        **{status: {"description": text, "content": error} for status, text in wanted.items()},
    }


def _schema_of(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema


def openapi_of(app: FastAPI) -> dict[str, Any]:
    """The app's OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
        )
        _, components = msgspec.json.schema_components(_KINDS, ref_template=_REF)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(sorted(components.items()))
        app.openapi_schema = document
    return app.openapi_schema
