"""Commitments, plain and timelocked, and their reveals.

A timelocked payload is hidden by the pulse of its round, which this chain derives from its genesis:
the form is that of drand, the secrecy is not. Whoever knows the genesis can read ahead.
"""

from __future__ import annotations

import hashlib
from typing import Any

from chain.simulated.accounts import blake2b_256
from chain.simulated.execution import DispatchError, Execution
from chain.simulated.world import Revealed, Timelocked

MAX_BIG_RAW_BYTES = 512
MAX_TIMELOCKED_BYTES = 1_024


def fields_of(genesis_hash: str, payload: bytes, reveal_at: int | None) -> list[dict[str, Any]]:
    """The ``info.fields`` of a ``set_commitment``: one ``BigRaw`` or one ``TimelockEncrypted``.

    Bytes are ``0x`` hex. Raises ValueError for a payload that no such field holds (DOMAIN 1).
    """
    limit = MAX_BIG_RAW_BYTES if reveal_at is None else MAX_TIMELOCKED_BYTES
    if len(payload) > limit:
        msg = f"a commit of {len(payload)} bytes does not fit into a field of {limit}"
        raise ValueError(msg)
    if reveal_at is None:
        return [{"BigRaw": "0x" + payload.hex()}]
    encrypted = "0x" + _under_pulse(genesis_hash, reveal_at, payload).hex()
    return [{"TimelockEncrypted": {"encrypted": encrypted, "reveal_round": reveal_at}}]


def set_commitment(run: Execution, signer: str, netuid: int, info: dict[str, Any]) -> None:
    """Keep the hotkey's commitment in place of its earlier one; only registered ones may (R9)."""
    if netuid != run.genesis.netuid or run.world.uid_of(signer) is None:
        raise DispatchError("Commitments.AccountNotAllowedCommit")
    sealed = info["fields"][0].get("TimelockEncrypted")
    if sealed is None:
        run.world.set_commitment(signer, None)
        run.emit("Commitments", "Commitment", netuid=netuid, who=signer)
        return
    reveal_round = int(sealed["reveal_round"])
    # A round that has already come is looked at when the next block begins.
    due = max(reveal_round, run.number + 1)
    run.world.set_commitment(signer, Timelocked(sealed["encrypted"], reveal_round, due))
    run.emit(
        "Commitments", "TimelockCommitment", netuid=netuid, who=signer, reveal_round=reveal_round
    )


def reveal_due(run: Execution) -> None:
    """Before a block's extrinsics: reveal what is due, by public key, registered or not."""
    for hotkey in run.world.reveals_due(run.number):
        sealed = run.world.timelocked(hotkey)
        if sealed is None:
            msg = f"a reveal of {hotkey} is due at block {run.number}, but nothing is sealed"
            raise ValueError(msg)
        encrypted = bytes.fromhex(sealed.encrypted.removeprefix("0x"))
        payload = _under_pulse(run.genesis.hash, sealed.reveal_round, encrypted)
        run.world.reveal(hotkey, Revealed("0x" + payload.hex(), run.number))
        run.emit("Commitments", "CommitmentRevealed", netuid=run.genesis.netuid, who=hotkey)


def _under_pulse(genesis_hash: str, reveal_round: int, data: bytes) -> bytes:
    """Hide or unhide: exclusive-or with a stream drawn from the round's pulse."""
    pulse = blake2b_256(f"pulse of round {reveal_round} of {genesis_hash}".encode())
    stream = hashlib.shake_256(pulse).digest(len(data))
    return bytes(left ^ right for left, right in zip(data, stream, strict=True))
