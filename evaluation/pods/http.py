"""How a provider's HTTP interface is asked: once where it matters, within a deadline and bounds.

What a provider sends is believed only as far as it can be read, and quoted only bounded and
printable. The key goes into one header and nowhere else: no error, no ``repr`` and no log of ours
holds it, also where a provider sends it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import CancelledError
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from evaluation.answers import printable
from evaluation.pods.port import ProviderError, RefusedError, UnansweredError

if TYPE_CHECKING:
    import httpx

DEADLINE_S: Final = 30.0
"""For one call as a whole: looking up the name, connecting, sending, every byte of the answer."""
CONNECT_S: Final = 10.0
SPARE_S: Final = 5.0
"""For ending what ran into its deadline."""
TRIES: Final = 3
"""How often a GET or a DELETE is made while there is no clear answer; a POST is made once."""
PAUSE_S: Final = 1.0
"""Before the second try; twice as long before the next."""
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
MAX_QUOTED_CHARS: Final = 200
"""So much of a provider's own words is repeated in an error."""
MAX_KEY_CHARS: Final = 4_096
HIDDEN: Final = "[key]"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_NO: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.GONE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.LOCKED,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""Answers that say that nothing was done. 408, 409 and every 5xx do not: it may have been."""

ResultT = TypeVar("ResultT")


class SaidNoError(RefusedError):
    """An answer that says that nothing was done; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(SaidNoError):
    """The provider does not know what was asked about; by itself no proof that it is gone."""


