"""What people do on the simulated chain: the kinds of extrinsics a season's script is made of.

A script maps a block's number to the extrinsics it holds, in order. Addresses are SS58, money rao.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from chain.simulated.genesis import ScriptError


class Landed(NamedTuple):
    """Where a labelled extrinsic is: what a miner writes into a commit as proof of payment."""

    extrinsic_hash: str
    block_hash: str


Labels = Mapping[str, Landed]
Payload = bytes | Callable[[Labels], bytes]
"""Commit bytes, or how to make them once earlier blocks have given the payments their hashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """A submission fee as DOMAIN 2 asks for it; the optional fields make one wrong thing each.

    ``outer`` other than ``batch_all`` breaks R4 (``transfer`` is the lone transfer, without
    remarks); ``destination`` pays somebody else (R5); ``remarks`` replaces the one right remark by
    none, another or several (R6); ``signer`` lets a stranger sign and pay (R7).
    """

    label: str
    coldkey: str
    hotkey: str
    digest: str
    treasury: str
    amount_rao: int = 100_000_000
    outer: Literal["batch_all", "batch", "transfer"] = "batch_all"
    remarks: tuple[str, ...] | None = None
    destination: str | None = None
    signer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A hotkey's commitment; timelocked when ``reveal_at`` names the block of its reveal.

    A hotkey has one commitment at a time: a further one replaces it, and a timelocked one replaced
    before its reveal is never revealed (DOMAIN 1).
    """

    hotkey: str
    payload: Payload
    reveal_at: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """The coldkey registers a hotkey: at the lowest free UID, or in place of a UID's holder."""

    hotkey: str
    coldkey: str
    replacing_uid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapColdkey:
    """All hotkeys, stake and free balance of ``old`` become those of ``new``."""

    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapHotkey:
    """The coldkey gives the UID of one of its hotkeys to another, with permit and weights."""

    coldkey: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrimUids:
    """Root empties the subnet's UIDs from ``max_uids`` on, as the runtime does without an event."""

    max_uids: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LockStake:
    """A coldkey locks alpha of its stake towards a hotkey's conviction (DOMAIN 6)."""

    coldkey: str
    hotkey: str
    alpha: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPerpetualLock:
    """A coldkey's lock stops or goes on decaying."""

    coldkey: str
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A plain transfer of TAO."""

    source: str
    destination: str
    rao: int
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetSubnetOwner:
    """The subnet passes to another owner, and with it which UIDs burn."""

    hotkey: str
    coldkey: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWeights:
    """A validator's weights: u16 by UID, the largest 65,535."""

    hotkey: str
    uids: tuple[int, ...]
    values: tuple[int, ...]
    version_key: int
    netuid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuyAndBurn:
    """``add_stake_burn``: buy alpha for ``amount_rao`` and burn it, in one extrinsic."""

    coldkey: str
    hotkey: str
    amount_rao: int
    max_price_rao: int
    netuid: int | None = None


ScriptedExtrinsic = (
    Pay
    | Commit
    | Register
    | SwapColdkey
    | SwapHotkey
    | TrimUids
    | LockStake
    | SetPerpetualLock
    | Transfer
    | SetSubnetOwner
    | SetWeights
    | BuyAndBurn
)


def fee_remark(hotkey: str, digest: str) -> str:
    """The remark that ties a payment to a hotkey and an image (DOMAIN 2)."""
    return f"cacheon:{hotkey}:{digest}"


def paid_payload(image: str, digest: str, payment: str) -> Callable[[Labels], bytes]:
    """The JSON of a commit that proves the payment labelled ``payment`` (DOMAIN 1).

    Called for a label that no earlier block holds, the result raises :class:`ScriptError`.
    """

    def written(labels: Labels) -> bytes:
        if payment not in labels:
            msg = f"no earlier block holds a payment labelled '{payment}'; pay before committing"
            raise ScriptError(msg)
        proof = labels[payment]
        document = {
            "image": image,
            "digest": digest,
            "payment_tx": proof.extrinsic_hash,
            "payment_block": proof.block_hash,
        }
        return json.dumps(document, separators=(",", ":")).encode()

    return written
