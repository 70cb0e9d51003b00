"""Evidence in object storage by URL: one object per digest, ``<url>/<2 hex>/<62 hex>``.

Any server that keeps what was PUT and gives it back on GET will do. What comes back is believed by
its digest alone. A URL may carry credentials; they are in no error.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from evaluation.evidence import (
    MAX_EVIDENCE_BYTES,
    Evidence,
    EvidenceError,
    EvidenceStore,
    digest_of,
    hex_of,
)

TIMEOUT_S: Final = 60.0
TRIES: Final = 3
"""How often a call is made while the store does not answer or answers that it cannot now."""
PAUSE_S: Final = 1.0
"""Before the second try; twice as long before the next."""
_STORED: Final = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})


class HttpEvidenceStore:
    """Evidence below a URL of ``http`` or ``https``, with Basic credentials where it has some."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            msg = "an evidence store's URL must be http:// or https:// with a host"
            raise EvidenceError(msg)
        if parts.query or parts.fragment:
            msg = "an evidence store's URL can have no query and no fragment: digests follow it"
            raise EvidenceError(msg)
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._where = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
        self._root = self._where + parts.path.rstrip("/")
        self._auth = (
            None
            if parts.username is None
            else (unquote(parts.username), unquote(parts.password or ""))
        )
        self._timeout_s = timeout_s
        self._sleep = sleep

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its digest; raises :class:`EvidenceError` where it is not."""
        if len(data) > MAX_EVIDENCE_BYTES:
            msg = f"evidence of {len(data)} bytes is larger than {MAX_EVIDENCE_BYTES}"
            raise EvidenceError(msg)
        digest = digest_of(data)
        status, _ = self._ask("PUT", digest, data)
        if status not in _STORED:
            msg = f"the evidence store {self._where} answered HTTP {status} to evidence {digest}"
            raise EvidenceError(msg)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``; raises :class:`EvidenceError` if they are missing or changed."""
        status, data = self._ask("GET", digest, None)
        if status == HTTPStatus.NOT_FOUND:
            msg = f"there is no evidence {digest} at {self._where}"
            raise EvidenceError(msg)
        if status != HTTPStatus.OK:
            msg = f"the evidence store {self._where} answered HTTP {status} for evidence {digest}"
            raise EvidenceError(msg)
        if digest_of(data) != digest:
            msg = f"what {self._where} gives as {digest} has been changed; restore it from a copy"
            raise EvidenceError(msg)
        return data

    def reach(self) -> None:
        """Ask for evidence that nothing has; raises :class:`EvidenceError` where nobody answers."""
        self._ask("GET", digest_of(b""), None)

    def _ask(self, method: str, digest: str, data: bytes | None) -> tuple[int, bytes]:
        """The status and the body, at most one byte more than evidence can have."""
        import httpx

        name = hex_of(digest)
        url = f"{self._root}/{name[:2]}/{name[2:]}"
        why = ""
        for turn in range(TRIES):
            if turn:
                self._sleep(PAUSE_S * 2 ** (turn - 1))
            try:
                with (
                    httpx.Client(
                        auth=self._auth,
                        timeout=self._timeout_s,
                        follow_redirects=False,
                        trust_env=False,
                        headers={"Accept-Encoding": "identity"},
                    ) as client,
                    client.stream(method, url, content=data) as response,
                ):
                    if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                        return response.status_code, _bounded(response.iter_raw(65_536), digest)
                    why = f"it answers HTTP {response.status_code}"
            except httpx.HTTPError as error:
                why = type(error).__name__  # its text may hold the URL
        msg = (
            f"the evidence store {self._where} cannot be used for {digest}: {why}; see that it "
            "runs and that its URL is right"
        )
        raise EvidenceError(msg)


def must_keep_evidence(location: str) -> None:
    """Raise :class:`EvidenceError` where a folder cannot be written, or a URL does not answer.

    Asked before a contest, of which all would be lost at its end. Whether a server keeps what it is
    given only a PUT could tell; none is made for that.
    """
    if "://" in location:
        HttpEvidenceStore(location).reach()
        return
    folder = Path(location)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = (
            f"no evidence can be kept in '{location}': {error.strerror}; name a folder you may "
            "write with --evidence"
        )
        raise EvidenceError(msg) from error


def open_evidence(location: str) -> Evidence:
    """The store at ``location``: an ``http(s)://`` URL, or else a directory."""
    if "://" in location:
        return HttpEvidenceStore(location)
    return EvidenceStore(Path(location))


def _bounded(parts: Iterator[bytes], digest: str) -> bytes:
    body = bytearray()
    for part in parts:
        body += part
        if len(body) > MAX_EVIDENCE_BYTES:
            msg = f"the evidence store gives more than {MAX_EVIDENCE_BYTES} bytes for {digest}"
            raise EvidenceError(msg)
    return bytes(body)
