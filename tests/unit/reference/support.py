"""How the tests start reference servers and talk to them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

START_DEADLINE_S = 30

StartServer = Callable[..., httpx.Client]


def server_command(model: Path, config_file: Path) -> list[str]:
    module = [sys.executable, "-m", "evaluation.reference.server"]
    return [*module, "--model", str(model), "--config", str(config_file), "--port", "0"]


def chat_body(content: str, **changes: object) -> dict[str, object]:
    """The request of a contest, with ``changes``."""
    body: dict[str, object] = {
        "model": "cacheon-reference",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 12,
        "temperature": 0,
        "seed": 1,
        "stream": True,
        "logprobs": True,
        "top_logprobs": 5,
    }
    return {**body, **changes}


def events_of(text: str) -> list[dict[str, Any]]:
    """The JSON events of a stream, which must end with ``[DONE]``."""
    pieces = text.split("\n\n")
    assert pieces[-2:] == ["data: [DONE]", ""]
    return [json.loads(piece.removeprefix("data: ")) for piece in pieces[:-2]]
