"""One node's WebSockets: every question with a deadline, every failure as unavailability.

substrate-interface 1.8.1 decodes most answers, bittensor 11.3 gives the few it knows better. Each
question comes with a ``parse`` for its answer, which runs inside the same guard: an answer of the
wrong shape is no answer. Both libraries are imported where they are used; together they take more
than a second.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from chain.deadlines import within
from chain.node_answers import BLOCK, HEADER, STORAGE, VERSION, KnownAnswers, block_hash_from
from chain.node_url import NodeUrl
from chain.node_wire import Reply, Request, Wire
from chain.port import ChainUnavailableError, OtherChainError, PrunedStateError

if TYPE_CHECKING:
    from chain.node_decoder import Decoder

MAX_WIRES: Final = 8
"""Connections to one node at a time; a question beyond them waits for one."""
MAX_IDLE_S: Final = 15.0
"""A connection idle for longer is not used again: servers ping every 20 seconds or so, nobody
answers on an idle one, and its next question would fail."""
MAP_PAGE: Final = 1_000
"""Entries of a storage map read at once, and at most; a subnet has at most 256 UIDs."""
CLEAN_UP_S: Final = 1.0
"""What bittensor has after the deadline to close its connection, before it is left behind."""
NO_PARENT: Final = "0x" + "0" * 64
STATE_IS_GONE: Final = "already discarded"
"""What a node says of a pruned state: code 4003, "State already discarded for 0x…". Of a block that
it never had it says, under the same code, that the header was not found."""
MAX_REASON_CHARS: Final = 300
FINALIZED_HEAD: Final[Request] = ("chain_getFinalizedHead", [])

T = TypeVar("T")
Parse = Callable[[Any], T]


class AskAll(Protocol):
    """Asks one node all of the requests together; their results in the same order."""

    def __call__(self, *requests: Request) -> list[Any]:
        """Raises what the transport raises."""
        ...


class NodeCannotError(ChainUnavailableError):
    """The node is there and answers, but not this: an error of its own, or it is behind.

    No reason to leave it for other questions.
    """


class _Asking(threading.local):
    """The question that this thread is asking: over which wire, and how long it may yet wait."""

    wire: Wire | None = None
    left_s: float = 0.0
    decodes: bool = False
    ready: dict[str, Reply]
    used: list[Request]

    def __init__(self) -> None:
        self.ready = {}
        self.used = []


class NodeConnection:
    """Asks one node; safe to share between threads, each question over a wire of its own.

    ``timeout_s`` bounds all waiting for the node within one question, and making a connection.
    Everything that can go wrong raises :class:`~chain.port.ChainUnavailableError` naming the node
    and the question: :class:`NodeCannotError` where the node itself said no,
    :class:`~chain.port.PrunedStateError` where it said that it no longer holds the state. A broken
    connection is dropped and made anew. Each new one must serve the chain whose block 0 has the
    hash ``genesis`` (None: that of the first one), else :class:`~chain.port.OtherChainError`.
    ``place`` is the node as it may be shown. Raises :class:`~chain.node_url.NodeUrlError`.
    """

    def __init__(self, url: str, timeout_s: float, *, genesis: str | None = None) -> None:
        self._url = NodeUrl(url)
        self.place = self._url.place
        self._timeout_s = timeout_s
        self._genesis = genesis
        self._slots = threading.BoundedSemaphore(MAX_WIRES)
        self._lock = threading.Lock()
        self._idle: list[Wire] = []
        self._open: set[Wire] = set()
        self._asking = _Asking()
        self._known = KnownAnswers()
        self._decoders: Any = None
        self._metadata: Any = None

    def close(self) -> None:
        """Close all connections; questions under way fail, the next one opens another."""
        with self._lock:
            idle, self._idle = self._idle, []
            busy = self._open.difference(idle)
            self._open.clear()
        for wire in idle:
            wire.close()
        for wire in busy:
            wire.cut()  # its own thread notices, and closes it

    def expect_genesis(self, genesis: str) -> None:
        """From now on the node must serve the chain whose block 0 has that hash."""
        if self._genesis not in (None, genesis):
            self.close()
            self._known.forget()
            self._decoders = None
        self._genesis = genesis

    # --- questions ------------------------------------------------------------------------------

    def rpc(self, method: str, params: list[Any], parse: Parse[T]) -> T:
        """The result of a JSON-RPC method."""
        return self.converse(method, lambda ask: parse(ask((method, params))[0]))

    def converse(self, what: str, talk: Callable[[AskAll], T]) -> T:
        """Ask one and the same node several things: ``talk`` gets a function that asks.

        It takes requests, ``(method, params)``, and gives their results; behind one URL there may
        be several nodes, and two questions may reach two of them.
        """

        def ask(*requests: Request) -> list[Any]:
            return [_result(reply) for reply in self._ask_wire(requests)]

        return self._guarded(what, lambda: talk(ask))

    def finalized_here(self, at_least: int) -> int:
        """Inside of :meth:`converse`: the finalized head of the very node that is asked.

        Asked for only where it is not known to have reached ``at_least``: it never goes back.
        """
        wire = self._asking.wire
        if wire is None:
            msg = "a node's finalized head was asked for outside of a conversation"
            raise RuntimeError(msg)
        if wire.finalized < at_least:
            (head,) = self._ask_wire([FINALIZED_HEAD])
            (header,) = self._ask_wire([(HEADER, [block_hash_from(_result(head))])])
            wire.finalized = max(wire.finalized, number_from(_result(header)))
        return wire.finalized

    def query(
        self, module: str, name: str, params: list[Any], block_hash: str, parse: Parse[T]
    ) -> T:
        """One storage value in the state of a block; the runtime's default where it is empty."""

        def read(node: Decoder) -> T:
            self._known.was_read(node.storage_key(module, name, params).to_hex(), block_hash)
            return parse(node.value(module, name, params, block_hash).value)

        return self.ask_at(f"{module}.{name}", block_hash, read)

    def query_many(
        self, module: str, name: str, keys: list[str], block_hash: str, parse: Parse[T]
    ) -> dict[str, T]:
        """The entries of a one-key map for several keys, in one request."""

        def read(node: Decoder) -> dict[str, T]:
            storage_keys = [node.storage_key(module, name, [key]) for key in keys]
            by_hex = {item.to_hex(): key for item, key in zip(storage_keys, keys, strict=True)}
            answers = node.query_multi(storage_keys, block_hash=block_hash)
            return {by_hex[item.to_hex()]: parse(answer.value) for item, answer in answers}

        return self.ask_at(f"{module}.{name}", block_hash, read) if keys else {}

    def query_map(
        self, module: str, name: str, params: list[Any], block_hash: str, parse: Parse[T]
    ) -> dict[int, T]:
        """All entries under a map's first keys, by the last key, which is a UID."""

        def read(node: Decoder) -> dict[int, T]:
            rows = list(
                node.query_map(
                    module,
                    name,
                    params,
                    block_hash=block_hash,
                    page_size=MAP_PAGE,
                    max_results=MAP_PAGE,
                    ignore_decoding_errors=False,
                )
            )
            if len(rows) >= MAP_PAGE:
                msg = f"more than {MAP_PAGE} entries, where a subnet has 256 UIDs"
                raise ValueError(msg)
            return {int(key.value): parse(value.value) for key, value in rows}

        return self.ask_at(f"{module}.{name}", block_hash, read)

    def ask(self, what: str, read: Callable[[Any], T]) -> T:
        """Run ``read`` on a ``SubstrateInterface`` that follows whatever block it is asked about.

        For what names no block; what reads the state of one is :meth:`ask_at`.
        """

        def in_turn() -> T:
            from chain.node_decoder import Decoder

            self._prepare()
            with self._decoding():
                return read(Decoder(self._call_now, self._metadata))

        return self._guarded(what, in_turn)

    def ask_at(self, what: str, block_hash: str, read: Callable[[Decoder], T]) -> T:
        """Run ``read`` on a ``SubstrateInterface`` of the runtime that made a block."""
        return self._guarded(what, lambda: self._decoded(block_hash, read), block_hash)

    def fetch_ahead(self, requests: Sequence[Request]) -> None:
        """Inside of :meth:`ask_at`: have answers at hand that it will need, in one round."""
        self._within(lambda: self._fetch(requests))

    def read_block(
        self, what: str, block_hash: str, parent_hash: str | None, read: Callable[[Decoder], T]
    ) -> T:
        """As :meth:`ask_at`, with the block and its events fetched in one round before.

        What is read in the state of every block comes along. ``parent_hash`` saves a round where
        it is known. Raises :class:`~chain.port.PrunedStateError` where the body is gone.
        """

        def in_turn() -> T:
            from chain.node_decoder import EVENTS_KEY

            body = (BLOCK, [block_hash])
            values = [EVENTS_KEY, *self._known.habits()]
            self._fetch(
                [
                    body,
                    *((STORAGE, [key, block_hash]) for key in values),
                    *([] if parent_hash is None else [(VERSION, [parent_hash])]),
                ]
            )
            block = _result(self._asking.ready[_spelled(body)])
            if block is None:
                block = self._asked_again(what, block_hash, body)
                self._asking.ready[_spelled(body)] = {"result": block}
            self._known.keep((HEADER, [block_hash]), {"result": block["block"]["header"]})
            return self._decoded(block_hash, read)

        return self._guarded(what, in_turn, block_hash)

    def _asked_again(self, what: str, block_hash: str, body: Request) -> Any:
        """A body that was null, from the same node; raises why it may be where it is again."""
        self._must_be_gone(what, block_hash)
        (reply,) = self._ask_wire([body])
        block = _result(reply)
        if block is None:
            msg = f"{self.place} knows {what} but no longer holds it; ask an archive node"
            raise PrunedStateError(msg)
        return block

    def _must_be_gone(self, what: str, block_hash: str | None) -> None:
        """What this thread's node lacks of a block it must have had; else it may come yet.

        Behind one URL there may be several nodes, and this one may be behind the one that told of
        the block. A node that is syncing says of a state which it does not have yet that it is
        discarded. Raises :class:`NodeCannotError`.
        """
        header: Request = (HEADER, [block_hash])
        asked = [("system_health", []), FINALIZED_HEAD, *([] if block_hash is None else [header])]
        health, head, *found = [_result(reply) for reply in self._ask_wire(asked)]
        if health["isSyncing"]:
            msg = f"{self.place} is still syncing and may not have {what} yet; ask again later"
            raise NodeCannotError(msg)
        if block_hash is None:
            return
        if found[0] is None:
            msg = f"{self.place} does not know {what} and may not have it yet; ask again later"
            raise NodeCannotError(msg)
        (reply,) = self._ask_wire([(HEADER, [block_hash_from(head)])])
        number, reached = number_from(found[0]), number_from(_result(reply))
        if reached < number:
            msg = (
                f"{self.place} is at block {reached}, before {number}, and does not have {what} "
                "yet; ask again later"
            )
            raise NodeCannotError(msg)

    def _decoded(self, block_hash: str, read: Callable[[Decoder], T]) -> T:
        decoder = self._prepare().of(self._version(block_hash), block_hash)
        with self._decoding():
            return read(decoder)

    def ask_bittensor(
        self, number: int, block_hash: str, name: str, parse: Parse[T], **arguments: Any
    ) -> T:
        """One of bittensor's named reads in the state of a block, under the same deadline.

        It opens its own connection and runs its own event loop, in a thread of its own. That
        connection may reach another node than ours did: it must show the same block.
        """
        import bittensor

        async def read() -> Any:
            async with bittensor.Subtensor(self._url.url) as subtensor:
                snapshot = await subtensor.at(number)
                shown = (await snapshot.block_info()).hash
                if str(shown).lower() != block_hash:
                    msg = f"{self.place} holds {shown} as block {number} instead of {block_hash}"
                    raise OtherChainError(msg)
                return await snapshot.read(name, **arguments)

        def run() -> Any:
            return asyncio.run(asyncio.wait_for(read(), self._timeout_s))

        try:
            return parse(within(self._timeout_s + CLEAN_UP_S, run))
        except (bittensor.BittensorError, *_failures()) as error:
            if STATE_IS_GONE in _said(error):
                self._must_lack_state(f"bittensor's {name}", block_hash, error)
            raise self._unavailable(f"bittensor's {name}", error) from error

    def _must_lack_state(self, what: str, block_hash: str, error: Exception) -> None:
        """Whoever told bittensor that a state is gone may have been syncing: the node asked over
        our own connection decides. Raises what follows where it has the state."""
        self.ask_at(
            f"the state for {what}",
            block_hash,
            lambda node: node.value("System", "Number", [], block_hash),
        )
        msg = f"{self.place} did not answer {what}: {self._url.masked(_said(error))}"
        raise NodeCannotError(msg[:MAX_REASON_CHARS]) from error

    def with_sdk(self, what: str, work: Callable[[Any], Awaitable[T]]) -> T:
        """Run ``work`` on a connected ``bittensor.RpcSubstrate`` to the same node, with a deadline.

        For composing and signing, which the SDK does for every runtime it knows. It has its own
        connection and event loop, so this must not be called from inside one. What ``work`` raises
        as a :class:`~chain.port.ChainError` passes through.
        """
        import bittensor

        async def asked() -> T:
            # No other endpoint than this one: what is signed for it is sent to it.
            substrate = bittensor.RpcSubstrate(
                self._url.url, fallback_endpoints=[], archive_endpoints=[]
            )
            await substrate.connect()
            try:
                return await work(substrate)
            finally:
                await substrate.close()

        def run() -> T:
            return asyncio.run(asyncio.wait_for(asked(), self._timeout_s))

        try:
            return within(self._timeout_s + CLEAN_UP_S, run)
        except (bittensor.BittensorError, *_failures()) as error:
            raise self._unavailable(what, error) from error

    def without_secrets(self, text: str) -> str:
        """What a library or the node said, less the keys that the URL may hold."""
        return self._url.masked(text)

    # --- one question at a time -----------------------------------------------------------------

    def _guarded(self, what: str, work: Callable[[], T], block_hash: str | None = None) -> T:
        """Run ``work`` with a wire for this thread; a failure drops the wire, a refusal does not.

        ``block_hash`` is the block whose state it reads, if it is one. Only an error that the node
        itself sent keeps the connection: after any other one an answer may still be on its way, and
        the next question must not take it for its own.
        """
        from substrateinterface.exceptions import SubstrateRequestException

        if self._asking.wire is not None:
            return self._within(work)
        try:
            with self._wire() as wire:
                self._asking.wire = wire
                try:
                    return work()
                except SubstrateRequestException as error:
                    if STATE_IS_GONE in _said(error):
                        self._must_be_gone(what, block_hash)
                    raise
        except SubstrateRequestException as error:
            raise self._unavailable(what, error) from error
        except _failures() as error:
            for request in self._asking.used:  # among them may be what could not be read
                self._known.drop(request)
            raise self._unavailable(what, error) from error
        finally:
            self._asking.wire = None
            self._asking.ready = {}
            self._asking.used = []

    def _within(self, work: Callable[[], T]) -> T:
        """A question within a question, with its wire and its deadline; its guard is the outer."""
        if not self._asking.decodes:
            return work()
        from chain.node_decoder import DECODING

        self._asking.decodes = False
        DECODING.release()
        try:
            return work()
        finally:
            DECODING.acquire()
            self._asking.decodes = True

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        from chain.node_decoder import DECODING

        with DECODING:
            self._asking.decodes = True
            try:
                yield
            finally:
                self._asking.decodes = False

    @contextmanager
    def _wire(self) -> Iterator[Wire]:
        """A wire from the pool, or a new one; it goes back only if nothing went wrong with it."""
        from substrateinterface.exceptions import SubstrateRequestException

        started = time.monotonic()
        if not self._slots.acquire(timeout=self._timeout_s):
            msg = f"all {MAX_WIRES} connections were busy for {self._timeout_s:g} s"
            raise TimeoutError(msg)
        try:
            self._asking.left_s = self._timeout_s - (time.monotonic() - started)
            self._asking.ready = {}
            wire = self._fresh_idle()
            if wire is None:
                wire = self._connected()
            is_whole = False
            try:
                yield wire
                is_whole = True
            except SubstrateRequestException:
                is_whole = True
                raise
            finally:
                with self._lock:
                    kept = is_whole and wire in self._open  # else it was closed meanwhile
                    if kept:
                        self._idle.append(wire)
                    else:
                        self._open.discard(wire)
                if not kept:
                    wire.close()
        finally:
            self._slots.release()

    def _fresh_idle(self) -> Wire | None:
        """The idle wire used last; those that were idle for too long are closed."""
        with self._lock:
            since = time.monotonic() - MAX_IDLE_S
            stale = [wire for wire in self._idle if wire.used_at < since]
            self._idle = [wire for wire in self._idle if wire.used_at >= since]
            self._open.difference_update(stale)
            found = self._idle.pop() if self._idle else None
        for wire in stale:
            wire.close()
        return found

    def _connected(self) -> Wire:
        started = time.monotonic()
        wire = Wire(self._url.url, self._asking.left_s)
        try:
            left_s = self._asking.left_s - (time.monotonic() - started)
            (reply,) = wire.ask([("chain_getBlockHash", [0])], left_s)
            self._asking.left_s -= time.monotonic() - started
            shown = block_hash_from(_result(reply))
            with self._lock:
                self._genesis = self._genesis or shown
                expected = self._genesis
            if shown != expected:
                msg = f"{self.place} serves chain {shown} instead of {expected}; it is not used"
                raise OtherChainError(msg)
        except BaseException:
            wire.close()
            raise
        with self._lock:
            self._open.add(wire)
        return wire

    def _prepare(self) -> Any:
        """The decoders; made when first needed, as they import a heavy library."""
        from chain.node_decoder import Decoders, metadata_of

        with self._lock:
            if self._decoders is None:
                self._metadata = metadata_of(str(self._genesis))
                self._decoders = Decoders(self._call, self._metadata)
            return self._decoders

    def _version(self, block_hash: str) -> int:
        """The runtime that made a block: that of its parent's state; of its own for block 0."""
        header = _result(self._call(HEADER, [block_hash]))
        if header is None:
            msg = f"{self.place} has no block {block_hash}; ask again later"
            raise NodeCannotError(msg)
        parent = header["parentHash"]
        if parent == NO_PARENT:
            parent = block_hash
        return int(_result(self._call(VERSION, [parent]))["specVersion"])

    def _call(self, method: str, params: list[Any]) -> Reply:
        """A reply with its result: known, fetched before, or asked over this thread's wire."""
        request = (method, params)
        self._asking.used.append(request)
        reply = self._known.get(request)
        if reply is None:
            reply = self._asking.ready.pop(_spelled(request), None)
        if reply is None:
            return self._call_now(method, params)
        _result(reply)
        return reply

    def _call_now(self, method: str, params: list[Any]) -> Reply:
        """A reply with its result, over this thread's wire, whatever is known."""
        (reply,) = self._ask_wire([(method, params)])
        _result(reply)
        return reply

    def _fetch(self, requests: Sequence[Request]) -> None:
        """Have the replies at hand, in one round; also those of errors, told when they are read."""
        missing = [request for request in requests if self._known.get(request) is None]
        for request, reply in zip(missing, self._ask_wire(missing), strict=True):
            self._asking.ready[_spelled(request)] = reply

    def _ask_wire(self, requests: Sequence[Request]) -> list[Reply]:
        wire = self._asking.wire
        if wire is None:
            msg = "a question was asked outside of its turn"
            raise RuntimeError(msg)
        if not requests:
            return []
        started = time.monotonic()
        try:
            replies = wire.ask(requests, self._asking.left_s)
        finally:
            self._asking.left_s -= time.monotonic() - started
        for request, reply in zip(requests, replies, strict=True):
            self._known.keep(request, reply)
        return replies

    def _unavailable(self, what: str, error: Exception) -> ChainUnavailableError:
        from substrateinterface.exceptions import SubstrateRequestException

        reason = self._url.masked(_said(error))[:MAX_REASON_CHARS]
        if STATE_IS_GONE in reason:
            msg = f"{self.place} no longer holds the state for {what}: {reason}"
            return PrunedStateError(msg)
        kind = (
            NodeCannotError
            if isinstance(error, SubstrateRequestException)
            else ChainUnavailableError
        )
        return kind(f"{self.place} did not answer {what}: {reason}")


def number_from(header: Any) -> int:
    """The number in a block's header."""
    return int(header["number"], 16)


def _said(error: Exception) -> str:
    said = error.args[0] if error.args else None
    text = said.get("message") if isinstance(said, dict) else str(error)
    return str(text or type(error).__name__)


def _spelled(request: Request) -> str:
    return json.dumps(request)


def _result(reply: Reply) -> Any:
    from substrateinterface.exceptions import SubstrateRequestException

    if reply.get("error") is not None:
        raise SubstrateRequestException(reply["error"])
    return reply["result"]


@cache
def _failures() -> tuple[type[Exception], ...]:
    """What a broken connection and an answer of the wrong shape raise, in us and in libraries."""
    from scalecodec.exceptions import (
        InvalidScaleTypeValueException,
        RemainingScaleBytesNotEmptyException,
    )
    from substrateinterface.exceptions import BlockNotFound
    from websocket import WebSocketException

    return (
        OSError,
        WebSocketException,
        BlockNotFound,
        RemainingScaleBytesNotEmptyException,
        InvalidScaleTypeValueException,
        # So the codec, or a parse, says that the answer is not what the runtime declares. The codec
        # asserts, too, what its input is.
        AssertionError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        NotImplementedError,
        RecursionError,
    )
