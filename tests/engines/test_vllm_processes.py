"""vLLM's API server, core and worker freeze, go on and end together, with a killed contest too.

It is the real engine, built for processors. What it does with them is what it does with GPUs.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from evaluation.runners.local import LocalImages
from evaluation.runners.process import ProcessRunner, ProcessServer
from evaluation.runners.session import left_of, members_of, running_of
from tests.engines import installing
from tests.engines.made import needed, write_model

pytestmark = pytest.mark.slow

LAUNCH = "profile:vllm?enforce_eager=true&max_model_len=1024&kv_cache_memory_bytes=128M"
START_S = 240
PROCESSES = 3
"""The API server, the engine's core and its worker, at the least."""
CONTEST = """
import json, sys
from pathlib import Path
from evaluation.runners.local import LocalImages
from evaluation.runners.process import ProcessRunner

model, vllm, launch = sys.argv[1:]
images = LocalImages(Path(model), model_name="tiny-qwen", engines={"vllm": vllm})
server = ProcessRunner(images).launch(images.named(launch), "baseline")
server.wait_healthy(240)
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def vllm() -> str:
    """The command that starts it."""
    return f"{needed(installing.vllm(), 'vLLM')} -m vllm.entrypoints.cli.main"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vllm") / "tiny-qwen"
    write_model(needed(installing.vllm(), "vLLM"), out)
    return out


@pytest.fixture(scope="module")
def server(vllm: str, model: Path) -> Iterator[ProcessServer]:
    images = LocalImages(model, model_name="tiny-qwen", engines={"vllm": vllm})
    launched = ProcessRunner(images).launch(images.named(LAUNCH), "baseline")
    try:
        launched.wait_healthy(START_S)
        yield launched
    finally:
        launched.stop()


def ask(server: ProcessServer, timeout_s: float) -> str:
    """A few tokens of it."""
    address = urlsplit(server.base_url)
    assert address.hostname is not None
    body = {"model": "tiny-qwen", "prompt": "go", "max_tokens": 8, "temperature": 0}
    to = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout_s)
    try:
        to.request(
            "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        text = json.loads(to.getresponse().read())["choices"][0]["text"]
        assert isinstance(text, str)
        return text
    finally:
        to.close()


def test_all_of_it_freezes_and_goes_on(server: ProcessServer) -> None:
    said = ask(server, 60)
    assert said
    processes = members_of(server.pid)
    assert len(processes) >= PROCESSES
    server.pause()
    assert running_of(server.pid) == []
    assert left_of(server.pid) == processes
    with pytest.raises(TimeoutError):
        ask(server, 1)
    server.resume()
    assert ask(server, 60) == said


def test_all_of_it_ends_also_while_it_is_frozen(server: ProcessServer) -> None:
    assert len(members_of(server.pid)) >= PROCESSES
    server.pause()
    server.stop()
    assert left_of(server.pid) == []
    assert server.exit_code is not None


def test_all_of_it_ends_with_a_contest_that_is_killed(vllm: str, model: Path) -> None:
    words = [sys.executable, "-c", CONTEST, str(model), vllm, LAUNCH]
    contest = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    try:
        assert contest.stdout is not None
        leader = int(contest.stdout.readline())
        assert len(left_of(leader)) >= PROCESSES
        os.kill(contest.pid, signal.SIGKILL)
        for _ in range(600):
            if not left_of(leader):
                break
            time.sleep(0.1)
        assert left_of(leader) == []
    finally:
        contest.kill()
        contest.wait()
        for stream in (contest.stdin, contest.stdout):
            if stream is not None:
                stream.close()
