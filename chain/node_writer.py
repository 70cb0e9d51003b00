"""Sending to a real subtensor node: composed and signed by bittensor, checked, sent, waited for.

:class:`NodeWriter` is the writing half of :mod:`chain.port`. Before anything leaves, the signed
bytes are decoded by another library (substrate-interface) and compared with the order, the signer,
the nonce and the era. After it has left, only finalized blocks are believed
(:func:`chain.lookup.look_up`): not the pool, not a subscription.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from chain.lookup import look_up
from chain.node_calls import CALL_OF, SDK_WEIGHTS, compose
from chain.node_connection import NodeConnection
from chain.node_decode import account, call_from
from chain.orders import Order, WeightsOrder
from chain.port import (
    MORTAL_BLOCKS,
    Call,
    ChainReader,
    ChainUnavailableError,
    OtherChainError,
    OutcomeUnknownError,
    Prepared,
    Receipt,
    Sending,
    SendRefusedError,
    WeightsTerms,
)
from chain.wallets import Signer

ALREADY_IN_POOL: Final = 1013
NONCE_TAKEN_IN_POOL: Final = 1014
INVALID_TRANSACTION: Final = 1010
POOL_REFUSALS: Final = range(1010, 1020)
"""JSON-RPC codes of the pool. 1013 and 1014 say that the nonce is in the pool: ours, or another."""


class NodeWriter:
    """:class:`~chain.port.ChainWriter` over one node's WebSocket.

    ``reader`` reads the finalized blocks in which what was sent is looked for; it may be another
    node. ``signers`` are the opened keys. With ``genesis``
    a node of another chain is refused. ``timeout_s`` bounds each wait for the node, ``final_s``
    the wait for finalization; finalized blocks are looked at every ``poll_s``.
    """

    def __init__(
        self,
        url: str,
        reader: ChainReader,
        signers: Sequence[Signer],
        *,
        genesis: str | None = None,
        timeout_s: float = 30.0,
        final_s: float = 120.0,
        poll_s: float = 3.0,
    ) -> None:
        self._node = NodeConnection(url, timeout_s, genesis=genesis)
        self.place = self._node.place
        self._genesis = genesis
        self._reader = reader
        self._signers: Mapping[str, Signer] = {item.ss58_address: item for item in signers}
        self._final_s = final_s
        self._poll_s = poll_s

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._node.close()

    # --- what the chain asks -------------------------------------------------------------------

    def offers(self, order: type[Order]) -> bool:
        """Whether the metadata of the finalized head has the order's call."""
        needed = CALL_OF[order]
        return self._has_call(*needed) or (order is WeightsOrder and self._has_call(*SDK_WEIGHTS))

    def weights_terms(self, netuid: int, hotkey: str) -> WeightsTerms:
        """Hyperparameters, permit and last update in the state of the finalized head."""
        head = self._reader.finalized_head()

        def ask(name: str, parse: Callable[[Any], Any]) -> Any:
            return self._node.query("SubtensorModule", name, [netuid], head.hash, parse)

        uid = self._node.query("SubtensorModule", "Uids", [netuid, hotkey], head.hash, _uid)
        # A UID may be in somebody's name who holds it no longer; Keys says who holds it now.
        if uid is not None:
            keys = [netuid, uid]
            holder = self._node.query("SubtensorModule", "Keys", keys, head.hash, account)
            uid = uid if holder == hotkey else None
        permits, updates = ask("ValidatorPermit", list), ask("LastUpdate", list)
        known = uid is not None and uid < len(updates)
        updated = int(updates[uid]) if known else 0
        commit_reveal = ask("CommitRevealWeightsEnabled", bool)
        reveal_blocks = None
        if commit_reveal:
            # One epoch more than it takes, for the drand round and for what is left of this one.
            epochs, tempo = ask("RevealPeriodEpochs", int) + 2, ask("Tempo", int) + 1
            reveal_blocks = epochs * tempo
        return WeightsTerms(
            block=head,
            uid=uid,
            permit=uid is not None and uid < len(permits) and bool(permits[uid]),
            version_key=ask("WeightsVersionKey", int),
            rate_limit_blocks=ask("WeightsSetRateLimit", int),
            last_update=updated or None,
            commit_reveal=commit_reveal,
            reveal_blocks=reveal_blocks,
        )

    def _has_call(self, module: str, function: str) -> bool:
        head = self._reader.finalized_head().hash

        def read(node: Any) -> bool:
            node.init_runtime(block_hash=head)
            return node.get_metadata_call_function(module, function, block_hash=head) is not None

        return self._node.ask(f"the call {module}.{function}", read)

    # --- preparing -----------------------------------------------------------------------------

    def prepare(self, order: Order, sending: Sending) -> Prepared:
        """Composed and signed for exactly this nonce and era, then decoded and compared."""
        signer = self._signers.get(sending.signer)
        if signer is None:
            msg = f"no opened wallet holds the key of {sending.signer}, which must sign"
            raise SendRefusedError(msg)
        sdk_weights = isinstance(order, WeightsOrder) and self._has_call(*SDK_WEIGHTS)
        sealed = False
        if isinstance(order, WeightsOrder):
            sealed = self.weights_terms(order.netuid, sending.signer).commit_reveal
            if sealed and not sdk_weights:
                msg = (
                    f"subnet {order.netuid} hides weights until they are revealed, in a form of an "
                    "older runtime that bittensor 11 does not write; they are not sent"
                )
                raise SendRefusedError(msg)
        if not sdk_weights and not self._has_call(*CALL_OF[type(order)]):
            msg = f"the runtime of {self.place} has no call {'.'.join(CALL_OF[type(order)])}"
            raise SendRefusedError(msg)
        self._must_be_in_time(sending)

        async def sign(substrate: Any) -> tuple[bytes, str]:
            # The SDK's connection is one of its own, and a signature is good for one chain.
            found = str(await substrate.raw.get_block_hash(0)).lower()
            if self._genesis is not None and found != self._genesis:
                msg = f"{self.place} serves the chain {found} to bittensor, not {self._genesis}"
                raise OtherChainError(msg)
            call = await compose(substrate, order, signer, sdk_weights=sdk_weights)
            era = {"period": MORTAL_BLOCKS, "current": sending.after_block}
            signed = await substrate.raw.create_signed_extrinsic(
                call, signer, nonce=sending.nonce, era=era
            )
            return bytes(signed.data), str(signed.extrinsic_hash).lower()

        body, extrinsic_hash = self._node.with_sdk(f"signing a {type(order).__name__}", sign)
        self._compare(order, sending, body, sealed=sealed)
        return Prepared(order, sending, extrinsic_hash, body, sealed=sealed)

    def _must_be_in_time(self, sending: Sending) -> None:
        head = self._reader.finalized_head()
        if head.number < sending.after_block:
            msg = f"{self.place} is at block {head.number}, before block {sending.after_block}"
            raise ChainUnavailableError(msg)
        if head.number >= sending.last_block:
            msg = (
                f"it is too late: what is sent after block {sending.after_block} can land up to "
                f"block {sending.last_block}, and the chain is at block {head.number}"
            )
            raise SendRefusedError(msg)

    def _compare(self, order: Order, sending: Sending, body: bytes, *, sealed: bool) -> None:
        value = self._decoded(body)
        call = call_from(value["call"])
        era = (MORTAL_BLOCKS, sending.after_block % MORTAL_BLOCKS)
        said = (str(value["address"]), int(value["nonce"]), tuple(value["era"]), int(value["tip"]))
        wanted = (sending.signer, sending.nonce, era, 0)
        if said != wanted or not _is_asked_for(order, call, sealed=sealed):
            msg = (
                f"what bittensor made is not the {type(order).__name__} that was asked for "
                f"(it is a {call.name} with nonce {said[1]}), so it is not sent"
            )
            raise SendRefusedError(msg)

    def _decoded(self, body: bytes) -> Mapping[str, Any]:
        from scalecodec import ScaleBytes

        def read(node: Any) -> Mapping[str, Any]:
            node.init_runtime()
            extrinsic = node.runtime_config.create_scale_object(
                "Extrinsic", ScaleBytes(bytearray(body)), metadata=node.metadata
            )
            extrinsic.decode()
            value: Mapping[str, Any] = extrinsic.value
            return value

        return self._node.ask("the decoding of what was signed", read)

    # --- sending -------------------------------------------------------------------------------

    def send(self, prepared: Prepared) -> Receipt:
        """Submit, then look for it in the finalized blocks until ``final_s`` is over."""
        self._submit(prepared)
        return self._wait(prepared)

    def _submit(self, prepared: Prepared) -> None:
        """Hand it to the node's pool; returns when it is there, or its nonce is."""
        from substrateinterface.exceptions import SubstrateRequestException

        def submit(node: Any) -> Mapping[str, Any] | None:
            try:
                node.rpc_request("author_submitExtrinsic", ["0x" + prepared.body.hex()])
            except SubstrateRequestException as error:
                said = error.args[0] if error.args else None
                return said if isinstance(said, dict) else {"message": str(error)}
            return None

        try:
            refusal = self._node.ask("author_submitExtrinsic", submit)
        except ChainUnavailableError as error:
            msg = f"{error}; it may have been taken, so it is looked up before it is sent again"
            raise OutcomeUnknownError(msg) from error
        if refusal is None:
            return
        code = refusal.get("code")
        reason = self._node.without_secrets(_one_line(refusal))
        if code in (ALREADY_IN_POOL, NONCE_TAKEN_IN_POOL) or _is_stale(refusal):
            return  # an extrinsic of this nonce is on its way, or has landed: it is waited for
        if code in POOL_REFUSALS:
            msg = f"{self.place} does not take it: {reason}"
            raise SendRefusedError(msg)
        msg = f"{self.place} did not take it and does not say that it never will: {reason}"
        raise OutcomeUnknownError(msg)

    def _wait(self, prepared: Prepared) -> Receipt:
        deadline = time.monotonic() + self._final_s
        seen = "no finalized block with it"
        looked_to: int | None = None
        while True:
            try:
                outlook = look_up(self._reader, prepared.sending, from_block=looked_to)
            except ChainUnavailableError as error:
                seen = str(error)
            else:
                if outlook.landed is not None:
                    if outlook.landed.is_sent(prepared):
                        return outlook.landed.receipt
                    other = outlook.landed.extrinsic
                    msg = (
                        f"nonce {prepared.sending.nonce} of {prepared.sending.signer} was used by "
                        f"another {other.call.name} in block {outlook.landed.block.number}"
                    )
                    raise SendRefusedError(msg)
                if not outlook.may_still_land:
                    msg = f"no block up to {prepared.sending.last_block} took it, and none can now"
                    raise SendRefusedError(msg)
                looked_to = outlook.head + 1
                seen = f"the finalized blocks up to {outlook.head} do not have it"
            if time.monotonic() >= deadline:
                msg = f"{self.place} was sent {prepared.hash}, and after {self._final_s:g} s {seen}"
                raise OutcomeUnknownError(msg)
            time.sleep(self._poll_s)


def _is_asked_for(order: Order, call: Call, *, sealed: bool) -> bool:
    if sealed:
        return isinstance(order, WeightsOrder) and order.may_be_sealed_in(call)
    return order.is_call(call)


def _is_stale(refusal: Mapping[str, Any]) -> bool:
    """The pool's word for a nonce that is used in the best block."""
    return refusal.get("code") == INVALID_TRANSACTION and "outdated" in _one_line(refusal).lower()


def _one_line(refusal: Mapping[str, Any]) -> str:
    message, data = refusal.get("message"), refusal.get("data")
    text = f"{message} ({data})" if data is not None else str(message)
    return " ".join(text.split())[:300]


def _uid(value: Any) -> int | None:
    return None if value is None else int(value)
