"""Payments, right and wrong, look in a block as the payment rules need to see them (DOMAIN 2)."""

from __future__ import annotations

from pathlib import Path

import pytest
from simulated_season import (
    C1,
    C2,
    DIGEST,
    FEE_RAO,
    M1,
    STRANGER,
    TAO,
    TREASURY,
    TX_FEE_RAO,
    events_of,
    opened,
    pay,
)

from chain.port import Block, Extrinsic
from chain.simulated import Pay, Transfer, account, fee_remark

RIGHT_REMARK = f"cacheon:{M1}:{DIGEST}"


def paid(folder: Path, payment: Pay, *before: Transfer) -> tuple[Block, Extrinsic, int]:
    """The payment's block, its extrinsic, and what the treasury's balance rose by."""
    with opened(folder) as chain:
        start = chain.advance(before)
        block = chain.advance([payment])
        rise = chain.balance_rao(TREASURY, block.hash) - chain.balance_rao(TREASURY, start.hash)
        landed = chain.labels[payment.label]
        assert landed == (block.extrinsics[1].hash, block.hash)
        return block, block.extrinsics[1], rise


def test_a_right_payment_is_a_batch_all_of_transfer_and_remark_with_its_event(
    tmp_path: Path,
) -> None:
    block, extrinsic, rise = paid(tmp_path, pay())
    assert (extrinsic.signer, extrinsic.success, extrinsic.error) == (C1, True, None)
    assert extrinsic.call.name == "Utility.batch_all"
    transfer, remark = extrinsic.call.children
    assert transfer.name == "Balances.transfer_keep_alive"
    assert transfer.args == {"dest": TREASURY, "value": FEE_RAO}
    assert (remark.name, remark.args) == ("System.remark", {"remark": RIGHT_REMARK})
    (moved,) = events_of(block, 1, "Balances.Transfer")
    assert moved.attributes == {"from": C1, "to": TREASURY, "amount": FEE_RAO}
    (fee,) = events_of(block, 1, "TransactionPayment.TransactionFeePaid")
    assert fee.attributes == {"who": C1, "actual_fee": TX_FEE_RAO, "tip": 0}
    assert len(events_of(block, 1, "System.ExtrinsicSuccess")) == 1
    assert rise == FEE_RAO


def test_the_payer_pays_amount_and_network_fee(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        block = chain.advance([pay()])
        assert chain.balance_rao(C1, block.hash) == 10 * TAO - FEE_RAO - TX_FEE_RAO


@pytest.mark.parametrize("outer", ["batch", "transfer"])
def test_another_outer_call_is_visible_and_still_pays(tmp_path: Path, outer: str) -> None:
    block, extrinsic, rise = paid(tmp_path, pay(outer=outer))
    expected = {"batch": "Utility.batch", "transfer": "Balances.transfer_keep_alive"}
    assert extrinsic.call.name == expected[outer]
    assert len(extrinsic.call.children) == (2 if outer == "batch" else 0)
    assert len(events_of(block, 1, "Balances.Transfer")) == 1
    assert rise == FEE_RAO


@pytest.mark.parametrize(
    "remarks",
    [
        (),
        (fee_remark(M1, "sha256:" + "00" * 32),),
        (RIGHT_REMARK, fee_remark(account("m2"), DIGEST)),
    ],
    ids=["none", "another", "two"],
)
def test_other_remarks_are_visible(tmp_path: Path, remarks: tuple[str, ...]) -> None:
    _, extrinsic, _ = paid(tmp_path, pay(remarks=remarks))
    written = [child.args["remark"] for child in extrinsic.call.children[1:]]
    assert written == list(remarks)


def test_a_payment_to_somebody_else_never_reaches_the_treasury(tmp_path: Path) -> None:
    block, extrinsic, rise = paid(tmp_path, pay(destination=STRANGER))
    assert extrinsic.success
    (moved,) = events_of(block, 1, "Balances.Transfer")
    assert (moved.attributes["to"], rise) == (STRANGER, 0)


def test_a_strangers_payment_is_signed_and_paid_by_the_stranger(tmp_path: Path) -> None:
    block, extrinsic, _ = paid(tmp_path, pay(signer=STRANGER))
    assert extrinsic.signer == STRANGER
    (moved,) = events_of(block, 1, "Balances.Transfer")
    assert moved.attributes["from"] == STRANGER


def test_a_short_batch_all_fails_whole_and_costs_only_the_fee(tmp_path: Path) -> None:
    block, extrinsic, rise = paid(tmp_path, pay(amount_rao=11 * TAO))
    assert (extrinsic.success, extrinsic.error) == (False, "Token.FundsUnavailable")
    assert rise == 0
    assert events_of(block, 1, "Balances.Transfer") == []
    (failed,) = events_of(block, 1, "System.ExtrinsicFailed")
    assert failed.attributes == {"dispatch_error": {"Token": "FundsUnavailable"}}
    with opened(tmp_path) as chain:
        assert chain.balance_rao(C1, block.hash) == 10 * TAO - TX_FEE_RAO


def test_a_short_batch_reports_success_without_a_transfer(tmp_path: Path) -> None:
    block, extrinsic, rise = paid(tmp_path, pay(amount_rao=11 * TAO, outer="batch"))
    assert extrinsic.success
    assert (events_of(block, 1, "Balances.Transfer"), rise) == ([], 0)
    (interrupted,) = events_of(block, 1, "Utility.BatchInterrupted")
    assert interrupted.attributes["index"] == 0


def test_a_transfer_leaves_the_existential_deposit(tmp_path: Path) -> None:
    spare = 10 * TAO - 2 * TX_FEE_RAO - 500
    first = Transfer(source=C1, destination=C2, rao=spare)
    too_much = Transfer(source=C1, destination=C2, rao=1)
    with opened(tmp_path) as chain:
        block = chain.advance([first, too_much])
        assert [extrinsic.success for extrinsic in block.extrinsics[1:]] == [True, False]
        assert chain.balance_rao(C1, block.hash) == 500


def test_equal_payments_are_different_extrinsics(tmp_path: Path) -> None:
    with opened(tmp_path) as chain:
        block = chain.advance([pay("one"), pay("two")])
        hashes = {extrinsic.hash for extrinsic in block.extrinsics}
        assert len(hashes) == 3
        assert chain.labels["one"] != chain.labels["two"]
