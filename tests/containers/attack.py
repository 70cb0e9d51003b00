"""What the tests do from within a container, and what they listen with on the host."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evaluation.runners.docker.server import DockerServer
from tests.engine.engine import Engine

SERVES = """
mkdir /tmp/www && echo ok >/tmp/www/health
trap 'exit 0' TERM
httpd -f -p 8000 -h /tmp/www &
wait
"""
"""A healthy server, of busybox, that goes when it is asked to."""


def inside(engine: Engine, server: DockerServer, command: str) -> tuple[int, str]:
    """Run a shell command in the container, under the same walls: its exit code and output."""
    code, output = engine.client.containers.get(server.container_id).exec_run(
        ["sh", "-c", command], environment=[]
    )
    return int(code), output.decode(errors="replace")


def with_rights(engine: Engine, server: DockerServer, *command: str) -> tuple[int, str]:
    """Run a program of the host in the container's network, with all rights: as if it had broken
    every wall but the host's firewall."""
    pid = str(inspect(engine, server)["State"]["Pid"])
    done = subprocess.run(  # noqa: S603
        ["nsenter", "--net", "--target", pid, *command],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def inspect(engine: Engine, server: DockerServer) -> dict[str, Any]:
    """What the engine says of the container."""
    found: dict[str, Any] = engine.client.api.inspect_container(server.container_id)
    return found


def network_of(engine: Engine, server: DockerServer) -> tuple[str, str, str]:
    """The name of its bridge, the host's address there, its own address."""
    networks = inspect(engine, server)["NetworkSettings"]["Networks"]
    ((name, found),) = networks.items()
    (config,) = engine.client.networks.get(name).attrs["IPAM"]["Config"]
    return name, config["Gateway"], found["IPAddress"]


class Listener:
    """A service on every address of the host; it knows who came."""

    def __init__(self, sock: socket.socket) -> None:
        self.port = int(sock.getsockname()[1])
        self.visitors: list[str] = []
        self._socket = sock

    def serve(self) -> None:
        """Until the socket is shut."""
        while True:
            try:
                if self._socket.type == socket.SOCK_STREAM:
                    connection, address = self._socket.accept()
                    connection.close()
                else:
                    _, address = self._socket.recvfrom(4_096)
            except OSError:
                return
            if address is None:  # a datagram socket that was shut
                return
            self.visitors.append(address[0])


@contextmanager
def listening(
    address: str = "0.0.0.0",  # noqa: S104
    port: int = 0,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    family: socket.AddressFamily = socket.AF_INET,
) -> Iterator[Listener]:
    """A :class:`Listener` in a thread."""
    with socket.socket(family, kind) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        made = Listener(sock)
        thread = threading.Thread(target=made.serve)
        thread.start()
        try:
            yield made
        finally:
            with contextlib.suppress(OSError):  # a datagram socket is woken all the same
                sock.shutdown(socket.SHUT_RDWR)
            thread.join()
