"""No name that a container looks up leaves it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from evaluation.images import ImageRef
from evaluation.runners.docker.runner import DockerRunner
from tests.containers.attack import SERVES, inside, listening
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.images import busybox_image


def test_no_name_is_looked_up_anywhere(
    engine: Engine, tmp_path: Path, new_runner: Callable[..., DockerRunner]
) -> None:
    """On a machine whose resolver is its own, which engines before 25.0.5 ask on behalf of internal
    networks (CVE-2024-29018), unless the container has a resolver of its own that is nowhere."""
    here = "127.0.0.77"
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {here}\n")
    lookup = "timeout 2 nslookup secret.example.test; timeout 2 ping -c 1 -W 1 secret.example.test"
    image = busybox_image(engine, "looks-up", SERVES)
    engine.stop()
    engine.start(resolv_conf=conf)
    try:
        with (
            listening(here, 53, socket.SOCK_DGRAM) as resolver,
            listening(here, 53) as by_stream,
            new_runner("resolver").stage("resolver", SMALL) as stage,
        ):
            stage.prepare(image, 60)
            server = stage.launch(image, "king")
            server.wait_healthy(60)
            inside(engine, server, lookup)
            server.stop()
            assert resolver.visitors == by_stream.visitors == []
            if int(engine.client.version()["Version"].split(".")[0]) < 25:
                _look_up_unprotected(engine, image, lookup)
                assert resolver.visitors != []
    finally:
        engine.stop()
        engine.start()


def _look_up_unprotected(engine: Engine, image: ImageRef, lookup: str) -> None:
    client = engine.client
    network = client.networks.create("unprotected", internal=True)
    try:
        client.containers.run(
            str(image),
            entrypoint=["sh", "-c", f"{lookup}; true"],
            network="unprotected",
            remove=True,
        )
    finally:
        network.remove()
