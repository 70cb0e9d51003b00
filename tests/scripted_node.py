"""A node that misbehaves by a seeded script: JSON-RPC over WebSocket, answered from the recording.

A :class:`ScriptedNode` plays the recorded season (``../shared/chain``). A :class:`Script` says what
it does wrong, how often, and from which seed; what it does right is what the recording says. It
counts what it did, so that a test can tell that the faults it is about took place.

Left out on purpose: an answer of the right form that is a lie. Nobody can tell it from the truth.
"""

from __future__ import annotations

import importlib.util
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.cassette import RECORDING, REPLAY

OTHER_GENESIS: Final = "0x" + "99" * 32
"""Block 0 of the chain that a strange node serves."""
STATE_METHODS: Final = frozenset(
    {
        "state_getStorage",
        "state_getStorageAt",
        "state_queryStorageAt",
        "state_getKeysPaged",
        "state_call",
        "state_getMetadata",
        "state_getRuntimeVersion",
    }
)
HANG, DRIP, DROP, LATE, STRANGE, REPEAT, REORDER, GARBAGE, OLD_HEAD, ERROR = (
    "hang",
    "drip",
    "drop",
    "late",
    "strange",
    "repeat",
    "reorder",
    "garbage",
    "old_head",
    "error",
)
ALL_FAULTS: Final = (
    HANG,
    DRIP,
    DROP,
    LATE,
    STRANGE,
    REPEAT,
    REORDER,
    GARBAGE,
    OLD_HEAD,
    ERROR,
)
"""What a script may ask for:

- ``hang``: the question is never answered; the connection stays.
- ``drip``: the same, with a ping and a notification every few milliseconds.
- ``drop``: the connection ends in the middle of the answer.
- ``late``: the answer comes when the asker has long given up.
- ``strange``: a new connection is to a node of another chain.
- ``repeat``: the answer comes twice.
- ``reorder``: the answer comes after that of the next question.
- ``garbage``: something that is no answer, or an answer of the wrong type.
- ``old_head``: an older block is told as finalized head.
- ``error``: error -32000.
"""
_GARBAGE_TEXTS: Final = ("", "no json", "[]", "7", "null", '"text"', "{", "[[[[")
_GARBAGE_RESULTS: Final = (7, [7], {"7": 7}, "0x0", "no hex", True)


@dataclass(frozen=True)
class Script:
    """What a node does wrong.

    ``share`` is the part of its answers (for ``strange``: of its connections) that one of
    ``faults`` spoils, until ``most`` were spoilt (None: for ever). ``head`` is the finalized head
    at first; each time it is asked for it has grown by ``grows``, up to the recording's. States
    (and bodies, if ``prunes_bodies``) of blocks before ``head - keeps_states`` are discarded. From
    a block of ``upgrades`` on, the state has that spec version. An ``is_strange`` node is of
    another chain on all connections.
    """

    seed: object = 0
    faults: tuple[str, ...] = ()
    share: float = 0.0
    most: int | None = None
    head: int = 77
    grows: int = 0
    keeps_states: int | None = None
    prunes_bodies: bool = False
    upgrades: Mapping[int, int] = field(default_factory=dict)
    late_s: float = 1.0
    is_strange: bool = False
    lags: tuple[int, ...] = (0,)
    """One number for each backend behind the URL: the blocks that it is behind. A new connection
    is made to the next of them."""
    headers_from: int = 0
    """The blocks before this one, but block 0, are unknown, by hash and by number."""
    is_syncing: bool = False


class _ErrorAnswerError(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message}


