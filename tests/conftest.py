"""How tests are spread over processes, where `pytest -n` asks for several."""

from __future__ import annotations

from typing import Any

ONE_ENGINE = (
    "tests/containers/",
    "tests/engines/",
    "tests/faults/test_killed_evaluators.py",
    "tests/hosts/test_engines_of_machines.py",
    "tests/hosts/test_containers_of_machines.py",
)
"""Tests of the container engine or of an installed one: a machine has one, one process has it."""


def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """A file's tests stay in one process with the fixtures they share; so do an engine's."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "engine" if nodeid.startswith(ONE_ENGINE) else super()._split_scope(nodeid)

    return ByFile(config, log)
