"""Run as a program by an engine's own Python: `transformers serve`, and what the contract adds.

    python transformers_adapter.py MODEL --served-model-name NAME --port N [serve's own options]

A layer in front of the engine's own application, in the same process. It changes three things and
no token: the model answers to the served name, a stream ends with ``data: [DONE]``, and
``POST /v1/completions`` with token ids and ``prompt_logprobs`` scores them (teacher forcing in
vLLM's form) with the very weights that are served. Needs torch and transformers[serving], nothing
of this project.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from typing import Any

CHAT = "/v1/chat/completions"
SCORE = "/v1/completions"
DONE = b"data: [DONE]\n\n"
MAX_BODY_BYTES = 16 * 1024 * 1024


class Adapted:
    """The engine's ASGI application with the contract's additions."""

    def __init__(self, app: Any, model: str, served_name: str, scorer: Scorer) -> None:
        self._app = app
        self._model = model
        self._served_name = served_name
        self._scorer = scorer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on but what is told above."""
        path = scope.get("path") if scope["type"] == "http" else None
        if path == "/v1/models":
            entry = {"id": self._served_name, "object": "model", "owned_by": "transformers"}
            await _answer(send, 200, {"object": "list", "data": [entry]})
        elif scope.get("method") == "POST" and path in (CHAT, SCORE):
            await self._post(path, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _post(self, path: str, scope: Any, receive: Any, send: Any) -> None:
        body = await _body(receive)
        try:
            asked = json.loads(body or b"null")
        except ValueError:
            asked = None
        if not isinstance(asked, dict):
            await _refuse(send, 400, "the body is no JSON object")
        elif asked.get("model") != self._served_name:
            await _refuse(send, 404, f"The model `{asked.get('model')}` does not exist.")
        elif path == SCORE and asked.get("prompt_logprobs") is not None:
            await self._score(asked, send)
        else:
            changed = json.dumps({**asked, "model": self._model}).encode()
            await self._app(_with_length(scope, changed), _replay(changed, receive), _ending(send))

    async def _score(self, asked: dict[str, Any], send: Any) -> None:
        ids = asked.get("prompt")
        if not isinstance(ids, list) or not all(type(one) is int for one in ids) or not ids:
            await _refuse(send, 400, "teacher forcing needs the prompt as token ids")
            return
        try:
            entries = await asyncio.to_thread(self._scorer.score, ids)
        except (IndexError, ValueError) as error:
            await _refuse(send, 400, str(error))
            return
        choice = {
            "index": 0,
            "text": "",
            "finish_reason": "length",
            "prompt_logprobs": entries,
            "prompt_token_ids": ids,
        }
        await _answer(send, 200, {"object": "text_completion", "choices": [choice]})


class Scorer:
    """Teacher forcing with the weights that the engine serves, loaded once more at first use.

    They lie on the GPU where torch sees one. Prompts are scored one at a time, whoever asks.
    """

    def __init__(self, model: str, dtype: str) -> None:
        self._name = model
        self._dtype = dtype
        self._model: Any = None
        self._one_at_a_time = threading.Lock()

    def score(self, ids: list[int]) -> list[dict[str, dict[str, float]] | None]:
        """One entry a token: its own logprob and rank, and the best one's; None for the first."""
        with self._one_at_a_time:
            return self._score(ids)

    def _score(self, ids: list[int]) -> list[dict[str, dict[str, float]] | None]:
        import torch
        from transformers import AutoModelForCausalLM

        device = "cuda" if torch.cuda.is_available() else "cpu"
        if self._model is None:
            loaded = AutoModelForCausalLM.from_pretrained(self._name, dtype=self._dtype)
            self._model = loaded.to(device).eval()
        size = self._model.config.vocab_size
        if not all(0 <= one < size for one in ids):
            msg = f"a token id is outside 0..{size - 1}"
            raise ValueError(msg)
        with torch.inference_mode():
            logits = self._model(torch.tensor([ids], device=device)).logits[0].float()
        logprobs = torch.log_softmax(logits[:-1], dim=-1)
        own = logprobs.gather(1, torch.tensor(ids[1:], device=device)[:, None])
        ranks = ((logprobs > own).sum(dim=1) + 1).tolist()
        best, first = (column.tolist() for column in logprobs.max(dim=-1))
        given = own[:, 0].tolist()
        entries: list[dict[str, dict[str, float]] | None] = [None]
        for place, token in enumerate(ids[1:]):
            entry = {str(first[place]): {"logprob": best[place], "rank": 1}}
            if str(token) not in entry:
                entry[str(token)] = {"logprob": given[place], "rank": ranks[place]}
            entries.append(entry)
        return entries


def _with_length(scope: Any, body: bytes) -> Any:
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
    return {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}


def _replay(body: bytes, receive: Any) -> Any:
    """A ``receive`` that gives the changed body once, then whatever comes, e.g. a hang-up."""
    given = False

    async def again() -> Any:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def _ending(send: Any) -> Any:
    """A ``send`` that ends an event stream with ``[DONE]``."""
    is_stream = False

    async def ending(message: Any) -> None:
        nonlocal is_stream
        if message["type"] == "http.response.start":
            kinds = [value for name, value in message["headers"] if name == b"content-type"]
            is_stream = any(kind.startswith(b"text/event-stream") for kind in kinds)
        elif is_stream and not message.get("more_body"):
            message = {**message, "body": message.get("body", b"") + DONE}
        await send(message)

    return ending


async def _body(receive: Any) -> bytes:
    body = b""
    while len(body) <= MAX_BODY_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body


async def _refuse(send: Any, status: int, message: str) -> None:
    await _answer(send, status, {"error": {"message": message, "code": status}})


async def _answer(send: Any, status: int, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("model")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--continuous-batching", action="store_true")
    asked = parser.parse_args()

    from transformers.cli.serve import Serve
    from transformers.cli.serving import server

    scorer = Scorer(asked.model, asked.dtype)
    build = server.build_server

    def adapted(*arguments: Any, **named: Any) -> Adapted:
        return Adapted(build(*arguments, **named), asked.model, asked.served_model_name, scorer)

    server.build_server = adapted
    Serve(
        force_model=asked.model,
        continuous_batching=asked.continuous_batching,
        dtype=asked.dtype,
        host=asked.host,
        port=asked.port,
        default_seed=0,
    )


if __name__ == "__main__":
    main()
