"""Opening the ledger for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from api.app import Services
    from api.settings import Settings


def settings_of(
    database: str | None = None,
    network: str | None = None,
    netuid: int | None = None,
    host: str | None = None,
    port: int | None = None,
) -> Settings:
    """The settings of the environment, with what the command line says instead."""
    from api.settings import load_settings

    said = {
        "database_url": database,
        "network": network,
        "netuid": netuid,
        "host": host,
        "port": port,
    }
    return load_settings(**{name: value for name, value in said.items() if value is not None})


@contextmanager
def opened(
    settings: Settings, *, create: bool = False, views_may_lack: bool = False
) -> Iterator[Services]:
    """The services over the database of ``settings``; closed again at the end.

    A database that is not there is an error unless the command may ``create`` it, and so is one
    without the table of a view unless ``views_may_lack``.
    """
    from api.app import open_services

    services = open_services(settings, create=create, views_may_lack=views_may_lack)
    try:
        yield services
    finally:
        services.close()


def opened_or_made(settings: Settings) -> AbstractContextManager[Services]:
    """As :func:`opened`, for a command that begins a ledger: a missing database is made."""
    return opened(settings, create=True)
