"""A container reaches nothing: not the host, not its neighbours, not the world; we reach it."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from evaluation.images import ImageRef
from evaluation.runners.docker.runner import DockerRunner
from evaluation.runners.docker.server import DockerServer
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause
from tests.containers.attack import (
    SERVES,
    Listener,
    inside,
    inspect,
    listening,
    network_of,
    with_rights,
)
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.images import busybox_image
from tests.engine.undo import iptables

METADATA = "169.254.169.254"
INTERNET = "198.51.100.7"  # for documentation: nobody is harmed if a packet gets out
CONNECT = "echo hello | timeout 2 nc -w 1 {address} {port}"


@pytest.fixture(scope="module")
def image(engine: Engine) -> ImageRef:
    return busybox_image(engine, "serves", SERVES)


@pytest.fixture(scope="module")
def prisoners(engine: Engine, model_dir: Path, image: ImageRef) -> Iterator[list[DockerServer]]:
    """Two servers of one contest."""
    runner = DockerRunner(
        model_dir=model_dir,
        worker="walls",
        base_url=engine.base_url,
        alone=False,  # it stays while further tests have stages of their own
        stop_grace_s=1,
    )
    with runner.stage("walls", SMALL) as stage:
        stage.prepare(image, 60)
        servers = [stage.launch(image, role) for role in ("king", "challenger")]
        for server in servers:
            server.wait_healthy(60)
        yield servers
        for server in servers:
            server.stop()


@pytest.fixture
def prisoner(prisoners: list[DockerServer]) -> Iterator[DockerServer]:
    """One of them, which we reach before and after, whatever it tries."""
    for moment in ("before", "after"):
        assert httpx.get(f"{prisoners[0].base_url}/health").status_code == 200, moment
        if moment == "before":
            yield prisoners[0]


@pytest.fixture
def service() -> Iterator[Listener]:
    with listening() as found:
        yield found


def dropped(bridge: str, chain: str, *, to: str = "", tool: str = "iptables") -> int:
    """How many packets our rules of this chain have dropped."""
    total = 0
    for line in iptables(tool, "-L", chain, "-v", "-x", "-n").splitlines():
        if bridge[:10] in line and "cacheon-ledger:walls" in line and to in line:
            total += int(line.split()[0])
    return total


def with_a_way_out(engine: Engine, server: DockerServer) -> None:
    """Give it a default route, in case the engine withheld one: the firewall must hold alone."""
    _, gateway, _ = network_of(engine, server)
    code, said = with_rights(engine, server, "ip", "route", "replace", "default", "via", gateway)
    assert code == 0, said


def host_address() -> str:
    """An address of the host that is not of a bridge, as its own processes see it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((INTERNET, 9))
        return str(probe.getsockname()[0])


def test_the_host_is_not_reached_through_the_gateway(
    engine: Engine, prisoner: DockerServer, service: Listener
) -> None:
    bridge, gateway, _ = network_of(engine, prisoner)
    before = dropped(bridge, "INPUT")
    code, _ = inside(engine, prisoner, CONNECT.format(address=gateway, port=service.port))
    assert code != 0
    assert service.visitors == []
    assert dropped(bridge, "INPUT") > before


def test_without_the_firewall_the_host_would_be_reached(
    engine: Engine, model_dir: Path, image: ImageRef, service: Listener
) -> None:
    runner = DockerRunner(
        model_dir=model_dir,
        worker="unwalled",
        base_url=engine.base_url,
        host_firewall=False,
        stop_grace_s=1,
    )
    with runner.stage("unwalled", SMALL) as stage:
        server = stage.launch(image, "own")
        server.wait_healthy(60)
        _, gateway, own = network_of(engine, server)
        inside(engine, server, CONNECT.format(address=gateway, port=service.port))
        assert service.visitors == [own]
        server.stop()


def test_the_hosts_other_addresses_are_not_reached(
    engine: Engine, prisoner: DockerServer, service: Listener
) -> None:
    command = CONNECT.format(address=host_address(), port=service.port)
    assert inside(engine, prisoner, command)[0] != 0
    with_a_way_out(engine, prisoner)
    bridge, *_ = network_of(engine, prisoner)
    before = dropped(bridge, "INPUT")
    assert inside(engine, prisoner, command)[0] != 0
    assert service.visitors == []
    assert dropped(bridge, "INPUT") > before


def test_datagrams_do_not_reach_the_host(engine: Engine, prisoner: DockerServer) -> None:
    with listening(kind=socket.SOCK_DGRAM) as service:
        bridge, gateway, _ = network_of(engine, prisoner)
        before = dropped(bridge, "INPUT")
        send = "import socket as s; s.socket(s.AF_INET, s.SOCK_DGRAM).sendto(b'x', ({!r}, {}))"
        program = send.format(gateway, service.port)
        assert with_rights(engine, prisoner, sys.executable, "-c", program) == (0, "")
        assert dropped(bridge, "INPUT") > before
        assert service.visitors == []


