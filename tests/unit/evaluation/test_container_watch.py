"""A container's end is its own only where the engine stayed and nobody had it killed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.runners.docker.connection import Connection
from evaluation.runners.docker.memory_kills import MetLimits
from evaluation.runners.docker.server import DockerServer
from evaluation.runners.docker.watching import Watch
from evaluation.runners.port import ExitedAtStartError, InfrastructureFaultError, OutOfMemoryError
from ledger.codes import InfrastructureCause

ID = "c" * 64
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
STATE = {"Running": False, "Status": "exited", "ExitCode": 137, "OOMKilled": False}
V2 = {"CgroupVersion": "2", "CgroupDriver": "systemd"}
NO_MOUNTS = Path("/dev/null")


class Engine:
    """A socket that speaks as much of the engine as is needed: its version, events, one state."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "engine"
        self.asked: list[str] = []
        self.state: dict[str, Any] = dict(STATE)
        self._events: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def tell(self, **event: Any) -> None:
        body = json.dumps({"id": ID, "Type": "container", **event}).encode() + b"\n"
        self._events[-1].sendall(b"%x\r\n%s\r\n" % (len(body), body))

    def go_away(self) -> None:
        for one in self._events:
            one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while line := stream.readline():
            path = line.split()[1].decode()
            self.asked.append(path)
            while stream.readline().strip():
                pass
            if "/events" in path:
                self._events.append(connection)
                connection.sendall(HEAD)
                return
            answer: Any = {"State": self.state, "NetworkSettings": {"Networks": {}}}
            if path.endswith("/version"):
                answer = {"ApiVersion": "1.41"}
            body = json.dumps(answer).encode()
            head = (
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            )
            connection.sendall(head.encode() + b"\r\n\r\n" + body)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path)
    yield made
    made.close()


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """What the kernel counts for all containers together, under cgroup v2."""
    (tmp_path / "system.slice").mkdir()
    found = tmp_path / "system.slice" / "memory.events"
    found.write_text("low 0\nhigh 0\nmax 7\noom 3\noom_kill 5\n")
    return found


@pytest.fixture
def server(engine: Engine, events: Path) -> Iterator[DockerServer]:
    connection = Connection(f"unix://{engine.path}")
    watch = Watch(connection, ID)
    yield DockerServer(
        connection,
        ID,
        "network",
        watch=watch,
        met_limits=MetLimits(V2, events.parents[1], NO_MOUNTS),
        stop_grace_s=1,
        release=lambda: None,
    )
    watch.close()
    watch.close()


def test_an_end_of_its_own_is_told(engine: Engine, server: DockerServer) -> None:
    engine.tell(Action="die")
    assert server.exit_code == -9
    with pytest.raises(ExitedAtStartError, match="ended by signal 9"):
        server.wait_healthy(60)


def test_an_end_with_the_engine_is_a_fault_of_ours(engine: Engine, server: DockerServer) -> None:
    engine.go_away()
    with pytest.raises(InfrastructureFaultError, match="went away under it") as raised:
        _ = server.exit_code
    assert raised.value.cause is InfrastructureCause.HOST_FAILED
    with pytest.raises(InfrastructureFaultError, match="went away under it"):
        server.wait_healthy(60)


def test_a_kill_that_the_engine_was_asked_for_is_a_fault_of_ours(
    engine: Engine, server: DockerServer
) -> None:
    engine.tell(Action="kill", Actor={"Attributes": {"signal": "15"}})
    engine.tell(Action="die")
    with pytest.raises(InfrastructureFaultError, match="send it signal 15"):
        _ = server.exit_code


def test_another_containers_events_are_not_its_own(engine: Engine, server: DockerServer) -> None:
    engine.tell(Action="kill", id="d" * 64)
    engine.tell(Action="die")
    assert server.exit_code == -9


def test_an_end_that_the_engine_never_tells_of_is_a_fault_of_ours(
    server: DockerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.runners.docker.watching.TOLD_S", 0.01)
    with pytest.raises(InfrastructureFaultError, match="did not tell of its end"):
        _ = server.exit_code


def test_events_are_asked_for_from_before_the_start(engine: Engine, server: DockerServer) -> None:
    (path,) = [one for one in engine.asked if "/events" in one]
    assert "since=" in path
    assert ID in path


def test_a_kill_for_memory_within_the_limit_is_a_fault_of_ours(
    engine: Engine, server: DockerServer, events: Path
) -> None:
    engine.state["OOMKilled"] = True
    events.write_text("max 7\noom 3\noom_kill 6\n")
    engine.tell(Action="die")
    with pytest.raises(InfrastructureFaultError, match="no limit was met") as raised:
        _ = server.exit_code
    assert raised.value.cause is InfrastructureCause.HOST_FAILED


def test_a_kill_for_memory_at_a_limit_is_the_servers(
    engine: Engine, server: DockerServer, events: Path
) -> None:
    engine.state["OOMKilled"] = True
    events.write_text("max 9\noom 4\noom_kill 6\n")
    engine.tell(Action="die")
    assert server.exit_code == -9
    assert server.out_of_memory
    with pytest.raises(OutOfMemoryError):
        server.wait_healthy(60)


@pytest.mark.parametrize(
    ("info", "mounts", "group"),
    [
        ({"CgroupVersion": "1", "CgroupDriver": "systemd"}, "", "system.slice"),
        ({"CgroupVersion": "2", "CgroupDriver": "none"}, "", "system.slice"),
        (V2, "", "elsewhere.slice"),
        (V2, "c /sys/fs/cgroup cgroup2 rw,nsdelegate,memory_localevents 0 0", "system.slice"),
    ],
)
def test_where_nothing_counts_the_engines_word_stands(
    tmp_path: Path, info: dict[str, str], mounts: str, group: str
) -> None:
    (tmp_path / group).mkdir()
    (tmp_path / group / "memory.events").write_text("oom 3\n")
    (tmp_path / "mounts").write_text(mounts)
    assert not MetLimits(info, tmp_path, tmp_path / "mounts").none_met()


def test_both_drivers_of_groups_are_known(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "memory.events").write_text("oom 3\n")
    info = {"CgroupVersion": "2", "CgroupDriver": "cgroupfs"}
    counted = MetLimits(info, tmp_path, NO_MOUNTS)
    assert counted.none_met()
    (tmp_path / "docker" / "memory.events").write_text("oom 4\n")
    assert not counted.none_met()
