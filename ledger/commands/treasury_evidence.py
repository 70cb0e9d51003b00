"""What the log holds of the extrinsic or the statement that a treasurer's booking names."""

from __future__ import annotations

from typing import TypeVar

from ledger.application import Unit
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import PaymentSeen
from ledger.observations import AlphaBurnSeen, BalanceObserved, TreasuryTransferSeen

_Found = TypeVar("_Found", PaymentSeen, TreasuryTransferSeen, AlphaBurnSeen)


def _in_block(found: list[_Found], about_block: int | None) -> list[_Found]:
    """Those of the block a booking says, where there are any, else of the newest block.

    One extrinsic's hash can stand in two blocks: an account that was emptied begins to count anew.
    """
    blocks = {fact.block for fact in found}
    block = about_block if about_block in blocks else max(blocks, default=None)
    return [fact for fact in found if fact.block == block]


def transfers_in(
    unit: Unit, extrinsic_hash: str, about_block: int | None
) -> list[TreasuryTransferSeen]:
    """What left the treasury in that extrinsic, which may be a batch; the newest first."""
    found = unit.ledger.every(
        TreasuryTransferSeen, where=lambda fact: fact.extrinsic_hash == extrinsic_hash
    )
    return _in_block(found, about_block)


def burn_in(unit: Unit, extrinsic_hash: str, about_block: int | None) -> AlphaBurnSeen | None:
    """The burn or recycling by the treasury in that extrinsic."""
    found = unit.ledger.every(
        AlphaBurnSeen, where=lambda fact: fact.extrinsic_hash == extrinsic_hash and fact.by_treasury
    )
    return next(iter(_in_block(found, about_block)), None)


def payment_in(unit: Unit, extrinsic_hash: str, about_block: int | None) -> PaymentSeen:
    found = unit.ledger.every(PaymentSeen, where=lambda fact: fact.extrinsic_hash == extrinsic_hash)
    if not found:
        msg = (
            f"no payment to the treasury in extrinsic {extrinsic_hash} is in the log, so there is "
            "nothing to call a contribution; ingest its block first"
        )
        raise DecisionRefusedError(msg)
    return _in_block(found, about_block)[0]


def statements_of(unit: Unit, key: str) -> list[BalanceObserved]:
    """What was recorded under a statement's key, and the corrections of it, in order."""
    found: list[BalanceObserved] = []
    fact = unit.ledger.known(key)
    while isinstance(fact, BalanceObserved):
        found.append(fact)
        fact = unit.ledger.known(f"{key}:{len(found) + 1}")
    return found
