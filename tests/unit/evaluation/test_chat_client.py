"""A streamed answer is timed by our clock, counted by our tokenizer; its failures have names."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from byte_streams import DONE, event, raw, whole_stream
from hypothesis import given
from hypothesis import strategies as st

from evaluation.client import Answer, ChatRequest, ServerFaultError, ask, open_session, understand
from evaluation.reference import tokenizer
from ledger.codes import DisqualificationCode as Code

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ask_fake(handler: Handler, timeout_s: int = 10, max_tokens: int = 8) -> Answer:
    request = ChatRequest(
        model="model", content="hello", max_tokens=max_tokens, seed=1, timeout_s=timeout_s
    )

    async def scenario() -> Answer:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        async with TestServer(app) as server, open_session() as session:
            return await ask(session, str(server.make_url("")).rstrip("/"), request, tokenizer)

    return asyncio.run(scenario())


def fault_of(handler: Handler, **options: int) -> ServerFaultError:
    with pytest.raises(ServerFaultError) as caught:
        ask_fake(handler, **options)
    return caught.value


def streaming(*pieces: bytes, break_off: bool = False) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if break_off and request.transport is not None:
            request.transport.close()
        return response

    return handler


@given(
    st.text(st.characters(max_codepoint=255), min_size=1, max_size=12),
    st.lists(st.integers(min_value=0), max_size=60),
)
def test_any_cut_of_a_stream_gives_the_same_tokens_in_time(text: str, places: list[int]) -> None:
    stream = whole_stream(text)
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    chunks = [stream[start:end] for start, end in itertools.pairwise(edges)]
    answer = understand(raw(chunks), tokenizer, max_tokens=12)
    assert answer.tokens == tuple(text.encode("latin-1"))
    assert answer.finish_reason == "length"
    assert list(answer.arrival_us) == sorted(answer.arrival_us)
    assert 10 <= answer.ttft_us <= answer.wall_us <= answer.end_us == 10 * (len(chunks) + 1)


def test_each_token_carries_the_arrival_of_the_piece_that_held_it() -> None:
    pieces = [event(""), event("ab"), event("c"), event(None, "stop"), DONE]
    answer = understand(raw(pieces), tokenizer, max_tokens=8)
    assert answer.tokens == (97, 98, 99)
    assert answer.arrival_us == (20, 20, 30)
    assert (answer.ttft_us, answer.wall_us, answer.end_us) == (20, 30, 60)
    assert answer.finish_reason == "stop"


def test_usage_and_role_chunks_count_for_nothing() -> None:
    usage = b'data: {"choices": [], "usage": {"completion_tokens": 99}}\n\n'
    role = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    answer = understand(
        raw([role, event("x"), event(None, "length"), usage, DONE]), tokenizer, max_tokens=8
    )
    assert answer.tokens == (120,)


def test_what_is_asked_is_the_container_contract() -> None:
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.update(await request.json())
        return await streaming(whole_stream("hi"))(request)

    answer = ask_fake(handler)
    assert answer.tokens == (104, 105)
    assert 0 < answer.ttft_us <= answer.wall_us <= answer.end_us
    assert seen == {
        "model": "model",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 8,
        "temperature": 0,
        "seed": 1,
        "stream": True,
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_a_request_may_carry_more_than_the_contract_and_never_less() -> None:
    request = ChatRequest("m", "x", 2, 1, 10, extra={"return_token_ids": True})
    assert request.body() == {**replace(request, extra={}).body(), "return_token_ids": True}
    with pytest.raises(ValueError, match="may not replace the contract's: seed, temperature"):
        replace(request, extra={"temperature": 1, "seed": 2})


def test_logprobs_that_are_not_asked_for_are_refused_in_the_request_and_not_required() -> None:
    asking = ChatRequest("m", "x", 2, 1, 10, require_logprobs=False)
    silent = replace(asking, ask_logprobs=False)
    asked = asking.body()
    assert asked.pop("top_logprobs") == 5
    assert silent.body() == {**asked, "logprobs": False}
    with pytest.raises(ValueError, match="not asked for cannot be required"):
        replace(silent, require_logprobs=True)


def test_a_server_may_close_the_connection_after_every_answer() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.force_close()
        await response.prepare(request)
        await response.write(whole_stream("hi"))
        return response

    async def scenario() -> list[Answer]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        request = ChatRequest("m", "x", 8, 1, 10)
        async with TestServer(app) as server, open_session() as session:
            base_url = str(server.make_url("")).rstrip("/")
            return [await ask(session, base_url, request, tokenizer) for _ in range(3)]

    assert [answer.tokens for answer in asyncio.run(scenario())] == [(104, 105)] * 3


def test_a_request_on_a_connection_the_server_gave_up_long_ago_is_asked_anew() -> None:
    """A server that closes idle connections while the client thinks of something else."""
    lost: list[asyncio.Transport] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        assert isinstance(request.transport, asyncio.Transport)
        lost.append(request.transport)
        return await streaming(whole_stream("hi"))(request)

    async def scenario() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", handler)
        request = ChatRequest("m", "x", 8, 1, 10)
        async with TestServer(app) as server, open_session() as session:
            base_url = str(server.make_url("")).rstrip("/")
            await ask(session, base_url, request, tokenizer)
            lost[0].abort()
            # The client hears of it as soon as it listens again.
            await asyncio.sleep(0.05)
            await ask(session, base_url, request, tokenizer)

    asyncio.run(scenario())
    assert len(set(map(id, lost))) == 2


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, '{"error": {"message": "The model `model` does not exist."}}', Code.WRONG_MODEL_NAME),
        (404, "no such route", Code.HTTP_ERROR),
        (500, "CUDA out of memory\x1b[2J", Code.HTTP_ERROR),
        (302, "elsewhere", Code.HTTP_ERROR),
    ],
)
def test_a_refusal_names_its_status_and_message(status: int, body: str, code: Code) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=body, headers={"Location": "http://127.0.0.1:9/"})

    fault = fault_of(handler)
    assert fault.code is code
    assert ("name 'model'" if code is Code.WRONG_MODEL_NAME else str(status)) in fault.detail
    assert "\x1b" not in fault.detail


def test_an_answer_in_one_json_is_no_stream() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.json_response({"choices": []})

    assert fault_of(handler).code is Code.NO_STREAM


@pytest.mark.parametrize(
    "pieces",
    [
        (event("a"), DONE),
        (event("a"), event(None, "length")),
        (event("a"), b"data: {not json\n\n", event(None, "length"), DONE),
        (b'data: {"choices": [{"delta": {"content": 7}}]}\n\n', DONE),
        (b"data: " + b"[" * 100_000 + b"\n\n", DONE),
        (),
    ],
)
def test_a_stream_that_is_not_whole_is_broken(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(ServerFaultError) as caught:
        understand(raw(pieces), tokenizer, max_tokens=8)
    assert caught.value.code is Code.STREAM_BROKEN


def test_a_connection_cut_half_way_is_broken() -> None:
    assert fault_of(streaming(event("a"), break_off=True)).code is Code.STREAM_BROKEN


def test_a_server_that_is_gone_is_broken() -> None:
    request = ChatRequest(model="m", content="x", max_tokens=2, seed=1, timeout_s=10)

    async def scenario() -> None:
        async with open_session() as session:
            await ask(session, f"http://127.0.0.1:{unused_port()}", request, tokenizer)

    with pytest.raises(ServerFaultError) as caught:
        asyncio.run(scenario())
    assert caught.value.code is Code.STREAM_BROKEN


def test_a_server_that_hangs_runs_into_the_prompt_timeout() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(3_600)
        return web.Response()

    assert fault_of(handler, timeout_s=1).code is Code.PROMPT_TIMEOUT


def test_text_without_logprobs_is_refused() -> None:
    pieces = [event("a", logprobs=False), event(None, "length"), DONE]
    with pytest.raises(ServerFaultError) as caught:
        understand(raw(pieces), tokenizer, max_tokens=8)
    assert caught.value.code is Code.LOGPROBS_MISSING


def test_a_flood_is_cut_off_at_the_bound() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(b": spam" * 10_000 + b"\n")

    assert fault_of(handler).code is Code.OVERLONG


def test_token_spam_is_kept_only_as_far_as_a_verdict_needs() -> None:
    answer = understand(raw([whole_stream("a" * 500)]), tokenizer, max_tokens=8)
    assert len(answer.tokens) == len(answer.arrival_us) == 32


def test_text_that_no_token_stands_for_is_another_models() -> None:
    with pytest.raises(ServerFaultError) as caught:
        understand(raw([whole_stream("日本")]), tokenizer, max_tokens=8)
    assert caught.value.code is Code.OTHER_WEIGHTS
