"""A node that takes extrinsics: the recorded season, and new finalized blocks made of what is sent.

No node can run here, so this stands in for one. It answers JSON-RPC over a WebSocket from the
recording, decodes what is submitted with the recorded metadata, checks signature, era and nonce as
a pool does, and makes blocks: header, body, ``System.Events`` and changed storage, all encoded by
substrate-interface. What it does not know it says so, as the recording does.

It can be told to misbehave: :class:`Mischief`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from scalecodec import ScaleBytes
from substrateinterface import Keypair, SubstrateInterface
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.cassette import RECORDING, SEASON_DIR
from tests.growing_runtime import DispatchFailureError, Run, fee_of

FIRST_BLOCK_MS = 2_000_000_000_000
BLOCK_MS = 12_000


class PoolError(Exception):
    """The pool does not take it: a JSON-RPC error with its code."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message} | ({} if data is None else {"data": data})


class HangUpError(Exception):
    """Close the connection instead of answering."""


@dataclass
class Mischief:
    """What happens to the next extrinsic, once. ``hold_for_heads`` keeps it in the pool until the
    finalized head was asked for that often; each asking makes a block meanwhile."""

    lose_answer: bool = False
    lose_before: bool = False
    refuse: PoolError | None = None
    fail_with: DispatchFailureError | None = None
    hold_for_heads: int = 0
    drop: bool = False


@dataclass
class _Grown:
    """A block on top of the recording."""

    number: int
    hash: str
    header: dict[str, Any]
    extrinsics: list[str]
    changes: dict[str, str | None] = field(default_factory=dict)


@dataclass
class _Waiting:
    body: str
    mischief: Mischief
    heads_left: int


@cache
def _recording() -> Any:
    sys.path.insert(0, str(SEASON_DIR))
    try:
        from replay import Cassette  # the season's own script, beside the recording
    finally:
        sys.path.remove(str(SEASON_DIR))
    return Cassette(str(RECORDING))


class _Codec(SubstrateInterface):  # type: ignore[misc]
    """substrate-interface over the node in this process that uses it: it encodes and decodes."""

    def __init__(self) -> None:
        self.node: GrowingNode | None = None
        super().__init__(url="http://nowhere.invalid", ss58_format=42)
        self.init_runtime(block_hash=_recording().head)

    def rpc_request(self, method: str, params: Any, _handler: Any = None) -> dict[str, Any]:
        source: Any = _recording() if self.node is None else self.node
        return {"jsonrpc": "2.0", "id": 1, "result": source.answer(method, params or [])}


@cache
def _codec() -> _Codec:
    """One for all nodes of a process: decoding the metadata takes a second."""
    return _Codec()


