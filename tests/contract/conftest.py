"""A database of its own for every test, on every store there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ledger.store.database import open_engine
from tests.contract.stores import STORES, migrated_url


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Its address, with this program's schema."""
    return migrated_url(request.param, tmp_path)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """It, open."""
    made = open_engine(url)
    yield made
    made.dispose()
