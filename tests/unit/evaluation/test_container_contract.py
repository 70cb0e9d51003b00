"""What the engine is asked for, without an engine: limits, mounts, GPUs, health, whose it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evaluation.runners.docker.connection import Connection
from evaluation.runners.docker.contract import (
    HOST_MEMORY_RESERVE,
    Machine,
    container_config,
    memory_limit,
    scratch_paths,
)
from evaluation.runners.docker.ownership import (
    Ownership,
    checked_worker,
    is_alive,
    read_tag,
    this_process,
)
from evaluation.runners.health import answers_healthy
from ledger.contest_policy import ServerLimits

BIG = Machine(cpus=64, memory_bytes=512 * 2**30)


def config(limits: ServerLimits = ServerLimits(), machine: Machine = BIG) -> dict[str, Any]:  # noqa: B008 - frozen
    return container_config(
        "sha256:image",
        declared_volumes=["/data"],
        network="cl000000000",
        model_dir=Path("/srv/model"),
        limits=limits,
        machine=machine,
        labels={"a": "b"},
    )


def test_the_contracts_limits_are_asked_for() -> None:
    host = config()["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 200 * 10**9
    assert host["NanoCpus"] == 32 * 10**9
    assert host["PidsLimit"] == 4_096
    assert host["ShmSize"] == 16 * 10**9
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["LogConfig"]["Config"] == {"max-size": str(8 * 2**20), "max-file": "2"}
    (mount,) = host["Mounts"]
    assert (mount["Target"], mount["ReadOnly"]) == ("/models", True)
    assert host["Runtime"] == "runc"


def test_a_machine_that_is_smaller_than_the_contract_is_not_overcommitted() -> None:
    host = config(machine=Machine(cpus=2, memory_bytes=16 * 2**30))["HostConfig"]
    assert host["NanoCpus"] == 10**9
    assert host["Memory"] == 16 * 2**30 - HOST_MEMORY_RESERVE
    tiny = Machine(cpus=1, memory_bytes=2 * 2**30)
    assert memory_limit(ServerLimits(), tiny) == 2**30


@pytest.mark.parametrize(
    ("machine", "server"), [(1, 1), (2, 1), (3, 2), (4, 2), (8, 6), (34, 32), (64, 32)]
)
def test_cores_are_kept_for_the_client_that_times_the_servers(machine: int, server: int) -> None:
    host = config(machine=Machine(cpus=machine, memory_bytes=2**40))["HostConfig"]
    assert host["NanoCpus"] == server * 10**9


def test_servers_that_live_at_once_share_the_machines_memory() -> None:
    whole = BIG.memory_bytes - HOST_MEMORY_RESERVE
    for servers in (1, 2, 4, 7):
        each = memory_limit(ServerLimits(), BIG, servers)
        assert each == min(200 * 10**9, whole // servers)
        assert each * servers <= whole


def test_an_image_says_nothing_to_the_gpu_hook() -> None:
    said = dict(one.split("=", 1) for one in config()["Env"])
    assert said["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert said["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    for way_out in ("NVIDIA_MOFED", "NVIDIA_GDS", "NVIDIA_GDRCOPY", "NVIDIA_NVSWITCH"):
        assert said[way_out] == "disabled"
    assert all(name.startswith("NVIDIA_") for name in said), "nothing of our own environment"


def test_gpus_are_asked_for_where_the_policy_gives_any() -> None:
    assert config()["HostConfig"]["DeviceRequests"] == []
    asked = config(msgspec.structs.replace(ServerLimits(), gpus=8))["HostConfig"]
    assert asked["DeviceRequests"] == [{"Driver": "", "Count": 8, "Capabilities": [["gpu"]]}]


def test_memory_lies_over_every_declared_volume() -> None:
    declared = ["/data/", "data/../data", "/tmp", "/models/", "//var//lib"]  # noqa: S108
    assert scratch_paths(declared) == ["/tmp", "/data", "/var/lib"]  # noqa: S108


@pytest.mark.parametrize("url", ["tcp://10.0.0.1:2376", "ssh://root@pod", "http://127.0.0.1:2375"])
def test_an_engine_of_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no socket of this machine"):
        Connection(url)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "-a", "a" * 64, 'a"'])
def test_a_worker_has_a_name_that_a_label_and_a_rule_can_carry(name: str) -> None:
    with pytest.raises(ValueError, match="no worker's name"):
        checked_worker(name)


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    assert is_alive(this_process())
    boot, pid, start = this_process().split("-")
    assert not is_alive(f"{boot}-{pid}-{int(start) + 1}")
    assert not is_alive(f"{'0' * 32}-{pid}-{start}")
    assert not is_alive("nonsense")
    said = "from evaluation.runners.docker.ownership import this_process as t; print(t())"
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", said],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert not is_alive(ended.stdout.strip())


def test_a_rules_tag_says_whose_it_is_and_others_have_none() -> None:
    ownership = Ownership("worker", "boot-1-2", "stage", "contest")
    assert read_tag(ownership.tag) == ("worker", "boot-1-2", "stage")
    assert len(Ownership("w" * 63, this_process(), "0" * 12, "c").tag) < 256
    assert read_tag("somebody:else:s") is None
    assert read_tag("") is None


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.0 200 \r\n\r\n", True),
        (b"HTTP/1.1 2000 OK\r\n\r\n", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH\r\n", False),
        (b"", False),
    ],
)
def test_only_a_200_is_healthy(answer: bytes, healthy: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4_096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert answers_healthy("127.0.0.1", listener.getsockname()[1], 30) is healthy
        thread.join()
    assert not answers_healthy("127.0.0.1", 1, 1)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sent = 0

        def serve() -> None:
            nonlocal sent
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                try:
                    while sent < 2**30:
                        connection.sendall(bytes(65_536))
                        sent += 65_536
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        assert answers_healthy("127.0.0.1", listener.getsockname()[1], 30)
        thread.join()
    assert sent < 2**30
