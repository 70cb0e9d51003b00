"""A payment: TAO that reached an arena's treasury, and the one submission it pays for.

Identity: genesis, block hash, extrinsic index. Defends R8 of DOMAIN 2: consumed at most once in the
whole installation, except by a credit, which is used once and by the same hotkey.

One extrinsic can pay the treasuries of several arenas: each arena's log sees what reached its own,
and still only one submission among all of them takes the payment.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from ledger.decisions.base import NOTHING, Aggregate, DecisionRefusedError
from ledger.facts import Context, Fact, fact


@fact("payment.seen.v1")
class PaymentSeen(Fact, frozen=True, kw_only=True):
    """One extrinsic moved ``amount_rao`` to the treasury. Unclaimed until a commit takes it.

    Key: ``payment:<genesis>:<block hash>:<extrinsic index>``, and ``:<treasury>`` behind it where
    the extrinsic had paid another arena's treasury before.
    """

    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    sender: str
    treasury: str
    amount_rao: int
    outer_call: str
    remarks: tuple[str, ...]


@fact("payment.consumed.v1")
class PaymentConsumed(Fact, frozen=True, kw_only=True):
    """A submission took the payment: ``fee_rao`` is the fee, ``overpaid_rao`` what lay above it."""

    submission_id: UUID
    hotkey: str
    fee_rao: int
    overpaid_rao: int


@fact("payment.credited.v1")
class PaymentCredited(Fact, frozen=True, kw_only=True):
    """The infrastructure failed the submission; its hotkey may use the payment once more."""

    submission_id: UUID
    hotkey: str
    cause: str


@fact("payment.credit_redeemed.v1")
class CreditRedeemed(Fact, frozen=True, kw_only=True):
    """A later submission of the same hotkey used the credit."""

    submission_id: UUID
    hotkey: str


@fact("payment.refunded.v1")
class PaymentRefunded(Fact, frozen=True, kw_only=True):
    """An unclaimed payment went back to its sender: out of the treasury, in one extrinsic."""

    amount_rao: int
    block: int
    extrinsic_hash: str
    actor: str


@fact("payment.expired.v1")
class PaymentExpired(Fact, frozen=True, kw_only=True):
    """Nobody claimed the payment while policy allowed it (R10). The money stays visible."""

    age_blocks: int


class Payment(Aggregate):
    """State and rule of one payment."""

    deposits: Mapping[str, PaymentSeen] = NOTHING
    """What reached each treasury, in the order in which it was seen."""
    consumed_by: UUID | None = None
    credit_of: str | None = None
    refunded: bool = False
    expired: bool = False

    @property
    def seen(self) -> PaymentSeen | None:
        """What reached the first treasury that it was seen to pay."""
        return next(iter(self.deposits.values()), None)

    @property
    def taken_by(self) -> str | None:
        """What it served: a submission's id, ``refunded`` where the money went back, else None."""
        if self.refunded:
            return "refunded"
        return None if self.consumed_by is None else str(self.consumed_by)

    def see(self, context: Context, fact_key: str, *, treasury: str, **content: object) -> None:
        """Take note of what reached a treasury; seeing it again is a no-op."""
        if treasury in self.deposits:
            return
        key = fact_key if self.seen is None else f"{fact_key}:{treasury}"
        self.record(context, PaymentSeen, key, treasury=treasury, **content)

    def consume(
        self,
        context: Context,
        submission_id: UUID,
        hotkey: str,
        fee_rao: int,
        *,
        treasury: str | None = None,
    ) -> PaymentConsumed | CreditRedeemed:
        """Pay for one submission, or redeem the credit of its hotkey; refused the second time.

        ``treasury`` is the arena's own; it may be left out where only one was paid.
        """
        deposit = self.seen if treasury is None else self.deposits.get(treasury)
        if deposit is None:
            msg = f"payment {self.id} is not in the log, so it cannot pay for {submission_id}"
            raise DecisionRefusedError(msg)
        if self.refunded:
            msg = f"payment {self.id} was refunded and pays for nothing"
            raise DecisionRefusedError(msg)
        if self.consumed_by is None:
            return self.record(
                context,
                PaymentConsumed,
                f"payment-consumed:{self.id}",
                submission_id=submission_id,
                hotkey=hotkey,
                fee_rao=fee_rao,
                overpaid_rao=deposit.amount_rao - fee_rao,
            )
        if self.credit_of == hotkey:
            return self.record(
                context,
                CreditRedeemed,
                f"credit-redeemed:{self.id}:{self.version + 1}",
                submission_id=submission_id,
                hotkey=hotkey,
            )
        msg = f"payment {self.id} paid for submission {self.consumed_by} already"
        raise DecisionRefusedError(msg)

    def credit(self, context: Context, submission_id: UUID, hotkey: str, cause: str) -> None:
        """Give the hotkey one more use, because the infrastructure failed its submission."""
        if self.consumed_by != submission_id:
            msg = f"payment {self.id} did not pay for submission {submission_id}"
            raise DecisionRefusedError(msg)
        if self.credit_of is not None:
            return  # one credit for one submission, however often it is given
        self.record(
            context,
            PaymentCredited,
            f"payment-credited:{self.id}:{submission_id}",
            submission_id=submission_id,
            hotkey=hotkey,
            cause=cause,
        )

    def refund(
        self, context: Context, block: int, extrinsic_hash: str, actor: str
    ) -> PaymentRefunded:
        """Record that the whole unclaimed payment went back."""
        if self.seen is None or self.consumed_by is not None or self.refunded:
            msg = f"payment {self.id} is not unclaimed money, so it cannot be refunded"
            raise DecisionRefusedError(msg)
        return self.record(
            context,
            PaymentRefunded,
            f"payment-refunded:{self.id}",
            amount_rao=self.seen.amount_rao,
            block=block,
            extrinsic_hash=extrinsic_hash,
            actor=actor,
        )

    def expire(self, context: Context, age_blocks: int) -> None:
        """Nobody claimed it in time; expiring it twice, or a claimed one, changes nothing."""
        if self.consumed_by is None and not self.expired and not self.refunded:
            self.record(
                context, PaymentExpired, f"payment-expired:{self.id}", age_blocks=age_blocks
            )

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case PaymentSeen():
                self.deposits = {**self.deposits, fact.treasury: fact}
            case PaymentConsumed():
                self.consumed_by = fact.submission_id
            case PaymentCredited():
                self.credit_of = fact.hotkey
            case CreditRedeemed():
                self.credit_of = None
                self.consumed_by = fact.submission_id
            case PaymentRefunded():
                self.refunded = True
            case PaymentExpired():
                self.expired = True
            case _:
                msg = f"a payment cannot take a {fact.topic}"
                raise TypeError(msg)