def test_ipv6_does_not_reach_the_host(engine: Engine, prisoner: DockerServer) -> None:
    bridge, *_ = network_of(engine, prisoner)
    found = re.search(
        rf"^(\S+) \S+ \S+ \S+ \S+ +{bridge}$", Path("/proc/net/if_inet6").read_text(), re.MULTILINE
    )
    if found is None:
        pytest.skip("the kernel gave the bridge no IPv6 address")
    link_local = ":".join(re.findall("....", found[1]))
    with listening("::", family=socket.AF_INET6) as service:
        settings = "/proc/sys/net/ipv6/conf/eth0"
        program = (
            "import errno, pathlib, socket, time\n"
            f"pathlib.Path('{settings}/accept_dad').write_text('0')\n"
            f"pathlib.Path('{settings}/disable_ipv6').write_text('0')\n"
            f"address = ('{link_local}', {service.port}, 0, socket.if_nametoindex('eth0'))\n"
            "for _ in range(200):\n"
            "    sock = socket.socket(socket.AF_INET6)\n"
            "    sock.settimeout(1.5)\n"
            "    try:\n"
            "        sock.connect(address)\n"
            "        break\n"
            "    except OSError as error:\n"
            # The kernel gives the address a moment after IPv6 is switched on.
            "        if error.errno != errno.EADDRNOTAVAIL:\n"
            "            raise\n"
            "    time.sleep(0.05)\n"
        )
        code, said = with_rights(engine, prisoner, sys.executable, "-c", program)
        assert code != 0
        assert "TimeoutError" in said, said
        assert service.visitors == []
    assert dropped(bridge, "INPUT", tool="ip6tables") > 0


@pytest.mark.usefixtures("without_the_engines_walls")
def test_another_container_is_not_reached(
    engine: Engine, prisoner: DockerServer, prisoners: list[DockerServer]
) -> None:
    _, _, neighbour = network_of(engine, prisoners[1])
    command = f"timeout 3 wget -q -T 2 -O - http://{neighbour}:8000/health"
    assert inside(engine, prisoner, command)[0] != 0
    with_a_way_out(engine, prisoner)
    with_a_way_out(engine, prisoners[1])
    code, said = inside(engine, prisoner, command)
    assert code != 0
    assert "ok" not in said


@pytest.fixture
def without_the_engines_walls() -> Iterator[None]:
    """The engine itself drops what leaves an internal network, before our rules see it."""
    jump = ("FORWARD", "-j", "DOCKER-ISOLATION-STAGE-1")
    iptables("iptables", "-D", *jump)
    yield
    iptables("iptables", "-I", *jump)


@pytest.mark.parametrize("address", [METADATA, INTERNET])
def test_neither_the_metadata_address_nor_the_internet_is_reached(
    engine: Engine, prisoner: DockerServer, address: str
) -> None:
    assert inside(engine, prisoner, CONNECT.format(address=address, port=80))[0] != 0


@pytest.mark.usefixtures("without_the_engines_walls")
@pytest.mark.parametrize("address", [METADATA, INTERNET])
def test_nothing_is_forwarded(engine: Engine, prisoner: DockerServer, address: str) -> None:
    with_a_way_out(engine, prisoner)
    bridge, *_ = network_of(engine, prisoner)
    to = "169.254.0.0/16" if address == METADATA else ""
    before = dropped(bridge, "FORWARD", to=to)
    assert inside(engine, prisoner, CONNECT.format(address=address, port=80))[0] != 0
    assert dropped(bridge, "FORWARD", to=to) > before


def test_a_rule_that_somebody_removed_is_back_before_the_next_server_starts(
    engine: Engine, new_runner: Callable[..., DockerRunner], image: ImageRef, service: Listener
) -> None:
    runner = new_runner("reloaded")
    with runner.stage("reloaded", SMALL) as stage:
        stage.prepare(image, 60)
        for line in iptables("iptables", "-S", "INPUT").splitlines():
            if "cacheon-ledger:reloaded:" in line:
                iptables("iptables", "-D", *re.sub('"', "", line).split()[1:])
        server = stage.launch(image, "king")
        server.wait_healthy(60)
        _, gateway, _ = network_of(engine, server)
        inside(engine, server, CONNECT.format(address=gateway, port=service.port))
        assert service.visitors == []
        server.stop()


def test_a_firewall_that_was_reloaded_under_a_server_voids_the_contest(
    new_runner: Callable[..., DockerRunner], image: ImageRef
) -> None:
    with (
        pytest.raises(InfrastructureFaultError, match="took our rules out") as raised,
        new_runner("emptied").stage("emptied", SMALL) as stage,
    ):
        stage.prepare(image, 60)
        server = stage.launch(image, "king")
        server.wait_healthy(60)
        for line in iptables("iptables", "-S", "INPUT").splitlines():
            if "cacheon-ledger:emptied:" in line:
                iptables("iptables", "-D", *re.sub('"', "", line).split()[1:])
        server.stop()
    assert raised.value.cause is InfrastructureCause.HOST_FAILED
    assert new_runner("emptied").sweep() == ()


def test_nothing_of_our_environment_is_handed_in(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model_dir: Path,
    image: ImageRef,
) -> None:
    proxies = {"default": {"httpProxy": "http://user:secret-of-ours@proxy:3128"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("LEDGER_SECRET", "secret-of-ours")
    runner = DockerRunner(
        model_dir=model_dir, worker="env", base_url=engine.base_url, stop_grace_s=1
    )
    with runner.stage("env", SMALL) as stage:
        stage.prepare(image, 60)
        server = stage.launch(image, "king")
        server.wait_healthy(60)
        _, said = inside(engine, server, "cat /proc/1/environ; cat /proc/1/mounts; hostname")
        assert "PATH=" in said
        assert "secret" not in said + json.dumps(inspect(engine, server)["Config"]["Env"])
        server.stop()
