"""A machine to rent: this one, behind an sshd of the tests' own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.pods.host import PodHost, connect
from evaluation.pods.host_keys import Pin
from evaluation.pods.ssh import Ssh
from tests.hosts.sshd import Sshd


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Sshd]:
    """A running sshd; skips with a sentence where none is installed."""
    made = Sshd(tmp_path / "machine")
    yield made
    made.close()


@pytest.fixture
def ssh(machine: Sshd, tmp_path: Path) -> Ssh:
    """The way to it, with nothing pinned yet."""
    return Ssh(machine.address, machine.key, Pin(tmp_path / "pins" / "machine"))


@pytest.fixture
def host(ssh: Ssh) -> PodHost:
    """It, met."""
    return connect(ssh)
