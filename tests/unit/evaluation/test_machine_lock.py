"""A machine has one contest at a time, and a dead holder's lock is nobody's."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evaluation.runners.docker.machine_lock import machine_locked, machine_locked_if_free
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause

HOLDER = """
import sys, time
from evaluation.runners.docker.machine_lock import machine_locked
with machine_locked(name=chr(0) + sys.argv[1]):
    print("holding", flush=True)
    time.sleep(1000)
"""


@pytest.fixture
def name() -> str:
    return "\0cacheon-ledger-test-" + secrets.token_hex(8)


def test_a_second_contest_waits_for_the_first(name: str) -> None:
    began, order = threading.Event(), []

    def second() -> None:
        began.set()
        with machine_locked(name=name):
            order.append("second")

    with machine_locked(name=name):
        thread = threading.Thread(target=second)
        thread.start()
        began.wait()
        with pytest.raises(RuntimeError, match="holds a stage already"), machine_locked(name=name):
            pass
        with machine_locked_if_free(name) as free:
            assert not free
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    with machine_locked_if_free(name) as free:
        assert free


def test_what_is_never_free_is_a_fault_of_ours(name: str) -> None:
    with (
        machine_locked_if_free(name),
        pytest.raises(InfrastructureFaultError, match="another contest ran") as raised,
        machine_locked(0, name),
    ):
        pass
    assert raised.value.cause is InfrastructureCause.HOST_FAILED


def test_a_killed_holder_holds_nothing(name: str) -> None:
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", HOLDER, name[1:]],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    with machine_locked_if_free(name) as free:
        assert not free
    process.kill()
    process.wait()
    with machine_locked(name=name), machine_locked_if_free(name) as free:
        assert not free
