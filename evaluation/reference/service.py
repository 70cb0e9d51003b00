"""What a reference server answers, apart from sockets: a configured engine behind its model name.

One request computes at a time; others wait their turn.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Generator, Iterator

from evaluation.reference import config as kinds
from evaluation.reference import wire
from evaluation.reference.cheats import ReplayingEngine, TruncatingEngine, repeat_penalised
from evaluation.reference.engines import (
    Emitted,
    Engine,
    FinishReason,
    KvCacheEngine,
    PrefixCacheEngine,
    RecomputeEngine,
)
from evaluation.reference.model import ModelConfig, ModelError, Weights, init_weights
from evaluation.reference.scoring import teacher_forced
from evaluation.reference.tokenizer import TokenizerError, chat_prompt


class StreamBrokenOffError(Exception):
    """The server means to close the connection in the middle of this answer."""


def build_engine(config: kinds.ServerConfig, weights: Weights) -> Engine:
    """The engine that ``config`` names over ``weights``."""
    match config:
        case kinds.Recompute():
            return RecomputeEngine(weights)
        case kinds.PrefixCached() | kinds.Flush():
            return PrefixCacheEngine(weights)
        case kinds.Truncated(kept_ppm=kept_ppm):
            return TruncatingEngine(KvCacheEngine(weights), kept_ppm)
        case kinds.RepeatPenalty(penalty_ppm=penalty_ppm):
            return KvCacheEngine(weights, repeat_penalised(penalty_ppm))
        case kinds.Replay(stored_answers=stored_answers):
            return ReplayingEngine(PrefixCacheEngine(weights), stored_answers)
        case _:
            return KvCacheEngine(weights)


def served_weights(config: kinds.ServerConfig, weights: Weights) -> Weights:
    """The weights a server of this kind computes with; ``other_weights`` draws its own."""
    if isinstance(config, kinds.OtherWeights):
        if config.seed == weights.config.seed:
            msg = f"other_weights needs another seed than the model's own {config.seed}"
            raise ModelError(msg)
        return init_weights(config.seed, weights.config)
    return weights


class Service:
    """The answers of one server process."""

    def __init__(self, config: kinds.ServerConfig, weights: Weights) -> None:
        self._config = config
        self._weights = served_weights(config, weights)
        self._engine = build_engine(config, self._weights)
        self._turn = threading.Lock()
        self._answer_numbers = itertools.count(1)
        self._streams = 0
        self.ready = not isinstance(config, kinds.NeverHealthy)
        self.model_name = (
            config.served_as
            if isinstance(config, kinds.WrongModelName)
            else self._weights.config.name
        )

    @property
    def hangs(self) -> bool:
        """Whether chat requests are never answered."""
        return isinstance(self._config, kinds.Hangs)

    def chat_request(self, body: bytes) -> tuple[wire.ChatRequest, list[int]]:
        """The request and its prompt's ids; :class:`~evaluation.reference.wire.WireError`."""
        request = wire.parse(body, wire.ChatRequest)
        self._check_model(request.model)
        try:
            prompt = chat_prompt(
                [{"role": one.role, "content": one.content} for one in request.messages]
            )
        except TokenizerError as error:
            raise wire.bad_request(f"{error}.") from error
        self._check_length(len(prompt), request.max_tokens)
        return request, prompt

    def stream(self, request: wire.ChatRequest, prompt: list[int]) -> Generator[bytes, None, None]:
        """Server-sent events, each as its token is known; ``flush`` gives them all in one piece.

        Raises :class:`StreamBrokenOffError` where the configured fault is to hang up.
        """
        events = self._events(request, prompt)
        if isinstance(self._config, kinds.Flush):
            whole = b"".join(events)
            time.sleep(self._config.wait_ms / 1_000)
            yield whole
        else:
            yield from events

    def answer(self, request: wire.ChatRequest, prompt: list[int]) -> bytes:
        """The answer to a request that did not ask for a stream."""
        steps: list[Emitted] = []
        reason: FinishReason = "length"
        with self._turn:
            for step in self._engine.generate(prompt, request.max_tokens):
                if isinstance(step, Emitted):
                    steps.append(step)
                else:
                    reason = step.reason
        top = self._top(request)
        return wire.chat_answer(
            self._answer_id("chatcmpl"), self.model_name, len(prompt), steps, top, reason
        )

    def completion(self, body: bytes) -> bytes:
        """The answer of ``POST /v1/completions``: teacher forcing in one pass."""
        request = wire.parse(body, wire.CompletionRequest)
        self._check_model(request.model)
        self._check_length(len(request.prompt), request.max_tokens)
        with self._turn:
            scores = teacher_forced(self._weights, request.prompt, request.prompt_logprobs or 0)
        return wire.completion_answer(self._answer_id("cmpl"), self.model_name, request, scores)

    def _events(self, request: wire.ChatRequest, prompt: list[int]) -> Iterator[bytes]:
        answer_id, top = self._answer_id("chatcmpl"), self._top(request)
        with self._turn:
            self._streams += 1
            break_at = self._break_at(request.max_tokens)
            for sent, step in enumerate(self._engine.generate(prompt, request.max_tokens)):
                if sent == break_at:
                    raise StreamBrokenOffError
                if isinstance(step, Emitted):
                    yield wire.chat_event(answer_id, self.model_name, step, top, None)
                else:
                    yield wire.chat_event(answer_id, self.model_name, None, None, step.reason)
        yield wire.DONE

    def _break_at(self, max_tokens: int) -> int | None:
        broken = (
            isinstance(self._config, kinds.BreaksStream)
            and self._streams > self._config.whole_answers
        )
        return max_tokens // 2 if broken else None

    def _top(self, request: wire.ChatRequest) -> int | None:
        if not request.logprobs or isinstance(self._config, kinds.NoLogprobs):
            return None
        return request.top_logprobs

    def _check_model(self, name: str) -> None:
        if name != self.model_name:
            raise wire.unknown_model(name)

    def _check_length(self, prompt_tokens: int, max_tokens: int) -> None:
        sizes: ModelConfig = self._weights.config
        if prompt_tokens + max_tokens > sizes.positions:
            message = (
                f"This model's maximum context length is {sizes.positions} tokens, but the request "
                f"has {prompt_tokens} in the prompt and asks for {max_tokens}."
            )
            raise wire.bad_request(message)

    def _answer_id(self, prefix: str) -> str:
        return f"{prefix}-{next(self._answer_numbers)}"
