"""Many requests at once, on a schedule; whatever a server does is data, and bounded."""

from __future__ import annotations

import asyncio
import gzip
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from byte_streams import DONE, event, whole_stream
from hypothesis import given
from hypothesis import strategies as st

from evaluation.client import ChatRequest, HostFaultError, open_session
from evaluation.lag import LagMeter
from evaluation.load import (
    MAX_BLOCK_BYTES,
    STOP_CHECK_S,
    ClientLag,
    Load,
    LoadResult,
    StoppedError,
    run_load,
)
from evaluation.plan import PlanError
from evaluation.reference import tokenizer
from ledger.codes import DisqualificationCode as Code
from ledger.codes import VoidCause

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def request(content: str = "hello", timeout_s: int = 10, max_tokens: int = 8) -> ChatRequest:
    return ChatRequest(
        model="model", content=content, max_tokens=max_tokens, seed=1, timeout_s=timeout_s
    )


def load_of(count: int, streams: int, arrivals_us: tuple[int, ...] | None = None) -> Load:
    return Load([request(str(at)) for at in range(count)], streams, arrivals_us)


async def never_stop(base_url: str, load: Load, **options: Any) -> LoadResult:
    options = {"should_stop": lambda: None, **options}
    async with open_session(load.streams) as session:
        before = asyncio.all_tasks()
        try:
            return await run_load(session, base_url, load, tokenizer, **options)
        finally:
            # The server of a test runs in the same loop; its tasks are not ours.
            left = asyncio.all_tasks() - before
            assert not [task for task in left if "evaluation/load" in repr(task)]


def run(handler: Handler, load: Load, **options: Any) -> LoadResult:
    async def scenario() -> LoadResult:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        async with TestServer(app) as server:
            return await never_stop(str(server.make_url("")).rstrip("/"), load, **options)

    return asyncio.run(scenario())


@asynccontextmanager
async def raw_server(handler: RawHandler) -> AsyncIterator[str]:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away, which is what these tests are about
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def run_raw(handler: RawHandler, load: Load) -> LoadResult:
    async def scenario() -> LoadResult:
        async with raw_server(handler) as base_url:
            return await never_stop(base_url, load)

    return asyncio.run(scenario())


async def answer(request: web.Request, text: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(whole_stream(text))
    return response


async def content_of(request: web.Request) -> str:
    body = await request.json()
    return str(body["messages"][0]["content"])


def test_answers_come_in_the_order_of_the_requests_not_in_that_of_their_ends() -> None:
    later: dict[str, asyncio.Event] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        # Each is answered only when the one after it is: the last is the first.
        at = await content_of(request)
        done = later.setdefault(at, asyncio.Event())
        if at != "3":
            await later.setdefault(str(int(at) + 1), asyncio.Event()).wait()
        response = await answer(request, at)
        done.set()
        return response

    result = run(handler, load_of(4, streams=4))
    assert result.fault is None
    assert [found.tokens for found in result.answers] == [(ord(at),) for at in "0123"]
    assert result.outcomes == result.answers


@pytest.mark.parametrize("streams", [1, 3])
def test_as_many_are_asked_at_once_as_there_are_streams(streams: int) -> None:
    now, most, connections = 0, 0, set()

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        connections.add(request.transport)
        await asyncio.sleep(0.01)
        response = await answer(request, "x")
        now -= 1
        return response

    result = run(handler, load_of(9, streams))
    assert len(result.answers) == 9
    assert most == streams == len(connections)


def test_nothing_is_sent_before_it_is_due_and_sent_us_says_when_it_was() -> None:
    arrivals = (0, 20_000, 20_000, 60_000)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request, "x")

    result = run(handler, load_of(4, 4, arrivals))
    sent = [found.sent_us for found in result.answers]
    assert all(at >= due for at, due in zip(sent, arrivals, strict=True))


def test_a_request_waits_for_a_free_stream_and_that_is_not_the_clients_lateness() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return await answer(request, "x")

    result = run(handler, load_of(3, 1, (0, 0, 0)))
    assert result.answers[2].sent_us >= 400_000
    # Waiting for the server is no lag; a machine busier than this test fails nothing but itself.
    assert result.client_lag_us.max_us < result.answers[2].sent_us


