"""A Docker Engine and a registry of one's own: started, killed and undone by the tests.

engine = shared_engine()            # raises EngineUnavailableError with a sentence
DockerRunner(model_dir=…, worker=…, base_url=engine.base_url)
engine.kill(); engine.start()       # as good as pulling the plug of dockerd
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import http.client
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import docker

import evaluation.runners
from evaluation.runners.free_port import free_port
from tests.engine.locking import locked
from tests.engine.undo import Before

PLACES = Path("/var/tmp")  # noqa: S108 - overlay needs a disk, and /tmp may be memory
PREFIX = "ledger-engine-"
START_S = 60.0
STOP_S = 60.0
NETWORK_BITS = 29

PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2", "docker-registry")

# Its programs die with whoever started them, as the servers of a contest do.
_GUARD = Path(evaluation.runners.__path__[0]) / "guard.py"


class EngineUnavailableError(Exception):
    """No Docker Engine of our own can run here; the message says why."""


class Engine:
    """A running dockerd with all it owns in a folder of its own, and a registry beside it."""

    def __init__(self) -> None:
        _check_machine()
        self._lock = locked()
        for abandoned in PLACES.glob(PREFIX + "*/"):
            before = Before.saved(abandoned)
            _clear(abandoned)
            if before is not None:
                before.restore()
        self._check_alone()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PLACES))
        self._before = Before.seen()
        self._before.save(self.folder)
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._registry: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        try:
            self.start()
            self._start_registry()
        except BaseException:
            self.close()
            raise

    @property
    def base_url(self) -> str:
        """The engine's address."""
        return f"unix://{self.folder / 'docker.sock'}"

    @property
    def data(self) -> Path:
        """Where the engine keeps images and containers."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """dockerd's."""
        assert self._dockerd is not None
        return self._dockerd.pid

    @property
    def client(self) -> docker.DockerClient:
        """A new client of it, with the patience of a test."""
        return docker.DockerClient(base_url=self.base_url, timeout=60)

    def start(self, resolv_conf: Path | None = None) -> None:
        """Start dockerd and wait until it answers; also after :meth:`kill`.

        With ``resolv_conf``, on a machine that has that for its ``/etc/resolv.conf``.
        """
        if self._dockerd is not None:
            return
        elsewhere = ('mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolv_conf))
        (self.folder / "docker.pid").unlink(missing_ok=True)
        within = ("unshare", "--mount", "sh", "-c", *elsewhere) if resolv_conf else ()
        self._dockerd = self._spawn(
            "dockerd",
            within,
            *("--data-root", str(self.data), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "docker.pid"), "--host", self.base_url),
            "--bridge=none",
            f"--default-address-pool=base={self._pool()},size={NETWORK_BITS}",
        )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            if self._dockerd.poll() is not None or time.monotonic() > deadline_s:
                msg = f"dockerd did not come up: {self.log_of('dockerd')}"
                raise EngineUnavailableError(msg)
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL dockerd (its containerd goes with it; what runs in containers runs on)."""
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait()
        self._dockerd = None
        # Where nobody reaps orphans, the next dockerd would wait for the dead containerd.
        pid_file = self.folder / "exec/containerd/containerd.pid"
        deadline_s = time.monotonic() + STOP_S
        while _runs(int(pid_file.read_text())) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        pid_file.unlink()

    def stop(self) -> None:
        """SIGTERM dockerd, which stops its containers."""
        if self._dockerd is None:
            return
        self._dockerd.terminate()
        try:
            self._dockerd.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._dockerd.kill()
            self._dockerd.wait()
        self._dockerd = None

    def close(self) -> None:
        """End all of it and take back what it changed on this machine."""
        atexit.unregister(self.close)
        try:
            self.stop()
            if self._registry is not None:
                self._registry.kill()
                self._registry.wait()
            _clear(self.folder)
        finally:
            self._before.restore()
            os.close(self._lock)

    def log_of(self, program: str) -> str:
        """The last lines of what ``dockerd`` or ``docker-registry`` said."""
        text = (self.folder / f"{program}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-20:])

    @property
    def registry(self) -> str:
        """``127.0.0.1:PORT``; the engine trusts it without TLS."""
        return f"127.0.0.1:{self._registry_port}"

    @property
    def registry_files(self) -> Path:
        """Where the registry keeps what was pushed, for whoever wants to tamper with it."""
        return self.folder / "registry"

    def _start_registry(self) -> None:
        self._registry_port = free_port()
        config = self.folder / "registry.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.registry_files}}}}}\n"
            f"http: {{addr: '{self.registry}'}}\n"
        )
        self._registry = self._spawn("docker-registry", (), "serve", str(config))
        deadline_s = time.monotonic() + START_S
        while not _answers_http(self.registry):
            if self._registry.poll() is not None or time.monotonic() > deadline_s:
                msg = f"docker-registry did not come up: {self.log_of('docker-registry')}"
                raise EngineUnavailableError(msg)
            time.sleep(0.05)

    def _spawn(
        self, program: str, within: Sequence[str], *arguments: str
    ) -> subprocess.Popen[bytes]:
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())]
        words = [*within, program, *arguments]
        first = shutil.which(words[0])
        assert first is not None
        with (self.folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603
                [*guard, first, *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for the tests, which stop it themselves
            )

    def _answers(self) -> bool:
        with contextlib.suppress(docker.errors.DockerException):
            client = docker.DockerClient(base_url=self.base_url, timeout=5)
            with contextlib.closing(client):
                return bool(client.ping())
        return False

    def _pool(self) -> str:
        """Addresses for 128 small networks: the same for the engine's life, drawn at random."""
        drawn = random.Random(self.folder.name)
        return f"10.{drawn.randrange(16, 250)}.{4 * drawn.randrange(64)}.0/22"

    def _check_alone(self) -> None:
        running = [pid for pid, words in _processes() if Path(words[0]).name == "dockerd"]
        if running:
            os.close(self._lock)
            msg = (
                f"another Docker Engine runs here (pid {running[0]}), and one of the tests' own "
                "would empty its firewall chains; stop it to run the tests of containers"
            )
            raise EngineUnavailableError(msg)


