"""How tests are spread over processes, where `pytest -n` asks for several."""

from __future__ import annotations

from typing import Any

ONE_ENGINE = (
    "tests/containers/",
    "tests/engines/",
    "tests/faults/test_killed_evaluators.py",
)
"""Tests of one container engine or one installed engine: a machine has one, so one process has it."""


def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """A file's tests stay in one process, for the fixtures they share; so do all tests of an engine."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "engine" if nodeid.startswith(ONE_ENGINE) else super()._split_scope(nodeid)

    return ByFile(config, log)
