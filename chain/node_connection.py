"""One node's WebSocket: every question with a deadline, every failure as unavailability.

substrate-interface 1.8.1 answers most questions, bittensor 11.3 the few it knows better. Each
question comes with a ``parse`` for its answer, which runs inside the same guard: an answer of the
wrong shape is no answer. Both libraries are imported where they are used; together they take more
than a second.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from chain.port import ChainUnavailableError

SS58_FORMAT: Final = 42
MAP_PAGE: Final = 1_000
"""Keys a page of a storage map; a subnet has at most 256 UIDs, so one page does."""

T = TypeVar("T")
Parse = Callable[[Any], T]


class NodeConnection:
    """Asks one node; safe to share between threads, one question at a time.

    ``timeout_s`` bounds each wait for the node. Everything that can go wrong raises
    :class:`~chain.port.ChainUnavailableError` naming the URL and the question. A broken connection
    is dropped and made anew for the next question.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self.url = url
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
            async with bittensor.Subtensor(self.url) as subtensor:
                snapshot = await subtensor.at(number)
                return await snapshot.read(name, **arguments)

        try:
            return parse(asyncio.run(asyncio.wait_for(read(), self._timeout_s)))
        except (bittensor.BittensorError, OSError, ValueError, LookupError, TypeError) as error:
            raise self._unavailable(f"bittensor's {name}", error) from error

    def _unavailable(self, what: str, error: Exception) -> ChainUnavailableError:
        said = error.args[0] if error.args else None
        text = said.get("message") if isinstance(said, dict) else str(error)
        reason = str(text or type(error).__name__)[:300]
        return ChainUnavailableError(f"{self.url} did not answer {what}: {reason}")

    def _connected(self) -> Any:
        if self._substrate is None:
            from substrateinterface import SubstrateInterface

            self._substrate = SubstrateInterface(
                url=self.url, ss58_format=SS58_FORMAT, ws_options={"timeout": self._timeout_s}
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
