"""One recorded season for all tests of the HTTP face; they only read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import Services, open_services
from api.settings import Settings
from tests.unit.api.season import Season, record_season


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Services, Season]]:
    """The season in a database of its own."""
    folder: Path = tmp_path_factory.mktemp("season")
    services = open_services(Settings(database_url=f"sqlite:///{folder / 'season.db'}"))
    yield services, record_season(services)
    services.close()


@pytest.fixture(scope="session")
def services(recorded: tuple[Services, Season]) -> Services:
    """The services over it."""
    return recorded[0]


@pytest.fixture(scope="session")
def season(recorded: tuple[Services, Season]) -> Season:
    """What was recorded."""
    return recorded[1]
