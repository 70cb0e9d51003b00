"""An engine, a model directory, and a runner over both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.docker.runner import DockerRunner
from ledger.contest_policy import ServerLimits
from tests.engine.engine import Engine
from tests.engine.fixtures import engine

__all__ = ["engine"]

SMALL = ServerLimits(
    image_bytes=300_000_000,
    memory_bytes=256 * 2**20,
    cpus=2,
    pids=64,
    shm_bytes=16 * 2**20,
    tmp_bytes=8 * 2**20,
    log_bytes=2**20,
)
"""Limits that a test can reach in a second."""


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model, as servers find it at /models."""
    folder = tmp_path_factory.mktemp("model")
    save_model(init_weights(ModelConfig().seed), folder)
    return folder


@pytest.fixture
def new_runner(engine: Engine, model_dir: Path) -> Callable[..., DockerRunner]:
    """A runner of this engine under a worker's name."""

    def made(worker: str = "tests", **settings: Any) -> DockerRunner:
        return DockerRunner(
            model_dir=model_dir,
            worker=worker,
            base_url=engine.base_url,
            **{"stop_grace_s": 1.0, **settings},
        )

    return made


@pytest.fixture
def runner(new_runner: Callable[..., DockerRunner]) -> Iterator[DockerRunner]:
    """One that must leave nothing behind, whatever the test did."""
    made = new_runner()
    made.sweep()  # after tests that were killed
    yield made
    assert list(made.sweep()) == []
