"""An image is had by its digest or not at all: its size, its content and its time are bounded."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from evaluation.images import ImageRef
from evaluation.runners.docker.runner import DockerRunner
from evaluation.runners.docker.stage import DockerStage
from evaluation.runners.port import ImageRefusedError, InfrastructureFaultError
from ledger.codes import DisqualificationCode, InfrastructureCause
from tests.containers.attack import SERVES
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.images import (
    build_image,
    busybox_image,
    busybox_rootfs,
    import_image,
    push_image,
)

FIVE_MB = msgspec.structs.replace(SMALL, image_bytes=5_000_000)


@pytest.fixture
def stage(engine: Engine, runner: DockerRunner) -> Iterator[DockerStage]:
    with runner.stage("pulls", FIVE_MB) as found:
        yield found
    client = engine.client
    assert client.volumes.list() == []
    assert client.containers.list(all=True) == []
    assert client.images.list(filters={"reference": f"{engine.registry}/*"}) == []


def with_file(engine: Engine, name: str, content: bytes) -> ImageRef:
    root = busybox_rootfs(SERVES)
    root.file("/content", content)
    import_image(engine, name, root.tar())
    return push_image(engine, name)


def test_an_image_whose_layers_are_too_large_is_not_even_downloaded(
    engine: Engine, stage: DockerStage
) -> None:
    image = with_file(engine, "large", os.urandom(12_000_000))
    before = {one.id for one in engine.client.images.list(all=True)}
    with pytest.raises(ImageRefusedError, match=r"layers of 1[0-9]{7} bytes") as raised:
        stage.prepare(image, 60)
    assert raised.value.code is DisqualificationCode.IMAGE_TOO_LARGE
    assert {one.id for one in engine.client.images.list(all=True)} == before


def test_an_image_that_is_small_only_while_it_is_packed_is_refused(
    engine: Engine, stage: DockerStage
) -> None:
    image = with_file(engine, "zeros", bytes(40_000_000))
    with pytest.raises(ImageRefusedError, match="unpacked") as raised:
        stage.prepare(image, 60)
    assert raised.value.code is DisqualificationCode.IMAGE_TOO_LARGE


def test_a_digest_that_nobody_has_cannot_be_had(engine: Engine, stage: DockerStage) -> None:
    image = busybox_image(engine, "known", SERVES)
    unknown = ImageRef(image.repository, "sha256:" + "0" * 64)
    for missing in (unknown, ImageRef(f"{engine.registry}/none", image.digest)):
        with pytest.raises(InfrastructureFaultError, match="could not pull") as raised:
            stage.prepare(missing, 60)
        assert raised.value.cause is InfrastructureCause.PULL_FAILED


@pytest.mark.parametrize("what", ["manifest", "layer"])
def test_content_that_is_not_the_digests_is_refused(
    engine: Engine, stage: DockerStage, what: str
) -> None:
    image = with_file(engine, f"tampered-{what}", b"as it was pushed for the " + what.encode())
    blobs = engine.registry_files / "docker/registry/v2/blobs/sha256"
    manifest = blobs / image.digest[7:9] / image.digest[7:] / "data"
    layer = msgspec.json.decode(manifest.read_bytes())["layers"][0]["digest"]
    target = manifest if what == "manifest" else blobs / layer[7:9] / layer[7:] / "data"
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 0x20
    target.write_bytes(content)
    with pytest.raises(InfrastructureFaultError, match="could not pull") as raised:
        stage.prepare(image, 60)
    assert raised.value.cause is InfrastructureCause.PULL_FAILED


def test_a_registry_that_is_not_there(stage: DockerStage) -> None:
    with pytest.raises(InfrastructureFaultError, match="could not pull") as raised:
        stage.prepare(ImageRef("127.0.0.1:1/none", "sha256:" + "0" * 64), 60)
    assert raised.value.cause is InfrastructureCause.PULL_FAILED


def test_what_a_registry_says_is_not_published(
    stage: DockerStage, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger names where the engine asks; its answer may be a neighbour's secret."""
    secret = b"the neighbours-secret, denied"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(secret)
    with (
        answering(head + secret) as port,
        pytest.raises(InfrastructureFaultError) as raised,
    ):
        stage.prepare(ImageRef(f"127.0.0.1:{port}/v", "sha256:" + "0" * 64), 60)
    assert raised.value.detail.endswith(": the registry does not give it out")
    assert "neighbours-secret" in caplog.text, "the operator is told"


