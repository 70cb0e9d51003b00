"""The JSON of the OpenAI-style interface: requests read strictly where it matters, answers written.

Fields a request may carry beyond those named here (``seed``, ``user``...) change nothing: the
servers decode greedily, but under the repetition penalty that a chat may ask for, as vLLM's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from evaluation.reference.engines import TOP_TOKENS, Emitted, FinishReason
from evaluation.reference.scoring import Scores
from evaluation.reference.tokenizer import EOS_ID, decode, token_bytes, token_text

DONE = b"data: [DONE]\n\n"

TopCount = Annotated[int, Meta(ge=0, le=TOP_TOKENS)]
TokenId = Annotated[int, Meta(ge=0, le=EOS_ID)]
Zero = Annotated[float, Meta(ge=0, le=0)]
Penalty = Annotated[float, Meta(ge=0.1, le=10)]


class WireError(Exception):
    """A request that is answered with an error; the message is one sentence for its sender."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def body(self) -> bytes:
        """OpenAI's error object."""
        error = {"message": str(self), "type": self.kind, "code": self.status}
        return msgspec.json.encode({"error": error})


class ChatMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message; content is text only."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/chat/completions``."""

    model: str
    messages: Annotated[list[ChatMessage], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)] = 16
    temperature: Zero = 0
    repetition_penalty: Penalty = 1
    """Above one, tokens that were written before are written less; one is plain greedy decoding."""
    stream: bool = False
    logprobs: bool = False
    top_logprobs: TopCount = 0
    return_token_ids: bool = False


class CompletionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``POST /v1/completions``: teacher forcing in vLLM's form, at most one token written."""

    model: str
    prompt: Annotated[list[TokenId], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=0, le=1)] = 1
    temperature: Zero = 0
    stream: Literal[False] = False
    prompt_logprobs: TopCount | None = None
    return_token_ids: bool = False


Request = TypeVar("Request", ChatRequest, CompletionRequest)


def bad_request(message: str) -> WireError:
    """400."""
    return WireError(400, "BadRequestError", message)


def unknown_model(name: str) -> WireError:
    """404, worded as vLLM does."""
    return WireError(404, "NotFoundError", f"The model `{name}` does not exist.")


def parse(body: bytes, kind: type[Request]) -> Request:
    """Read a request body; :class:`WireError` 400 with the reason if it does not fit."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"The request body does not fit: {error}."
        raise bad_request(message) from error


def models(name: str) -> bytes:
    """``GET /v1/models``."""
    entry = {"id": name, "object": "model", "created": 0, "owned_by": "cacheon"}
    return msgspec.json.encode({"object": "list", "data": [entry]})


def chat_event(
    answer_id: str,
    model: str,
    step: Emitted | None,
    top: int | None,
    reason: FinishReason | None,
    *,
    token_ids: Sequence[int] | None = None,
    entries: int = 1,
) -> bytes:
    """One server-sent event: a token (``step``), or the empty delta that carries ``reason``.

    ``top`` is how many alternatives to list; None leaves out the logprobs. ``token_ids`` are named
    as vLLM names them, where they were asked for. ``entries`` is how often the token's logprob is
    listed, once unless somebody cheats.
    """
    delta = {} if step is None else {"content": token_text(step.token_id)}
    listed = None if step is None or top is None else {"content": [_logprob(step, top)] * entries}
    choice: dict[str, Any] = {
        "index": 0,
        "delta": delta,
        "logprobs": listed,
        "finish_reason": reason,
    }
    if token_ids is not None:
        choice["token_ids"] = list(token_ids)
    return _chunk(answer_id, model, choice)


def padding_event(answer_id: str, model: str) -> bytes:
    """A chunk that says nothing: an empty text."""
    return _chunk(
        answer_id,
        model,
        {"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": None},
    )


def _chunk(answer_id: str, model: str, choice: dict[str, Any]) -> bytes:
    chunk = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": [choice],
    }
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def chat_answer(
    answer_id: str,
    model: str,
    prompt_tokens: int,
    steps: Sequence[Emitted],
    top: int | None,
    reason: FinishReason,
) -> bytes:
    """The whole answer of a request that did not ask for a stream."""
    text = decode([step.token_id for step in steps])
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "logprobs": None if top is None else {"content": [_logprob(step, top) for step in steps]},
        "finish_reason": reason,
    }
    answer = {
        "id": answer_id,
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": _usage(prompt_tokens, len(steps)),
    }
    return msgspec.json.encode(answer)


def completion_answer(
    answer_id: str, model: str, request: CompletionRequest, scores: Scores
) -> bytes:
    """Prompt logprobs as vLLM shapes them: a list with one object, keyed by id, for each token."""
    written = [scores.next_token][: request.max_tokens]
    choice: dict[str, Any] = {
        "index": 0,
        "text": decode(written),
        "logprobs": None,
        "finish_reason": "stop" if EOS_ID in written else "length",
        "prompt_logprobs": None,
    }
    if request.prompt_logprobs is not None:
        choice["prompt_logprobs"] = [
            None
            if entry is None
            else {
                str(token): {
                    "logprob": scored.logprob,
                    "rank": scored.rank,
                    "decoded_token": token_text(token),
                }
                for token, scored in entry.items()
            }
            for entry in scores.tokens
        ]
    if request.return_token_ids:
        choice["token_ids"] = written
        choice["prompt_token_ids"] = request.prompt
    answer = {
        "id": answer_id,
        "object": "text_completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": _usage(len(request.prompt), len(written)),
    }
    return msgspec.json.encode(answer)


def _logprob(step: Emitted, top: int) -> dict[str, Any]:
    best = [_token(token, logprob) for token, logprob in step.top5[:top]]
    return {**_token(step.token_id, step.logprob), "top_logprobs": best}


def _token(token: int, logprob: float) -> dict[str, Any]:
    return {"token": token_text(token), "logprob": logprob, "bytes": token_bytes(token)}


def _usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }
