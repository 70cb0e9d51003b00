"""Buying and burning, and that no rao and no alpha is made or lost."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_season import (
    C1,
    C2,
    C3,
    GENESIS,
    M1,
    M2,
    NETUID,
    STRANGER,
    TAO,
    TREASURY,
    TX_FEE_RAO,
    VALIDATOR,
    buy_and_burn,
    events_of,
    opened,
    pay,
)

from chain.port import Chain, SendRefusedError
from chain.simulated import (
    BuyAndBurn,
    Pool,
    Register,
    ScriptedExtrinsic,
    SetWeights,
    SwapColdkey,
    Transfer,
    account,
)

AMOUNT_RAO = 3 * TAO
# 20,000 x 3 / 1,003 alpha in units of 10^-9, floored by hand.
ALPHA_OUT = 59_820_538_384
PRICE_RAO = 50_000_000
"""1,000 TAO against 20,000 alpha."""


def test_the_simulated_chain_is_a_chain(tmp_path: Path) -> None:
    with opened(tmp_path) as simulated:
        chain: Chain = simulated  # the type checker's proof; what follows is the runtime's
        methods = [name for name in dir(Chain) if not name.startswith("_")]
        assert len(methods) == 20
        assert all(callable(getattr(chain, name)) for name in methods)


def test_buying_moves_the_pool_and_burns_the_alpha_in_one_extrinsic(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        assert chain.alpha_price_rao(NETUID, chain.block(0).hash) == PRICE_RAO
        receipt = buy_and_burn(chain, NETUID, AMOUNT_RAO, PRICE_RAO * 2, nonce=0)
        at = receipt.block.hash
        (bought,) = (event for event in receipt.events if event.name == "AddStakeBurn")
        assert bought.attributes == {
            "netuid": NETUID,
            "hotkey": VALIDATOR,
            "amount": AMOUNT_RAO,
            "alpha": ALPHA_OUT,
        }
        (burned,) = (event for event in receipt.events if event.name == "AlphaBurned")
        assert burned.attributes == {"0": TREASURY, "1": VALIDATOR, "2": ALPHA_OUT, "3": NETUID}
        assert chain.pool(NETUID, at) == Pool(1_003 * TAO, 20_000 * TAO - ALPHA_OUT)
        assert chain.balance_rao(TREASURY, at) == 10 * TAO - AMOUNT_RAO - TX_FEE_RAO
        (fee,) = events_of(chain.block(1), 1, "TransactionPayment.TransactionFeePaid")
        assert fee.attributes["who"] == TREASURY
        assert chain.stake_alpha(TREASURY, NETUID, at) == 0
        assert chain.supply(at).bought_burned_alpha == ALPHA_OUT
        after = chain.alpha_price_rao(NETUID, at)
        assert after == 1_003 * TAO * TAO // (20_000 * TAO - ALPHA_OUT) > PRICE_RAO
        assert chain.pool(NETUID + 1, at) is None
        assert chain.alpha_price_rao(NETUID + 1, at) is None


@pytest.mark.parametrize("nonce", [0, 2])
def test_a_purchase_with_a_used_or_a_later_nonce_is_refused(tmp_path: Path, nonce: int) -> None:
    with opened(tmp_path) as chain:
        assert chain.next_nonce(TREASURY) == 0
        buy_and_burn(chain, NETUID, AMOUNT_RAO, PRICE_RAO * 2, nonce=0)
        assert chain.next_nonce(TREASURY) == 1
        with pytest.raises(SendRefusedError, match=f"nonce {nonce} was given, 1 is due"):
            buy_and_burn(chain, NETUID, AMOUNT_RAO, PRICE_RAO * 2, nonce=nonce)
        assert chain.finalized_head().number == 1
        assert chain.supply(chain.block(1).hash).bought_burned_alpha == ALPHA_OUT


def test_the_price_limit_is_exact(tmp_path: Path) -> None:
    # The price after the purchase lies strictly between these two whole numbers.
    floor = 1_003 * TAO * TAO // (20_000 * TAO - ALPHA_OUT)
    with opened(tmp_path) as chain:
        with pytest.raises(SendRefusedError, match="SlippageTooHigh"):
            buy_and_burn(chain, NETUID, AMOUNT_RAO, floor, nonce=0)
        assert chain.finalized_head().number == 0
        assert buy_and_burn(chain, NETUID, AMOUNT_RAO, floor + 1, nonce=0).success


@pytest.mark.parametrize(
    ("netuid", "amount_rao", "error"),
    [
        (NETUID, 10 * TAO, "FundsUnavailable"),
        (NETUID, 10 * TAO - TX_FEE_RAO - 499, "FundsUnavailable"),
        (NETUID, 0, "AmountTooLow"),
        (NETUID, -5, "AmountTooLow"),
        (NETUID + 1, TAO, "SubnetNotExists"),
    ],
)
def test_a_purchase_that_cannot_be_is_refused(
    tmp_path: Path, netuid: int, amount_rao: int, error: str
) -> None:
    with opened(tmp_path) as chain:
        with pytest.raises(SendRefusedError, match=error):
            buy_and_burn(chain, netuid, amount_rao, PRICE_RAO * 2, nonce=0)
        assert chain.finalized_head().number == 0


def test_a_treasury_without_the_network_fee_is_refused(tmp_path: Path) -> None:
    spare = 10 * TAO - TX_FEE_RAO - 500
    with opened(tmp_path) as chain:
        chain.advance([Transfer(source=TREASURY, destination=C1, rao=spare)])
        with pytest.raises(SendRefusedError, match="FundsUnavailable"):
            buy_and_burn(chain, NETUID, 1, PRICE_RAO * 2, nonce=1)
        assert chain.finalized_head().number == 1


PEOPLE = st.sampled_from([C1, C2, C3, STRANGER, TREASURY])
AMOUNTS = st.integers(0, 4 * TAO)


def rich_acts() -> st.SearchStrategy[ScriptedExtrinsic]:
    """Things that move money, many of them failing."""
    transfers = st.builds(Transfer, source=PEOPLE, destination=PEOPLE, rao=AMOUNTS)
    payments = st.builds(
        lambda number, coldkey, amount, outer: pay(
            f"p{number}", coldkey=coldkey, amount_rao=amount, outer=outer
        ),
        st.uuids(),
        PEOPLE,
        AMOUNTS,
        st.sampled_from(["batch_all", "batch", "transfer"]),
    )
    burns = st.builds(
        BuyAndBurn,
        coldkey=PEOPLE,
        hotkey=st.just(VALIDATOR),
        amount_rao=AMOUNTS,
        max_price_rao=st.sampled_from([PRICE_RAO, PRICE_RAO + 200_000, PRICE_RAO * 2]),
    )
    swaps = st.builds(
        SwapColdkey, old=st.just(C2), new=st.sampled_from([C1, account("fresh"), STRANGER])
    )
    weights = st.builds(
        SetWeights,
        hotkey=st.sampled_from([VALIDATOR, M1]),
        uids=st.just((0, 2, 3)),
        values=st.tuples(st.just(65_535), st.integers(0, 65_535), st.integers(0, 65_535)),
        version_key=st.just(7),
    )
    names = st.sampled_from([M2, account("m5")])
    registered = st.builds(Register, hotkey=names, coldkey=PEOPLE, replacing_uid=st.just(2))
    return st.one_of(transfers, payments, burns, swaps, weights, registered)


@settings(max_examples=40, deadline=None)
@given(blocks=st.lists(st.lists(rich_acts(), max_size=4), min_size=7, max_size=15))
def test_no_rao_and_no_alpha_is_made_or_lost(blocks: list[list[ScriptedExtrinsic]]) -> None:
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as chain:
        start = chain.supply(chain.block(0).hash)
        tao_rao, alpha = start.tao_rao, start.alpha
        assert (tao_rao, alpha) == (
            sum(GENESIS.balances_rao.values()) + GENESIS.pool_tao_rao,
            GENESIS.pool_alpha,
        )
        for acts in blocks:
            try:
                block = chain.advance(acts)
            except SendRefusedError:
                # Somebody could not pay a fee: no block, hence nothing moved.
                block = chain.advance()
            if events_of(block, None, "SubtensorModule.EpochRan"):
                alpha += GENESIS.epoch_alpha
            supply = chain.supply(block.hash)
            assert (supply.tao_rao, supply.alpha) == (tao_rao, alpha)
            for person in (C1, C2, C3, STRANGER, TREASURY, account("fresh")):
                assert chain.balance_rao(person, block.hash) >= 0
        assert alpha > GENESIS.pool_alpha
