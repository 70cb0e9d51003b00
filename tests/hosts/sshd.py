"""A real sshd of one's own in a folder: its machine is this one, its user's home is the folder's.

machine = Sshd(folder, environment={"DOCKER_HOST": …})
ssh = Ssh(machine.address, machine.key, Pin(folder / "pin"))
machine.drop()          # kills the connections that are open
machine.close()
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import evaluation.runners
from evaluation.pods.port import Address
from evaluation.runners.free_port import free_port

START_S = 30.0
_SEPARATION = Path("/run/sshd")
# It dies with the tests, as the servers of a contest do with theirs.
_GUARD = Path(evaluation.runners.__path__[0]) / "guard.py"


def sshd_or_skip() -> str:
    """The program; skips with a sentence where it is not installed."""
    found = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None or shutil.which("ssh") is None:
        pytest.skip(
            "sshd is not installed; on Debian 'apt-get install openssh-server' brings what the "
            "tests of rented machines need"
        )
    if os.geteuid() == 0:
        _SEPARATION.mkdir(mode=0o755, exist_ok=True)  # what its package makes at boot
    return found


class Sshd:
    """A running sshd with keys of its own, on a port of the loopback."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._program = sshd_or_skip()
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.key = make_key(folder / "key")
        self.host_key = make_key(folder / "host_key")
        shutil.copy(folder / "key.pub", folder / "authorized_keys")
        self.port = free_port()
        words = [f"{name}={value}" for name, value in (environment or {}).items()]
        (folder / "enter").write_text(f'cd {self.home} && exec sh -c "$SSH_ORIGINAL_COMMAND"\n')
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\n"
            f"HostKey {self.host_key}\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\n"
            "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            # The usual exchange against quantum computers costs a third of a command's time.
            "KexAlgorithms curve25519-sha256\n"
            f"ForceCommand sh {folder}/enter\n" + (f"SetEnv {' '.join(words)}\n" if words else "")
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(pwd.getpwuid(os.geteuid()).pw_name, "127.0.0.1", self.port)

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / "sshd.log").read_text(errors="replace")

    def start(self) -> None:
        """Listen, also after :meth:`close`."""
        with (self.folder / "sshd.log").open("ab") as log:
            guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())]
            self._process = subprocess.Popen(  # noqa: S603
                [*guard, self._program, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline_s, self.log
            time.sleep(0.02)

    def connections(self) -> list[int]:
        """The processes that serve a connection each."""
        assert self._process is not None
        return _children(self._process.pid)

    def drop(self) -> int:
        """Kill what serves the open connections, with the processes below; how many there were."""
        found = self.connections()
        for pid in found:
            try:
                below = _children(pid)
            except FileNotFoundError:
                below = []  # it has ended meanwhile
            for each in (pid, *below):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
        return len(found)

    def close(self) -> None:
        """Listen no longer, and drop what is open."""
        if self._process is None:
            return
        self.drop()
        self._process.kill()
        self._process.wait()
        self._process = None


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def make_key(file: Path, kind: str = "ed25519") -> Path:
    """A new pair of keys; the public half stands beside it."""
    subprocess.run(  # noqa: S603
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(file)],  # noqa: S607
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return file
