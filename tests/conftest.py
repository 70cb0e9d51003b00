"""How tests are spread over processes, where `pytest -n` asks for several, and over cores."""

from __future__ import annotations

import os
import signal
from functools import cache
from typing import Any

import typer.main
import typer.testing

# Before numpy is loaded, which reads them once. Its threads wait for each other by spinning: on
# cores that other tests use too, small products take ten times as long. Servers of contests have
# one thread as well.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# A shell that starts the tests in its background lets them ignore Ctrl-C, and what they start would
# ignore it as well, also where a test sends it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Typer's runner makes the command line's whole tree anew for every command, a tenth of a second of
# arithmetic; as in a process of its own, it is made once.
typer.testing._get_command = cache(typer.main.get_command)  # type: ignore[assignment]

ONE_ENGINE = (
    "tests/containers/",
    "tests/engines/",
    "tests/faults/test_killed_evaluators.py",
    "tests/hosts/test_engines_of_machines.py",
    "tests/hosts/test_containers_of_machines.py",
)
"""Tests of the container engine or of an installed one: a machine has one, one process has it."""


LONGEST = (
    "tests/faults/test_a_killed_season.py",
    *ONE_ENGINE,
    "tests/contract/test_money_through_a_node.py",
    "tests/faults/",
    "tests/hosts/",
    "tests/e2e/",
    "tests/property/",
    "tests/contract/",
)
"""What takes longest comes first, so that the processes come to their ends together."""


def _turn(nodeid: str) -> int:
    return next((at for at, one in enumerate(LONGEST) if nodeid.startswith(one)), len(LONGEST))


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """In one process of several: the longest first; within a file, the order stays."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _turn(item.nodeid))


def pytest_xdist_make_scheduler(config: Any, log: Any) -> Any:
    """A file's tests stay in one process with the fixtures they share; so do an engine's."""
    from xdist.scheduler import LoadFileScheduling

    # Otherwise the files with fewest tests come last, and those of the longest tests have few.
    config.option.loadscopereorder = False

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "engine" if nodeid.startswith(ONE_ENGINE) else super()._split_scope(nodeid)

    return ByFile(config, log)
