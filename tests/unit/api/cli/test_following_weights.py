"""`weights publish --follow` outlasts what passes, and ends at what does not."""

from __future__ import annotations

import sqlite3
from threading import Event
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from api.cli import publish
from api.cli.options import OutputFormat
from chain.port import ChainUnavailableError, OtherChainError, SendRefusedError
from chain.wallets import WalletError
from ledger.application import ContentionError
from ledger.queries.scope import ViewBehindError


class Looks:
    """Looks that raise one error after another; the last one ends the following."""

    def __init__(self, stop: Event, *errors: Exception) -> None:
        self._stop, self._errors = stop, list(errors)

    def look(self, *, dry_run: bool) -> Any:
        assert not dry_run
        error = self._errors.pop(0)
        if not self._errors:
            self._stop.set()
        raise error


def follow(patch: pytest.MonkeyPatch, *errors: Exception) -> None:
    patch.setattr(publish, "POLL_S", 0)
    stop = Event()
    publish._follow(Looks(stop, *errors), stop, OutputFormat.JSON, dry_run=False)  # type: ignore[arg-type]
    assert stop.is_set()


def test_what_passes_is_told_and_outlasted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = (
        ChainUnavailableError("no node answers"),
        ContentionError("other writers were faster"),
        OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked")),
        OtherChainError("it is another chain"),
        ViewBehindError("the view is behind"),
        SendRefusedError("no such call"),
        ChainUnavailableError("wss://node.test/key-of-the-node did not answer"),
    )
    follow(monkeypatch, *errors)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(errors)
    assert "holds the database's lock" in told[2]
    assert "key-of-the-node" not in told[-1]


@pytest.mark.parametrize("error", [WalletError("the password is wrong"), KeyError("a defect")])
def test_what_does_not_pass_ends_it(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    with pytest.raises(type(error)):
        follow(monkeypatch, error)
