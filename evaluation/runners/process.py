"""Runs an image directory's server as a plain process of this host, for the demo and the tests.

It does not confine what it runs: an untrusted image belongs in a container. What it promises is
that nothing it started outlives the contest, and that a failed start leaves its own words.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from evaluation.images import ImageRef
from evaluation.runners.health import answers_healthy
from evaluation.runners.log import BoundedLog
from evaluation.runners.port import (
    LOG_TAIL_BYTES,
    LOG_TAIL_LINES,
    CalledOffError,
    ExitedAtStartError,
    ImageFacts,
    InfrastructureFaultError,
    NeverHealthyError,
)
from evaluation.runners.session import left_of, outside_of, running_of
from ledger.codes import InfrastructureCause
from ledger.contest_policy import ServerLimits

_GUARD: Final = Path(__file__).with_name("guard.py")
_LISTENING: Final = re.compile(rb"^listening on 127\.0\.0\.1:([0-9]{1,5})\r?$", re.MULTILINE)
_POLL_S: Final = 0.02
_HEALTH_TIMEOUT_S: Final = 5.0
_DRAIN_S: Final = 2.0
_FREEZE_S: Final = 10.0
"""A process deep in the kernel (a page from a slow disk) stops only when it comes out."""
_PAUSE_POLL_S: Final = 0.002
END_S: Final = 60.0
"""How long a server's processes may take to end once they are killed: on their way they give back
the memory of GPUs, which the next server needs."""
# One thread of arithmetic per server: two servers of a round must not differ by how many cores
# a BLAS library happened to find free.
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How an image's server is started: an absolute program, its arguments, its environment.

    Without ``port`` the server listens on 127.0.0.1 at a port of its choice and says so in its
    output, in a line ``listening on 127.0.0.1:<port>``. An engine that says nothing of the kind is
    told its port by its arguments, and by ``port`` we are. It is ready when a GET of
    ``health_path`` answers 200.
    """

    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    health_path: str = "/health"


class Images(Protocol):
    """Where image directories come from. Both calls check that the content is the digest's and
    raise :class:`~evaluation.runners.port.InfrastructureFaultError` (`pull_failed`) if not."""

    def command(self, image_digest: str) -> ServerCommand:
        """How to start the image."""
        ...

    def fingerprint(self, image_digest: str) -> str:
        """The image's content fingerprint."""
        ...


