"""Recording that a payment expired unclaimed (R10), with the blocks that make it so.

A payment of block b is too old for a commit after b + the policy's age. Every
:data:`EXPIRY_BLOCKS` blocks the payments that came to be recorded in a like stretch of the past are
looked at, once. The stretch follows from block numbers alone: nothing is kept in memory, a restart
and a gap lose none, and each payment is loaded once in its life for it, however many there are. The
longest age that any policy of the arena ever allowed counts, so that no payment is called expired
that a commit could still name.
"""

from __future__ import annotations

from typing import Final

from ledger.application import Unit
from ledger.decisions.payment import Payment, PaymentSeen

EXPIRY_BLOCKS: Final = 100
"""How often, in blocks, and so how late at most: 20 minutes."""


def expire_payments(unit: Unit, *, before: int) -> None:
    """Record which payments expired, in the unit that moved the arena on from block ``before``."""
    now = unit.block // EXPIRY_BLOCKS
    if before // EXPIRY_BLOCKS == now:
        return
    oldest = max(entry.policy.fee.payment_max_age_blocks for entry in unit.arena.policies)
    first = before // EXPIRY_BLOCKS * EXPIRY_BLOCKS - oldest
    last = now * EXPIRY_BLOCKS - oldest
    # One of a gap that was filled later was recorded then, and is looked at that much later.
    for seen in unit.ledger.recorded(PaymentSeen, first, last):
        payment = unit.get(Payment, seen.originator_id)
        payment.expire(unit.context.because(seen), unit.block - seen.block)
