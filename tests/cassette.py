"""The recorded season for tests: where it lies, what it says happened, and a server that plays it.

The folder is looked for beside the checkout; tests that need it are skipped where it is absent.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

SEASON_DIR = Path(__file__).resolve().parents[1].parent / "shared" / "chain"
RECORDING = SEASON_DIR / "season-a.jsonl.gz"
TRUTH = SEASON_DIR / "season-a.truth.json"
REPLAY = SEASON_DIR / "replay.py"

needs_cassette = pytest.mark.skipif(
    not (RECORDING.exists() and TRUTH.exists() and REPLAY.exists()),
    reason="the recorded season is not beside this checkout (../shared/chain)",
)


def truth() -> dict[str, Any]:
    """What happened in the recorded blocks."""
    document: dict[str, Any] = json.loads(TRUTH.read_text(encoding="utf-8"))
    return document


@contextmanager
def replay_server() -> Iterator[str]:
    """Serve the recording on a free port; yields its ``ws://`` URL and ends the server after."""
    server = subprocess.Popen(  # noqa: S603 - the season's own replay script, no outside input
        [sys.executable, str(REPLAY), str(RECORDING), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"ws://[0-9.]+:\d+", line)
        if found is None:
            server.kill()
            _, errors = server.communicate()
            pytest.fail(f"the replay server did not start: {line} {errors}")
        yield found.group()
    finally:
        server.terminate()
        server.communicate(timeout=10)


Answer = Callable[[str, list[Any]], Any]
"""(method, params) → the JSON-RPC result; :class:`SilenceError` for no answer at all."""


class SilenceError(Exception):
    """The node keeps the connection and says nothing."""


@contextmanager
def node_that_says(answer: Answer) -> Iterator[str]:
    """A node on a free port whose every answer the test writes; yields its ``ws://`` URL."""

    def handle(connection: ServerConnection) -> None:
        try:
            for message in connection:
                request = json.loads(message)
                try:
                    result = answer(request["method"], request["params"])
                except SilenceError:
                    continue
                reply = {"jsonrpc": "2.0", "id": request["id"], "result": result}
                connection.send(json.dumps(reply))
        except ConnectionClosed:
            return  # the reader under test may hang up at any time

    with serve(handle, "127.0.0.1", 0, ping_interval=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(timeout=10)
