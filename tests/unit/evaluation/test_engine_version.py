"""What an engine says of its version is taken in bounded time and never a fault."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from evaluation.runners.health import MAX_VERSION_CHARS, VERSION_TIMEOUT_S, engine_version


@contextmanager
def answering(*pieces: bytes, hang: bool = False) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends these to its first caller, and closes unless it hangs."""
    asked: list[bytes] = []
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                asked.append(connection.recv(4_096))
                for piece in pieces:
                    connection.sendall(piece)
                if hang:
                    over.wait()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        finally:
            over.set()
            thread.join()


OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"


def test_vllms_answer_is_read() -> None:
    with answering(OK, b'{"version":', b'"0.25.1"}') as (url, asked):
        assert engine_version(url) == "0.25.1"
    assert asked[0].startswith(b"GET /version HTTP/1.1\r\n")


def test_an_answer_in_chunks_is_read() -> None:
    with answering(OK, b'14\r\n{"version":"0.25.1"}\r\n', b"0\r\n\r\n") as (url, _):
        assert engine_version(url) == "0.25.1"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n" + b'{"version": "0.25.1"}',
        OK,
        OK + b"0.25.1",
        OK + b'{"version": 25}',
        OK + b'{"release": "0.25.1"}',
        OK + b'{"version": "' + b"\xff" + b'"}',
        OK + b'{"version": " "}',
        OK + b'{"version": ' + b"[" * 50_000 + b"}",
        OK + b"\r\n\r\n" * 15_000,
        OK + b'} "version": "0.25.1" {',
        b"",
    ],
)
def test_anything_else_is_unknown(answer: bytes) -> None:
    with answering(answer) as (url, _):
        assert engine_version(url) is None


def test_what_it_says_is_one_short_printable_line() -> None:
    with answering(OK, b'{"version": "1\\u001b[2J\\n' + b"9" * 1_000 + b'"}') as (url, _):
        said = engine_version(url)
    assert said is not None
    assert said.startswith("1 [2J 9")
    assert len(said) == MAX_VERSION_CHARS


def test_one_that_never_ends_and_one_that_is_gone_are_unknown() -> None:
    assert VERSION_TIMEOUT_S == 2.0
    with answering(OK, b'{"version": "1"}', hang=True) as (url, _):
        assert engine_version(url, timeout_s=0.1) is None
    assert engine_version(url) is None
