"""Conviction locks: mass and conviction of a lock some blocks after its last touch (DOMAIN 6).

Whole numbers only. With ``u`` and ``k`` the blocks in which mass decays and conviction matures by a
factor of e, and ``dt`` the blocks since the touch:

    decaying    m' = m · e^(−dt/u)     c' = c · e^(−dt/k) + m · g
                g  = dt/k · e^(−dt/k)  where u = k,  else  u · (e^(−dt/u) − e^(−dt/k)) / (u − k)
    perpetual   m' = m                 c' = c · e^(−dt/k) + m · (1 − e^(−dt/k))

The lock of the subnet owner's hotkey counts conviction equal to its mass. Each result is that real
number rounded down. Exponentials are kept in units of 2^-192 with an error below 2^-170; with
amounts below 2^64 and rates below 2^32 blocks a result is therefore exact unless the real number
is within 2^-70 of a whole one, where it may be one unit (10^-9 alpha) off. The runtime computes in
its own fixed point, so the last digits it shows may differ. A lock is evaluated from its last touch
on chain, never from a result of this rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LOCK_RATE_BLOCKS: Final = 934_866
"""The chain's rate of decay and of maturing where it has set no other."""
FRACTION_BITS: Final = 192
ONE: Final = 1 << FRACTION_BITS
HALVINGS: Final = 16
"""The exponent is divided by 2^16 for the series and the result squared as often."""
VANISHED_TAUS: Final = 140
"""After so many taus e^(-dt/tau) is below 2^-200: nothing of a 64-bit amount is left."""


@dataclass(frozen=True, slots=True)
class LockState:
    """Locked mass and conviction of one lock, in 10^-9 alpha."""

    locked_alpha: int
    conviction_alpha: int


def roll_forward(
    state: LockState,
    blocks: int,
    *,
    perpetual: bool,
    owner: bool = False,
    unlock_blocks: int = LOCK_RATE_BLOCKS,
    maturity_blocks: int = LOCK_RATE_BLOCKS,
) -> LockState:
    """The lock ``blocks`` after its last touch; ``owner``: it is the subnet owner's.

    Raises :class:`ValueError` for negative blocks or amounts and for rates below one block.
    """
    if min(blocks, state.locked_alpha, state.conviction_alpha) < 0:
        msg = f"a lock cannot be {blocks} blocks after its touch with {state}: none is negative"
        raise ValueError(msg)
    if min(unlock_blocks, maturity_blocks) < 1:
        msg = f"the lock's rates must be at least one block, got {unlock_blocks}, {maturity_blocks}"
        raise ValueError(msg)
    matured = decay(blocks, maturity_blocks)
    unlocked = ONE if perpetual else decay(blocks, unlock_blocks)
    if perpetual:
        growth = ONE - matured
    elif unlock_blocks == maturity_blocks:
        growth = blocks * matured // maturity_blocks
    else:
        difference = unlocked - matured
        growth = unlock_blocks * difference // (unlock_blocks - maturity_blocks)
    locked = state.locked_alpha * unlocked >> FRACTION_BITS
    conviction = state.conviction_alpha * matured + state.locked_alpha * growth
    return LockState(locked, locked if owner else conviction >> FRACTION_BITS)


def decay(blocks: int, tau_blocks: int) -> int:
    """e^(−blocks/tau) in units of 2^-192, with an error below 2^-170 either way."""
    if blocks == 0:
        return ONE
    if blocks >= VANISHED_TAUS * tau_blocks:
        return 0
    # e^x for x = blocks / (tau * 2^16) by its series, all terms positive, then its reciprocal.
    step = (blocks << FRACTION_BITS) // (tau_blocks << HALVINGS)
    power, term, count = ONE, ONE, 1
    while term:
        term = term * step // (count << FRACTION_BITS)
        power += term
        count += 1
    result = ONE * ONE // power
    for _ in range(HALVINGS):
        result = result * result >> FRACTION_BITS
    return result
