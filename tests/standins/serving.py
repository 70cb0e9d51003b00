"""A stand-in's HTTP server, its faults on the wire, and how tests reach it.

In a thread:      with shadeform.stand_in() as there: ...; there.do("advance", seconds=60)
In a process:     python -m tests.standins.shadeform --port 0 --state FILE     (prints its URL)
                  there = Remote(url); there.do("fault", on="POST /instances/create", kind="lost")

``do`` takes the names and arguments of :class:`tests.standins.world.World` in both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.standins.world import World

KEY = "key-of-the-tests-0123456789"
CONTROL = "/control"
HANG_S = 30.0
DRIP_S = 0.02
ENDLESS_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Ask:
    """One request: ``path`` is below the provider's base path."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    world: World

    def match(self, method: str, pattern: str) -> tuple[str, ...] | None:
        """What stands for the ``*`` of ``pattern``, None where it is another request."""
        wanted, parts = pattern.split("/"), self.path.split("/")
        if self.method != method or len(wanted) != len(parts):
            return None
        if any(one not in ("*", part) for one, part in zip(wanted, parts, strict=True)):
            return None
        return tuple(part for one, part in zip(wanted, parts, strict=True) if one == "*")


Answer = tuple[int, Any]
Routes = Sequence[tuple[str, str, Callable[..., Answer]]]
"""Method, path with ``*`` for a part, and what answers: it takes the :class:`Ask` and the parts."""


def answered(routes: Routes, ask: Ask) -> Answer:
    """What the first route that fits says."""
    for method, pattern, answer in routes:
        found = ask.match(method, pattern)
        if found is not None:
            return answer(ask, *found)
    return 404, {"error": "no such path"}


@dataclass(frozen=True)
class StandIn:
    """One that serves in a thread of this process; ``url`` is the base URL for a client."""

    url: str
    world: World
    key: str = KEY

    def do(self, name: str, **arguments: Any) -> Any:
        """As :meth:`World.do`."""
        return self.world.do(name, **arguments)


@dataclass(frozen=True)
class Remote:
    """One that serves in another process."""

    url: str
    key: str = KEY

    def do(self, name: str, **arguments: Any) -> Any:
        """As :meth:`World.do`, over the wire; raises ``urllib``'s error for what is none."""
        parts = urlsplit(self.url)
        body = json.dumps({"do": name, "with": arguments}).encode()
        there = f"{parts.scheme}://{parts.netloc}{CONTROL}"
        with urllib.request.urlopen(there, data=body, timeout=10) as answer:  # noqa: S310 - own URL
            return json.load(answer)


@contextlib.contextmanager
def serving(
    base_path: str, header: tuple[str, str], routes: Routes, world: World, port: int = 0
) -> Iterator[StandIn]:
    """Serve ``world`` in the wire format of ``routes`` until the block is left."""
    closing = threading.Event()
    handler = _handler(base_path, header, routes, world, closing)
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield StandIn(f"http://127.0.0.1:{server.server_address[1]}{base_path}", world)
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def run(
    base_path: str, header: tuple[str, str], routes: Routes, offers: list[dict[str, Any]]
) -> None:
    """What ``python -m`` does: print the URL, serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, default=None)
    given = parser.parse_args()
    with serving(base_path, header, routes, World(offers, given.state), given.port) as there:
        print(there.url, flush=True)  # noqa: T201 - it is what the process says
        threading.Event().wait()


def _handler(
    base_path: str, header: tuple[str, str], routes: Routes, world: World, closing: threading.Event
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """A test's output is its own."""

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_DELETE(self) -> None:
            self._serve()

        def _serve(self) -> None:
            self.close_connection = True
            parts = urlsplit(self.path)
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(content) if content else None
            if parts.path == CONTROL:
                self._control(body)
                return
            if not parts.path.startswith(base_path + "/"):
                self._send(404, {"error": "no such path"})
                return
            path = parts.path[len(base_path) :]
            with world.lock:
                world.state["requests"].append(f"{self.command} {path}")
                fault = world.take_fault(f"{self.command} {path}") or {"kind": ""}
                world.save()
            if fault["kind"] and self._fails_before(fault):
                return
            with world.lock:
                name, before = header
                if self.headers.get(name) != before + KEY:
                    answer: Answer = (401, {"error": "unauthorized"})
                else:
                    query = dict(parse_qsl(parts.query))
                    answer = answered(routes, Ask(self.command, path, query, body, world))
                world.save()
            self._answer(answer, fault)

        def _control(self, body: Any) -> None:
            try:
                self._send(200, world.do(body["do"], **body["with"]))
            except (AttributeError, TypeError, ValueError, KeyError) as error:
                self._send(400, {"error": repr(error)})

        def _fails_before(self, fault: dict[str, Any]) -> bool:
            """Whether the request ends here, with nothing done."""
            match fault["kind"]:
                case "hang":
                    closing.wait(HANG_S)
                case "reset":
                    pass
                case "slow":
                    closing.wait(fault["wait_s"])
                    return False
                case "status":
                    body = fault.get("body", {"error": "as it was told to"})
                    self._send(fault["status"], body)
                case "garbage":
                    self._send(fault.get("status", 200), fault["body"])
                case "drip":
                    self._head(200, 1_000_000)
                    self._drip(b" ")
                case "drip_head":
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    self._drip(b"x")
                case "endless":
                    self._head(200, ENDLESS_BYTES)
                    with contextlib.suppress(OSError):
                        for _ in range(ENDLESS_BYTES // 65_536):
                            self.wfile.write(b" " * 65_536)
                case _:
                    return False
            return True

        def _answer(self, answer: Answer, fault: dict[str, Any]) -> None:
            status, body = answer
            match fault["kind"]:
                case "lost":
                    return
                case "lost_slow":
                    closing.wait(HANG_S)
                    return
                case "status_after":
                    status, body = fault["status"], {"error": "as it was told to"}
                case "edit":
                    *way, last = fault["path"]
                    body = json.loads(json.dumps(body))
                    found = body
                    for step in way:
                        found = found[step]
                    found[last] = fault["value"]
            self._send(status, body)

        def _drip(self, byte: bytes) -> None:
            with contextlib.suppress(OSError):
                while not closing.wait(DRIP_S):
                    self.wfile.write(byte)
                    self.wfile.flush()

        def _head(self, status: int, length: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length))
            self.send_header("Connection", "close")
            self.end_headers()

        def _send(self, status: int, body: Any) -> None:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            with contextlib.suppress(OSError):  # a client that no longer listens
                self._head(status, len(content))
                self.wfile.write(content)

    return Handler


def dollars(usd_micros: int) -> float | int:
    """As these interfaces write it: a JSON number, exact for prices of up to six decimals."""
    return usd_micros // 1_000_000 if usd_micros % 1_000_000 == 0 else usd_micros / 1_000_000


def rfc3339(seconds: int | None) -> str:
    """As Go writes it: the year 1 for no time."""
    from datetime import UTC, datetime

    if seconds is None:
        return "0001-01-01T00:00:00Z"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