class AnsweredError(UnansweredError):
    """An answer that leaves open what was done; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One provider's HTTP interface below a base URL, with its key in one header.

    ``header`` is the name and what stands before the key, e.g. ``("Authorization", "Bearer ")``.
    Plain ``http`` is taken for this machine alone, so that a key never travels unencrypted. Nothing
    is sent before the first call. Raises ``ValueError`` for a URL or key that cannot be used.
    """

    def __init__(
        self,
        provider: str,
        base_url: str,
        key: str,
        *,
        header: tuple[str, str],
        deadline_s: float = DEADLINE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.provider = provider
        self._root = _root_of(provider, base_url)
        usable = key.isascii() and key.isprintable() and key.strip() == key
        if not usable or not 0 < len(key) <= MAX_KEY_CHARS:
            msg = f"the key of {provider} must be 1 to {MAX_KEY_CHARS} printable characters"
            raise ValueError(msg)
        self._key = key
        self._header = header
        self._deadline_s = deadline_s
        self._sleep = sleep
        self._tls: ssl.SSLContext | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.provider!r}, {self._root!r})"

    def by(self) -> float:
        """When what begins now must be over, by the monotonic clock: for :meth:`get`'s ``by``."""
        return time.monotonic() + self._deadline_s

    def get(
        self, path: str, params: Mapping[str, str] | None = None, *, by: float | None = None
    ) -> Any:
        """The JSON at ``path``, asked again where nothing clear came, all within one deadline.

        ``by`` is that of several questions that belong together, as the pages of one list.
        """
        until = self.by() if by is None else by
        return self._again("GET", path, params, until, self._json)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send once and return the answered JSON, None for an empty answer.

        :class:`RefusedError` only where nothing can have been done.
        """
        what = f"POST {path}"
        return self._json(self._once("POST", path, None, body, self.by()), what)

    def tell(self, path: str) -> None:
        """As :meth:`post`, for what has no answer but yes or no: its words are not read."""
        self._once("POST", path, None, None, self.by())

    def delete(self, path: str) -> None:
        """Delete what is at ``path``; asked again as :meth:`get`, its words are not read."""
        self._again("DELETE", path, None, self.by(), _unread)

    def pause(self, turn: int) -> None:
        """Wait before another try; ``turn`` counts from 1."""
        self._sleep(PAUSE_S * 2 ** (turn - 1))

    def close(self) -> None:
        """End the thread that asks. A later call starts another."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def hidden(self, text: str) -> str:
        """``text`` of a stranger, bounded, printable and without the key."""
        # The key first: cut or blanked it would no longer be found.
        return printable(text.replace(self._key, HIDDEN))[:MAX_QUOTED_CHARS]

    # -- inside -----------------------------------------------------------------------------

    def _again(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        by: float,
        read: Callable[[bytes, str], ResultT],
    ) -> ResultT:
        what = f"{method} {path}"
        for turn in range(1, TRIES):
            try:
                return read(self._once(method, path, params, None, by), what)
            except (UnansweredError, _TooManyError):
                if time.monotonic() + PAUSE_S * turn >= by:
                    raise
                self.pause(turn)
        return read(self._once(method, path, params, None, by), what)

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        by: float,
    ) -> bytes:
        """What a 2xx says; everything else raises."""
        what = f"{method} {path}"
        status, sent = self._run(self._send(method, path, params, body), what, by)
        # Also where the key comes back as a name, which may be recorded.
        content = sent.replace(self._key.encode(), HIDDEN.encode())
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return content
        message = f"{self.provider} answered HTTP {status} to {what}{self._said(content)}"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            message += "; check its key"
        if status == HTTPStatus.NOT_FOUND:
            raise NotFoundError(message, status)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise _TooManyError(message, status)
        if status in _NO:
            raise SaidNoError(message, status)
        raise AnsweredError(message, status)

    async def _send(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> tuple[int, bytes]:
        import httpx

        what = f"{method} {path}"
        name, before = self._header
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        async with (
            # A connection a call: on one that the provider is just closing, a request to make a
            # machine would get lost without need.
            httpx.AsyncClient(
                timeout=httpx.Timeout(self._deadline_s, connect=min(CONNECT_S, self._deadline_s)),
                verify=self._trusted(),
                follow_redirects=False,  # the key must not follow one to another host
                trust_env=False,
                headers={**headers, name: before + self._key},
            ) as client,
            client.stream(
                method, self._root + path, params=dict(params) if params else None, json=body
            ) as response,
        ):
            return response.status_code, await self._bounded(response, what)

    def _trusted(self) -> ssl.SSLContext:
        # Made once: reading the certificates of all authorities takes longer than a call.
        if self._tls is None:
            import httpx

            self._tls = httpx.create_ssl_context(trust_env=False)
        return self._tls

    async def _bounded(self, response: httpx.Response, what: str) -> bytes:
        content = bytearray()
        async for part in response.aiter_raw():
            content += part
            if len(content) > MAX_BODY_BYTES:
                msg = (
                    f"{self.provider} sent more than {MAX_BODY_BYTES} bytes to {what}; "
                    "what it says cannot be read"
                )
                raise UnansweredError(msg)
        return bytes(content)

    def _run(self, sending: Awaitable[ResultT], what: str, by: float) -> ResultT:
        """Wait for ``sending``, at most until ``by``, whatever the other side does."""
        import httpx

        async def timed() -> ResultT:
            async with asyncio.timeout(max(0.0, by - time.monotonic())):
                return await sending

        future = asyncio.run_coroutine_threadsafe(timed(), self._running())
        try:
            # The loop keeps the deadline; this is for the case that it was just stopped.
            return future.result(max(0.0, by - time.monotonic()) + SPARE_S)
        except ProviderError:
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            msg = f"{self.provider} cannot be reached for {what} ({type(error).__name__})"
            # Nothing was sent, so nothing was done: only for a question is that no answer.
            kind = UnansweredError if what.startswith(("GET", "DELETE")) else RefusedError
            raise kind(msg) from None
        except (TimeoutError, httpx.TimeoutException):
            msg = f"{self.provider} did not finish answering {what} within {self._deadline_s:g} s"
            raise UnansweredError(msg) from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            # Its text may hold what a stranger sent; its type says enough.
            msg = f"{self.provider} gave no answer to {what} ({type(error).__name__})"
            raise UnansweredError(msg) from None
        except CancelledError:
            msg = f"{self.provider} was asked {what} while its client was closed"
            raise UnansweredError(msg) from None
        except BaseException:
            future.cancel()
            raise

    def _running(self) -> asyncio.AbstractEventLoop:
        # One loop in a thread of its own: a deadline that holds for looking up names and for
        # answers that drip needs one, and callers may well stand in a loop themselves.
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=loop.run_forever, name=f"asks-{self.provider}", daemon=True
                )
                self._thread.start()
            return self._loop

    def _json(self, content: bytes, what: str) -> Any:
        if not content.strip():
            return None
        try:
            return json.loads(
                content,
                parse_float=_decimal,
                parse_constant=_no_number,
                object_pairs_hook=_once_each,
            )
        except (ValueError, RecursionError):
            # `from None`: the error holds the whole text.
            said = self.hidden(content[: 8 * MAX_QUOTED_CHARS].decode(errors="replace"))
        msg = f"{self.provider} answered {what} with what is no JSON: {said}"
        raise UnansweredError(msg)

    def _said(self, content: bytes) -> str:
        """What an error's body says, for people; JSON's usual fields or its beginning."""
        text = content[: 8 * MAX_QUOTED_CHARS].decode(errors="replace")
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(content)
            for field in ("error", "message", "detail", "msg"):
                if isinstance(found, dict) and isinstance(found.get(field), str):
                    text = found[field]
                    break
        said = self.hidden(text)
        return f": {said}" if said else ""


class _TooManyError(SaidNoError):
    """Asked too often: nothing was done, and it can be asked again."""


def segment(text: str) -> str:
    """``text`` of a provider as one part of a path, so that it names nothing else."""
    if text in ("", ".", ".."):
        msg = f"{text!r} cannot be asked about: it is no name"
        raise RefusedError(msg)
    return quote(text, safe="")


def _root_of(provider: str, base_url: str) -> str:
    parts = urlsplit(base_url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not (parts.scheme == "https" or local) or not parts.hostname or port == -1:
        msg = f"the URL of {provider} must be https:// with a host (http:// for this machine alone)"
        raise ValueError(msg)
    if parts.query or parts.fragment or parts.username is not None:
        msg = (
            f"the URL of {provider} can have no query, fragment or user name; its key is a setting"
        )
        raise ValueError(msg)
    return base_url.rstrip("/")


async def _end_all() -> None:
    """Whoever still waits learns that nothing will come."""
    others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _unread(_: bytes, __: str) -> None:
    return None


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that no decimal can have; not a ValueError
        msg = "a number is too large"
        raise ValueError(msg) from None


def _no_number(name: str) -> None:
    msg = f"{name} is no number"
    raise ValueError(msg)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        msg = "a field is there twice"
        raise ValueError(msg)
    return fields
