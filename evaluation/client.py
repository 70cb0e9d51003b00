"""One streamed chat request, timed: raw chunks stamped on arrival, understood after the stream.

Between the send and the last byte nothing is parsed, so that our own work is in nobody's time.
Times are microseconds of the monotonic clock since the request was sent. Whatever a server does
instead of answering is bounded: in time by the request's deadline, in bytes and in pieces by what
the tokens asked for can need.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import msgspec
from yarl import URL

from evaluation.answers import (
    MAX_MESSAGE_CHARS,
    Answer,
    RawStream,
    ServerFaultError,
    printable,
    understand,
)
from evaluation.plan import Tokenizer
from evaluation.wire import CountingConnector
from ledger.codes import DisqualificationCode

__all__ = [
    "Answer",
    "ChatRequest",
    "HostFaultError",
    "RawStream",
    "ServerFaultError",
    "ask",
    "connect",
    "media_type",
    "open_session",
    "printable",
    "receive",
    "understand",
]

TOP_LOGPROBS: Final = 5
TOKEN_IDS: Final = {"return_token_ids": True}
"""What asks vLLM for the ids it chose."""
MAX_BYTES_PER_TOKEN: Final = 4_096
"""Room for one event: a token, its bytes and the five alternatives as JSON are well under 2 KiB."""
MAX_CHUNKS_PER_TOKEN: Final = 16
"""Room for one event written in several parts; each piece costs us more than its bytes."""
_SPARE_BYTES: Final = 65_536
_SPARE_CHUNKS: Final = 1_024
_MAX_ERROR_BYTES: Final = 4_096
KEEP_ALIVE_S: Final = 2
"""An idle connection is ours to close, well before any server does (uvicorn: 5 s): a request sent
on a connection that the server is just closing would look like the server's fault."""
_OUR_ERRNOS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
)
_START: Final = "start_ns"


class HostFaultError(Exception):
    """The machine that asks could not: no server's fault. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What one prompt asks of a server; the same for every server of a round.

    ``extra`` are fields beyond the container contract that an engine is known to take
    (``return_token_ids`` for vLLM); they may add to the contract's fields, never replace one.
    Without ``require_logprobs`` an answer that leaves out the logprobs is no fault; without
    ``ask_logprobs`` they are not even asked for. Of a longer answer only the first ``kept_tokens``
    are kept, by default twice what is asked for and some.
    """

    model: str
    content: str
    max_tokens: int
    seed: int
    timeout_s: int
    require_logprobs: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    kept_tokens: int | None = None
    ask_logprobs: bool = True

    def __post_init__(self) -> None:
        if self.require_logprobs and not self.ask_logprobs:
            msg = "logprobs that are not asked for cannot be required"
            raise ValueError(msg)
        taken = sorted(self.extra.keys() & self._contract().keys())
        if taken:
            msg = f"extra fields may not replace the contract's: {', '.join(taken)}"
            raise ValueError(msg)

    @property
    def max_bytes(self) -> int:
        """The longest answer that is read to its end."""
        return self.max_tokens * MAX_BYTES_PER_TOKEN + _SPARE_BYTES

    @property
    def max_chunks(self) -> int:
        """The most pieces an answer may come in."""
        return self.max_tokens * MAX_CHUNKS_PER_TOKEN + _SPARE_CHUNKS

    def body(self) -> dict[str, Any]:
        """The JSON body of ``POST /v1/chat/completions``."""
        return {**self._contract(), **self.extra}

    def _contract(self) -> dict[str, Any]:
        claims = {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": self.content}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": self.seed,
            "stream": True,
            **(claims if self.ask_logprobs else {"logprobs": False}),
        }


def open_session(streams: int = 1) -> aiohttp.ClientSession:
    """A session for one server: a connection a stream, no compression, no proxy of this machine's.

    Its requests note when their first byte went to the socket, and its connector counts what comes
    in (:func:`evaluation.wire.received_by`).
    """
    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(_connecting)
    trace.on_request_chunk_sent.append(_sending)
    return aiohttp.ClientSession(
        connector=CountingConnector(limit=streams, keepalive_timeout=KEEP_ALIVE_S),
        # A compressed body would be unpacked before our bound on its size could see it.
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[trace],
    )


