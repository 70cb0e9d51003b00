"""Serving the application: the port is taken first, so that a taken one is one sentence."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from api.app import Services
from api.http.app import create_app

BACKLOG: Final = 128
MAX_CONCURRENT: Final = 256
"""Requests in hand at once; further ones are answered with 503."""
KEEP_ALIVE_S: Final = 5
SHUTDOWN_S: Final = 5
"""How long open answers may take to end after SIGINT or SIGTERM."""


class CannotListenError(Exception):
    """The address cannot be listened on; the message is one sentence for the operator."""


class PortInUseError(CannotListenError):
    """Another program has the port."""


def serve(
    services: Services,
    host: str,
    port: int,
    *,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM, then let answers in hand end and return.

    ``ready`` is called with the page's address once requests are accepted; with port 0 the system
    chooses one. Raises :class:`PortInUseError` or :class:`CannotListenError` before anything is
    printed or started. The caller closes the services.
    """
    with listening(host, port) as taken:
        config = uvicorn.Config(
            create_app(services),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=MAX_CONCURRENT,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
        _Server(config, lambda: ready(_address(taken)) if ready else None).run(sockets=[taken])


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens on that address, closed at the end."""
    taken = _bound(host, port)
    with taken:
        yield taken


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready and returns after a signal.

    Its own handling sends the signal again after the shutdown, which ends the process before the
    caller could close anything.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread can take signals
            return
        wanted = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in wanted}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _bound(host: str, port: int) -> socket.socket:
    where = f"port {port} on {host}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, OverflowError) as error:
        msg = f"'{host}' is no address of this machine: {error}; choose another with --host"
        raise CannotListenError(msg) from error
    taken = socket.socket(family, kind, protocol)
    try:
        # A port that an ended server just left may be taken again; one in use still may not.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            msg = f"{where} is in use by another program; choose another with --port"
            raise PortInUseError(msg) from error
        msg = f"{where} cannot be listened on: {error.strerror}; choose another with --host, --port"
        raise CannotListenError(msg) from error
    return taken


def _address(taken: socket.socket) -> str:
    host, port = taken.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