class ProcessRunner:
    """A :class:`~evaluation.runners.port.Runner` of subprocesses, and the stage of every contest.

    It keeps none of the limits. Each server is the leader of a session of its own, so that it is
    stopped with all it started, and is killed by the kernel when the thread that launched it ends
    (Linux): launch from a thread that lives as long as the contest. A contest that is killed
    outright takes the servers' groups with it.
    """

    def __init__(self, images: Images, *, stop_grace_s: float = 3.0) -> None:
        self._images = images
        self._stop_grace_s = stop_grace_s

    @contextmanager
    def stage(
        self,
        contest_id: str,  # noqa: ARG002
        limits: ServerLimits,  # noqa: ARG002
        servers: int = 1,  # noqa: ARG002
    ) -> Iterator[ProcessRunner]:
        """The runner itself: processes need nothing made around them."""
        yield self

    def sweep(self) -> Sequence[str]:
        """Nothing: the kernel ended the servers of a dead process with it."""
        return ()

    def facts(self) -> Mapping[str, str]:
        """Which kind of runner it is."""
        return {"runner": "process"}

    def prepare(self, image: ImageRef, timeout_s: float) -> ImageFacts:  # noqa: ARG002
        """Check that the image is here; see :meth:`evaluation.runners.port.Stage.prepare`."""
        return ImageFacts(image=str(image), fingerprint=self._images.fingerprint(image.digest))

    def launch(self, image: ImageRef, role: str) -> ProcessServer:
        """Start the image's server; see :meth:`evaluation.runners.port.Stage.launch`."""
        command = self._images.command(image.digest)
        # Nothing of our own environment is handed on: it may hold keys.
        environment = {"PATH": os.defpath, "PYTHONUNBUFFERED": "1", **_ONE_THREAD}
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), "--group"]
        try:
            process = subprocess.Popen(  # noqa: S603 - the image's own command, checked by digest
                [*guard, *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment | dict(command.environment),
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED,
                f"this machine could not start the {role}'s server: {error}",
            ) from error
        return ProcessServer(
            process,
            stop_grace_s=self._stop_grace_s,
            port=command.port,
            health_path=command.health_path,
        )


class ProcessServer:
    """A :class:`~evaluation.runners.port.RunningServer` of one session's processes."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        stop_grace_s: float,
        port: int | None = None,
        health_path: str = "/health",
    ) -> None:
        self._process = process
        self._stop_grace_s = stop_grace_s
        self._health_path = health_path
        self._log = BoundedLog()
        self._port = port
        self._healthy = False
        self._reader = threading.Thread(
            target=self._read_output, name=f"server-log-{process.pid}", daemon=True
        )
        self._reader.start()

    @property
    def base_url(self) -> str:
        """Where the server answers, once it is healthy."""
        if self._port is None or not self._healthy:
            msg = "the server has not said where it listens; wait until it is healthy"
            raise RuntimeError(msg)
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id, which is its group's too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        if self._process.returncode is not None:
            return self._process.returncode
        # Looked at without reaping: as long as the dead leader is there, the number of its group
        # cannot become somebody else's, and stop() may still signal the group.
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    @property
    def out_of_memory(self) -> bool:
        """Never: a plain process has no limit of its own here."""
        return False

    def pause(self) -> None:
        """SIGSTOP to the session, and return when every thread of it stands still.

        Raises :class:`InfrastructureFaultError` (`host_failed`) where something of it goes on.
        """
        self._signal(signal.SIGSTOP)
        deadline_s = time.monotonic() + _FREEZE_S
        while moving := running_of(self.pid):
            if time.monotonic() > deadline_s:
                raise InfrastructureFaultError(
                    InfrastructureCause.HOST_FAILED,
                    f"the server's processes {moving} could not be frozen within {_FREEZE_S:g} s",
                )
            time.sleep(_PAUSE_POLL_S)

    def resume(self) -> None:
        """SIGCONT to the session."""
        self._signal(signal.SIGCONT)

    def wait_healthy(
        self, timeout_s: float, called_off: Callable[[], bool] = lambda: False
    ) -> None:
        """Wait for the port in the output, then for ``GET /health`` to answer 200."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            code = self.exit_code
            if code is not None:
                self._reader.join(_DRAIN_S)
                raise ExitedAtStartError(
                    f"the server {_how_it_ended(code)} before it was healthy",
                    log_tail=self.log_tail(),
                    exit_code=code,
                )
            if called_off():
                raise CalledOffError
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                said = (
                    "listened" if self._find_port() is not None else "did not say where it listens"
                )
                raise NeverHealthyError(
                    f"the server {said} and was not healthy within {timeout_s:g} s",
                    log_tail=self.log_tail(),
                    exit_code=None,
                )
            port = self._find_port()
            timeout_now_s = min(left_s, _HEALTH_TIMEOUT_S)
            if port is not None and answers_healthy(
                "127.0.0.1", port, timeout_now_s, self._health_path
            ):
                self._healthy = True
                return
            time.sleep(min(_POLL_S, left_s))

    def log_tail(self, lines: int = LOG_TAIL_LINES, max_bytes: int = LOG_TAIL_BYTES) -> str:
        """The newest lines of standard output and error together."""
        return self._log.tail(lines, max_bytes)

    def stop(self) -> None:
        """SIGTERM to the session, SIGKILL to what is left of it after the grace, then reap.

        Returns when nothing of it is left. Raises :class:`InfrastructureFaultError` (`host_failed`)
        where something is after :data:`END_S`; it may be called once more then.
        """
        if self._process.returncode is not None:
            return
        if self.exit_code is None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)  # one that is frozen could not obey
            deadline_s = time.monotonic() + self._stop_grace_s
            while self.exit_code is None and time.monotonic() < deadline_s:
                time.sleep(_POLL_S)
        # Also after a leader that went by itself: what it started may still run.
        self._end()
        self._reader.join(_DRAIN_S)

    def _end(self) -> None:
        """Kill the session and reap its leader, once nothing else of it is left."""
        deadline_s = time.monotonic() + END_S
        self._signal(signal.SIGKILL)
        while left := left_of(self.pid):
            if time.monotonic() > deadline_s:
                raise _not_ended(f"processes {left}")
            time.sleep(_POLL_S)
            self._signal(signal.SIGKILL)
        try:
            self._process.wait(max(_POLL_S, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired as error:  # only where the kernel has no list of them
            raise _not_ended(f"process {self.pid}") from error

    def _signal(self, number: signal.Signals) -> None:
        # The unreaped leader keeps its group and its session findable; a kernel that drops it has
        # ended it all. Whoever signals looks whether it was obeyed, so what may not be signalled (a
        # program under another user) is found there.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        for pid in outside_of(self.pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _find_port(self) -> int | None:
        if self._port is None and (match := _LISTENING.search(self._log.content())):
            self._port = int(match[1])
        return self._port

    def _read_output(self) -> None:
        output = self._process.stdout
        if output is None:
            msg = "the server was started without a pipe for its output"
            raise RuntimeError(msg)
        with output:
            while data := output.read(65_536):
                self._log.write(data)


def _not_ended(what: str) -> InfrastructureFaultError:
    return InfrastructureFaultError(
        InfrastructureCause.HOST_FAILED,
        f"the server's {what} could not be ended within {END_S:g} s and may hold memory, a GPU's "
        "too; look for them and end them before the next contest",
    )


def _how_it_ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
