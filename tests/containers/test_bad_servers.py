"""Servers that never become ready or never go: told from faults of ours, with their own words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from evaluation.images import ImageRef
from evaluation.runners.docker.runner import DockerRunner
from evaluation.runners.docker.stage import DockerStage
from evaluation.runners.port import (
    ExitedAtStartError,
    ImageRefusedError,
    InfrastructureFaultError,
    NeverHealthyError,
)
from ledger.codes import DisqualificationCode, InfrastructureCause
from tests.containers.attack import SERVES
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.images import busybox_image, busybox_rootfs, import_image, push_image
from tests.faults.processes import wait_until

Prepared = Callable[..., ImageRef]


@pytest.fixture
def stage(runner: DockerRunner) -> Iterator[DockerStage]:
    with runner.stage("bad", SMALL) as found:
        yield found


@pytest.fixture
def prepared(engine: Engine, stage: DockerStage) -> Prepared:
    def made(name: str, script: str) -> ImageRef:
        image = busybox_image(engine, name, script)
        stage.prepare(image, 60)
        return image

    return made


def test_a_server_that_ignores_sigterm_is_killed(stage: DockerStage, prepared: Prepared) -> None:
    image = prepared("ignores", SERVES.replace("exit 0", ""))
    server = stage.launch(image, "king")
    server.wait_healthy(60)
    server.stop()
    assert server.exit_code == -9
    assert not server.out_of_memory


def test_a_server_that_obeys_sigterm_says_goodbye(stage: DockerStage, prepared: Prepared) -> None:
    image = prepared("obeys", SERVES.replace("exit 0", "echo goodbye; exit 0"))
    server = stage.launch(image, "king")
    server.wait_healthy(60)
    server.stop()
    assert server.exit_code == 0
    assert server.log_tail() == "goodbye"


def test_a_frozen_server_can_be_stopped(stage: DockerStage, prepared: Prepared) -> None:
    server = stage.launch(prepared("frozen", SERVES), "king")
    server.wait_healthy(60)
    server.pause()
    assert server.exit_code is None
    server.stop()
    assert server.exit_code is not None


def test_a_server_that_exits_at_start_leaves_its_own_log(
    stage: DockerStage, prepared: Prepared
) -> None:
    image = prepared("exits", "echo 'error: argument --kv-cache-dtype: invalid choice' >&2\nexit 2")
    server = stage.launch(image, "challenger")
    with pytest.raises(ExitedAtStartError, match="exited with code 2") as raised:
        server.wait_healthy(60)
    assert raised.value.exit_code == 2
    assert raised.value.log_tail == "error: argument --kv-cache-dtype: invalid choice"
    server.stop()
    assert server.exit_code == 2


def test_a_server_that_is_never_healthy(stage: DockerStage, prepared: Prepared) -> None:
    server = stage.launch(prepared("never", "echo thinking\nexec sleep 1000"), "challenger")
    wait_until(lambda: bool(server.log_tail()), "it said something")
    with pytest.raises(NeverHealthyError, match=r"within 1\.5 s") as raised:
        server.wait_healthy(1.5)
    assert raised.value.log_tail == "thinking"
    server.stop()


def test_a_server_that_refuses_health_is_not_healthy(
    stage: DockerStage, prepared: Prepared
) -> None:
    server = stage.launch(prepared("no-health", SERVES.replace("health", "other")), "challenger")
    with pytest.raises(NeverHealthyError):
        server.wait_healthy(1.5)
    server.stop()


def test_a_server_that_answers_a_byte_a_second_is_not_waited_for(
    stage: DockerStage, prepared: Prepared
) -> None:
    drip = "printf 'HTTP/1.1 200 OK\\r\\nX: '; while :; do printf x; sleep 0.2; done"
    body = f"cat >/tmp/drip <<'END'\n#!/bin/sh\n{drip}\nEND\nexec nc -ll -p 8000 -e sh /tmp/drip"
    server = stage.launch(prepared("drips", body), "challenger")
    with pytest.raises(NeverHealthyError):
        server.wait_healthy(3)
    server.stop()


@pytest.mark.parametrize(
    ("entrypoint", "volumes"),
    [
        (["/no/such/program"], ()),
        (["/etc/passwd"], ()),
        (["/bin"], ()),
        (["/server"], ["/proc/inside"]),
        (["/server"], ["/models/inside"]),
    ],
)
def test_an_image_that_nobody_could_start_is_the_miners_fault(
    engine: Engine, stage: DockerStage, entrypoint: Sequence[str], volumes: Sequence[str]
) -> None:
    root = busybox_rootfs(SERVES)
    import_image(engine, "unstartable", root.tar(), entrypoint=entrypoint, volumes=volumes)
    image = push_image(engine, "unstartable")
    stage.prepare(image, 60)
    with pytest.raises(ExitedAtStartError, match="cannot be started") as raised:
        stage.launch(image, "challenger")
    assert raised.value.log_tail


def test_an_image_of_which_no_container_can_be_made_is_the_miners_fault(
    engine: Engine, stage: DockerStage
) -> None:
    import_image(engine, "no-folder", busybox_rootfs(SERVES).tar(), folder="/server")
    with pytest.raises(ImageRefusedError, match="not a directory") as raised:
        stage.prepare(push_image(engine, "no-folder"), 60)
    assert raised.value.code is DisqualificationCode.EXITED_AT_START


def test_what_an_image_has_at_its_volumes_is_not_copied_to_the_host(
    engine: Engine, stage: DockerStage
) -> None:
    root = busybox_rootfs(SERVES)
    root.file("/data/large", bytes(1_000_000))
    import_image(engine, "with-data", root.tar(), volumes=["/data"])
    image = push_image(engine, "with-data")
    began_s = int(time.time())
    stage.prepare(image, 60)
    filters = {"type": "volume", "event": "create"}
    made = engine.client.api.events(
        since=began_s, until=int(time.time()) + 1, filters=filters, decode=True
    )
    names = [one["Actor"]["ID"] for one in made]
    assert any(name.startswith("cacheon-ledger-pull-") for name in names)
    assert all(name.startswith("cacheon-ledger-pull-") for name in names)


def test_a_machine_without_gpus_is_our_fault(
    engine: Engine, new_runner: Callable[..., DockerRunner]
) -> None:
    image = busybox_image(engine, "wants-gpus", SERVES)
    with new_runner("gpus").stage("gpus", msgspec.structs.replace(SMALL, gpus=1)) as stage:
        stage.prepare(image, 60)
        with pytest.raises(InfrastructureFaultError, match="device driver") as raised:
            stage.launch(image, "challenger")
    assert raised.value.cause is InfrastructureCause.HOST_FAILED


def test_an_image_that_was_not_prepared_is_not_started(stage: DockerStage) -> None:
    with pytest.raises(InfrastructureFaultError, match="prepared first") as raised:
        stage.launch(ImageRef("127.0.0.1:1/none", "sha256:" + "0" * 64), "king")
    assert raised.value.cause is InfrastructureCause.PULL_FAILED
