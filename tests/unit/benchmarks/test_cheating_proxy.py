"""The proxy of the cheats before a server that the test holds in its hand: what goes in and out."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from benchmarks.gpu.cheats import proxy
from evaluation.runners.free_port import free_port

PROXY = Path(proxy.__file__)
PATIENCE_S = 30.0
CHAT = {"model": "m", "messages": [], "max_tokens": 8, "temperature": 0, "stream": True}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def behind(handler: Handler, cheat: str, *more: str) -> AsyncIterator[str]:
    """The address of a proxy with this cheat before a server that answers by ``handler``."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    backend_port, port = free_port(), free_port()
    await web.TCPSite(runner, "127.0.0.1", backend_port).start()
    words = ["--proxy-port", str(port), "--backend", str(backend_port), "--cheat", cheat]
    process = await asyncio.create_subprocess_exec(sys.executable, str(PROXY), *words, *more)
    try:
        await listens(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()


async def listens(port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def event(text: str, **more: Any) -> bytes:
    logprobs = {"content": [{"token": text, "logprob": -0.25, "top_logprobs": []}]}
    choice = {"index": 0, "delta": {"content": text}, "logprobs": logprobs, **more}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


class Talks:
    """A server that says one piece after another, each when it is told to."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.go_on = asyncio.Semaphore(0)
        self.asked: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in self.pieces:
            await self.go_on.acquire()
            await response.write(piece)
        await response.write_eof()
        return response

    def all_of_it(self, times: int = 1) -> None:
        for _ in range(times * len(self.pieces)):
            self.go_on.release()


def chat(url: str, session: aiohttp.ClientSession) -> Any:
    return session.post(f"{url}/v1/chat/completions", json=CHAT)


def test_an_honest_proxy_hands_on_each_piece_before_the_next_one_is_there() -> None:
    pieces = [event("a"), event("b")[:20], event("b")[20:], b"data: [DONE]\n\n"]

    async def scene() -> list[bytes]:
        talks, seen = Talks(*pieces), []
        async with behind(talks.answer, "honest") as url, aiohttp.ClientSession() as session:
            asking = asyncio.ensure_future(chat(url, session).__aenter__())
            talks.go_on.release()
            response = await asking
            for number in range(len(pieces)):
                # The server behind says no more until this piece has come through whole.
                async with asyncio.timeout(PATIENCE_S):
                    seen.append(await response.content.readexactly(len(pieces[number])))
                talks.go_on.release()
            assert talks.asked == [CHAT]
            response.close()
        return seen

    assert asyncio.run(scene()) == pieces


@pytest.mark.parametrize(("cheat", "at_once"), [("flush", 3), ("early_first", 2)])
def test_a_flush_holds_everything_back_until_the_end(cheat: str, at_once: int) -> None:
    pieces = [event("a"), event("b"), b"data: [DONE]\n\n"]

    async def scene() -> list[bytes]:
        talks = Talks(*pieces)
        talks.all_of_it()
        async with (
            behind(talks.answer, cheat) as url,
            aiohttp.ClientSession() as session,
            chat(url, session) as response,
        ):
            return [chunk async for chunk, _ in response.content.iter_chunks()]

    chunks = asyncio.run(scene())
    assert b"".join(chunks) == b"".join(pieces)
    assert b"".join(pieces[-at_once:]) in chunks


async def told(cheat: str, talks: Talks, times: int = 1) -> list[bytes]:
    talks.all_of_it(times)
    found = []
    async with behind(talks.answer, cheat) as url, aiohttp.ClientSession() as session:
        for _ in range(times):
            async with asyncio.timeout(PATIENCE_S), chat(url, session) as response:
                found.append(await response.read())
    return found


@pytest.mark.parametrize(
    ("cheat", "changed"),
    [
        ("truncate", {"max_tokens": 4}),
        ("sampler", {"repetition_penalty": 1.3}),
        ("temperature", {"temperature": 1.0}),
        ("flush", {}),
        ("forge", {}),
    ],
)
def test_what_the_server_behind_is_asked(cheat: str, changed: dict[str, Any]) -> None:
    async def scene() -> list[dict[str, Any]]:
        talks = Talks(event("a"))
        await told(cheat, talks)
        return talks.asked

    assert asyncio.run(scene()) == [{**CHAT, **changed}]


def choices(answer: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in answer.split(b"\n\n")]
    return [json.loads(line)["choices"][0] for line in lines if line and line != b"[DONE]"]


def test_a_cut_answer_claims_its_end() -> None:
    async def scene() -> list[bytes]:
        return await told("truncate", Talks(event("a"), event("", finish_reason="length")))

    assert [one.get("finish_reason") for one in choices(asyncio.run(scene())[0])] == [None, "stop"]


def test_forged_logprobs_stand_beside_the_right_tokens() -> None:
    async def scene() -> list[bytes]:
        return await told("forge", Talks(event("a"), event("b"), b"data: [DONE]\n\n"))

    (answer,) = asyncio.run(scene())
    entries = [one["logprobs"]["content"][0] for one in choices(answer)]
    assert [one["token"] for one in entries] == ["a", "b"]
    assert all(one["logprob"] != -0.25 for one in entries)
    assert answer.endswith(b"data: [DONE]\n\n")


def test_dropped_logprobs_are_gone() -> None:
    async def scene() -> list[bytes]:
        return await told("drop_logprobs", Talks(event("a")))

    assert [one["logprobs"] for one in choices(asyncio.run(scene())[0])] == [None]


def test_a_repeat_is_answered_from_memory_and_nobody_else_is_asked() -> None:
    async def scene() -> tuple[list[bytes], int]:
        talks = Talks(event("a"), event("b"))
        return await told("replay", talks, times=2), len(talks.asked)

    answers, asked = asyncio.run(scene())
    assert answers[0] == answers[1] == event("a") + event("b")
    assert asked == 1


def test_everything_else_goes_through_as_it_is_refusals_too() -> None:
    async def refuses(request: web.Request) -> web.StreamResponse:
        said = {"path": request.path_qs, "body": (await request.read()).decode()}
        status = 404 if request.method == "POST" else 200
        return web.json_response(said, status=status)

    async def scene() -> list[tuple[int, Any]]:
        found = []
        async with behind(refuses, "flush") as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/version?a=b") as response:
                found.append((response.status, await response.json()))
            async with chat(url, session) as response:
                found.append((response.status, await response.json()))
            async with session.post(f"{url}/v1/completions", data=b"{}") as response:
                found.append((response.status, await response.json()))
        return found

    assert asyncio.run(scene()) == [
        (200, {"path": "/version?a=b", "body": ""}),
        (404, {"path": "/v1/chat/completions", "body": json.dumps(CHAT)}),
        (404, {"path": "/v1/completions", "body": "{}"}),
    ]


def test_it_is_not_healthy_before_the_server_behind_is() -> None:
    async def scene() -> int:
        port = free_port()
        words = ["--proxy-port", str(port), "--backend", str(free_port())]
        process = await asyncio.create_subprocess_exec(sys.executable, str(PROXY), *words)
        try:
            await listens(port)
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/health") as response,
            ):
                return response.status
        finally:
            process.terminate()
            await process.wait()

    assert asyncio.run(scene()) == 503


def test_it_ends_with_the_server_that_it_started() -> None:
    words = ["--proxy-port", str(free_port()), "python3", "-c", "raise SystemExit(7)"]
    done = subprocess.run([sys.executable, str(PROXY), *words], timeout=60, check=False)  # noqa: S603
    assert done.returncode == 7


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends the child")
@pytest.mark.parametrize("number", [15, 9])
def test_the_server_that_it_started_ends_with_it(number: int, tmp_path: Path) -> None:
    told_pid = tmp_path / "pid"
    child = (
        f"import os, time; open({str(told_pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    words = ["--proxy-port", str(free_port()), "python3", "-c", child]
    process = subprocess.Popen([sys.executable, str(PROXY), *words])  # noqa: S603
    until_s = time.monotonic() + PATIENCE_S
    while not (told_pid.exists() and told_pid.read_text()):
        assert time.monotonic() < until_s
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(PATIENCE_S)
    pid = int(told_pid.read_text())
    while Path(f"/proc/{pid}").exists() and _state(pid) != "Z":
        assert time.monotonic() < until_s
        time.sleep(0.02)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_command_or_a_port_must_be_named() -> None:
    words = [sys.executable, str(PROXY), "--proxy-port", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ)  # noqa: S603
    assert done.returncode == 2
    assert "name the command of the server behind" in done.stderr
