"""The Docker Engine of a rented machine, driven from here through the socket that SSH forwards."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluation.images import ImageRef
from evaluation.pods.engine import PodEngine, engine_of
from evaluation.pods.faults import HostError
from evaluation.pods.host import PodHost, connect
from evaluation.pods.host_keys import Pin
from evaluation.pods.ssh import Ssh
from evaluation.runners.docker.ownership import Ownership
from evaluation.runners.port import ImageRefusedError, InfrastructureFaultError
from tests.engine.engine import Engine
from tests.engine.fixtures import engine
from tests.engine.images import busybox_image
from tests.faults.processes import wait_until
from tests.hosts.sshd import Sshd

__all__ = ["engine"]


@pytest.fixture
def there(host: PodHost, engine: Engine) -> Iterator[PodEngine]:
    """The engine through the forward."""
    with engine_of(host, engine.base_url.removeprefix("unix://")) as found:
        yield found


def test_it_says_what_it_is(there: PodEngine, engine: Engine) -> None:
    facts = there.facts()
    assert facts.version == engine.client.version()["Version"]
    assert facts.data == str(engine.data)
    assert "runc" in facts.runtimes


def test_its_socket_here_is_ours_alone_and_gone_afterwards(
    host: PodHost, engine: Engine, machine: Sshd
) -> None:
    with engine_of(host, engine.base_url.removeprefix("unix://")) as found:
        socket = Path(found.connection._settings["base_url"].removeprefix("unix://"))
        assert stat.S_ISSOCK(socket.stat().st_mode)
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        assert found.facts()
    assert not socket.parent.exists()
    wait_until(lambda: not machine.connections(), "the forward is closed")


def test_an_image_is_pulled_by_its_digest_ahead_of_a_contest(
    there: PodEngine, engine: Engine
) -> None:
    image = busybox_image(engine, "hosts/ahead", "sleep 1")
    assert there.pull(image, max_bytes=300_000_000, timeout_s=120)
    assert engine.client.images.get(str(image)).id
    assert not there.pull(image, max_bytes=300_000_000, timeout_s=120)
    engine.client.images.remove(str(image))


def test_an_image_that_is_too_large_is_not_kept(there: PodEngine, engine: Engine) -> None:
    image = busybox_image(engine, "hosts/large", "sleep 2")
    before = {one.id for one in engine.client.images.list(all=True)}
    with pytest.raises(ImageRefusedError, match="at most 1000 "):
        there.pull(image, max_bytes=1_000, timeout_s=120)
    assert {one.id for one in engine.client.images.list(all=True)} == before


def test_an_image_that_is_not_to_be_had_blames_nobody(there: PodEngine, engine: Engine) -> None:
    missing = ImageRef(f"{engine.registry}/hosts/none", "sha256:" + "0" * 64)
    with pytest.raises(InfrastructureFaultError, match="has no such image"):
        there.pull(missing, max_bytes=1_000, timeout_s=120)


def test_what_contests_left_is_listed_and_removed_and_nothing_else(
    there: PodEngine, engine: Engine
) -> None:
    image = busybox_image(engine, "hosts/left", "sleep 600")
    assert there.pull(image, max_bytes=300_000_000, timeout_s=120)
    api = engine.client.api
    labels = Ownership("somebody", "boot-1-1", "stage", "contest").labels()
    ours = api.create_container(str(image), labels=labels, entrypoint=["/server"])["Id"]
    theirs = api.create_container(str(image), entrypoint=["/server"])["Id"]
    network = api.create_network("left", labels=labels)["Id"]
    try:
        assert len(there.leftovers()) == 2
        removed = there.remove_leftovers()
        assert [line.split()[:3] for line in removed] == [
            ["removed", "the", "container"],
            ["removed", "the", "network"],
        ]
        assert there.leftovers() == ()
        assert [one["Id"] for one in api.containers(all=True)] == [theirs]
        assert ours not in theirs
        assert network not in [one["Id"] for one in api.networks()]
    finally:
        api.remove_container(theirs)
        engine.client.images.remove(str(image), force=True)


def test_what_the_dead_left_is_removed_by_the_program_on_the_machine(
    there: PodEngine, engine: Engine, tmp_path: Path
) -> None:
    """As the keeper does after a contest that it had to kill."""
    network = engine.client.api.create_network(
        "killed", labels=Ownership("by-hand", "boot-1-1", "stage", "contest").labels()
    )["Id"]
    made = Sshd(tmp_path / "other", {"DOCKER_HOST": engine.base_url})
    try:
        way = Ssh(made.address, made.key, Pin(tmp_path / "pin"))
        done = connect(way).ssh.run([sys.executable, "-m", "evaluation.pods.sweeping"])
    finally:
        made.close()
    assert b"removed the network killed" in done.errors
    assert network not in [one["Id"] for one in engine.client.api.networks()]


def test_a_dropped_forward_is_an_error_in_a_sentence(there: PodEngine, machine: Sshd) -> None:
    assert there.facts()
    machine.drop()
    with pytest.raises(InfrastructureFaultError, match="could not say what it is"):
        there.facts()


def test_a_machine_without_an_engine_says_so(host: PodHost) -> None:
    with (
        engine_of(host, "/nowhere/docker.sock") as found,
        pytest.raises(InfrastructureFaultError, match="could not say what it is"),
    ):
        found.facts()


def test_a_machine_that_is_gone_forwards_nothing(host: PodHost, machine: Sshd) -> None:
    machine.close()
    with pytest.raises(HostError, match="does not forward"), engine_of(host):
        pass
