"""Matching refunds that were decided with the transfers that carried them out.

A transfer explains a refund when it went to the destination, of the amount, after the decision. The
oldest decision comes first. One extrinsic that the treasury booked as something else (a conversion)
explains none, and one that explains a refund is to be booked as nothing else
(:func:`refunds_sent_in`). What was sent twice raises an alert.
"""

from __future__ import annotations

from typing import Final

from ledger.application import Ledger, Unit
from ledger.commands.alerts import note_alert
from ledger.decisions.payment import Payment
from ledger.decisions.treasury import Treasury
from ledger.decisions.unclaimed import PaymentRefunded, RefundDecided
from ledger.keys import treasury_id
from ledger.observations import TreasuryTransferSeen
from ledger.units import Rao

SENT_TWICE: Final = "refund_sent_twice"


def match_new_transfers(unit: Unit) -> None:
    """Match what left the treasury in the facts of this unit, as at the ingest of a block."""
    transfers = [fact for fact in unit.facts if isinstance(fact, TreasuryTransferSeen)]
    twice = [transfer for transfer in transfers if not _match(unit, transfer)]
    if twice:
        said = "; ".join(
            f"{Rao(transfer.amount_rao)} to {transfer.destination} in {transfer.extrinsic_hash}"
            for transfer in twice
        )
        detail = (
            f"no refund is open that this was sent for, but an equal one was sent before: {said}"
        )
        note_alert(unit, SENT_TWICE, detail)


def match_refunds(ledger: Ledger) -> list[PaymentRefunded]:
    """Match every open refund again with what the log saw leave; those that were found.

    Ingest does so with each transfer; this is for what it could not know then, such as a booking
    that was in the way.
    """
    found: list[PaymentRefunded] = []
    for decided in reversed(_open(ledger)):

        def work(unit: Unit, decided: RefundDecided = decided) -> PaymentRefunded | None:
            payment = unit.get(Payment, decided.originator_id)
            if payment.refunded:
                return None
            transfer = _transfer_for(unit, decided)
            return None if transfer is None else _refund(unit, payment, transfer)

        refunded = ledger.decide(work)
        if refunded is not None:
            found.append(refunded)
    return found


def refunds_sent_in(ledger: Ledger, extrinsic_hash: str) -> list[PaymentRefunded]:
    """The refunds that an extrinsic carried out: it may be booked as nothing else then."""
    return ledger.every(PaymentRefunded, where=lambda fact: fact.extrinsic_hash == extrinsic_hash)


# -- inside ---------------------------------------------------------------------------------


def _match(unit: Unit, transfer: TreasuryTransferSeen) -> bool:
    """Match a transfer with the oldest open refund; False if one like it was sent before only."""
    alike = unit.ledger.every(RefundDecided, where=lambda decided: _fits(decided, transfer))
    if not alike or _is_booked(unit, transfer):
        return True
    for decided in reversed(alike):
        payment = unit.get(Payment, decided.originator_id)
        if not payment.refunded:
            _refund(unit, payment, transfer)
            return True
    return False


def _refund(unit: Unit, payment: Payment, transfer: TreasuryTransferSeen) -> PaymentRefunded:
    return payment.refund(
        unit.context.because(transfer),
        transfer.block,
        transfer.extrinsic_hash,
        transfer.fact_key,
    )


def _transfer_for(unit: Unit, decided: RefundDecided) -> TreasuryTransferSeen | None:
    """The oldest transfer that carries a refund out and explains nothing else yet."""
    fitting: list[TreasuryTransferSeen] = []

    def collect(transfer: TreasuryTransferSeen) -> bool:
        if _fits(decided, transfer):
            fitting.append(transfer)
        # A transfer recorded before the decision is of a block before it.
        return transfer.effective_block < decided.effective_block

    unit.ledger.newest(TreasuryTransferSeen, where=collect)
    for transfer in reversed(fitting):
        explains = unit.ledger.known(f"payment-refunded:{transfer.fact_key}") is not None
        if not explains and not _is_booked(unit, transfer):
            return transfer
    return None


def _fits(decided: RefundDecided, transfer: TreasuryTransferSeen) -> bool:
    return (
        transfer.destination == decided.destination
        and transfer.amount_rao == decided.amount_rao
        and transfer.block > decided.effective_block
    )


def _is_booked(unit: Unit, transfer: TreasuryTransferSeen) -> bool:
    """Whether a treasurer booked the extrinsic as something else."""
    treasury = unit.get(Treasury, treasury_id(unit.context.arena))
    return transfer.extrinsic_hash in treasury.references


def _open(ledger: Ledger) -> list[RefundDecided]:
    """The refunds that no transfer carried out yet, the newest first."""
    decided = ledger.every(RefundDecided)
    return [one for one in decided if not ledger.load(Payment, one.originator_id).refunded]
