"""A model directory, contest-like prompts, and real server processes."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from evaluation.reference.config import ServerConfig
from evaluation.reference.image import CONFIG_FILE, image_path, write_image
from evaluation.reference.model import Weights, init_weights
from evaluation.reference.model_files import save_model
from evaluation.reference.tokenizer import chat_prompt
from tests.unit.reference.support import START_DEADLINE_S, StartServer, server_command

PREAMBLE_TOKENS = 384


@pytest.fixture(scope="session")
def weights() -> Weights:
    return init_weights(14)


@pytest.fixture(scope="session")
def contents() -> list[str]:
    """What ten users ask: a preamble of 384 tokens with its template, and 24 of their own."""
    draw = random.Random(7)
    words = ["block", "king", "epoch", "reveal", "commit", "tempo", "weight", "token", "cache"]

    def text(length: int) -> str:
        return " ".join(draw.choice(words) for _ in range(length))[:length]

    preamble = text(PREAMBLE_TOKENS - len("user: "))
    return [preamble + text(24) for _ in range(10)]


@pytest.fixture(scope="session")
def prompts(contents: list[str]) -> list[list[int]]:
    return [chat_prompt([{"role": "user", "content": one}]) for one in contents]


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory, weights: Weights) -> Path:
    directory = tmp_path_factory.mktemp("models")
    save_model(weights, directory)
    return directory


@pytest.fixture
def start_server(tmp_path: Path, model_directory: Path) -> Iterator[StartServer]:
    """Start the server of a configuration as an image would, and give a client connected to it."""
    processes: list[subprocess.Popen[str]] = []
    clients: list[httpx.Client] = []

    def start(config: ServerConfig | dict[str, object], model: Path | None = None) -> httpx.Client:
        image = image_path(tmp_path, write_image(tmp_path, "test", config))
        process = subprocess.Popen(  # noqa: S603 - our own module
            server_command(model or model_directory, image / CONFIG_FILE),
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on 127.0.0.1:"), line
        address = line.removeprefix("listening on ").strip()
        clients.append(httpx.Client(base_url=f"http://{address}", timeout=START_DEADLINE_S))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
    for process in processes:
        process.terminate()
        assert process.wait(START_DEADLINE_S) == 0
        assert process.stdout is not None
        process.stdout.close()
