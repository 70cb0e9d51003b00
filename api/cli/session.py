"""Opening the ledger for one command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    from api.settings import Settings

    said = {
        "database_url": database,
        "network": network,
        "netuid": netuid,
        "host": host,
        "port": port,
    }
    return Settings(**{name: value for name, value in said.items() if value is not None})  # type: ignore[arg-type]


@contextmanager
def opened(settings: Settings) -> Iterator[Services]:
    """The services over the database of ``settings``; closed again at the end."""
    from api.app import open_services

    services = open_services(settings)
    try:
        yield services
    finally:
        services.close()
