"""One streamed chat request, timed: raw chunks stamped on arrival, understood after the stream.

Between the send and the last byte nothing is parsed, so that our own work is in nobody's time.
Times are microseconds of the monotonic clock since the request was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from evaluation.plan import Tokenizer
from evaluation.sse import Chunk, sse_events
from ledger.codes import DisqualificationCode

TOP_LOGPROBS: Final = 5
MAX_BYTES_PER_TOKEN: Final = 4_096
"""Room for one event: a token, its bytes and the five alternatives as JSON are well under 2 KiB."""
_SPARE_BYTES: Final = 65_536
_MAX_MESSAGE_CHARS: Final = 300
_MAX_ERROR_BYTES: Final = 4_096


class ServerFaultError(Exception):
    """A server did not answer as the container contract asks (DOMAIN 4).

    ``code`` is the disqualification it earns if the server is a miner's; ``detail`` is one sentence
    naming what it did.
    """

    def __init__(self, code: DisqualificationCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One completed answer, as measured.

    ``tokens`` are ids by our tokenizer from the text received; ``arrival_us[i]`` is when the whole
    text of ``tokens[i]`` was here. ``end_us`` is the last byte of the stream. Where a server named
    the ids of its tokens and they spell that very text, they are the ``tokens`` and
    ``ids_from_server`` is true: one text can be cut into tokens in several ways, and only the
    server knows how it did; the reference judges whether it says the truth.

    ``logprobs_milli`` is what the server claims of each token, in thousandths of a nat; empty where
    its claims cannot be laid beside the tokens one by one. ``sent_us`` is when the request was
    sent, since its block began.
    """

    tokens: tuple[int, ...]
    arrival_us: tuple[int, ...]
    end_us: int
    finish_reason: str
    logprobs_milli: tuple[int, ...] = ()
    ids_from_server: bool = False
    sent_us: int = 0

    @property
    def ttft_us(self) -> int:
        """Time to first token, or to the end of an answer that has none."""
        return self.arrival_us[0] if self.arrival_us else self.end_us

    @property
    def wall_us(self) -> int:
        """Time to the last token, or to the end of an answer that has none."""
        return self.arrival_us[-1] if self.arrival_us else self.end_us


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What one prompt asks of a server; the same for every server of a round."""

    model: str
    content: str
    max_tokens: int
    seed: int
    timeout_s: int

    def body(self) -> dict[str, Any]:
        """The JSON body of ``POST /v1/chat/completions``."""
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": self.content}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": self.seed,
            "stream": True,
            "logprobs": True,
            "top_logprobs": TOP_LOGPROBS,
        }


@dataclass(frozen=True, slots=True)
class RawStream:
    """Everything a server sent for one request, before anybody looked inside."""

    content_type: str
    chunks: Sequence[Chunk]
    end_us: int


class _TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[msgspec.Raw] = []


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _StreamedChunk(msgspec.Struct):
    choices: list[_Choice] = []


def open_session() -> aiohttp.ClientSession:
    """A session for one server: one connection, no compression, no proxy of this machine's."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1),
        # A compressed body would be unpacked before our bound on its size could see it.
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    )


async def ask(
    session: aiohttp.ClientSession, base_url: str, request: ChatRequest, tokenizer: Tokenizer
) -> Answer:
    """Send one chat request and return the measured answer; raises :class:`ServerFaultError`."""
    raw = await _receive(session, base_url, request)
    return understand(raw, tokenizer, max_tokens=request.max_tokens)