async def connect(
    session: aiohttp.ClientSession, base_url: str, streams: int, timeout_s: int
) -> None:
    """Open what is missing of ``streams`` connections, so that no request pays for its own.

    Raises :class:`ServerFaultError` for a server that does not take them all in time.
    """
    connector = session.connector
    if connector is None or 0 < connector.limit < streams:
        msg = f"the session has too few connections for {streams} streams; open it for as many"
        raise ValueError(msg)
    probe = aiohttp.ClientRequest(
        "GET", URL(base_url), loop=asyncio.get_running_loop(), session=session
    )
    opening = [
        asyncio.ensure_future(connector.connect(probe, [], aiohttp.ClientTimeout(total=None)))
        for _ in range(streams)
    ]
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.gather(*opening)
    except TimeoutError as error:
        raise ServerFaultError(
            DisqualificationCode.PROMPT_TIMEOUT,
            f"the server did not take {streams} connections within {timeout_s} s",
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _broken(error) from error
    finally:
        for one in opening:
            one.cancel()
        for opened in await asyncio.gather(*opening, return_exceptions=True):
            if not isinstance(opened, BaseException):
                opened.release()


async def _connecting(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    # A server must not hide its queue in connections it is slow to take, so that time is its own.
    _note_start(context)


async def _sending(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    _note_start(context)


def _note_start(context: SimpleNamespace) -> None:
    stamps = context.trace_request_ctx
    if stamps is not None:
        stamps.setdefault(_START, time.perf_counter_ns())


async def ask(
    session: aiohttp.ClientSession, base_url: str, request: ChatRequest, tokenizer: Tokenizer
) -> Answer:
    """Send one chat request and return the measured answer; raises :class:`ServerFaultError`."""
    raw = await receive(session, base_url, request)
    return understand(
        raw,
        tokenizer,
        max_tokens=request.max_tokens,
        require_logprobs=request.require_logprobs,
        kept_tokens=request.kept_tokens,
    )


async def receive(session: aiohttp.ClientSession, base_url: str, request: ChatRequest) -> RawStream:
    """Send one chat request and return what came, unread; raises :class:`ServerFaultError`.

    Raises :class:`HostFaultError` where this machine could not ask.
    """
    limit, most_chunks = request.max_bytes, request.max_chunks
    # Two lists of numbers and bytes give the garbage collector nothing to look through.
    arrived_ns: list[int] = []
    pieces: list[bytes] = []
    size = 0
    body = msgspec.json.encode(request.body())
    stamps: dict[str, int] = {}
    called_ns = time.perf_counter_ns()
    try:
        async with (
            asyncio.timeout(request.timeout_s),
            session.post(
                f"{base_url}/v1/chat/completions",
                data=body,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
                trace_request_ctx=stamps,
            ) as response,
        ):
            if response.status != 200:
                message = await response.content.read(_MAX_ERROR_BYTES)
                raise _refused(response.status, message, request.model)
            read_any = response.content.readany
            now_ns = time.perf_counter_ns
            while data := await read_any():
                arrived_ns.append(now_ns())
                pieces.append(data)
                size += len(data)
                if size > limit or len(pieces) > most_chunks:
                    raise _flood(request, size)
            end_ns = time.perf_counter_ns()
            content_type = media_type(response)
            encoding = response.headers.get("Content-Encoding", "")
    except TimeoutError as error:
        raise ServerFaultError(
            DisqualificationCode.PROMPT_TIMEOUT,
            f"the server did not finish its answer within {request.timeout_s} s",
        ) from error
    except (ServerFaultError, MemoryError):
        raise
    except Exception as error:
        # Whatever a server's bytes make the libraries that read them raise is the server's doing.
        raise _broken(error) from error
    return RawStream(
        content_type, arrived_ns, pieces, stamps.get(_START, called_ns), end_ns, encoding
    )


def media_type(response: aiohttp.ClientResponse) -> str:
    """What the server says it sent, without parameters, in lower case.

    Read by ourselves: the library has it parsed as an email's header, which raises for some.
    """
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _flood(request: ChatRequest, size: int) -> ServerFaultError:
    if size > request.max_bytes:
        detail = f"more than {request.max_bytes} bytes"
    else:
        detail = f"its answer in more than {request.max_chunks} pieces"
    return ServerFaultError(
        DisqualificationCode.OVERLONG, f"the server sent {detail} for {request.max_tokens} tokens"
    )


def _broken(error: Exception) -> ServerFaultError | HostFaultError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, OSError) and cause.errno in _OUR_ERRNOS:
        return HostFaultError(
            f"this machine could not open a connection to the server: {cause.strerror}; "
            "raise its limits (ulimit -n) or free what it lacks"
        )
    return ServerFaultError(
        DisqualificationCode.STREAM_BROKEN,
        f"the connection to the server broke: {type(error).__name__}",
    )


def _refused(status: int, body: bytes, model: str) -> ServerFaultError:
    message = printable(body.decode(errors="replace"))[:MAX_MESSAGE_CHARS]
    if status == 404 and "model" in message.lower():
        return ServerFaultError(
            DisqualificationCode.WRONG_MODEL_NAME,
            f"the server does not serve the model under the name {model!r}: {message}",
        )
    return ServerFaultError(
        DisqualificationCode.HTTP_ERROR, f"the server answered HTTP {status}: {message}"
    )