def test_a_strangers_image_is_not_asked_of_a_neighbour(
    engine: Engine, new_runner: Callable[..., DockerRunner]
) -> None:
    image = busybox_image(engine, "neighbour", SERVES)
    with new_runner("strict", registries=[]).stage("strict", SMALL) as stage:
        with pytest.raises(ImageRefusedError, match="no public registry") as raised:
            stage.prepare(image, 60)
        assert raised.value.code is DisqualificationCode.IMAGE_NAME_INVALID
    with new_runner("strict", registries=[engine.registry]).stage("ours", SMALL) as stage:
        assert stage.prepare(image, 60).image == str(image)


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A port of this machine where every request gets the same answer."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_registry_that_says_nothing_is_not_waited_for(stage: DockerStage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        repository = f"127.0.0.1:{silent.getsockname()[1]}/silent"
        with pytest.raises(InfrastructureFaultError) as raised:
            stage.prepare(ImageRef(repository, "sha256:" + "0" * 64), 1)
    assert raised.value.cause is InfrastructureCause.PULL_FAILED


def test_an_image_that_is_here_is_used_by_its_id_and_stays(
    engine: Engine, runner: DockerRunner
) -> None:
    found = import_image(engine, "own", busybox_rootfs(SERVES).tar())
    image = ImageRef("", found)
    try:
        with runner.stage("own", SMALL) as stage:
            assert stage.prepare(image, 60).image == found
            server = stage.launch(image, "own")
            server.wait_healthy(60)
            server.stop()
            with pytest.raises(InfrastructureFaultError, match="nothing says where"):
                stage.prepare(ImageRef("", "sha256:" + "0" * 64), 60)
        assert engine.client.images.get(found).id == found
    finally:
        engine.client.images.remove(found, force=True)


def test_an_image_that_was_pulled_before_by_somebody_else_stays(
    engine: Engine, runner: DockerRunner
) -> None:
    image = busybox_image(engine, "before", SERVES)
    client = engine.client
    client.images.pull(image.repository, tag=image.digest)
    try:
        with runner.stage("before", SMALL) as stage:
            stage.prepare(image, 60)
        assert client.images.get(str(image)) is not None
    finally:
        client.images.remove(str(image))


def test_a_rebuilt_copy_has_the_same_fingerprint_and_another_digest(
    engine: Engine, runner: DockerRunner
) -> None:
    first = busybox_image(engine, "first", SERVES)
    # The same in two layers, at another time, with a label and a build's leftovers.
    script = busybox_rootfs(SERVES)
    script.file("/var/log/build.log", "built anew")
    script.file("/server", f"#!/bin/sh\n{SERVES}\n", mode=0o755, mtime=1_700_000_000)
    base = import_image(engine, "copy-base", script.tar(), labels={"by": "a-thief"})
    build_image(
        engine,
        "copy",
        {"gone": b"deleted by the next layer", "server": f"#!/bin/sh\n{SERVES}\n".encode()},
        f'FROM {base}\nCOPY server /server\nENTRYPOINT ["/server"]\n',
    )
    copy = push_image(engine, "copy")
    other = busybox_image(engine, "other", SERVES + "# changed")
    import_image(engine, "flags", busybox_rootfs(SERVES).tar(), entrypoint=["/server", "--fast"])
    flags = push_image(engine, "flags")
    with runner.stage("copies", SMALL) as stage:
        found = [stage.prepare(image, 60).fingerprint for image in (first, copy, other, flags)]
    engine.client.images.remove(base, force=True)
    assert first.digest != copy.digest
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_layers_are_measured_as_they_are_unpacked(tmp_path: Path) -> None:
    from evaluation.runners.docker.pulling import new_layer_bytes

    old, new = tmp_path / "old" / "diff", tmp_path / "new" / "diff"
    old.mkdir(parents=True)
    (old / "a").write_bytes(bytes(1_000))
    began = (tmp_path / "old").stat().st_ctime + 5
    assert new_layer_bytes(tmp_path, began - 10) == 1_000
    assert new_layer_bytes(tmp_path, began) == 0
    new.mkdir(parents=True)
    (new / "b").write_bytes(bytes(300))
    (tmp_path / "new" / "merged").mkdir()
    (tmp_path / "new" / "merged" / "b").write_bytes(bytes(300))
    (new / "another-name-of-b").hardlink_to(new / "b")
    assert new_layer_bytes(tmp_path, began - 10) == 1_300
