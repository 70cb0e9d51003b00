"""A fresh arena for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import Scene


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A migrated database."""
    made = quick_engine(tmp_path)
    yield made
    made.dispose()


@pytest.fixture
def scene(engine: Engine) -> Scene:
    """An arena that just opened."""
    return Scene(engine)
