"""A read is never behind the log it reads, however fast others write to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.app import REFRESH_TRIES, Services, open_services
from api.settings import Settings
from ledger.projections.runner import catch_up
from ledger.queries.scope import ViewBehindError
from ledger.queries.weights import vector_view
from tests.unit.api.season import HEAD, NETUID, NETWORK, record_blocks, record_season


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """The season in a database that the test may add to."""
    found = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'season.db'}"))
    record_season(found)
    yield found
    found.close()


def _write_after_refreshes(
    services: Services, monkeypatch: pytest.MonkeyPatch, times: int
) -> list[int]:
    """After each of the first refreshes a writer adds a block; gives the blocks that it added."""
    ledger = services.ledger(NETWORK, NETUID)
    added: list[int] = []

    def then_write(*args: Any) -> None:
        catch_up(*args)
        if len(added) < times:
            added.append(ledger.head().effective_block + 1)
            record_blocks(ledger, added[-1])

    monkeypatch.setattr("api.app.catch_up", then_write)
    return added


def test_facts_recorded_between_refresh_and_read_are_in_the_answer(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_blocks(services.ledger(NETWORK, NETUID), HEAD + 1)
    added = _write_after_refreshes(services, monkeypatch, 2)
    with services.at(NETWORK, NETUID) as scope:
        assert vector_view(scope).block == scope.block == HEAD + 3
    assert added == [HEAD + 2, HEAD + 3]


def test_writers_that_stay_faster_are_said_so(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_blocks(services.ledger(NETWORK, NETUID), HEAD + 1)
    added = _write_after_refreshes(services, monkeypatch, REFRESH_TRIES)
    with pytest.raises(ViewBehindError), services.at(NETWORK, NETUID):
        pytest.fail("a lagging view was read")
    assert len(added) == REFRESH_TRIES - 1


def test_current_views_are_not_touched(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    added = _write_after_refreshes(services, monkeypatch, 1)
    with services.at(NETWORK, NETUID) as scope:
        assert scope.block == HEAD
    assert added == []
