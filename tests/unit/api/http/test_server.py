"""The server says when it is ready, when its port is taken, and ends when it is told to."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from api.app import Services
from api.http.server import CannotListenError, PortInUseError, serve
from tests.unit.api.season import HEAD, Season

DEADLINE_S = 60
ROOT = Path(__file__).parents[4]

PROGRAM = """
import sys
from api.app import open_services
from api.http.server import serve
from api.settings import Settings
services = open_services(Settings(database_url=sys.argv[1]))
serve(services, "127.0.0.1", 0, ready=lambda address: print(address, flush=True))
services.close()
print("closed", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_over_a_socket_and_ends_cleanly(
    services: Services, season: Season, number: signal.Signals
) -> None:
    command = [sys.executable, "-c", PROGRAM, services.settings.database_url]
    with subprocess.Popen(  # noqa: S603  our own program
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            status = httpx.get(f"{address}v1/arenas/demo/14/status", timeout=DEADLINE_S)
            assert status.json()["block"] == HEAD
            process.send_signal(number)
            out, err = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "closed\n", "")


def test_a_taken_port_is_one_sentence_and_nothing_is_printed(
    services: Services, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError) as caught:
            serve(services, "127.0.0.1", port)
    assert str(caught.value) == (
        f"port {port} on 127.0.0.1 is in use by another program; choose another with --port"
    )
    assert capfd.readouterr() == ("", "")


def test_an_address_of_another_machine_is_refused(services: Services) -> None:
    with pytest.raises(CannotListenError, match="--host"):
        serve(services, "192.0.2.1", 0)  # a documentation address: nobody has it