class GrowingNode:
    """The recording and what grew on it. Safe to share between threads."""

    def __init__(self) -> None:
        self._cassette = _recording()
        self.netuid = int(self._cassette.header["netuid"])
        self._lock = threading.RLock()
        self._blocks: list[_Grown] = []
        self._decoded: dict[str, dict[str, Any]] = {}
        self._opening: dict[str, str | None] = {}
        """What the test put into the state of the recording's head."""
        self._pool: list[_Waiting] = []
        self.mischief: list[Mischief] = []
        """For the next extrinsics, in order; none is left to behave."""
        self.submitted: list[str] = []
        """Every extrinsic the pool was given, taken or not."""
        self.recorded_head = int(self._cassette.answer("chain_getHeader", [])["number"], 16)
        self.codec = _codec()

    # --- the state, for tests ------------------------------------------------------------------

    def put(self, module: str, item: str, params: list[Any], value: Any) -> None:
        """Set a storage value in the state of the newest block (the recording's head at first)."""
        with self._lock:
            changes = self._blocks[-1].changes if self._blocks else self._opening
            changes[self.key(module, item, params)] = self.encoded(module, item, value)

    def get(self, module: str, item: str, params: list[Any]) -> Any:
        """A storage value in the state of the newest block."""
        with self._lock:
            key = self.key(module, item, params)
            return self.decoded(module, item, self._value(key, None))

    def give_uid(self, uid: int, hotkey: str, coldkey: str, *, permit: bool = True) -> None:
        """Make a hotkey of the test the holder of a recorded UID."""
        netuid = self.netuid
        before = self.get("SubtensorModule", "Keys", [netuid, uid])
        self.put("SubtensorModule", "Uids", [netuid, before], None)
        self.put("SubtensorModule", "Keys", [netuid, uid], hotkey)
        self.put("SubtensorModule", "Uids", [netuid, hotkey], uid)
        self.put("SubtensorModule", "Owner", [hotkey], coldkey)
        permits = list(self.get("SubtensorModule", "ValidatorPermit", [netuid]))
        permits[uid] = permit
        self.put("SubtensorModule", "ValidatorPermit", [netuid], permits)

    def give_account(self, address: str, *, free_rao: int = 0, nonce: int = 0) -> None:
        """An account with a balance and a nonce."""
        data = {"free": free_rao, "reserved": 0, "frozen": 0, "flags": 0}
        counts = {"nonce": nonce, "consumers": 0, "providers": 1, "sufficients": 0}
        self.put("System", "Account", [address], {**counts, "data": data})

    @property
    def head(self) -> int:
        """The newest block, which is final."""
        with self._lock:
            return self._blocks[-1].number if self._blocks else self.recorded_head

    def grow(self, blocks: int = 1) -> None:
        """Make blocks, with what waits in the pool and is due."""
        with self._lock:
            for _ in range(blocks):
                self._make([one for one in self._pool if one.heads_left <= 0])

    def landed(self) -> list[dict[str, Any]]:
        """Every signed extrinsic of the grown blocks, decoded, oldest first."""
        with self._lock:
            return [
                value
                for block in self._blocks
                for body in block.extrinsics
                if "address" in (value := self._decode(body))
            ]

    # --- the pool ------------------------------------------------------------------------------

    def submit(self, body: str) -> str:
        """Take an extrinsic or raise :class:`PoolError`; its hash."""
        with self._lock:
            self.submitted.append(body)
            mischief = self.mischief.pop(0) if self.mischief else Mischief()
            if mischief.lose_before:
                raise HangUpError
            if mischief.refuse is not None:
                raise mischief.refuse
            value = self._decode(body)
            if any(one.body == body for one in self._pool):
                raise PoolError(1013, "Transaction is already imported")
            self._check(value, body)
            waiting = _Waiting(body, mischief, mischief.hold_for_heads)
            if not mischief.drop:
                self._pool.append(waiting)
                if waiting.heads_left <= 0:
                    self.grow()
            if mischief.lose_answer:
                raise HangUpError
            return str(value["extrinsic_hash"])

    def _check(self, value: Mapping[str, Any], hex_body: str) -> None:
        signer, nonce = value["address"], value["nonce"]
        self._check_signature(value, self._call_bytes(hex_body))
        due = self.get("System", "Account", [signer])["nonce"]
        if nonce < due:
            raise PoolError(1010, "Invalid Transaction", "Transaction is outdated")
        if nonce > due:
            raise PoolError(1010, "Invalid Transaction", "the nonce is in the future")
        for one in self._pool:
            other = self._decode(one.body)
            if (other["address"], other["nonce"]) == (signer, nonce):
                raise PoolError(1014, "Priority is too low: (0 vs 0)")
        if self.get("System", "Account", [signer])["data"]["free"] < fee_of(value["call"]):
            raise PoolError(1010, "Invalid Transaction", "Inability to pay some fees")

    def _check_signature(self, value: Mapping[str, Any], body: ScaleBytes) -> None:
        """The payload is made anew as the runtime makes it: with the hash of the block at which an
        era of this form began, so that one of an earlier cycle is a bad signature."""
        era = value["era"]
        if era != "00":
            period, phase = era
            now = self.head + 1
            birth = (max(now, phase) - phase) // period * period + phase
            if birth > self.head:
                raise PoolError(
                    1010, "Invalid Transaction", "Transaction has an ancient birth block"
                )
            era = {"period": period, "current": birth}
        self.codec.node = self
        payload = self.codec.generate_signature_payload(
            call=_CallBytes(body), era=era, nonce=value["nonce"], tip=value["tip"]
        )
        ((scheme, signature),) = value["signature"].items()
        assert scheme == "Sr25519"
        if not Keypair(ss58_address=value["address"], ss58_format=42).verify(payload, signature):
            raise PoolError(1010, "Invalid Transaction", "Transaction has a bad signature")

    # --- making blocks -------------------------------------------------------------------------

    def _make(self, waiting: list[_Waiting]) -> None:
        number = self.head + 1
        parent = self._hash_of(number - 1)
        now = self.codec.compose_call(
            "Timestamp", "set", {"now": FIRST_BLOCK_MS + number * BLOCK_MS}
        )
        bodies = [
            str(self.codec.create_unsigned_extrinsic(now).data),
            *(one.body for one in waiting),
        ]
        digest = hashlib.blake2b(json.dumps([parent, number, bodies]).encode(), digest_size=32)
        header = {
            "parentHash": parent,
            "number": hex(number),
            "stateRoot": "0x" + "00" * 32,
            "extrinsicsRoot": "0x" + "00" * 32,
            "digest": {"logs": []},
        }
        block = _Grown(number, "0x" + digest.hexdigest(), header, bodies)
        run = Run(self, number)
        run.inherent()
        for index, one in enumerate(waiting, start=1):
            run.apply(index, self._decode(one.body), one.mischief.fail_with)
            self._pool.remove(one)
        events = self.encoded("System", "Events", run.records)
        block.changes = run.changes | {self.key("System", "Events", []): events}
        self._blocks.append(block)

    # --- JSON-RPC ------------------------------------------------------------------------------

    def answer(self, method: str, params: list[Any]) -> Any:
        """The result of one method; KeyError for what is neither recorded nor grown."""
        own: dict[str, Callable[..., Any]] = {
            "chain_getFinalizedHead": self._head_hash,
            "chain_getFinalisedHead": self._head_hash,
            "chain_getHead": self._head_hash,
            "chain_getBlockHash": self._block_hash,
            "chain_getHeader": self._header,
            "chain_getBlock": self._block,
            "state_getStorage": self._value,
            "state_getStorageAt": self._value,
            "state_queryStorageAt": self._values,
            "state_getKeysPaged": self._keys,
            "author_submitExtrinsic": self.submit,
            "system_accountNextIndex": self._next_index,
            "account_nextIndex": self._next_index,
        }
        with self._lock:
            if method in own:
                return own[method](*params)
            return self._recorded(method, params)

    def _head_hash(self) -> str:
        return self._hash_of(self.head)

    def _block_hash(self, number: int | None = None) -> str | None:
        if number is None:
            return self._head_hash()
        return None if number > self.head else self._hash_of(number)

    def _header(self, block_hash: str | None = None) -> Any:
        grown = self._grown(block_hash)
        return grown.header if grown else self._recorded("chain_getHeader", [block_hash])

    def _block(self, block_hash: str | None = None) -> Any:
        grown = self._grown(block_hash)
        if grown is None:
            return self._recorded("chain_getBlock", [block_hash])
        body = {"header": grown.header, "extrinsics": grown.extrinsics}
        return {"block": body, "justifications": None}

    def _values(self, keys: list[str], at: str | None = None) -> Any:
        changes = [[key, self._value(key, at)] for key in keys]
        return [{"block": at or self._head_hash(), "changes": changes}]

    def _next_index(self, address: str) -> int:
        return int(self.get("System", "Account", [address])["nonce"])

    def pass_time(self) -> None:
        """Somebody asks for the head: what is held back in the pool comes nearer to its block."""
        with self._lock:
            held = [one for one in self._pool if one.heads_left > 0]
            for one in held:
                one.heads_left -= 1
            if held:
                self.grow()

    def _recorded(self, method: str, params: list[Any]) -> Any:
        grown = {block.hash for block in self._blocks}
        at_head = [self._cassette.head if item in grown else item for item in params]
        return self._cassette.answer(method, at_head)

    def _hash_of(self, number: int) -> str:
        if number > self.recorded_head:
            return self._blocks[number - self.recorded_head - 1].hash
        return str(self._cassette.answer("chain_getBlockHash", [number]))

    def _grown(self, block_hash: str | None) -> _Grown | None:
        if block_hash is None:
            return self._blocks[-1] if self._blocks else None
        return next((block for block in self._blocks if block.hash == block_hash), None)

    def _layers(self, at: str | None) -> list[Mapping[str, str | None]] | None:
        """What was changed up to a block, newest first; None for a block before the head."""
        if at is None or at == self._hash_of(self.head):
            upto = len(self._blocks)
        elif at == self._cassette.head:
            upto = 0
        else:
            grown = self._grown(at)
            if grown is None:
                return None
            upto = grown.number - self.recorded_head
        return [*(block.changes for block in reversed(self._blocks[:upto])), self._opening]

    def _value(self, key: str, at: str | None = None) -> str | None:
        layers = self._layers(at)
        if layers is None:
            return self._recorded_value(str(at), key)
        for layer in layers:
            if key in layer:
                return layer[key]
        return self._recorded_value(self._cassette.head, key)

    def _recorded_value(self, at: str, key: str) -> str | None:
        value: str | None = self._cassette.value(at, key)
        return value

    def _keys(
        self, prefix: str, count: int, start: str | None = None, at: str | None = None
    ) -> Any:
        layers = self._layers(at)
        if layers is None or (self._cassette.head, prefix) not in self._cassette.keys:
            return self._recorded("state_getKeysPaged", [prefix, count, start, at])
        found = dict.fromkeys(self._cassette.keys[self._cassette.head, prefix], True)
        for layer in reversed(layers):
            for key, value in layer.items():
                if key.startswith(prefix):
                    found[key] = value is not None
        keys = sorted(key for key, is_there in found.items() if is_there)
        return [key for key in keys if start is None or start == prefix or key > start][:count]

    # --- the library's encoding ----------------------------------------------------------------

    def _item(self, module: str, item: str) -> Any:
        return self.codec.metadata.get_metadata_pallet(module).get_storage_function(item)

    def key(self, module: str, item: str, params: list[Any]) -> str:
        """A storage key in hex."""
        return str(self.codec.create_storage_key(module, item, params).to_hex())

    def encoded(self, module: str, item: str, value: Any) -> str | None:
        """A storage value's bytes in hex; None removes the key."""
        if value is None:
            return None
        kind = self._item(module, item).get_value_type_string()
        scale = self.codec.runtime_config.create_scale_object(kind, metadata=self.codec.metadata)
        return str(scale.encode(value).to_hex())

    def decoded(self, module: str, item: str, raw: str | None) -> Any:
        """A storage value as substrate-interface shows it; the runtime's default where empty."""
        function = self._item(module, item)
        if raw is None:
            if function.value["modifier"] == "Optional":
                return None
            raw = function.value_object["default"].value_object
        scale = self.codec.runtime_config.create_scale_object(
            function.get_value_type_string(), ScaleBytes(raw), metadata=self.codec.metadata
        )
        return scale.decode()

    def current(self, key: str) -> str | None:
        """The bytes under a key in the state of the newest block."""
        return self._value(key, None)

    def _decode(self, body: str) -> dict[str, Any]:
        """What the extrinsic says, which nobody changes: all of a chain's are looked at often."""
        found = self._decoded.get(body)
        if found is None:
            found = self._decoded[body] = self._extrinsic(body).value
        return found

    def _extrinsic(self, body: str) -> Any:
        extrinsic = self.codec.runtime_config.create_scale_object(
            "Extrinsic", ScaleBytes(body), metadata=self.codec.metadata
        )
        extrinsic.decode()
        return extrinsic

    def _call_bytes(self, body: str) -> ScaleBytes:
        """The bytes of an extrinsic's call as they were signed, not as they are encoded anew."""
        call = self._extrinsic(body).value_object["call"]
        whole = bytes.fromhex(body.removeprefix("0x"))
        return ScaleBytes(bytearray(whole[call.data_start_offset : call.data_end_offset]))


