"""Evidence at a URL, against a real HTTP server: believed by its digest, bounded, no secrets."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evaluation import object_store as module
from evaluation.evidence import EvidenceError, EvidenceStore, digest_of
from evaluation.object_store import HttpEvidenceStore, must_keep_evidence, open_evidence

PASSWORD = "s3cret/word"  # noqa: S105 - the test's own


@dataclass
class Objects:
    """What the server holds and how it is to behave."""

    url: str = ""
    held: dict[str, bytes] = field(default_factory=dict)
    credentials: set[str] = field(default_factory=set)
    failing: int = 0
    status: int = 0
    calls: int = 0


@pytest.fixture
def objects() -> Iterator[Objects]:
    found = Objects()

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> bool:
            found.calls += 1
            found.credentials.add(self.headers.get("Authorization", ""))
            if found.failing:
                found.failing -= 1
                self.answer(503)
            elif found.status:
                self.answer(found.status, {"Location": found.url + "elsewhere"})
            else:
                return True
            return False

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.handle_one():
                found.held[self.path] = body
                self.answer(201)

        def do_GET(self) -> None:
            if self.handle_one():
                body = found.held.get(self.path)
                self.answer(404 if body is None else 200, body=body or b"")

        def answer(
            self, status: int, headers: dict[str, str] | None = None, body: bytes = b""
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}/bucket/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def store_at(url: str, waits: list[float] | None = None) -> HttpEvidenceStore:
    return HttpEvidenceStore(url, timeout_s=10, sleep=(waits if waits is not None else []).append)


def test_what_was_put_is_got_under_its_digest(objects: Objects) -> None:
    store = store_at(objects.url)
    digest = store.put(b"bytes")
    assert store.put(b"bytes") == digest == digest_of(b"bytes")
    assert objects.held == {f"/bucket/{digest[7:9]}/{digest[9:]}": b"bytes"}
    assert store.get(digest) == b"bytes"
    with pytest.raises(EvidenceError, match="there is no evidence"):
        store.get("sha256:" + "0" * 64)
    for name in ("sha256:../../etc/passwd", "0" * 64):
        with pytest.raises(EvidenceError, match="no evidence digest"):
            store.get(name)


def test_changed_bytes_are_refused(objects: Objects) -> None:
    store = store_at(objects.url)
    digest = store.put(b"bytes")
    for path in objects.held:
        objects.held[path] = b"other"
    with pytest.raises(EvidenceError, match="has been changed"):
        store.get(digest)


def test_a_body_without_end_is_not_read_to_it(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_EVIDENCE_BYTES", 1_000)
    store = store_at(objects.url)
    digest = store.put(b"a" * 1_000)
    assert len(store.get(digest)) == 1_000
    for path in objects.held:
        objects.held[path] = b"a" * 1_001
    with pytest.raises(EvidenceError, match="more than 1000 bytes"):
        store.get(digest)
    with pytest.raises(EvidenceError, match="larger than 1000"):
        store.put(b"a" * 1_001)


def test_a_store_that_cannot_now_is_asked_again(objects: Objects) -> None:
    waits: list[float] = []
    store = store_at(objects.url, waits)
    objects.failing = 2
    digest = store.put(b"bytes")
    assert waits == [1.0, 2.0]
    assert store.get(digest) == b"bytes"
    objects.failing = 3
    with pytest.raises(EvidenceError, match=r"cannot be used for .*HTTP 503"):
        store.get(digest)


@pytest.mark.parametrize("status", [302, 401, 403])
def test_a_refusal_and_a_redirect_are_said_and_not_followed(objects: Objects, status: int) -> None:
    store = store_at(objects.url)
    objects.status = status
    with pytest.raises(EvidenceError, match=f"answered HTTP {status}"):
        store.put(b"bytes")
    with pytest.raises(EvidenceError, match=f"answered HTTP {status}"):
        store.get(digest_of(b"bytes"))
    assert objects.calls == 2


def test_credentials_are_sent_and_stand_in_no_error(objects: Objects) -> None:
    url = objects.url.replace("://", "://miner:s3cret%2Fword@")
    store = store_at(url)
    digest = store.put(b"bytes")
    sent = "Basic " + base64.b64encode(f"miner:{PASSWORD}".encode()).decode()
    assert objects.credentials == {sent}
    errors = []
    objects.status = 403
    for call in (lambda: store.get(digest), lambda: store.put(b"x")):
        with pytest.raises(EvidenceError) as caught:
            call()
        errors.append(str(caught.value))
    gone = store_at("http://miner:s3cret%2Fword@127.0.0.1:1/bucket")
    with pytest.raises(EvidenceError) as caught:
        gone.get(digest)
    errors.append(str(caught.value))
    for bad in (
        "ftp://miner:s3cret@host/x",
        "http://miner:s3cret@host:port/x",
        "https://u:s3cret@h/?a=1",
    ):
        with pytest.raises(EvidenceError) as caught:
            HttpEvidenceStore(bad)
        errors.append(str(caught.value))
    assert "127.0.0.1:1" in errors[2]
    assert not any("s3cret" in error or "miner" in error for error in errors)


def test_a_place_that_keeps_nothing_is_told_before_a_contest(
    objects: Objects, tmp_path: Path
) -> None:
    must_keep_evidence(objects.url)
    must_keep_evidence(str(tmp_path / "new" / "folder"))
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    assert objects.held == {}
    file = tmp_path / "a file"
    file.touch()
    with pytest.raises(EvidenceError, match=r"no evidence can be kept in .*Not a directory"):
        must_keep_evidence(str(file / "folder"))


def test_a_store_that_nobody_runs_is_told_before_a_contest(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0)
    objects.failing = module.TRIES
    with pytest.raises(EvidenceError, match="it answers HTTP 503; see that it runs"):
        must_keep_evidence(objects.url)


def test_a_location_is_a_url_or_a_folder(tmp_path: Path) -> None:
    assert isinstance(open_evidence("https://host/bucket"), HttpEvidenceStore)
    assert isinstance(open_evidence(str(tmp_path)), EvidenceStore)
    with pytest.raises(EvidenceError, match="http:// or https://"):
        open_evidence("s3://bucket")
