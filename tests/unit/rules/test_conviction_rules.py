"""What a conviction lock is worth later: DOMAIN 6's formulas, in whole numbers."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules.conviction import LOCK_RATE_BLOCKS, LockState, decay, roll_forward

TAU = LOCK_RATE_BLOCKS
AMOUNTS = st.integers(0, 2**63 - 1)
BLOCKS = st.integers(0, 40 * TAU)
RATES = st.sampled_from([1, 7, 360, TAU - 1, TAU, 2 * TAU])
DIGITS = 120


def exact(
    state: LockState, blocks: int, *, perpetual: bool, unlock: int, mature: int
) -> tuple[Decimal, Decimal]:
    """The real numbers, to 120 digits."""
    with localcontext() as context:
        context.prec = DIGITS
        kept = (Decimal(-blocks) / mature).exp()
        left = Decimal(1) if perpetual else (Decimal(-blocks) / unlock).exp()
        if perpetual:
            grown = 1 - kept
        elif unlock == mature:
            grown = Decimal(blocks) / mature * kept
        else:
            grown = unlock * (left - kept) / (unlock - mature)
        mass = Decimal(state.locked_alpha)
        return mass * left, state.conviction_alpha * kept + mass * grown


@given(AMOUNTS, AMOUNTS, BLOCKS, st.booleans(), RATES, RATES)
def test_a_lock_is_its_formula_rounded_down(
    locked: int, conviction: int, blocks: int, perpetual: bool, unlock: int, mature: int
) -> None:
    state = LockState(locked, conviction)
    rolled = roll_forward(
        state, blocks, perpetual=perpetual, unlock_blocks=unlock, maturity_blocks=mature
    )
    reals = exact(state, blocks, perpetual=perpetual, unlock=unlock, mature=mature)
    for found, real in zip((rolled.locked_alpha, rolled.conviction_alpha), reals, strict=True):
        with localcontext() as context:
            context.prec = DIGITS
            down = int(real.to_integral_value(ROUND_FLOOR))
            near = abs(real - real.to_integral_value()) < Decimal(2) ** -70
        assert found == down or (near and abs(found - down) == 1)


def test_after_one_tau_a_decaying_lock_has_its_known_share_left() -> None:
    rolled = roll_forward(LockState(10**18, 0), TAU, perpetual=False)
    # 1/e of the mass, and as much conviction: dt/tau is one.
    assert rolled == LockState(367_879_441_171_442_321, 367_879_441_171_442_321)


def test_after_one_tau_a_perpetual_lock_has_all_mass_and_most_conviction() -> None:
    rolled = roll_forward(LockState(10**18, 0), TAU, perpetual=True)
    assert rolled == LockState(10**18, 632_120_558_828_557_678)


def test_no_time_changes_nothing() -> None:
    state = LockState(123, 45)
    assert roll_forward(state, 0, perpetual=False) == state
    assert roll_forward(state, 0, perpetual=True) == state


def test_the_owners_lock_counts_its_mass() -> None:
    for perpetual in (True, False):
        rolled = roll_forward(LockState(10**9, 7), 1_000, perpetual=perpetual, owner=True)
        assert rolled.conviction_alpha == rolled.locked_alpha


def test_in_the_end_a_decaying_lock_is_gone_and_a_perpetual_one_full() -> None:
    state = LockState(2**63, 2**63)
    assert roll_forward(state, 200 * TAU, perpetual=False) == LockState(0, 0)
    assert roll_forward(state, 200 * TAU, perpetual=True) == LockState(2**63, 2**63)


@given(st.integers(0, 30 * TAU), st.integers(1, 1_000))
def test_decay_never_grows(blocks: int, more: int) -> None:
    assert decay(blocks + more, TAU) <= decay(blocks, TAU)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="none is negative"):
        roll_forward(LockState(1, 1), -1, perpetual=False)
    with pytest.raises(ValueError, match="at least one block"):
        roll_forward(LockState(1, 1), 1, perpetual=False, unlock_blocks=0)
