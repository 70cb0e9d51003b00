"""One node's WebSocket: every question with a deadline, every failure as unavailability.

substrate-interface 1.8.1 answers most questions, bittensor 11.3 the few it knows better. Each
question comes with a ``parse`` for its answer, which runs inside the same guard: an answer of the
wrong shape is no answer. Both libraries are imported where they are used; together they take more
than a second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit

from chain.port import ChainUnavailableError

SS58_FORMAT: Final = 42
_SHORTEST_KEY: Final = 4
"""Shorter parts of a path are words like `ws`; hiding them would hide the reason too."""
MAP_PAGE: Final = 1_000
"""Keys a page of a storage map; a subnet has at most 256 UIDs, so one page does."""

T = TypeVar("T")
Parse = Callable[[Any], T]


class NodeUrlError(ValueError):
    """A URL of no node; the message is one sentence and quotes none of it."""


class NodeConnection:
    """Asks one node; safe to share between threads, one question at a time.

    ``timeout_s`` bounds each wait for the node. Everything that can go wrong raises
    :class:`~chain.port.ChainUnavailableError` naming the node and the question. A broken connection
    is dropped and made anew for the next question. ``place`` is the node as it may be shown:
    scheme, host and port, for a path, a query or a login may be somebody's key. Raises
    :class:`NodeUrlError` for a URL other than ``ws://`` or ``wss://``.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = _node_parts(url)
        self.place = _place(parts)
        self._url = url
        self._secrets = _secrets(url, parts)
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._substrate: Any = None

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        with self._lock:
            self._drop()

    def rpc(self, method: str, params: list[Any], parse: Parse[T]) -> T:
        """The result of a JSON-RPC method."""
        return self.ask(method, lambda node: parse(node.rpc_request(method, params)["result"]))

    def query(
        self, module: str, name: str, params: list[Any], block_hash: str, parse: Parse[T]
    ) -> T:
        """One storage value in the state of a block; the runtime's default where it is empty."""
        return self.ask(
            f"{module}.{name}",
            lambda node: parse(node.query(module, name, params, block_hash=block_hash).value),
        )

    def query_many(
        self, module: str, name: str, keys: list[str], block_hash: str, parse: Parse[T]
    ) -> dict[str, T]:
        """The entries of a one-key map for several keys, in one request."""

        def read(node: Any) -> dict[str, T]:
            node.init_runtime(block_hash=block_hash)
            storage_keys = [node.create_storage_key(module, name, [key]) for key in keys]
            by_hex = {item.to_hex(): key for item, key in zip(storage_keys, keys, strict=True)}
            answers = node.query_multi(storage_keys, block_hash=block_hash)
            return {by_hex[item.to_hex()]: parse(answer.value) for item, answer in answers}

        return self.ask(f"{module}.{name}", read) if keys else {}

    def query_map(
        self, module: str, name: str, params: list[Any], block_hash: str, parse: Parse[T]
    ) -> dict[int, T]:
        """All entries under a map's first keys, by the last key, which is a UID."""

        def read(node: Any) -> dict[int, T]:
            rows = node.query_map(module, name, params, block_hash=block_hash, page_size=MAP_PAGE)
            return {int(key.value): parse(value.value) for key, value in rows}

        return self.ask(f"{module}.{name}", read)

    def error_name(self, module_index: int, error_index: int) -> str:
        """The name of a pallet's error in the metadata of the runtime last read."""
        return self.ask(
            f"error {error_index} of pallet {module_index}",
            lambda node: str(node.metadata.get_module_error(module_index, error_index).name),
        )

    def ask(self, what: str, read: Callable[[Any], T]) -> T:
        """Run ``read`` on the connected ``SubstrateInterface``.

        Only an error that the node itself sent keeps the connection: after any other one an answer
        may still be on its way, and the next question must not take it for its own.
        """
        from substrateinterface.exceptions import BlockNotFound, SubstrateRequestException
        from websocket import WebSocketException

        with self._lock:
            try:
                return read(self._connected())
            except SubstrateRequestException as error:
                raise self._unavailable(what, error) from error
            except (OSError, WebSocketException, BlockNotFound) as error:
                self._drop()
                raise self._unavailable(what, error) from error
            except (ValueError, LookupError, TypeError, NotImplementedError) as error:
                # So the codec, or a parse, says that the answer is not what the runtime declares.
                self._drop()
                raise self._unavailable(what, error) from error

    def ask_bittensor(self, number: int, name: str, parse: Parse[T], **arguments: Any) -> T:
        """One of bittensor's named reads in the state of a block, under the same deadline.

        It opens its own connection and runs its own event loop, so it must not be called from
        inside one.
        """
        import bittensor

        async def read() -> Any:
            async with bittensor.Subtensor(self._url) as subtensor:
                snapshot = await subtensor.at(number)
                return await snapshot.read(name, **arguments)

        try:
            return parse(asyncio.run(asyncio.wait_for(read(), self._timeout_s)))
        except (bittensor.BittensorError, OSError, ValueError, LookupError, TypeError) as error:
            raise self._unavailable(f"bittensor's {name}", error) from error

    def with_sdk(self, what: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run ``work`` on a connected ``bittensor.RpcSubstrate`` to the same node, with a deadline.

        For composing and signing, which the SDK does for every runtime it knows. It has its own
        connection and event loop, so this must not be called from inside one. What ``work`` raises
        as a :class:`~chain.port.ChainError` passes through.
        """
        import bittensor

        async def run() -> T:
            # No other endpoint than this one: what is signed for it is sent to it.
            substrate = bittensor.RpcSubstrate(
                self._url, fallback_endpoints=[], archive_endpoints=[]
            )
            await substrate.connect()
            try:
                return await work(substrate)
            finally:
                await substrate.close()

        try:
            return asyncio.run(asyncio.wait_for(run(), self._timeout_s))
        except (bittensor.BittensorError, OSError, ValueError, LookupError, TypeError) as error:
            raise self._unavailable(what, error) from error

    def without_secrets(self, text: str) -> str:
        """What a library or the node said, less the keys that the URL may hold."""
        for secret in self._secrets:  # libraries quote the URL, and nodes the path they were asked
            text = text.replace(secret, "***")
        return text

    def _unavailable(self, what: str, error: Exception) -> ChainUnavailableError:
        said = error.args[0] if error.args else None
        text = said.get("message") if isinstance(said, dict) else str(error)
        reason = self.without_secrets(str(text or type(error).__name__))
        return ChainUnavailableError(f"{self.place} did not answer {what}: {reason[:300]}")

    def _connected(self) -> Any:
        if self._substrate is None:
            from substrateinterface import SubstrateInterface

            self._substrate = SubstrateInterface(
                url=self._url, ss58_format=SS58_FORMAT, ws_options={"timeout": self._timeout_s}
            )
        return self._substrate

    def _drop(self) -> None:
        from websocket import WebSocketException

        substrate, self._substrate = self._substrate, None
        if substrate is None:
            return
        try:
            substrate.close()
        except (OSError, WebSocketException):
            # It is broken already, which is why it is dropped; the caller reports the first error.
            return


def _node_parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number; the error quotes it, so it is not kept as cause
        usable = False
    if not usable:
        msg = "the node's URL must be ws:// or wss:// with a host, such as ws://127.0.0.1:9944"
        raise NodeUrlError(msg)
    return parts


def _place(parts: SplitResult) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _secrets(url: str, parts: SplitResult) -> list[str]:
    """What of a URL may be a key, as any library may quote it; the longest first."""
    words = [*parts.path.split("/"), parts.username or ""]
    words += [pair.partition("=")[2] for pair in parts.query.split("&")]
    pieces = [word for word in words if len(word) >= _SHORTEST_KEY]
    pieces += [parts.query, parts.password or ""]
    whole = [url] if url.rstrip("/") != _place(parts) else []
    known = {*whole, *pieces, *map(unquote, pieces)} - {""}
    return sorted(known, key=len, reverse=True)