class ScriptedNode:
    """The node itself. ``did`` counts faults by name, ``asked`` questions by method."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.url = ""
        self.did: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.metadata_of: list[str | None] = []
        """The blocks whose metadata was asked for, in order."""
        self.connections = 0
        self.head = script.head
        self.is_silent = False
        """While true, no question is answered at all."""
        self._cassette = recorded_season()
        self._hashes = _hashes()
        self._numbers = {block_hash: number for number, block_hash in enumerate(self._hashes)}
        self._random = random.Random(str(script.seed))
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._backend = threading.local()
        """The thread's connection: ``lag``, how far behind whoever answers it is."""

    # -- what it says ----------------------------------------------------------------------------

    def answer(self, method: str, params: list[Any]) -> Any:
        """What the node says if nothing goes wrong; raises for an error of its own."""
        if method == "chain_getFinalizedHead":
            with self._lock:
                told = max(0, self.head - self._lag())
                self.head = min(self.head + self.script.grows, len(self._hashes) - 1)
            return self._hashes[told]
        if method == "system_health":
            return {"peers": 1, "isSyncing": self.script.is_syncing, "shouldHavePeers": True}
        self._must_hold(method, params)
        if self._lacks(method, params):
            return None
        if method == "state_getMetadata":
            self.metadata_of.append(params[0] if params else None)
        try:
            found = self._cassette.answer(method, params)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            msg = f"not in the cassette: {method} {json.dumps(params)[:200]}"
            raise _ErrorAnswerError(-32000, msg) from error
        if method == "state_getRuntimeVersion" and params:
            number = self._numbers[params[0] or self._hashes[-1]]
            return found | {"specVersion": self._version(number, found)}
        return found

    def _version(self, number: int, recorded: Mapping[str, Any]) -> int:
        since = [block for block in self.script.upgrades if block <= number]
        return self.script.upgrades[max(since)] if since else int(recorded["specVersion"])

    def _lag(self) -> int:
        return getattr(self._backend, "lag", 0)

    def _has(self, number: int) -> bool:
        """Whether whoever answers here knows that block at all."""
        newest = max(self.head, self.script.head) - self._lag() if self._lag() else number
        return number == 0 or self.script.headers_from <= number <= newest

    def _lacks(self, method: str, params: list[Any]) -> bool:
        """Whether the answer to a question about a block is null."""
        if not params or params[0] is None:
            return False
        if method == "chain_getBlockHash":
            return not self._has(params[0])
        if method not in {"chain_getBlock", "chain_getHeader"}:
            return False
        number = self._numbers.get(params[0])
        if method == "chain_getHeader":
            return number is None or not self._has(number)
        if number is None:
            return False
        return not self._has(number) or (self.script.prunes_bodies and self._is_old(params[0]))

    def _must_hold(self, method: str, params: list[Any]) -> None:
        number = self._numbers.get(str(params[-1])) if params else None
        if method in STATE_METHODS and number is not None and not self._has(number):
            msg = "Client error: UnknownBlock: Header was not found in the database"
            raise _ErrorAnswerError(4003, msg)
        if method in STATE_METHODS and params and self._is_old(params[-1]):
            msg = f"Client error: UnknownBlock: State already discarded for {params[-1]}"
            raise _ErrorAnswerError(4003, msg)

    def _is_old(self, block_hash: object) -> bool:
        keeps = self.script.keeps_states
        number = self._numbers.get(str(block_hash))
        return keeps is not None and number is not None and number < self.head - keeps

    # -- what goes wrong -------------------------------------------------------------------------

    def _fault(self, *possible: str) -> str | None:
        """One of the script's faults among those possible here, as often as the script says."""
        script = self.script
        faults = [fault for fault in script.faults if fault in possible]
        with self._lock:
            if script.most is not None and self.did.total() >= script.most:
                return None
            if not faults or self._random.random() >= script.share:
                return None
            fault = self._random.choice(faults)
            self.did[fault] += 1
            return fault

    def serve(self, connection: ServerConnection) -> None:
        """Answer one connection until it ends."""
        with self._lock:
            lags = self.script.lags
            self._backend.lag = lags[self.connections % len(lags)]
            self.connections += 1
        strange = self.script.is_strange or self._fault(STRANGE) is not None
        held: list[str] = []
        try:
            while not self._ended.is_set():
                try:
                    text = connection.recv(timeout=0.02 if held else None)
                except TimeoutError:
                    self._send(connection, held)  # no other question came that could overtake
                    continue
                request = json.loads(text)
                self.asked[request["method"]] += 1
                reply = json.dumps(self._reply(request, strange=strange))
                fault = HANG if self.is_silent else self._fault(*_faults_of(request["method"]))
                if fault == REORDER:
                    held.append(reply)
                    continue
                self._misbehave(connection, request, reply, fault)
                self._send(connection, held)
        except (ConnectionClosed, OSError):
            return  # the reader may hang up at any time, and is meant to

    @staticmethod
    def _send(connection: ServerConnection, held: list[str]) -> None:
        while held:
            connection.send(held.pop(0))

    def _reply(self, request: Mapping[str, Any], *, strange: bool) -> dict[str, Any]:
        reply = {"jsonrpc": "2.0", "id": request["id"]}
        method, params = request["method"], request["params"]
        try:
            found = self.answer(method, params)
        except _ErrorAnswerError as error:
            return reply | {"error": error.body}
        if strange and method == "chain_getBlockHash":
            found = OTHER_GENESIS if params == [0] else "0x" + "98" * 32
        return reply | {"result": found}

    def _misbehave(
        self,
        connection: ServerConnection,
        request: Mapping[str, Any],
        reply: str,
        fault: str | None,
    ) -> None:
        if fault == HANG:
            return
        if fault == DRIP:
            note = {
                "jsonrpc": "2.0",
                "method": "drip",
                "params": {"subscription": "s", "result": 7},
            }
            while not self._ended.wait(0.005):
                connection.ping()
                connection.send(json.dumps(note))
        elif fault == DROP:
            self._drop(connection, reply)
        elif fault == LATE:
            self._ended.wait(self.script.late_s)
            connection.send(reply)
        elif fault == GARBAGE:
            connection.send(self._garbage(request))
        elif fault == ERROR:
            body = {"code": -32000, "message": "Server error: the script says no"}
            connection.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": body}))
        elif fault == OLD_HEAD:
            with self._lock:
                older = self._hashes[max(0, self.head - self._random.randint(1, 20))]
            connection.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": older}))
        else:
            for _ in range(2 if fault == REPEAT else 1):
                connection.send(reply)

    def _garbage(self, request: Mapping[str, Any]) -> str:
        with self._lock:
            if self._random.random() < 0.5:
                return self._random.choice(_GARBAGE_TEXTS)
            result = self._random.choice(_GARBAGE_RESULTS)
        return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result})

    @staticmethod
    def _drop(connection: ServerConnection, reply: str) -> None:
        """Begin a frame of the whole answer, send half of it, and hang up."""
        data = reply.encode()
        connection.socket.sendall(
            b"\x81\x7f" + len(data).to_bytes(8, "big") + data[: len(data) // 2]
        )
        connection.socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Let go of everybody who waits."""
        self._ended.set()


def _faults_of(method: str) -> tuple[str, ...]:
    """The faults that an answer to that question may have."""
    spoilt = tuple(fault for fault in ALL_FAULTS if fault not in {STRANGE, OLD_HEAD})
    return (*spoilt, OLD_HEAD) if method == "chain_getFinalizedHead" else spoilt


@contextmanager
def scripted_node(script: Script) -> Iterator[ScriptedNode]:
    """A node on a free port, for as long as the block lasts."""
    node = ScriptedNode(script)
    with serve(
        node.serve, "127.0.0.1", 0, max_size=None, ping_interval=None, close_timeout=1
    ) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        node.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        try:
            yield node
        finally:
            node.end()
            server.shutdown()
            thread.join(timeout=10)


@cache
def recorded_season() -> Any:
    """The recording, by the replay script that lies beside it."""
    spec = importlib.util.spec_from_file_location("season_replay", REPLAY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Cassette(RECORDING)


@cache
def _hashes() -> list[str]:
    """The hashes of the recorded blocks, by number."""
    season = recorded_season()
    return [season.answer("chain_getBlockHash", [n]) for n in range(season.header["head"] + 1)]
