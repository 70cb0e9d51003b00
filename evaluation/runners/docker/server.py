"""One container, from its start to the moment when nothing of it is left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any, Final

from evaluation.runners.docker.connection import (
    Connection,
    Deadline,
    engine_faults,
)
from evaluation.runners.docker.contract import SERVER_PORT
from evaluation.runners.docker.memory_kills import MetLimits
from evaluation.runners.docker.watching import Watch
from evaluation.runners.health import answers_healthy
from evaluation.runners.log import BoundedLog
from evaluation.runners.port import (
    LOG_TAIL_BYTES,
    LOG_TAIL_LINES,
    CalledOffError,
    ExitedAtStartError,
    InfrastructureFaultError,
    NeverHealthyError,
    OutOfMemoryError,
)
from ledger.codes import InfrastructureCause

POLL_S: Final = 0.05
HEALTH_TIMEOUT_S: Final = 5.0
LOG_READ_S: Final = 20.0
MAX_LOG_LINES: Final = 1_000
"""How many of the newest lines are kept of a container that is gone."""
KILLED_SEEN_S: Final = 1.0
"""How long after a kill the engine may take to say whether it was for memory."""
_SIGNALS: Final = {int(number) for number in signal.Signals}


class DockerServer:
    """A :class:`~evaluation.runners.port.RunningServer` in a container."""

    def __init__(
        self,
        connection: Connection,
        container_id: str,
        network: str,
        *,
        watch: Watch,
        met_limits: MetLimits,
        stop_grace_s: float,
        release: Callable[[], None],
    ) -> None:
        """``watch`` and ``met_limits`` are of before its start; ``release`` takes away what was
        made for this container alone."""
        self._connection = connection
        self._id = container_id
        self._network = network
        self._watch = watch
        self._met_limits = met_limits
        self._stop_grace_s = stop_grace_s
        self._release = release
        self._healthy_at: str | None = None
        self._final: dict[str, Any] | None = None
        self._final_log: BoundedLog | None = None
        self._stopped = False

    @property
    def container_id(self) -> str:
        """By which the engine knows it."""
        return self._id

    @property
    def pid(self) -> None:
        """None: what the engine runs is no process of ours."""
        return

    @property
    def base_url(self) -> str:
        """The container's own address: an internal network publishes no ports."""
        if self._healthy_at is None:
            msg = "the server's address is not known before it is healthy"
            raise RuntimeError(msg)
        return f"http://{self._healthy_at}:{SERVER_PORT}"

    @property
    def exit_code(self) -> int | None:
        """None while it runs. The engine says 128 + N for signal N; so it is read, as shells do.

        Raises :class:`InfrastructureFaultError` (`host_failed`) where the engine went away under
        it or was asked to signal it before :meth:`stop`, or the kernel killed it for memory within
        its limit: then its end is not its own.
        """
        code = _exit_code(self._state())
        self._check_undisturbed(code)
        return code

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process of it at the container's memory limit."""
        deadline = Deadline(KILLED_SEEN_S)
        while True:
            state = self._state()
            if state.get("OOMKilled"):
                return True
            # The engine hears of the end and of its cause on two ways.
            waits = self._final is None and _exit_code(state) == -signal.SIGKILL
            if not waits or not deadline.left_s:
                return False
            time.sleep(POLL_S)

    def wait_healthy(
        self, timeout_s: float, called_off: Callable[[], bool] = lambda: False
    ) -> None:
        """Poll until ``GET /health`` answers 200; raises as the port says."""
        deadline = Deadline(timeout_s)
        while True:
            attributes = self._inspect()
            code = _exit_code(attributes["State"])
            if code is not None:
                self._raise_ended(code)
            if called_off():
                raise CalledOffError
            if not deadline.left_s:
                raise NeverHealthyError(
                    f"the server was not healthy within {timeout_s:g} s; "
                    f"GET /health on port {SERVER_PORT} must answer 200",
                    log_tail=self.log_tail(),
                    exit_code=None,
                )
            address = _address(attributes, self._network)
            wait_s = min(deadline.left_s, HEALTH_TIMEOUT_S)
            if address and answers_healthy(address, SERVER_PORT, wait_s):
                self._healthy_at = address
                return
            time.sleep(min(POLL_S, deadline.left_s))

    def pause(self) -> None:
        """Freeze every process of the container."""
        with engine_faults("pause a server"):
            self._connection.client.api.pause(self._id)

    def resume(self) -> None:
        """Let them go on."""
        with engine_faults("resume a server"):
            self._resume()

    def log_tail(self, lines: int = LOG_TAIL_LINES, max_bytes: int = LOG_TAIL_BYTES) -> str:
        """The newest lines of standard output and error together."""
        if self._final_log is not None:
            return self._final_log.tail(lines, max_bytes)
        with engine_faults("read a server's log"):
            return self._read_log().tail(lines, max_bytes)

    def stop(self) -> None:
        """SIGTERM, SIGKILL after the grace, then remove it; every step is tried."""
        if self._stopped:
            return
        self._watch.close()  # what is done to it from here on is our doing
        reasons: list[str] = []
        for doing, step in (
            ("resume a server", self._resume),
            ("stop a server", self._end),
            ("read a server's last state", self._keep_state),
            ("read a server's last log", self._keep_log),
            ("remove a server", self._remove),
            ("remove a server's network", self._release),
        ):
            try:
                with engine_faults(doing):
                    step()
            except InfrastructureFaultError as fault:
                reasons.append(fault.detail)
                cause = fault.cause
        if reasons:
            raise InfrastructureFaultError(cause, "; ".join(reasons))
        self._stopped = True

    def _resume(self) -> None:
        if self._state_now().get("Paused"):
            self._connection.client.api.unpause(self._id)

    def _end(self) -> None:
        self._connection.client.api.stop(self._id, timeout=max(1, round(self._stop_grace_s)))

    def _keep_state(self) -> None:
        self._final = self._state_now()

    def _keep_log(self) -> None:
        self._final_log = self._read_log()

    def _remove(self) -> None:
        self._connection.client.api.remove_container(self._id, v=True, force=True)

    def _inspect(self) -> dict[str, Any]:
        with engine_faults("say how a server is"):
            found: dict[str, Any] = self._connection.client.api.inspect_container(self._id)
            return found

    def _state_now(self) -> dict[str, Any]:
        state: dict[str, Any] = self._connection.client.api.inspect_container(self._id)["State"]
        return state

    def _state(self) -> dict[str, Any]:
        return self._final if self._final is not None else self._inspect()["State"]

    def _check_undisturbed(self, code: int | None) -> None:
        if self._final is not None:
            return
        watch = self._watch
        said = watch.disturbance() if code is None else watch.disturbance_at_end()
        if said is None and code is not None and self._killed_within_its_limit():
            said = "the kernel killed it for memory, and no limit was met: the machine's ran out"
        if said is not None:
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED, f"a server was disturbed: {said}"
            )

    def _killed_within_its_limit(self) -> bool:
        return self.out_of_memory and self._met_limits.none_met()

    def _raise_ended(self, code: int) -> None:
        self._check_undisturbed(code)
        ended = f"was ended by signal {-code}" if code < 0 else f"exited with code {code}"
        if self.out_of_memory:
            raise OutOfMemoryError(
                f"the server used all the memory it may have and {ended} before it was healthy",
                log_tail=self.log_tail(),
                exit_code=code,
            )
        raise ExitedAtStartError(
            f"the server {ended} before it was healthy", log_tail=self.log_tail(), exit_code=code
        )

    def _read_log(self) -> BoundedLog:
        """The newest :data:`MAX_LOG_LINES`; a line without an end comes in pieces that count."""
        log = BoundedLog()
        with self._connection.stream(
            "GET",
            f"/containers/{self._id}/logs",
            deadline=Deadline(LOG_READ_S),
            params={"stdout": 1, "stderr": 1, "tail": MAX_LOG_LINES},
        ) as response:
            while header := _exactly(response.raw, _FRAME_HEADER_BYTES):
                size = int.from_bytes(header[4:], "big")
                log.write(_exactly(response.raw, size))
        return log


_FRAME_HEADER_BYTES: Final = 8


def _exactly(stream: Any, size: int) -> bytes:
    """``size`` bytes, or nothing at the stream's end."""
    taken = b""
    while len(taken) < size:
        piece = stream.read(size - len(taken))
        if not piece:
            return b""
        taken += piece
    return taken


def _exit_code(state: dict[str, Any]) -> int | None:
    if state.get("Running") or state.get("Status") in {"created", "restarting"}:
        return None
    code = int(state["ExitCode"])
    return -(code - 128) if code - 128 in _SIGNALS else code


def _address(attributes: dict[str, Any], network: str) -> str:
    networks = attributes["NetworkSettings"]["Networks"]
    address: str = networks.get(network, {}).get("IPAddress", "")
    return address
