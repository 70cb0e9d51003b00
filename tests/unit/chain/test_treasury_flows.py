"""Every rao that reaches or leaves the treasury is seen once, with the extrinsic that moved it."""

from typing import Any

import pytest

from chain.payments import (
    gather_payment,
    payment_extrinsic,
    treasury_deposits,
    treasury_network_fees,
    treasury_withdrawals,
)
from chain.port import (
    Block,
    BlockRef,
    Call,
    ChainEvent,
    ChainUnavailableError,
    Extrinsic,
    PrunedStateError,
    UnknownBlockError,
)
from ledger.rules.payload import CommitPayload
from ledger.rules.payments import PaymentEvidence, TransferSeen

TREASURY, PAYER, OTHER = "5Treasury", "5Payer", "5Other"
TX, HASH = "0x" + "1" * 64, "0x" + "2" * 64
PAYLOAD = CommitPayload("engine:v1", "sha256:" + "ab" * 32, TX, HASH)


def transfer(amount: int, to: str = TREASURY, kind: str = "transfer_keep_alive") -> Call:
    return Call("Balances", kind, {"dest": to, "value": amount})


def batch(*children: Call, kind: str = "batch_all") -> Call:
    return Call("Utility", kind, {}, children)


def moved(
    index: int, extrinsic: int | None, amount: int, to: str = TREASURY, sender: str = PAYER
) -> ChainEvent:
    attributes: dict[str, Any] = {"from": sender, "to": to, "amount": amount}
    return ChainEvent(index, extrinsic, "Balances", "Transfer", attributes)


def block(*calls: Call, events: tuple[ChainEvent, ...], number: int = 5) -> Block:
    extrinsics = tuple(
        Extrinsic(index, TX if index == 0 else f"0x{index:064x}", PAYER, call, success=True)
        for index, call in enumerate(calls)
    )
    return Block(number, HASH, "0x04", 0, 293, extrinsics, events)


REMARK = Call("System", "remark", {"remark": "cacheon:x"})


def test_a_deposit_sums_the_events_of_its_extrinsic_and_keeps_its_remarks() -> None:
    blk = block(
        batch(transfer(3), transfer(4), REMARK),
        transfer(5),
        events=(moved(1, 0, 3), moved(2, 0, 4), moved(6, 1, 5), moved(7, 1, 9, to=OTHER)),
    )
    first, second = treasury_deposits(blk, TREASURY)
    assert (first.extrinsic_index, first.amount_rao, first.event_indices) == (0, 7, (1, 2))
    assert (first.sender, first.remarks, first.outer_call) == (
        PAYER,
        ("cacheon:x",),
        "Utility.batch_all",
    )
    assert (second.extrinsic_index, second.amount_rao) == (1, 5)


def test_money_the_runtime_moved_is_a_deposit_without_an_extrinsic() -> None:
    (deposit,) = treasury_deposits(block(events=(moved(0, None, 8),)), TREASURY)
    assert (deposit.extrinsic_index, deposit.extrinsic_hash, deposit.amount_rao) == (None, None, 8)


def test_a_call_that_moved_nothing_is_no_deposit() -> None:
    assert treasury_deposits(block(batch(transfer(3)), events=()), TREASURY) == []


def test_withdrawals_and_network_fees_are_the_other_direction() -> None:
    fee = {"who": TREASURY, "actual_fee": 11, "tip": 1}
    blk = block(
        batch(transfer(3, OTHER)),
        events=(
            moved(0, 0, 3, to=OTHER, sender=TREASURY),
            moved(1, 0, 2, to=TREASURY, sender=TREASURY),
            ChainEvent(2, 0, "TransactionPayment", "TransactionFeePaid", fee),
            ChainEvent(3, 1, "TransactionPayment", "TransactionFeePaid", {**fee, "who": PAYER}),
        ),
    )
    (withdrawal,) = treasury_withdrawals(blk, TREASURY)
    assert (withdrawal.destination, withdrawal.amount_rao) == (OTHER, 3)
    assert [paid.fee_rao for paid in treasury_network_fees(blk, TREASURY)] == [11]
    assert treasury_deposits(blk, TREASURY) == []


