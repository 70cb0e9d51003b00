"""Where log lines go: to what is stderr when they are written."""

from __future__ import annotations

import io
import sys

import pytest
import structlog

from api.cli.logs import configure


def test_a_line_goes_to_what_is_stderr_now_and_not_to_what_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = structlog.get_logger("test")
    before = io.StringIO()
    monkeypatch.setattr(sys, "stderr", before)
    configure(debug=False)
    before.close()  # as a runner of commands does with its own
    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    log.error("request failed", code="database_full")
    assert "request failed" in now.getvalue()
    assert "database_full" in now.getvalue()
