"""Fixtures of the engine, for any conftest: ``from tests.engine.fixtures import engine``."""

from __future__ import annotations

import pytest

from tests.engine.engine import Engine, EngineUnavailableError, shared_engine


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The one of this process; skips with a sentence where none can run."""
    try:
        found = shared_engine()
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    found.start()  # a test may have killed it
    return found
