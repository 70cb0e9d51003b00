"""The HTTP application: routers over the services, one form of error, no writing endpoint."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Final

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from api.app import Services
from api.http.errors import MalformedParameterError
from api.http.guard import Guard, on_error
from api.http.parameters import refuse_unknown
from api.http.routes import arena, books, emissions, health, submissions, treasury, weights
from api.http.schema import openapi_of
from api.pages.routes import router as pages
from ledger.addresses import AddressFormError
from ledger.application import UnknownArenaError
from ledger.queries.book_names import UnknownBookError
from ledger.queries.costs import UnknownCostError
from ledger.queries.payouts import UnknownAccountError
from ledger.queries.scope import BlockOutOfRangeError, ViewBehindError

_TOLD: Final[tuple[type[Exception], ...]] = (
    RequestValidationError,
    HTTPException,
    MalformedParameterError,
    AddressFormError,
    UnknownArenaError,
    UnknownAccountError,
    UnknownBookError,
    UnknownCostError,
    BlockOutOfRangeError,
    ViewBehindError,
    DBAPIError,
    PoolTimeoutError,
)
"""What has a meaning for the client; everything else is a defect and goes to the log."""


def create_app(services: Services) -> FastAPI:
    """The API under ``/v1`` and the page at ``/``, over these services."""
    app = FastAPI(
        title="Cacheon Ledger",
        version=metadata.version("cacheon-ledger"),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # the interactive pages load scripts from elsewhere
        redoc_url=None,
        dependencies=[Depends(refuse_unknown)],
    )
    app.state.services = services
    for module in (health, arena, weights, emissions, treasury, books, submissions):
        app.include_router(module.router)
    app.include_router(pages)
    for kind in _TOLD:
        app.add_exception_handler(kind, on_error)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET"],
        expose_headers=["ETag", "X-Ledger-Block", "X-Ledger-Position"],
    )
    app.add_middleware(Guard)

    def openapi() -> dict[str, Any]:
        return openapi_of(app)

    app.openapi = openapi  # type: ignore[method-assign]  # how FastAPI takes its own document
    return app