async def _receive(
    session: aiohttp.ClientSession, base_url: str, request: ChatRequest
) -> RawStream:
    limit = request.max_tokens * MAX_BYTES_PER_TOKEN + _SPARE_BYTES
    stamped: list[tuple[int, bytes]] = []
    size = 0
    body = msgspec.json.encode(request.body())
    sent_ns = time.perf_counter_ns()
    try:
        async with (
            asyncio.timeout(request.timeout_s),
            session.post(
                f"{base_url}/v1/chat/completions",
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as response,
        ):
            if response.status != 200:
                message = await response.content.read(_MAX_ERROR_BYTES)
                raise _refused(response.status, message, request.model)
            async for data in response.content.iter_any():
                stamped.append((time.perf_counter_ns(), data))
                size += len(data)
                if size > limit:
                    raise ServerFaultError(
                        DisqualificationCode.OVERLONG,
                        f"the server sent more than {limit} bytes for {request.max_tokens} tokens",
                    )
            end_ns = time.perf_counter_ns()
            content_type = response.content_type
    except TimeoutError as error:
        raise ServerFaultError(
            DisqualificationCode.PROMPT_TIMEOUT,
            f"the server did not finish its answer within {request.timeout_s} s",
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise ServerFaultError(
            DisqualificationCode.STREAM_BROKEN,
            f"the connection to the server broke: {type(error).__name__}",
        ) from error
    chunks = [Chunk((at_ns - sent_ns) // 1_000, data) for at_ns, data in stamped]
    return RawStream(content_type, chunks, (end_ns - sent_ns) // 1_000)


def _refused(status: int, body: bytes, model: str) -> ServerFaultError:
    message = printable(body.decode(errors="replace"))[:_MAX_MESSAGE_CHARS]
    if status == 404 and "model" in message.lower():
        return ServerFaultError(
            DisqualificationCode.WRONG_MODEL_NAME,
            f"the server does not serve the model under the name {model!r}: {message}",
        )
    return ServerFaultError(
        DisqualificationCode.HTTP_ERROR, f"the server answered HTTP {status}: {message}"
    )


def printable(text: str) -> str:
    """``text`` on one line, with everything a terminal could obey turned into a blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def understand(raw: RawStream, tokenizer: Tokenizer, *, max_tokens: int) -> Answer:
    """Read a finished stream; raises :class:`ServerFaultError` for one that is not as agreed."""
    if raw.content_type != "text/event-stream":
        raise ServerFaultError(
            DisqualificationCode.NO_STREAM,
            f"the server answered {printable(raw.content_type)!r} instead of an event stream",
        )
    texts: list[tuple[int, str]] = []
    finish_reason: str | None = None
    done = False
    for event in sse_events(raw.chunks):
        if event.data.strip() == b"[DONE]":
            done = True
            break
        choice = _choice(event.data)
        if choice is None:
            continue
        finish_reason = choice.finish_reason or finish_reason
        if choice.delta.content:
            _require_logprobs(choice)
            texts.append((event.at_us, choice.delta.content))
    if finish_reason is None or not done:
        missing = "a finish_reason" if finish_reason is None else "[DONE]"
        raise ServerFaultError(
            DisqualificationCode.STREAM_BROKEN,
            f"the stream ended after {len(texts)} pieces of text without {missing}",
        )
    tokens, arrivals = _timed_tokens(texts, tokenizer, limit=2 * max_tokens + 16)
    return Answer(
        tokens=tokens,
        arrival_us=arrivals,
        end_us=raw.end_us,
        finish_reason=printable(finish_reason)[:_MAX_MESSAGE_CHARS],
    )


def _choice(data: bytes) -> _Choice | None:
    try:
        choices = msgspec.json.decode(data, type=_StreamedChunk).choices
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerFaultError(
            DisqualificationCode.STREAM_BROKEN,
            f"an event of the stream is no completion chunk: {printable(str(error))}",
        ) from error
    # A chunk without choices is how `usage` is sent; we count for ourselves.
    return choices[0] if choices else None


def _require_logprobs(choice: _Choice) -> None:
    entries = choice.logprobs.content if choice.logprobs is not None else None
    if not entries or not all(entry.top_logprobs for entry in entries):
        raise ServerFaultError(
            DisqualificationCode.LOGPROBS_MISSING,
            "the server streamed text without the logprobs and top_logprobs it was asked for",
        )


def _timed_tokens(
    texts: Sequence[tuple[int, str]], tokenizer: Tokenizer, *, limit: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Our tokens of the joined text, each with the arrival of the piece holding its last character.

    The joined text is encoded, not each piece: a token of ours may span two of the server's. Only
    the first ``limit`` tokens are kept; that many are already too many for any verdict but one.
    """
    try:
        ids = tokenizer.encode("".join(text for _, text in texts))[:limit]
    except ValueError as error:
        raise ServerFaultError(
            DisqualificationCode.OTHER_WEIGHTS,
            "the server streamed text that the model's tokenizer cannot have written",
        ) from error
    arrivals: list[int] = []
    piece, chars_here = 0, len(texts[0][1]) if texts else 0
    for count in range(1, len(ids) + 1):
        end = len(tokenizer.decode(ids[:count]))
        while chars_here < end and piece + 1 < len(texts):
            piece += 1
            chars_here += len(texts[piece][1])
        arrivals.append(texts[piece][0])
    return tuple(ids), tuple(arrivals)
