"""What must become of a payment: unclaimed money that serves one thing, once (DOMAIN 3, R8)."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.property.books.money import (
    CREDITS,
    FEE_RAO,
    FEES,
    TAO,
    TREASURY,
    UNCLAIMED,
    Money,
    Outcome,
    block_payment,
)

SENDER = "s"
"""Who sent every payment, and so who alone can claim one."""


@dataclass
class Payment:
    """What has become of one."""

    amount_rao: int
    taken_by: int | None = None
    """The submission that it serves."""
    used_by: set[int] = field(default_factory=set)
    credit_of: str | None = None
    """The hotkey that may use it (once more)."""
    granted: bool = False
    """Whether a credit was given while it was unclaimed."""
    claim: tuple[str | None, str] | None = None
    """The claim that waits for somebody to decide it: the hotkey of a credit, and its signature."""
    last_signature: str | None = None
    refund_decided: bool = False
    refunded: bool = False
    given: bool = False
    """Whether a treasurer booked it as a contribution."""
    expired: bool = False

    @property
    def free(self) -> bool:
        """Whether it serves nothing yet."""
        return self.taken_by is None and not (self.refund_decided or self.given or self.granted)

    @property
    def status(self) -> str:
        """What the view of payments is to call it."""
        if self.refund_decided:
            return "refunded" if self.refunded else "refund decided"
        if self.given:
            return "contributed"
        if self.credit_of is not None:
            return "credited"
        if self.taken_by is not None:
            return "consumed"
        return "expired" if self.expired else "unclaimed"


class Payments:
    """All payments by number, over the same :class:`Money`."""

    def __init__(self, money: Money) -> None:
        self.money = money
        self.known: dict[int, Payment] = {}
        self.carried: set[int] = set()
        """The transfers that carried a refund out."""

    def block(self, number: int, deposits: tuple[int, ...], fees: tuple[int, ...]) -> Outcome:
        """A finalized block and what it paid; an old one is only held against what is known."""
        if number <= self.money.head:
            return "same"
        self.money.head = number
        for place, amount in enumerate(deposits):
            self.see_payment(block_payment(number, place), amount)
        for place, fee in enumerate(fees):
            self.money.see_fee(block_payment(number, place), fee)
        return "done"

    def see_payment(self, number: int, amount_rao: int) -> Outcome:
        """Whatever reaches the address is unclaimed money first."""
        if number in self.known:
            return "same"
        self.known[number] = Payment(amount_rao)
        self.money.move(TAO, amount_rao, source=UNCLAIMED, target=TREASURY)
        return "done"

    # -- submissions ------------------------------------------------------------------------

    def consume(self, number: int, submission: int, hotkey: str) -> Outcome:
        """One submission for a payment, and one more for a credit."""
        payment = self.known.get(number)
        if payment is None:
            return "refused"
        mine = payment.credit_of == hotkey
        if payment.taken_by is None:
            if not (payment.free or mine) or payment.amount_rao < FEE_RAO:
                return "refused"
            self.money.move(TAO, FEE_RAO, source=FEES, target=UNCLAIMED)
            above = payment.amount_rao - FEE_RAO
            self.money.move(TAO, above, source="income:overpaid_fees", target=UNCLAIMED)
        elif mine:
            self.money.move(TAO, FEE_RAO, source=FEES, target=CREDITS)
        else:
            return "refused"
        payment.taken_by, payment.credit_of, payment.claim = submission, None, None
        payment.used_by.add(submission)
        return "done"

    def credit(self, number: int, submission: int, hotkey: str) -> Outcome:
        """The fee of a submission that the infrastructure failed is owed again, once."""
        payment = self.known.get(number)
        if payment is None or payment.taken_by != submission:
            return "refused"
        if payment.credit_of is not None:
            return "same"
        payment.credit_of = hotkey
        self.money.move(TAO, FEE_RAO, source=CREDITS, target=FEES)
        return "done"

    # -- unclaimed money --------------------------------------------------------------------

    def claim(self, number: int, claimant: str, hotkey: str | None, signature: str) -> Outcome:
        """Whoever paid wants it back, or a credit for a hotkey: no money moves yet."""
        payment = self.known.get(number)
        if payment is None or claimant != SENDER:
            return "refused"
        if payment.last_signature == signature:
            return "same"
        if payment.claim is not None and payment.claim[0] == hotkey:
            return "same"
        if not payment.free or payment.claim is not None:
            return "refused"
        payment.claim, payment.last_signature = (hotkey, signature), signature
        return "done"

    def refuse_claim(self, number: int) -> Outcome:
        """It stays unclaimed."""
        payment = self.known.get(number)
        if payment is None or payment.claim is None:
            return "refused"
        payment.claim = None
        return "done"

    def grant_claim(self, number: int) -> Outcome:
        """What was claimed is decided."""
        payment = self.known.get(number)
        if payment is None or payment.claim is None:
            return "refused"
        hotkey, _ = payment.claim
        if hotkey is None:
            return self.decide_refund(number)
        return self.give_credit(number, hotkey)

    def give_credit(self, number: int, hotkey: str) -> Outcome:
        """A submission of the hotkey may pay with it; until one does it is unclaimed money."""
        payment = self.known.get(number)
        if payment is None:
            return "refused"
        if payment.taken_by is None and payment.credit_of == hotkey:
            return "same"
        if not payment.free or (payment.claim is not None and payment.claim[0] != hotkey):
            return "refused"
        payment.credit_of, payment.granted, payment.claim = hotkey, True, None
        return "done"

    def decide_refund(self, number: int) -> Outcome:
        """It is to go back; until it does it is unclaimed money that serves nothing else."""
        payment = self.known.get(number)
        if payment is None:
            return "refused"
        if payment.refund_decided and not payment.refunded:
            return "same"
        if not payment.free or (payment.claim is not None and payment.claim[0] is not None):
            return "refused"
        payment.refund_decided, payment.claim = True, None
        return "done"

    def refund(self, number: int, transfer: int) -> Outcome:
        """All of it went back, in a transfer that is no other refund's.

        The log keeps one refund a transfer: another payment's is a conflict.
        """
        payment = self.known.get(number)
        if payment is None or not payment.refund_decided or payment.refunded:
            return "refused"
        if transfer in self.carried:
            return "conflict"
        self.carried.add(transfer)
        payment.refunded = True
        self.money.move(TAO, payment.amount_rao, source=TREASURY, target=UNCLAIMED)
        return "done"

    def give(self, number: int) -> Outcome:
        """Unclaimed TAO turns out to be a gift; it had arrived already."""
        payment = self.known.get(number)
        if payment is None:
            return "refused"
        if payment.given:
            return "same"
        if not payment.free or payment.claim is not None:
            return "refused"
        payment.given = True
        amount = payment.amount_rao
        self.money.move(TAO, amount, source="equity:contributions", target=UNCLAIMED)
        return "done"

    def expire(self, number: int) -> Outcome:
        """It stays what it is: unclaimed, visible, and still to be claimed."""
        payment = self.known.get(number)
        if payment is None:
            return "refused"
        if not payment.free or payment.expired:
            return "same"
        payment.expired = True
        return "done"
