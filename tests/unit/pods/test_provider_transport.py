"""How a provider is asked: bounded in time and bytes, the key in one header, never redirected."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import uuid4

import pytest

from evaluation.pods.http import (
    MAX_KEY_CHARS,
    MAX_QUOTED_CHARS,
    TRIES,
    Api,
    NotFoundError,
    segment,
)
from evaluation.pods.lium import BASE_URL as LIUM_URL
from evaluation.pods.lium import Lium
from evaluation.pods.port import Provider, RefusedError, UnansweredError
from evaluation.pods.shadeform import BASE_URL as SHADEFORM_URL
from evaluation.pods.shadeform import Shadeform
from evaluation.pods.targon import BASE_URL as TARGON_URL
from evaluation.pods.targon import Targon
from tests.unit.pods.clients import HURRIED_S, Bench

KEY = "a-key-that-nobody-may-read"


@contextlib.contextmanager
def raw_server(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends these bytes to everybody and closes; with what it was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):  # closed: the test is over
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        heard.append(connection.recv(65_536))
                        connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", heard
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@contextlib.contextmanager
def api(url: str, **more: object) -> Iterator[Api]:
    found = Api("there", url, KEY, header=("X-API-KEY", ""), sleep=lambda _: None, **more)  # type: ignore[arg-type]
    try:
        yield found
    finally:
        found.close()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize(
    "url",
    [
        "",
        "there",
        "http://api.example/v1",
        "http://127.0.0.1.example/v1",
        "ftp://127.0.0.1/v1",
        "https://",
        "https://host:port/v1",
        "https://user:word@host/v1",
        "https://host/v1?key=1",
        "https://host/v1#a",
    ],
)
def test_a_key_travels_encrypted_or_not_at_all(url: str) -> None:
    with pytest.raises(ValueError, match="the URL of there") as error:
        Api("there", url, KEY, header=("X-API-KEY", ""))
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    "url", [LIUM_URL, SHADEFORM_URL, TARGON_URL, "http://[::1]:80", "http://localhost"]
)
def test_these_urls_are_taken(url: str) -> None:
    with api(url) as found:
        assert KEY not in repr(found)


@pytest.mark.parametrize(
    "key", ["", " x", "x ", "a\nb", "a\r\nHost: b", "ключ", "x" * (MAX_KEY_CHARS + 1)]
)
def test_a_key_that_no_header_can_have_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="the key of there") as error:
        Api("there", "https://host", key, header=("X-API-KEY", ""))
    assert not key.strip() or key not in str(error.value)


def test_the_key_is_in_one_header_alone() -> None:
    with raw_server(http("200 OK", b"{}")) as (url, heard), api(url) as found:
        found.post("/a", {"b": 1})
        found.get("/c", {"d": "e"})
        found.delete("/f")
    assert len(heard) == 3
    for one in heard:
        assert one.count(KEY.encode()) == 1
        assert f"\r\nX-API-KEY: {KEY}\r\n".lower().encode() in one.lower()


def test_a_key_that_comes_back_as_a_name_is_not_read() -> None:
    body = json.dumps({"id": f"machine-{KEY}"}).encode()
    with raw_server(http("200 OK", body)) as (url, _), api(url) as found:
        assert found.get("/a") == {"id": "machine-[key]"}


@pytest.mark.parametrize(
    ("client", "request_line", "header"),
    [
        (
            Shadeform,
            "GET /v1/instances/types?num_gpus=8&available=true&sort=price HTTP/1.1",
            f"X-API-KEY: {KEY}",
        ),
        (
            Targon,
            "GET /v1/inventory?type=rental&gpu=true HTTP/1.1",
            f"Authorization: Bearer {KEY}",
        ),
        (
            partial(Lium, template="t", public_keys=("k",)),
            "GET /v1/executors?gpu_count_gte=8&gpu_count_lte=8 HTTP/1.1",
            f"X-API-KEY: {KEY}",
        ),
    ],
)
def test_offers_are_asked_for_in_the_providers_words(
    client: Callable[..., Provider], request_line: str, header: str
) -> None:
    with raw_server(http("404 Not Found")) as (url, heard):
        found = client(f"{url}/v1/", KEY, sleep=lambda _: None)
        with pytest.raises(RefusedError):
            found.offers(8)
        found.close()
    (head,) = heard
    lines = head.decode().split("\r\n")
    assert lines[0] == request_line
    assert header.lower() in [line.lower() for line in lines]


def test_a_redirect_is_not_followed() -> None:
    with raw_server(http("200 OK", b"{}")) as (elsewhere, heard):
        moved = http("307 Temporary Redirect", b"", f"Location: {elsewhere}/x")
        with raw_server(moved) as (url, _), api(url) as found:
            with pytest.raises(UnansweredError, match="307"):
                found.post("/a", {})
            with pytest.raises(UnansweredError, match="307"):
                found.get("/a")
    assert heard == []


def test_no_proxy_of_this_machine_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(http("200 OK", b"1")) as (proxy, heard):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with raw_server(http("200 OK", b"2")) as (url, _), api(url) as found:
            assert found.get("/a") == 2
    assert heard == []


def test_a_compressed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b" " * 1_000_000)
    with (
        raw_server(http("200 OK", packed, "Content-Encoding: gzip")) as (url, _),
        api(url) as found,
        pytest.raises(UnansweredError, match="no JSON"),
    ):
        found.get("/a")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 500_000,
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_no_answer_leaves_open_what_was_done(answer: bytes) -> None:
    with raw_server(answer) as (url, heard), api(url) as found:
        with pytest.raises(UnansweredError):
            found.post("/a", {})
        assert len(heard) == 1
        with pytest.raises(UnansweredError):
            found.get("/a")
        assert len(heard) == 1 + TRIES


def test_what_was_never_sent_was_not_done() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with api(nobody) as found:
        with pytest.raises(RefusedError, match="cannot be reached"):
            found.post("/a", {})
        with pytest.raises(UnansweredError, match="cannot be reached"):
            found.get("/a")


@pytest.mark.parametrize("kind", ["drip", "drip_head", "hang"])
def test_a_deadline_is_for_the_whole_answer(any_bench: Bench, kind: str) -> None:
    any_bench.do("fault", on="GET *", kind=kind, times=99)
    hurried = any_bench.hurried()
    with pytest.raises(UnansweredError, match=f"within {HURRIED_S:g} s"):
        hurried.listed()
    hurried.close()


def test_pages_share_one_deadline(targon_bench: Bench) -> None:
    for _ in range(4):
        targon_bench.provider.create(targon_bench.offer(), uuid4())
    targon_bench.do("settings", page_rows=1)
    # Each page comes in time; only all of them together do not.
    late = {"kind": "slow", "times": 99, "wait_s": 0.4 * HURRIED_S}
    targon_bench.do("fault", on="GET /workloads", **late)
    hurried = targon_bench.hurried()
    with pytest.raises(UnansweredError, match=f"within {HURRIED_S:g} s"):
        hurried.listed()
    hurried.close()
    assert len(targon_bench.provider.listed()) == 4


def test_a_strangers_words_are_quoted_short_and_printable() -> None:
    evil = json.dumps({"error": "no\x1b[31m\r\n\u202e" + "y" * 10_000}).encode()
    with (
        raw_server(http("400 Bad", evil)) as (url, _),
        api(url) as found,
        pytest.raises(RefusedError) as error,
    ):
        found.post("/a", {})
    said = str(error.value)
    assert said.isprintable()
    assert len(said) < MAX_QUOTED_CHARS + 100
    assert "no [31m" in said


def test_a_name_stays_one_part_of_a_path() -> None:
    with raw_server(http("404 Not Found")) as (url, heard), api(url) as found:
        for name in ("../x", "a/b?c#d", "%2e%2e", "a b\r\nX: y"):
            with pytest.raises(NotFoundError):
                found.get(f"/a/{segment(name)}/b")
    for one in heard:
        assert one.split(b" ")[1].count(b"/") == 3
        assert b"?" not in one.split(b"\r\n")[0]


def test_it_can_be_asked_from_a_running_loop_and_from_many_threads() -> None:
    with raw_server(http("200 OK", b'{"a": 1}')) as (url, heard), api(url) as found:

        async def inside() -> object:
            return found.get("/a")  # blocks the loop it stands in, and still gets its answer

        assert asyncio.run(inside()) == {"a": 1}
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(found.get, ["/a"] * 16)) == [{"a": 1}] * 16
    assert len(heard) == 17


def test_closing_ends_the_thread_and_a_later_call_starts_another() -> None:
    def asking() -> list[str]:
        return [one.name for one in threading.enumerate() if one.name == "asks-there"]

    with raw_server(http("200 OK", b"1")) as (url, _), api(url) as found:
        assert asking() == []
        found.get("/a")
        assert asking() == ["asks-there"]
        found.close()
        found.close()
        assert asking() == []
        assert found.get("/a") == 1
    assert asking() == []


def test_closing_while_it_asks_is_an_answer_to_whoever_waits(any_bench: Bench) -> None:
    any_bench.do("fault", on="GET *", kind="hang", times=99)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(any_bench.provider.listed)
        while any_bench.wire.listing not in any_bench.do("requests"):
            time.sleep(0.01)
        any_bench.do("clear_faults")
        any_bench.provider.close()
        # What was cut off is asked again; the client is closed only for what was on its way.
        assert waiting.result() == ()


def test_a_deletion_is_done_whatever_words_come_with_it(any_bench: Bench) -> None:
    made = any_bench.provider.create(any_bench.offer(), uuid4())
    any_bench.do("fault", on=any_bench.wire.delete, kind="garbage", body="<p>Deleted</p>")
    any_bench.provider.stop(made.instance)
