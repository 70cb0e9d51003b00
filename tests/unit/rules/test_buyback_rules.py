"""A buyback's limit is exact, and its texts say everything that was agreed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.keys import ArenaKey
from ledger.rules.buybacks import (
    BuybackTerms,
    ObservedPrice,
    approval_text,
    max_price_rao,
    plan_text,
)
from ledger.units import PPM, AmountFormError, Rao, ppm_of_percent, rao_of

ARENA = ArenaKey("0x" + "14" * 32, 14)
TERMS = BuybackTerms(
    "june",
    1_500_000_000,
    30_750_000,
    ObservedPrice(30_000_000, 8_370_411, "0x" + "ab" * 32),
    25_000,
)


def test_a_limit_is_the_price_and_its_slippage_floored() -> None:
    assert max_price_rao(30_000_000, ppm_of_percent("2.5")) == 30_750_000
    assert max_price_rao(3, ppm_of_percent("0.0001")) == 3
    assert max_price_rao(7, 0) == 7


@given(st.integers(min_value=1, max_value=10**15), st.integers(min_value=0, max_value=PPM))
def test_a_limit_is_never_above_what_was_asked_for(price: int, slippage_ppm: int) -> None:
    limit = max_price_rao(price, slippage_ppm)
    assert price <= limit
    assert limit * PPM <= price * (PPM + slippage_ppm) < (limit + 1) * PPM


@pytest.mark.parametrize(
    ("text", "rao"),
    [("0.1", 100_000_000), ("1", 10**9), ("0.000000001", 1), ("9999999999.999999999", 10**19 - 1)],
)
def test_an_amount_of_tao_is_read_exactly(text: str, rao: int) -> None:
    assert rao_of(text) == Rao(rao)


@pytest.mark.parametrize(
    "text", ["", "1.", ".5", "-1", "+1", "1e3", "1,5", "0.0000000001", "٣", "NaN", " 1", "1\n"]
)
def test_anything_else_is_no_amount_of_tao(text: str) -> None:
    with pytest.raises(AmountFormError, match="is not an amount of TAO"):
        rao_of(text)


@pytest.mark.parametrize(("text", "ppm"), [("2.5", 25_000), ("0.0001", 1), ("0", 0), ("100", PPM)])
def test_a_percentage_is_read_exactly(text: str, ppm: int) -> None:
    assert ppm_of_percent(text) == ppm


def test_a_percentage_finer_than_a_millionth_is_refused() -> None:
    with pytest.raises(AmountFormError, match="at most 4 decimals"):
        ppm_of_percent("0.00001")


def test_the_texts_are_what_they_were_for_ever() -> None:
    """Signatures over them stand in logs: a change here makes those worthless."""
    assert plan_text(ARENA, TERMS, "ann") == (
        "cacheon-ledger buyback plan v1\n"
        f"arena: 0x{'14' * 32}/14\n"
        "request: june\n"
        "max_rao: 1500000000\n"
        "max_price_rao_per_alpha: 30750000\n"
        "observed_price_rao_per_alpha: 30000000\n"
        "observed_at_block: 8370411\n"
        f"observed_at_block_hash: 0x{'ab' * 32}\n"
        "max_slippage_ppm: 25000\n"
        "planned_by: ann\n"
    )
    assert approval_text(ARENA, 3, TERMS, "bob") == (
        "cacheon-ledger buyback approval v1\n"
        f"arena: 0x{'14' * 32}/14\n"
        "number: 3\n"
        "request: june\n"
        "max_rao: 1500000000\n"
        "max_price_rao_per_alpha: 30750000\n"
        "approved_by: bob\n"
    )
