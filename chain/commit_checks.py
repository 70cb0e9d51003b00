"""What must hold before a miner pays: each refused in one sentence, before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chain.port import MORTAL_BLOCKS, BlockRef, ChainError, ChainReader
from ledger.policy import FeePolicy
from ledger.rules.quote import MAX_BIG_RAW_BYTES, MAX_TIMELOCKED_BYTES, quote
from ledger.units import Rao

FEE_ALLOWANCE_RAO: Final = 1_000_000
"""What must be left beside the fee for the network's own (about 0.00013 TAO as recorded) and the
existential deposit: 0.001 TAO."""


class NotPayableError(ChainError):
    """A commit that must not be paid for; the message is one sentence for the miner."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """What is to be committed, and where. ``reveal_in_blocks`` None is a plain commit."""

    genesis: str
    netuid: int
    hotkey: str
    image: str
    digest: str
    reveal_in_blocks: int | None = None

    @property
    def takes_blocks(self) -> int:
        """From before it is paid to when it is known, at most: two sendings and the reveal."""
        return 2 * MORTAL_BLOCKS + (self.reveal_in_blocks or 0)


@dataclass(frozen=True, slots=True)
class Terms:
    """The fee policy that counts: the one in force when the payment is made.

    ``changes_at`` is the first block from which an adopted policy asks for another fee or address,
    None where none is known to.
    """

    fee: FeePolicy
    changes_at: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a hotkey stands on chain in the state of ``head``; None where it has no owner."""

    head: BlockRef
    registered: bool
    owner: str | None
    owner_balance_rao: int | None

    def covers(self, fee_rao: int) -> bool | None:
        """Whether the owner can pay ``fee_rao`` and the network; None where nobody knows."""
        if self.owner_balance_rao is None:
            return None
        return self.owner_balance_rao >= fee_rao + FEE_ALLOWANCE_RAO


def standing_of(chain: ChainReader, netuid: int, hotkey: str, head: BlockRef) -> Standing:
    """Look a hotkey up in the state of ``head``."""
    registered = any(neuron.hotkey == hotkey for neuron in chain.neurons(netuid, head.hash))
    owner = chain.owner(hotkey, head.hash)
    balance = None if owner is None else chain.balance_rao(owner, head.hash)
    return Standing(head, registered, owner, balance)


def must_be_of(chain: ChainReader, genesis: str | None) -> None:
    """Refuse a node of another chain; None takes any."""
    found = chain.genesis_hash()
    if genesis is not None and found != genesis:
        msg = f"the node's chain is {found}, not {genesis}; name a node of that chain"
        raise NotPayableError(msg)


def check_before_paying(
    chain: ChainReader,
    wanted: Commitment,
    terms: Terms,
    *,
    coldkey: str,
    head: BlockRef,
    pays: bool,
) -> None:
    """Raise :class:`NotPayableError` for what the rules would refuse, or the chain.

    ``pays`` tells that a payment is still to be made: only then the balance must cover it.
    """
    must_be_of(chain, wanted.genesis)
    quoted = quote(terms.fee, image=wanted.image, digest=wanted.digest, hotkey=wanted.hotkey)
    if quoted.detail is not None:
        msg = f"the commit would be refused (R1): {quoted.detail.rstrip('.')}"
        raise NotPayableError(msg)
    sealed = wanted.reveal_in_blocks is not None
    size = quoted.timelocked_bytes if sealed else quoted.payload_bytes
    limit = MAX_TIMELOCKED_BYTES if sealed else MAX_BIG_RAW_BYTES
    if size > limit:
        msg = f"the commit has {size} bytes and the chain holds {limit}; shorten the image's name"
        raise NotPayableError(msg)
    found = standing_of(chain, wanted.netuid, wanted.hotkey, head)
    if not found.registered:
        msg = (
            f"hotkey {wanted.hotkey} is not registered on subnet {wanted.netuid} at block "
            f"{head.number}; register it first"
        )
        raise NotPayableError(msg)
    if found.owner != coldkey:
        msg = (
            f"hotkey {wanted.hotkey} belongs to {found.owner or 'nobody'} and this wallet's "
            f"coldkey is {coldkey}; open the owner's wallet"
        )
        raise NotPayableError(msg)
    window = terms.fee.payment_max_age_blocks
    if pays and wanted.takes_blocks > window:
        msg = (
            f"the commit may become known {wanted.takes_blocks} blocks after it is paid, and the "
            f"policy lets a payment be {window} blocks old; have it revealed earlier, or commit "
            "without --timelocked"
        )
        raise NotPayableError(msg)
    if pays and terms.changes_at is not None and terms.changes_at <= head.number + MORTAL_BLOCKS:
        msg = (
            f"the fee or its address changes at block {terms.changes_at}, and a payment sent after "
            f"block {head.number} may land as late as that; run this again when the ledger has "
            f"recorded block {terms.changes_at}"
        )
        raise NotPayableError(msg)
    if pays and not found.covers(terms.fee.fee_rao):
        msg = (
            f"coldkey {coldkey} holds {Rao(found.owner_balance_rao or 0)} and needs the fee of "
            f"{Rao(terms.fee.fee_rao)} and {Rao(FEE_ALLOWANCE_RAO)} for the network; send it TAO"
        )
        raise NotPayableError(msg)
