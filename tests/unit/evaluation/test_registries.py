"""Where an image may be pulled from, when a stranger names it; and what is said when it fails."""

from __future__ import annotations

import pytest

from evaluation.images import ImageRef, image_of, is_public_registry, registry_of
from evaluation.runners.docker.pulling import why_not_pulled

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("repository", "registry"),
    [
        ("nginx", "docker.io"),
        ("somebody/vllm", "docker.io"),
        ("docker.io/somebody/vllm", "docker.io"),
        ("ghcr.io/somebody/vllm", "ghcr.io"),
        ("registry.example.com:5000/a/b", "registry.example.com:5000"),
        ("xn--bcher-kva.example/a", "xn--bcher-kva.example"),
    ],
)
def test_public_registries_are_told(repository: str, registry: str) -> None:
    image = image_of(repository, DIGEST)
    assert registry_of(image) == registry
    assert is_public_registry(registry)


@pytest.mark.parametrize(
    "repository",
    [
        "169.254.169.254/latest/meta-data",
        "10.0.0.1:8080/v",
        "localhost/x",
        "localhost:5000/x",
        "app.localhost:5000/x",
        "metadata.google.internal/x",
        "printer.local/x",
        "registry:5000/x",
        "127.1/x",
        "2130706433:80/x",
        "0x7f.0x1/x",
        "1.0.0.127.in-addr.arpa/x",
    ],
)
def test_a_neighbour_is_no_public_registry(repository: str) -> None:
    assert not is_public_registry(registry_of(image_of(repository, DIGEST)))


def test_an_image_that_is_here_is_at_no_registry_of_a_strangers() -> None:
    assert registry_of(ImageRef("", DIGEST)) == "docker.io"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("manifest for a@sha256 not found: manifest unknown: manifest unknown", "no such image"),
        ("pull access denied for a, repository does not exist", "does not give it out"),
        ("toomanyrequests: You have reached your pull rate limit", "wants fewer pulls"),
        ("dial tcp: lookup a.example: no such host", "leads nowhere"),
        ("dial tcp 127.0.0.1:1: connect: connection refused", "cannot be reached"),
        ("net/http: request canceled (Client.Timeout exceeded)", "did not answer in time"),
        ("it took longer than 300 s", "did not answer in time"),
        ("x509: certificate signed by unknown authority", "TLS"),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk is full"),
        ("filesystem layer verification failed for digest sha256:00", "not the digest's"),
        ("secret of a neighbour", "log says why"),
    ],
)
def test_why_a_pull_failed_is_said_in_our_own_words(said: str, why: str) -> None:
    assert why in why_not_pulled(said)
    assert said not in why_not_pulled(said)
