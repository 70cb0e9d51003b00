"""What a reference server answers, apart from sockets: a configured engine behind its model name.

One request computes at a time and others wait their turn, but where the engine batches them.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, nullcontext

from evaluation.reference import config as kinds
from evaluation.reference import wire
from evaluation.reference.building import build_engine, served_weights
from evaluation.reference.cheats import repeat_penalised
from evaluation.reference.delivery import delivered, relayed
from evaluation.reference.engines import Emitted, Engine, FinishReason, KvCacheEngine
from evaluation.reference.model import ModelConfig, Weights
from evaluation.reference.scoring import teacher_forced
from evaluation.reference.tokenizer import TokenizerError, chat_prompt
from ledger.units import PPM


class StreamBrokenOffError(Exception):
    """The server means to close the connection in the middle of this answer."""


class Service:
    """The answers of one server process."""

    def __init__(self, config: kinds.ServerConfig, weights: Weights) -> None:
        self._config = config
        self._weights = served_weights(config, weights)
        self._engine = build_engine(config, self._weights)
        self._computing = threading.Lock()
        self._turn: AbstractContextManager[object] = (
            nullcontext() if isinstance(config, kinds.Batched) else self._computing
        )
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
        """Server-sent events, each as its token is known, unless the kind delivers otherwise.

        Raises :class:`StreamBrokenOffError` where the configured fault is to hang up.
        """
        padding = wire.padding_event(self._answer_id("chatcmpl"), self.model_name)
        yield from delivered(self._config, self._events(request, prompt), padding)

    def relayed(self, body: bytes) -> Iterator[bytes] | None:
        """Another machine's answer to ``body`` where this kind asks one, else None.

        Raises :class:`~evaluation.reference.wire.WireError` 502 where it cannot be reached.
        """
        if not isinstance(self._config, kinds.Egress):
            return None
        return relayed(self._config, body)

    def answer(self, request: wire.ChatRequest, prompt: list[int]) -> bytes:
        """The answer to a request that did not ask for a stream."""
        steps: list[Emitted] = []
        reason: FinishReason = "length"
        with self._turn:
            for step in self._engine_for(request).generate(prompt, request.max_tokens):
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
        with self._computing:
            scores = teacher_forced(self._weights, request.prompt, request.prompt_logprobs or 0)
        return wire.completion_answer(self._answer_id("cmpl"), self.model_name, request, scores)

    def _events(self, request: wire.ChatRequest, prompt: list[int]) -> Iterator[bytes]:
        answer_id, top = self._answer_id("chatcmpl"), self._top(request)
        with self._turn:
            self._streams += 1
            break_at = self._break_at(request.max_tokens)
            engine = self._engine_for(request)
            for sent, step in enumerate(engine.generate(prompt, request.max_tokens)):
                if sent == break_at:
                    raise StreamBrokenOffError
                if isinstance(step, Emitted):
                    yield self._token_event(answer_id, request, step, top)
                else:
                    yield wire.chat_event(answer_id, self.model_name, None, None, step.reason)
        yield wire.DONE

    def _engine_for(self, request: wire.ChatRequest) -> Engine:
        """The configured engine, or one of its own for a request that asks for a penalty."""
        if request.repetition_penalty == 1:
            return self._engine
        penalty_ppm = round(request.repetition_penalty * PPM)
        return KvCacheEngine(self._weights, repeat_penalised(penalty_ppm))

    def _token_event(
        self, answer_id: str, request: wire.ChatRequest, step: Emitted, top: int | None
    ) -> bytes:
        """One token as it is told; two kinds tell it otherwise than it is."""
        told, entries = step, 1
        if isinstance(self._config, kinds.ForgedIds):
            told = step._replace(token_id=_another_character(step.token_id))
        if isinstance(self._config, kinds.TokenSpam) and self._config.spam == "split":
            entries = 2
        ids = [step.token_id] if request.return_token_ids else None
        return wire.chat_event(
            answer_id, self.model_name, told, top, None, token_ids=ids, entries=entries
        )

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


def _another_character(token: int) -> int:
    """A printable character's id, never the token's own."""
    first, count = 33, 94
    return first + (token - first + count // 2) % count