@functools.cache
def shared_engine() -> Engine:
    """The one engine of this process, ended when the process ends."""
    return Engine()


def _check_machine() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        msg = "containers are tested on Linux as root only: the tests start a Docker Engine"
        raise EngineUnavailableError(msg)
    missing = [
        name for name in ("dockerd", "docker-registry", "iptables") if not shutil.which(name)
    ]
    if missing:
        msg = (
            f"{', '.join(missing)} is not installed; on Debian 'apt-get install docker.io "
            "docker-registry iptables busybox-static' brings what the tests of containers need"
        )
        raise EngineUnavailableError(msg)


def _clear(folder: Path) -> None:
    """End what still runs below an engine's folder, unmount, delete. Its dockerd is dead."""
    ours = {
        pid
        for pid, words in _processes()
        if Path(words[0]).name in PROGRAMS and any(f"{folder}/" in word for word in words)
    }
    for pid in _with_descendants(ours):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for mount in sorted(_mounts_below(folder), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)  # noqa: S603, S607
    shutil.rmtree(folder)


def _with_descendants(pids: set[int]) -> set[int]:
    """A shim's containers run on without it."""
    children: dict[int, set[int]] = {}
    for pid, _ in _processes():
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, set()).add(pid)
    found: set[int] = set()
    left = list(pids)
    while left:
        pid = left.pop()
        found.add(pid)
        left.extend(children.get(pid, set()) - found)
    return found


def _processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if words[0]:
                yield int(entry.name), words


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


def _mounts_below(folder: Path) -> list[str]:
    found = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [mount for mount in found if mount.startswith(str(folder) + "/")]


def _answers_http(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
