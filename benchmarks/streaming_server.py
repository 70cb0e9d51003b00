"""A synthetic server of the container contract, in a process of its own: prepared bytes, no model.

``python -m benchmarks.streaming_server`` prints its port and serves until its stdin closes. The
prompt says what to stream: ``<events> <first after us> <gap us>``; with both 0 it writes one event
after the other, as fast as it can, to every stream in turn. The last line of a stream is a comment
with when it had read the request, written the first event and written the last, in nanoseconds of
CLOCK_MONOTONIC, which all processes of a host share.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from benchmarks.measuring import ROOT

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_MAX_BODY: Final = 2**20


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(choice: dict[str, Any]) -> bytes:
    chunk = {
        "id": "chatcmpl-0",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "model",
        "choices": [{"index": 0, **choice}],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


_ENTRY: Final = {"token": "a", "logprob": -0.123456789, "bytes": [97]}
_TOKEN: Final = _chunked(
    _event(
        {
            "delta": {"content": "a"},
            "logprobs": {"content": [{**_ENTRY, "top_logprobs": [_ENTRY] * 5}]},
            "finish_reason": None,
        }
    )
)
"""One event as vLLM writes it, with five alternatives."""
_FINISH: Final = _chunked(_event({"delta": {}, "finish_reason": "length"}))


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            body = json.loads(await reader.readexactly(min(length, _MAX_BODY)))
            received_ns = time.monotonic_ns()
            await _stream(writer, body["messages"][0]["content"], received_ns)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _stream(writer: asyncio.StreamWriter, prompt: str, received_ns: int) -> None:
    events, first_us, gap_us = (int(number) for number in prompt.split()[:3])
    writer.write(_HEAD)
    first_ns = last_ns = 0
    for at in range(events):
        due_ns = received_ns + 1_000 * (first_us + at * gap_us)
        # Without a distance this only lets the other streams write.
        await asyncio.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        last_ns = time.monotonic_ns()
        first_ns = first_ns or last_ns
        writer.write(_TOKEN)
        await writer.drain()
    stamps = b": %d %d %d\n\n" % (received_ns, first_ns, last_ns)
    writer.write(_FINISH + _chunked(stamps + b"data: [DONE]\n\n") + b"0\r\n\r\n")
    await writer.drain()


async def main() -> None:
    """Serve until the process that started this closes our stdin."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1_024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


@contextmanager
def streaming_server() -> Iterator[str]:
    """The base URL of one, stopped at the end."""
    command = [sys.executable, "-m", "benchmarks.streaming_server"]
    with subprocess.Popen(  # noqa: S603
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            msg = "the streaming server has no pipes"
            raise RuntimeError(msg)
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()
            process.wait(timeout=30)


if __name__ == "__main__":
    asyncio.run(main())
