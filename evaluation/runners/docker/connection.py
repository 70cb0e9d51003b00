"""The way to the engine: every error of it is one sentence, and no answer is waited for in vain."""

from __future__ import annotations

import http.client
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import docker
import docker.errors
import docker.utils
import urllib3.exceptions

from evaluation.client import printable
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause

ENGINE_TIMEOUT_S: Final = 60.0
"""How long one plain question to the engine may take."""
CONNECT_TIMEOUT_S: Final = 10.0
WATCH_EVERY_S: Final = 0.1
MAX_REASON_CHARS: Final = 500

ENGINE_ERRORS: Final = (
    docker.errors.DockerException,
    OSError,  # requests' exceptions are OSErrors
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    tarfile.TarError,  # a file system that was broken off while it was exported
)

Check = Callable[[], Exception | None]
"""Asked now and then while the engine streams; what it returns ends the stream and is raised."""


def reason_of(error: Exception) -> str:
    """The engine's own words, in one bounded line."""
    said = getattr(error, "explanation", None) or error
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return printable(text)[:MAX_REASON_CHARS] or type(error).__name__


@contextmanager
def engine_faults(
    doing: str, cause: InfrastructureCause = InfrastructureCause.HOST_FAILED
) -> Iterator[None]:
    """Every error of the engine or of the way to it becomes a fault that is ours, not a miner's."""
    try:
        yield
    except ENGINE_ERRORS as error:
        raise InfrastructureFaultError(
            cause, f"the Docker Engine could not {doing}: {reason_of(error)}"
        ) from error


class Deadline:
    """A moment by the monotonic clock."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._at_s = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds to it, 0 when it is over."""
        return max(0.0, self._at_s - time.monotonic())


class Connection:
    """The engine behind a socket of this machine. Connects when it is first asked something."""

    def __init__(self, base_url: str | None) -> None:
        """``base_url`` like ``unix:///var/run/docker.sock``; None takes DOCKER_HOST or that.

        Raises ``ValueError`` for another machine's engine: the firewall is this machine's.
        """
        settings = docker.utils.kwargs_from_env() if base_url is None else {"base_url": base_url}
        address = settings.get("base_url") or "unix:///var/run/docker.sock"
        if not address.startswith(("unix://", "http+unix://")):
            msg = (
                f"{address} is no socket of this machine; containers are shut off by this "
                "machine's firewall, so run the evaluator where the engine is"
            )
            raise ValueError(msg)
        self._settings = settings
        self._client: docker.DockerClient | None = None

    @property
    def client(self) -> docker.DockerClient:
        """The SDK's client; raises what the SDK raises where no engine answers."""
        if self._client is None:
            self._client = docker.DockerClient(**self._settings, timeout=ENGINE_TIMEOUT_S)
        return self._client

    def close(self) -> None:
        """Let go of its connections; asking again opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        checks: Sequence[Check] = (),
        params: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Any]:
        """The open answer (``requests.Response``); leaving ends it, and with it the engine's work.

        A thread watches the deadline and the checks, for a silent engine would never let us look.
        Raises ``TimeoutError``, what a check returned, or what the SDK raises.
        """
        api = self.client.api
        response = api.request(
            method,
            f"{api.base_url}/v{api.api_version}{path}",
            params=params,
            headers=headers,
            stream=True,
            timeout=(CONNECT_TIMEOUT_S, max(0.001, deadline.left_s)),
        )
        with response:
            if response.status_code >= 400:
                docker.errors.create_api_error_from_http_exception(_http_error(response))
            with _watched(response.raw.fileno(), [_over(deadline), *checks]):
                yield response


def _http_error(response: Any) -> Exception:
    try:
        response.raise_for_status()
    except OSError as error:
        return error
    msg = f"the engine answered {response.status_code}"
    raise docker.errors.DockerException(msg)


def _over(deadline: Deadline) -> Check:
    def check() -> Exception | None:
        if deadline.left_s:
            return None
        return TimeoutError(f"it took longer than {deadline.timeout_s:g} s")

    return check


@contextmanager
def _watched(descriptor: int, checks: Sequence[Check]) -> Iterator[None]:
    """Shut the connection down, from a thread of its own, as soon as a check returns an error."""
    found: list[Exception] = []
    done = threading.Event()
    connection = socket.socket(fileno=os.dup(descriptor))

    def watch() -> None:
        while not done.wait(WATCH_EVERY_S):
            for check in checks:
                try:
                    fault = check()
                except Exception as error:  # noqa: BLE001 - raised below, in whoever reads
                    fault = error
                if fault is not None:
                    found.append(fault)
                    connection.shutdown(socket.SHUT_RDWR)
                    return

    thread = threading.Thread(target=watch, name="engine-watch", daemon=True)
    thread.start()
    try:
        yield
    except Exception as error:
        done.set()
        thread.join()
        if found:  # what broke the stream, not how it looked to its reader
            raise found[0] from error
        raise
    finally:
        done.set()
        thread.join()
        connection.close()
    # A stream that was shut down may look like one that came to its end.
    if found:
        raise found[0]