def test_the_first_fault_calls_off_the_other_streams_and_keeps_what_came_before() -> None:
    called_off = []

    async def handler(request: web.Request) -> web.StreamResponse:
        at = await content_of(request)
        if at == "2":
            await asyncio.sleep(0.05)
            return web.Response(status=500, text="out of memory")
        if at in "34":
            try:
                await asyncio.sleep(3_600)
            except asyncio.CancelledError:
                called_off.append(at)
                raise
        return await answer(request, at)

    async def scenario() -> LoadResult:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        port = unused_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        result = await never_stop(f"http://127.0.0.1:{port}", load_of(9, streams=3))
        while len(called_off) < 2:
            await asyncio.sleep(0.01)
        await runner.cleanup()
        return result

    result = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert [found.tokens for found in result.answers] == [(48,), (49,)]
    assert result.fault is not None
    assert (result.fault.code, result.fault_at) == (Code.HTTP_ERROR, 2)
    assert sorted(called_off) == ["3", "4"]
    assert result.outcomes[-1] is result.fault


def test_a_stream_that_cannot_be_read_is_found_after_the_block() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        at = await content_of(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        pieces = whole_stream(at) if at != "1" else event("a") + DONE
        await response.write(pieces)
        return response

    result = run(handler, load_of(4, streams=2))
    assert len(result.answers) == 1
    assert result.fault is not None
    assert (result.fault.code, result.fault_at) == (Code.STREAM_BROKEN, 1)


def test_who_asks_to_stop_is_heard_while_a_server_hangs() -> None:
    asked = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await asyncio.sleep(3_600)
        return web.Response()

    with pytest.raises(StoppedError, match="paused"):
        run(
            handler,
            load_of(2, streams=2),
            should_stop=lambda: VoidCause.EVALUATION_PAUSED if asked == 2 else None,
        )


def test_nothing_is_sent_once_the_caller_wants_to_stop() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        pytest.fail("asked although stopped")

    with pytest.raises(StoppedError):
        run(handler, load_of(1, 1), should_stop=lambda: VoidCause.INTERRUPTED)


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    while True:
        writer.write(b":\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def continue_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def one_header_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b"a" * 4_096)
        await writer.drain()


async def headers_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Another: a\r\n" * 100)
        await writer.drain()


async def error_for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        writer.write(b"a" * 65_536)
        await writer.drain()


async def gigabyte(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000000000\r\n\r\n"
    )
    while True:
        writer.write(b": spam\n" * 10_000)
        await writer.drain()


async def crumbs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    while True:
        writer.write(b":")
        await writer.drain()
        await asyncio.sleep(0)


async def bomb(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(b"data: " + b"a" * 50_000_000)
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )
    await writer.drain()


async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    await writer.drain()


FILLER = b"1\r\n:\r\n" * 20_000 + b"1\r\n\n\r\n"
"""One comment of 20,001 bytes, each in an HTTP chunk of its own."""


async def confetti(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = whole_stream("x")
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        + FILLER
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    )
    await writer.drain()


def test_bytes_are_counted_on_the_wire_where_frames_hide_nothing() -> None:
    result = run_raw(confetti, load_of(1, 1))
    assert result.fault is None
    traffic = result.traffic
    assert traffic.payload_bytes == 20_001 + len(whole_stream("x"))
    assert traffic.wire_bytes is not None
    assert len(FILLER) < traffic.wire_bytes - len(whole_stream("x")) < len(FILLER) + 200


def test_who_asks_to_stop_is_not_asked_before_every_send() -> None:
    asked = 0

    def should_stop() -> None:
        nonlocal asked
        asked += 1

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request, "x")

    began_s = time.monotonic()
    result = run(handler, load_of(60, 4), should_stop=should_stop)
    assert len(result.answers) == 60
    # Once before the first, then by the clock: a look into a database holds all streams up.
    assert asked <= 1 + (time.monotonic() - began_s) / STOP_CHECK_S


async def odd_type(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # A parameter that the standard library's parser of email headers raises IndexError for.
    body = whole_stream("x")
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream;0*\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )
    await writer.drain()


def test_a_header_that_a_library_stumbles_over_ends_nothing() -> None:
    result = run_raw(odd_type, load_of(1, 1))
    assert result.fault is None
    assert len(result.answers) == 1


def test_whatever_reading_a_server_raises_is_the_servers_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stumble(_: object) -> str:
        raise IndexError

    monkeypatch.setattr("evaluation.client.media_type", stumble)
    result = run_raw(odd_type, load_of(1, 1))
    assert result.fault is not None
    assert (result.fault.code, result.fault_at) == (Code.STREAM_BROKEN, 0)
    assert "IndexError" in result.fault.detail


@pytest.mark.parametrize(
    ("handler", "code", "says"),
    [
        (drip, Code.PROMPT_TIMEOUT, "within 1 s"),
        (continue_for_ever, Code.PROMPT_TIMEOUT, "within 1 s"),
        (one_header_for_ever, Code.STREAM_BROKEN, "broke"),
        (headers_for_ever, Code.STREAM_BROKEN, "broke"),
        (error_for_ever, Code.HTTP_ERROR, "HTTP 500"),
        (gigabyte, Code.OVERLONG, "98304 bytes"),
        (crumbs, Code.OVERLONG, "1152 pieces"),
        (bomb, Code.NO_STREAM, "'gzip'"),
        (no_http, Code.STREAM_BROKEN, "broke"),
    ],
)
def test_what_never_ends_is_ended(handler: RawHandler, code: Code, says: str) -> None:
    # A flood has the time to reach its bound; what only trickles has one second.
    timeout_s = 1 if code is Code.PROMPT_TIMEOUT else 60
    result = run_raw(handler, Load([request(timeout_s=timeout_s)], 1))
    assert result.fault is not None
    assert result.fault.code is code
    assert says in result.fault.detail


def test_a_server_that_is_gone_is_the_fault_of_the_first_request() -> None:
    result = asyncio.run(never_stop(f"http://127.0.0.1:{unused_port()}", load_of(3, 2)))
    assert result.fault is not None
    assert (result.fault.code, result.fault_at) == (Code.STREAM_BROKEN, 0)
    assert result.answers == ()


def test_a_machine_out_of_file_descriptors_accuses_no_server() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario() -> None:
        async with raw_server(drip) as base_url, open_session(4) as session:
            lowest_free = os.dup(0)
            os.close(lowest_free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
            try:
                await run_load(
                    session, base_url, load_of(4, 4), tokenizer, should_stop=lambda: None
                )
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    with pytest.raises(HostFaultError, match="this machine could not open a connection"):
        asyncio.run(scenario())


def test_a_client_that_was_held_up_says_so() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.03)
        return await answer(request, "x")

    result = run(handler, load_of(4, 1), on_answered=lambda _: time.sleep(0.1))
    assert result.client_lag_us.max_us >= 90_000
    # A stall of a tenth of a second hides twenty looks at the clock; they all count.
    assert result.client_lag_us.p99_us >= 80_000


def test_the_caller_is_told_how_many_are_answered() -> None:
    told: list[int] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request, "x")

    run(handler, load_of(3, 2), on_answered=told.append)
    assert told == [1, 2, 3]


