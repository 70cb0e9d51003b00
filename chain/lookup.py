"""What became of something sent: found by signer and nonce in the finalized blocks after.

The one place that answers this question. It trusts no answer of a pool and no hash of ours: a
signer and a nonce identify one extrinsic, whichever of our signatures the chain took, and a sending
is mortal, so that after its last block nothing of it can come any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.orders import Order
from chain.port import (
    Block,
    ChainReader,
    ChainUnavailableError,
    Extrinsic,
    Prepared,
    Receipt,
    Sending,
)


@dataclass(frozen=True, slots=True)
class Landed:
    """The extrinsic of a sending's signer and nonce, in its block."""

    block: Block
    extrinsic: Extrinsic

    def carries(self, order: Order) -> bool:
        """Whether it is what was ordered; if not, something else used the nonce."""
        return order.is_call(self.extrinsic.call)

    def is_sent(self, prepared: Prepared) -> bool:
        """Whether it is what was prepared: by its content, and by its hash where that is sealed."""
        if prepared.sealed:
            return self.extrinsic.hash == prepared.hash
        return self.carries(prepared.order)

    @property
    def receipt(self) -> Receipt:
        """Where it landed, and the events it caused."""
        index = self.extrinsic.index
        return Receipt(
            extrinsic_hash=self.extrinsic.hash,
            block=self.block.ref,
            extrinsic_index=index,
            success=self.extrinsic.success,
            error=self.extrinsic.error,
            events=tuple(event for event in self.block.events if event.extrinsic_index == index),
        )


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a sending when the chain is final up to ``head``."""

    landed: Landed | None
    head: int
    may_still_land: bool


def look_up(reader: ChainReader, sending: Sending, *, from_block: int | None = None) -> Outlook:
    """Look through the finalized blocks that can hold ``sending``.

    ``from_block`` skips blocks looked through before. Raises
    :class:`~chain.port.ChainUnavailableError` when the node does not answer, or is behind the block
    it was sent after: such a node cannot tell.
    """
    head = reader.finalized_head().number
    if head < sending.after_block:
        msg = f"the node is at block {head}, and this was sent after {sending.after_block}"
        raise ChainUnavailableError(msg)
    first = max(sending.after_block + 1, from_block or 0)
    for number in range(first, min(head, sending.last_block) + 1):
        block = reader.block(number)
        landed = find_in(block, sending)
        if landed is not None:
            return Outlook(landed, head, may_still_land=False)
    return Outlook(None, head, may_still_land=head < sending.last_block)


def can_no_longer_land(reader: ChainReader, sending: Sending) -> bool:
    """Whether the chain is past the last block that could have held ``sending``."""
    return reader.finalized_head().number >= sending.last_block


def never_landed(reader: ChainReader, sending: Sending) -> bool:
    """Whether it is proven that ``sending`` never landed, without reading a block.

    The chain is past its last block and its signer's nonce is still not used. False where the nonce
    was used: by it or by something else, which only the blocks tell.
    """
    # The head first: whatever the nonce says is of that head or a newer one.
    past = can_no_longer_land(reader, sending)
    return past and reader.next_nonce(sending.signer) <= sending.nonce


def find_in(block: Block, sending: Sending) -> Landed | None:
    """The extrinsic of that signer and nonce in one block."""
    for extrinsic in block.extrinsics:
        if (extrinsic.signer, extrinsic.nonce) == (sending.signer, sending.nonce):
            return Landed(block, extrinsic)
    return None


def next_sending(reader: ChainReader, signer: str) -> Sending:
    """The next extrinsic of ``signer``: record it before preparing anything of it."""
    # The head first: whatever uses the nonce asked after it is in a block after that head.
    head = reader.finalized_head().number
    return Sending(signer=signer, nonce=reader.next_nonce(signer), after_block=head)
