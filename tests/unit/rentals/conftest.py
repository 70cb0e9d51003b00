"""A database for a test of rentals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.contract.stores import quick_engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = quick_engine(tmp_path)
    yield made
    made.dispose()