def test_an_empty_load_is_answered_by_nothing() -> None:
    result = asyncio.run(never_stop("http://127.0.0.1:9", load_of(0, 1)))
    assert (result.answers, result.fault, result.client_lag_us.samples) == ((), None, 0)


@given(st.lists(st.integers(min_value=-50, max_value=10_000), min_size=1, max_size=300))
def test_the_99th_percentile_is_that_of_the_samples_to_a_step(samples: list[int]) -> None:
    meter = LagMeter()
    for late_us in samples:
        meter.note(late_us)
    late = sorted(max(0, one) for one in samples)
    exact = late[-(-99 * len(late) // 100) - 1]
    assert (meter.max_us, meter.samples) == (late[-1], len(samples))
    assert exact <= meter.p99_us <= exact + 50


def test_several_blocks_are_as_late_as_their_worst() -> None:
    lags = [ClientLag(10, 90, 5), ClientLag(20, 30, 6)]
    assert ClientLag.worst_of(lags) == ClientLag(20, 90, 11)
    assert ClientLag.worst_of([]) == ClientLag(0, 0, 0)


@pytest.mark.parametrize(
    ("requests", "streams", "arrivals_us"),
    [(1, 0, None), (2, 1, (0,)), (2, 1, (5, 0)), (1, 1, (-1,))],
)
def test_a_load_without_meaning_is_refused(
    requests: int, streams: int, arrivals_us: tuple[int, ...] | None
) -> None:
    with pytest.raises(PlanError):
        load_of(requests, streams, arrivals_us)


def test_a_block_that_memory_might_not_hold_is_refused_before_it_is_asked() -> None:
    large = request(max_tokens=8_192)
    fit = MAX_BLOCK_BYTES // large.max_bytes
    assert len(Load([large] * fit, 1).requests) == fit
    with pytest.raises(PlanError, match="fewer prompts in a block"):
        Load([large] * (fit + 1), 1)


def test_a_session_with_too_few_connections_is_refused() -> None:
    async def scenario() -> None:
        async with open_session(1) as session:
            await run_load(
                session, "http://127.0.0.1:9", load_of(2, 2), tokenizer, should_stop=lambda: None
            )

    with pytest.raises(ValueError, match="too few connections"):
        asyncio.run(scenario())