@dataclass(frozen=True)
class _CallBytes:
    """As much of a call as signing needs."""

    data: ScaleBytes


@contextmanager
def serving(node: GrowingNode) -> Iterator[str]:
    """Serve the node on a free port; yields its ``ws://`` URL."""

    def reply(request: Mapping[str, Any], connection: ServerConnection) -> dict[str, Any]:
        method, params = request["method"], request.get("params") or []
        about = {"jsonrpc": "2.0", "id": request["id"]}
        if method == "chain_getFinalizedHead":
            node.pass_time()
        try:
            if method == "author_submitAndWatchExtrinsic":
                node.submit(params[0])
                name = f"watch-{request['id']}"
                head = node.answer("chain_getFinalizedHead", [])
                note = {"subscription": name, "result": {"finalized": head}}
                update = {"jsonrpc": "2.0", "method": "author_extrinsicUpdate", "params": note}
                connection.send(json.dumps(about | {"result": name}))
                return update
            return about | {"result": node.answer(method, params)}
        except PoolError as error:
            return about | {"error": error.error}
        except (KeyError, IndexError, TypeError, AttributeError):
            said = f"not in the cassette: {method} {json.dumps(params)[:200]}"
            return about | {"error": {"code": -32000, "message": said}}

    def handle(connection: ServerConnection) -> None:
        try:
            for message in connection:
                connection.send(json.dumps(reply(json.loads(message), connection)))
        except (ConnectionClosed, HangUpError):
            return  # the client went away, or the test wants its answer lost

    with serve(handle, "127.0.0.1", 0, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join(timeout=10)
