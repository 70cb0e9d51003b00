"""Where a process listens is read from the kernel, its own sockets and nobody else's."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap

import pytest

from evaluation.listening import Listener, listeners

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")

PROGRAM = textwrap.dedent(
    """
    import socket, sys
    one = socket.create_server(("127.0.0.1", 0))
    print(one.getsockname()[1], flush=True)
    sys.stdin.read()
    """
)


def test_a_servers_own_places_are_found() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as ours,
        subprocess.Popen(  # noqa: S603 - this test's own program
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        found = listeners(server.pid)
        assert found == (Listener("127.0.0.1", port),)
        assert ours.getsockname()[1] not in {one.port for one in found}
        assert server.stdin is not None
        server.stdin.close()


def test_a_process_that_is_gone_tells_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert listeners(gone.pid) is None


def test_a_place_is_written_as_people_write_it() -> None:
    assert str(Listener("0.0.0.0", 8000)) == "0.0.0.0:8000"  # noqa: S104 - only text
    assert str(Listener("::", 8000)) == "[::]:8000"
