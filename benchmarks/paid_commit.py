"""What a made-up chain shows of a submission that was paid for: the payment, and the commit."""

from __future__ import annotations

import json
from typing import NamedTuple

from ledger.commands.block_facts import CommitFound, Deposit
from ledger.rules.payload import parse_payload
from ledger.rules.payments import (
    BATCH_ALL,
    PaymentEvidence,
    PaymentExtrinsic,
    TransferSeen,
    expected_remark,
)


class Paid(NamedTuple):
    """By whom an image is committed, and how it is paid for."""

    hotkey: str
    coldkey: str
    image: str
    digest: str
    treasury: str
    fee_rao: int


def paid_commit(paid: Paid, number: int, block_hash: str, tx: str) -> tuple[Deposit, CommitFound]:
    """The deposit of block ``number``, by the extrinsic ``tx``, and the commit that names it."""
    remarks = (expected_remark(paid.hotkey, paid.digest),)
    payload = json.dumps(
        {
            "image": paid.image,
            "digest": paid.digest,
            "payment_tx": tx,
            "payment_block": block_hash,
        }
    ).encode()
    transfer = TransferSeen(paid.treasury, paid.fee_rao, True)
    extrinsic = PaymentExtrinsic(3, BATCH_ALL, True, paid.coldkey, (transfer,), remarks)
    commit = CommitFound(
        hotkey=paid.hotkey,
        coldkey=paid.coldkey,
        uid=None,
        form="plain",
        index=1,
        payload=payload,
        parsed=parse_payload(payload),
        succeeded=True,
        evidence=PaymentEvidence(number, extrinsic, paid.coldkey),
    )
    return Deposit(3, tx, paid.coldkey, paid.fee_rao, BATCH_ALL, remarks), commit
