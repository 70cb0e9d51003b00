"""An honest server in a container: had by digest, reached by us, frozen, stopped, gone."""

from __future__ import annotations

import httpx
import pytest

from evaluation.images import ImageRef
from evaluation.runners.docker.runner import DockerRunner
from tests.containers.conftest import SMALL
from tests.engine.engine import Engine
from tests.engine.reference_image import reference_image


@pytest.fixture(scope="module")
def honest(engine: Engine) -> ImageRef:
    return reference_image(engine, "kv_cache")


def test_a_server_is_pulled_by_digest_answers_and_leaves_nothing(
    engine: Engine, runner: DockerRunner, honest: ImageRef
) -> None:
    client = engine.client
    with runner.stage("a-contest", SMALL) as stage:
        facts = stage.prepare(honest, 60)
        assert facts.image == str(honest)
        assert facts.bytes == client.images.get(str(honest)).attrs["Size"]
        server = stage.launch(honest, "king")
        with pytest.raises(RuntimeError, match="not known before it is healthy"):
            _ = server.base_url
        server.wait_healthy(60)
        assert server.pid is None
        assert server.exit_code is None
        models = httpx.get(f"{server.base_url}/v1/models").json()
        assert [model["id"] for model in models["data"]] == ["cacheon-reference"]

        server.pause()
        with pytest.raises(httpx.TimeoutException):
            httpx.get(f"{server.base_url}/health", timeout=0.5)
        server.resume()
        server.resume()
        assert httpx.get(f"{server.base_url}/health").status_code == 200

        server.stop()
        server.stop()
        assert server.exit_code == 0
        assert not server.out_of_memory
        assert "listening on 0.0.0.0:8000" in server.log_tail()
    assert client.containers.list(all=True) == []
    assert client.volumes.list() == []
    assert {one.name for one in client.networks.list()} == {"host", "none"}
    assert str(honest) not in {
        digest for image in client.images.list() for digest in image.attrs["RepoDigests"] or ()
    }


def test_the_engine_says_what_it_is(runner: DockerRunner) -> None:
    facts = runner.facts()
    assert facts["runner"] == "docker"
    assert facts["engine"]
    assert facts["cgroup_version"] in {"1", "2"}
    assert facts["host_firewall"] == "yes"
