"""Servers that take all they can get: each meets its own limit, and the host does not notice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evaluation.runners.docker.contract import (
    MODEL_MOUNT,
    SCRATCH_MOUNT,
    Machine,
    cpu_limit,
)
from evaluation.runners.docker.runner import DockerRunner
from evaluation.runners.docker.server import DockerServer
from evaluation.runners.port import OutOfMemoryError
from tests.containers.attack import SERVES, inside
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.images import busybox_image

DECLARED = ("/data", "/var/lib/more", SCRATCH_MOUNT, MODEL_MOUNT)
FOUND_S = 120.0
Launch = Callable[..., DockerServer]


@pytest.fixture
def launch(engine: Engine, runner: DockerRunner) -> Iterator[Launch]:
    """Start a server of a shell script, in a stage that ends with the test."""
    with runner.stage("greed", SMALL) as stage:

        def started(name: str, script: str, *, volumes: tuple[str, ...] = ()) -> DockerServer:
            image = busybox_image(engine, name, script, volumes=volumes)
            stage.prepare(image, 60)
            return stage.launch(image, "challenger")

        yield started


def test_a_fork_bomb_stays_in_its_container(engine: Engine, launch: Launch) -> None:
    server = launch("fork-bomb", "bomb() { while :; do sleep 1000 & done; }\nbomb & bomb & wait")
    deadline_s = time.monotonic() + FOUND_S
    while "can't fork" not in server.log_tail():
        assert time.monotonic() < deadline_s, "the limit was never met"
        assert server.exit_code is None
    found = engine.client.api.stats(server.container_id, stream=False, one_shot=True)
    assert found["pids_stats"]["limit"] == SMALL.pids
    assert SMALL.pids // 2 < found["pids_stats"]["current"] <= SMALL.pids
    server.stop()
    assert server.exit_code is not None


def test_eating_memory_ends_at_the_containers_limit(launch: Launch) -> None:
    server = launch("eats-memory", "echo hungry\nexec tail /dev/zero")
    with pytest.raises(OutOfMemoryError, match="all the memory it may have") as raised:
        server.wait_healthy(60)
    assert raised.value.exit_code == -9
    assert "hungry" in raised.value.log_tail
    assert server.out_of_memory
    server.stop()
    assert server.out_of_memory


def test_a_child_that_ate_the_memory_is_told_from_another_end(launch: Launch) -> None:
    server = launch("child-eats", "tail /dev/zero\necho my child is gone\nexit 3")
    with pytest.raises(OutOfMemoryError) as raised:
        server.wait_healthy(60)
    assert raised.value.exit_code == 3
    assert "my child is gone" in raised.value.log_tail
    server.stop()


def test_no_disk_can_be_filled(engine: Engine, launch: Launch) -> None:
    server = launch("fills-disk", SERVES, volumes=DECLARED)
    server.wait_healthy(60)
    assert engine.client.volumes.list(filters={"dangling": False}) == []
    for path, limit in (
        (f"{SCRATCH_MOUNT}/big", SMALL.tmp_bytes),
        ("/data/big", SMALL.tmp_bytes),
        ("/var/lib/more/big", SMALL.tmp_bytes),
        ("/dev/shm/big", SMALL.shm_bytes),  # noqa: S108
    ):
        code, said = inside(
            engine, server, f"dd if=/dev/zero of={path} bs=1M count=100 2>&1; stat -c %s {path}"
        )
        assert "No space left on device" in said
        assert code == 0
        assert int(said.split()[-1]) <= limit
    server.stop()


def test_the_root_the_model_and_the_engines_own_files_are_read_only(
    engine: Engine, launch: Launch, model_dir: Path
) -> None:
    server = launch("writes-root", SERVES)
    server.wait_healthy(60)
    for path in ("/x", "/server", "/models/x", "/models/model.npz", "/etc/hosts", "/etc/hostname"):
        code, said = inside(engine, server, f"echo x >>{path}")
        assert code != 0
        assert "Read-only file system" in said, path
    _, said = inside(engine, server, "ls /models")
    assert sorted(said.split()) == sorted(path.name for path in model_dir.iterdir())
    server.stop()


def test_no_right_is_left(engine: Engine, launch: Launch) -> None:
    server = launch("no-rights", SERVES)
    server.wait_healthy(60)
    _, said = inside(engine, server, "cat /proc/1/status")
    status = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for denied in ("mount -t tmpfs x /tmp", "ip link set eth0 down", "ip addr add 10.1.1.1 dev lo"):
        assert inside(engine, server, denied)[0] != 0
    server.stop()


@pytest.mark.slow
def test_a_gigabyte_of_log_costs_no_disk_and_leaves_its_last_words(
    engine: Engine, launch: Launch
) -> None:
    lines = "yes $(head -c 8000 /dev/zero | tr '\\0' x) | head -c 1000000000"
    server = launch("prints", f"{lines}\necho now I serve\n{SERVES}")
    server.wait_healthy(300)
    assert len(server.log_tail(lines=100_000, max_bytes=1_000)) <= 1_000
    folder = engine.data / "containers" / server.container_id
    assert sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) < (
        2 * SMALL.log_bytes
    )
    server.stop()
    assert server.log_tail().endswith("now I serve")


def test_a_line_without_an_end_is_bounded_too(launch: Launch) -> None:
    server = launch("one-line", f"head -c 100000000 /dev/zero | tr '\\0' x\n{SERVES}")
    server.wait_healthy(60)
    tail = server.log_tail()
    assert 0 < len(tail.encode()) <= 8_192
    assert set(tail) == {"x"}
    server.stop()


def test_limits_are_what_the_policy_says(engine: Engine, launch: Launch) -> None:
    server = launch("limits", SERVES)
    found = engine.client.api.inspect_container(server.container_id)["HostConfig"]
    assert found["Memory"] == found["MemorySwap"] == SMALL.memory_bytes
    assert found["PidsLimit"] == SMALL.pids
    machine = Machine(cpus=os.cpu_count() or 1, memory_bytes=2**40)
    assert found["NanoCpus"] == cpu_limit(SMALL, machine) * 10**9
    server.stop()
