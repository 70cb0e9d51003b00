"""Run as a program: stands before an OpenAI server and passes its answers on, or cheats with them.

    python proxy.py --proxy-port 8000 --cheat flush --backend 8001
    python proxy.py --proxy-port 8000 --cheat flush python3 -m vllm.entrypoints.cli.main serve … \
        --port BACKEND_PORT

The words that are no options of its own are the command of a server that it starts itself and that
ends with it: BACKEND_PORT in them is a free port, a python3 in front this very interpreter. With
``--backend PORT`` nothing is started; the words are then left alone. Needs aiohttp and nothing of
this project. ``--cheat honest`` writes each chunk as it comes in, untouched.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

OWN = "own"
PORT_WORD = "BACKEND_PORT"
CHAT = "/v1/chat/completions"
CHEATS = (
    "honest",
    "truncate",
    "replay",
    "flush",
    "early_first",
    "sampler",
    "temperature",
    "forge",
    "drop_logprobs",
)
"""Passed on; fewer tokens and an end claimed; repeats from memory; all tokens at the end; all but
the first at the end; a repetition penalty; drawn at a temperature; the right tokens with made-up
logprobs; no logprobs."""
_BY_EVENTS = frozenset({"truncate", "replay", "early_first", "forge", "drop_logprobs"})
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_REMEMBERED = 4_096
"""Answers; more are not kept."""
PPM = 1_000_000
MILLI = 1_000
_LOOPBACK = "127.0.0.1"
_FIRST_PORT = 10_000
_PORTS = 10_000
_TRIES = 256
_GIVEN_AWAY = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUALLY_FROM = 32_768
_FORGED_NATS = 3.0
_KEEP_ALIVE_S = 2.0
"""Well before any server closes an idle connection: a request on a closing one would fail."""
_STOP_S = 2.0
_PR_SET_PDEATHSIG = 1
_SEPARATOR = b"\n\n"


class Proxy:
    """The answers of the server at ``backend_url``, cheated with in one way."""

    def __init__(self, asked: argparse.Namespace, backend_url: str) -> None:
        self._cheat: str = asked.cheat
        self._kept_ppm: int = asked.kept_ppm
        self._penalty = asked.repetition_penalty_milli / MILLI
        self._temperature = asked.temperature_milli / MILLI
        self._backend_url = backend_url
        self._remembered: dict[str, tuple[bytes, ...]] = {}
        self._draw = random.Random(0)  # noqa: S311 - what it draws is a lie anyway

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Whatever is asked; only streamed chats are cheated with."""
        body = await request.read()
        asked = _streamed_chat(request, body)
        key = body.decode(errors="replace")
        if asked is not None and key in self._remembered:
            return await _send_all(request, self._remembered[key])
        if asked is not None:
            body = json.dumps(self._asked(asked)).encode()
        try:
            async with self._session(request).request(
                request.method,
                self._backend_url + request.path_qs,
                data=body or None,
                headers={"Content-Type": request.headers.get("Content-Type", "application/json")},
                allow_redirects=False,
            ) as told:
                if asked is None or told.status != web.HTTPOk.status_code:
                    return web.Response(
                        body=await told.read(), status=told.status, headers=_kind_of(told)
                    )
                return await self._stream(request, told, key)
        except aiohttp.ClientConnectorError:
            return web.Response(status=503, text="the server behind does not listen yet")

    @staticmethod
    def _session(request: web.Request) -> aiohttp.ClientSession:
        return request.app[_SESSION]

    async def _stream(
        self, request: web.Request, told: aiohttp.ClientResponse, key: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=_kind_of(told))
        await response.prepare(request)
        sent = []
        async for piece in self._pieces(told):
            await response.write(piece)
            if self._cheat == "replay":
                sent.append(piece)
        await response.write_eof()
        if sent and len(self._remembered) < MAX_REMEMBERED:
            self._remembered[key] = tuple(sent)
        return response

    async def _pieces(self, told: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """What is written at once, piece after piece."""
        if self._cheat == "flush":
            yield await told.read()
        elif self._cheat not in _BY_EVENTS:
            async for chunk, _ in told.content.iter_chunks():
                if chunk:
                    yield chunk
        else:
            held, is_first = bytearray(), True
            async for event in _events(told.content):
                changed = self._told(event)
                if is_first or self._cheat != "early_first":
                    yield changed
                else:
                    held += changed
                is_first = is_first and not _has_text(event)
            if held:
                yield bytes(held)

    def _asked(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The request as the server gets it."""
        if self._cheat == "truncate" and isinstance(asked.get("max_tokens"), int):
            return {**asked, "max_tokens": max(1, asked["max_tokens"] * self._kept_ppm // PPM)}
        if self._cheat == "sampler":
            return {**asked, "repetition_penalty": self._penalty}
        if self._cheat == "temperature":
            return {**asked, "temperature": self._temperature}
        return asked

    def _told(self, event: bytes) -> bytes:
        """An event as the client gets it."""
        if self._cheat not in ("truncate", "forge", "drop_logprobs"):
            return event
        said = _said(event)
        if said is None:
            return event
        for choice in said.get("choices") or ():
            if self._cheat == "truncate" and choice.get("finish_reason") == "length":
                choice["finish_reason"] = "stop"
            elif self._cheat == "drop_logprobs":
                choice["logprobs"] = None
            elif self._cheat == "forge":
                self._forge(choice)
        return b"data: " + json.dumps(said, separators=(",", ":")).encode() + _SEPARATOR

    def _forge(self, choice: dict[str, Any]) -> None:
        for entry in (choice.get("logprobs") or {}).get("content") or ():
            own = -_FORGED_NATS * self._draw.random()
            for place, other in enumerate(entry.get("top_logprobs") or ()):
                is_own = other.get("token") == entry.get("token")
                other["logprob"] = own if is_own else own - place
            entry["logprob"] = own


def _streamed_chat(request: web.Request, body: bytes) -> dict[str, Any] | None:
    """What a streamed chat asks; None for any other request."""
    if request.method != "POST" or request.path != CHAT:
        return None
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    return asked if isinstance(asked, dict) and asked.get("stream") is True else None


async def _send_all(request: web.Request, pieces: tuple[bytes, ...]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response


def _kind_of(told: aiohttp.ClientResponse) -> dict[str, str]:
    return {"Content-Type": told.headers.get("Content-Type", "application/octet-stream")}


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Server-sent events, each as soon as it is whole, with the blank line that ends it."""
    held = b""
    async for chunk, _ in content.iter_chunks():
        *whole, held = (held + chunk).split(_SEPARATOR)
        for event in whole:
            yield event + _SEPARATOR
    if held:
        yield held


def _said(event: bytes) -> dict[str, Any] | None:
    """The event's JSON object; None for `[DONE]` and comments."""
    try:
        said = json.loads(event.strip().removeprefix(b"data:"))
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _has_text(event: bytes) -> bool:
    choices = (_said(event) or {}).get("choices") or ()
    return any((choice.get("delta") or {}).get("content") for choice in choices)


_SESSION = web.AppKey("session", aiohttp.ClientSession)


async def _open_session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
    async with aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
    ) as session:
        app[_SESSION] = session
        yield


def _die_with_us() -> None:
    """In the child: the kernel kills it when this program ends, however it ends (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _start(words: list[str], port: int) -> asyncio.subprocess.Process:
    command = [str(port) if word == PORT_WORD else word for word in words]
    if command[0] == "python3":
        command[0] = sys.executable
    return await asyncio.create_subprocess_exec(*command, preexec_fn=_die_with_us)


def free_port(given_away: Path = _GIVEN_AWAY) -> int:
    """One that nobody has, below those that the system gives to connections by itself.

    The way of evaluation/runners/free_port.py, written out once more: an engine's interpreter runs
    this file where nothing of the project can be imported. A test holds the two together.
    """
    draw = random.SystemRandom()
    try:
        lowest = int(given_away.read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        lowest = _USUALLY_FROM
    last = max(lowest, _FIRST_PORT + _PORTS)
    for turn in range(_TRIES + 1):
        port = draw.randrange(_FIRST_PORT, last) if turn < _TRIES else 0
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.bind((_LOOPBACK, port))
            return int(listening.getsockname()[1])
    msg = f"no port of {_LOOPBACK} is free; end something that listens"
    raise OSError(msg)


async def serve(asked: argparse.Namespace, words: list[str]) -> int:
    """Serve until a signal comes or the server behind has ended, whose exit code it returns."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    port = free_port() if asked.backend == OWN else int(asked.backend)
    child = await _start(words, port) if asked.backend == OWN else None
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.cleanup_ctx.append(_open_session)
    app.router.add_route("*", "/{path:.*}", Proxy(asked, f"http://{_LOOPBACK}:{port}").answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, asked.proxy_host, asked.proxy_port).start()
        waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(stopped.wait())]
        waiting += [asyncio.ensure_future(child.wait())] if child is not None else []
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return (child.returncode or 0) if child is not None else 0
    finally:
        await runner.cleanup()
        if child is not None and child.returncode is None:
            child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), _STOP_S)
            if child.returncode is None:
                child.kill()


def main() -> None:
    """Serve until the program is ended."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--proxy-host", default=_LOOPBACK)
    parser.add_argument("--proxy-port", type=int, required=True)
    parser.add_argument("--cheat", choices=CHEATS, default=CHEATS[0])
    parser.add_argument("--backend", default=OWN, help=f"a port of {_LOOPBACK}, or '{OWN}'")
    parser.add_argument("--kept-ppm", type=int, default=500_000)
    parser.add_argument("--repetition-penalty-milli", type=int, default=1_300)
    parser.add_argument("--temperature-milli", type=int, default=1_000)
    asked, words = parser.parse_known_args()
    if asked.backend == OWN and not words:
        parser.error("name the command of the server behind, or its port with --backend")
    sys.exit(asyncio.run(serve(asked, words)))


if __name__ == "__main__":
    main()