def test_an_event_vouches_for_one_call_of_its_own_extrinsic_only() -> None:
    blk = block(
        batch(transfer(3), transfer(3), transfer(4)),
        batch(transfer(4)),
        events=(moved(0, 0, 3), moved(1, 1, 4), moved(2, 0, 3, sender=OTHER)),
    )
    assert payment_extrinsic(blk, blk.extrinsics[0]).transfers == (
        TransferSeen(TREASURY, 3, executed=True),
        TransferSeen(TREASURY, 3, executed=False),
        TransferSeen(TREASURY, 4, executed=False),
    )


def test_only_direct_keep_alive_transfers_are_the_fee() -> None:
    nested = batch(batch(transfer(3)), transfer(4, kind="transfer_allow_death"))
    blk = block(nested, events=(moved(0, 0, 3), moved(1, 0, 4)))
    assert payment_extrinsic(blk, blk.extrinsics[0]).transfers == ()


class OneBlock:
    """The reads that gathering uses, over one block."""

    def __init__(
        self, blk: Block, *, missing: type[Exception] | None = None, head: int | None = None
    ) -> None:
        self.blk, self.missing, self.head = blk, missing, head

    def block_ref(self, block_hash: str) -> BlockRef:
        if self.missing is not None:
            raise self.missing("the node says so")
        return BlockRef(self.blk.number, block_hash)

    def finalized_head(self) -> BlockRef:
        return self.blk.ref if self.head is None else BlockRef(self.head, "0xff")

    def block(self, number: int) -> Block:
        return self.blk

    def owner(self, hotkey: str, block_hash: str) -> str | None:
        return f"owner of {hotkey} at {block_hash}"


def gathered(reader: OneBlock, commit_block_number: int = 9) -> PaymentEvidence:
    return gather_payment(
        reader,  # type: ignore[arg-type]
        hotkey="5Hot",
        payload=PAYLOAD,
        commit_block_number=commit_block_number,
    )


def test_the_owner_is_asked_at_the_block_of_the_payment() -> None:
    blk = block(batch(transfer(3), REMARK), events=(moved(0, 0, 3),))
    evidence = gathered(OneBlock(blk))
    assert evidence.owner == f"owner of 5Hot at {HASH}"
    assert evidence.block_number == 5
    assert evidence.extrinsic is not None
    assert evidence.extrinsic.remarks == ("cacheon:x",)


def test_a_block_the_chain_denies_is_evidence_and_a_silent_node_is_none() -> None:
    blk = block(events=())
    assert gathered(OneBlock(blk, missing=UnknownBlockError, head=9)) == PaymentEvidence()
    with pytest.raises(ChainUnavailableError):
        gathered(OneBlock(blk, missing=ChainUnavailableError))


def test_a_node_that_has_not_come_as_far_as_the_commit_denies_nothing() -> None:
    blk = block(events=())
    with pytest.raises(ChainUnavailableError, match="is itself at block 8"):
        gathered(OneBlock(blk, missing=UnknownBlockError, head=8))


def test_an_extrinsic_elsewhere_and_a_block_after_the_commit_are_no_payment() -> None:
    assert gathered(OneBlock(block(events=()))).extrinsic is None
    late = gathered(OneBlock(block(batch(transfer(3)), events=())), commit_block_number=4)
    assert (late.block_number, late.extrinsic) == (5, None)


def test_a_node_that_contradicts_itself_is_asked_again() -> None:
    blk = block(events=())
    reader = OneBlock(Block(5, "0x" + "9" * 64, "0x04", 0, 293, (), blk.events))
    with pytest.raises(ChainUnavailableError, match="ask again"):
        gathered(reader)


def test_of_a_block_that_was_thrown_away_its_number_is_known() -> None:
    class Pruned(OneBlock):
        def block(self, number: int) -> Block:
            msg = f"block {number} is gone"
            raise PrunedStateError(msg)

    evidence = gathered(Pruned(block(events=())))
    assert evidence == PaymentEvidence(5, unread="block 5 is gone")
