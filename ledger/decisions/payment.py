"""A payment: TAO that reached an arena's treasury, and the one submission it pays for.

Identity: genesis, block hash, extrinsic index. Defends R8 of DOMAIN 2: consumed at most once in the
whole installation, except by a credit, which is used once and by the same hotkey. Money that nobody
consumed can be claimed by the coldkey that paid: back, or as a credit for a hotkey. What was
consumed, credited, promised back or given away is no longer there to be claimed, so a payment is
never worth more than what came in (decision 0033).

One extrinsic can pay the treasuries of several arenas: each arena's log sees what reached its own,
and still only one submission among all of them takes the payment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from ledger.decisions import credits as crediting
from ledger.decisions import unclaimed
from ledger.decisions.base import NOTHING, Aggregate, DecisionRefusedError
from ledger.decisions.credits import RULES, CreditRedeemed, PaymentCredited
from ledger.decisions.unclaimed import (
    ClaimRefused,
    PaymentClaimed,
    PaymentContributed,
    PaymentExpired,
    PaymentRefunded,
    RefundDecided,
    claimed_otherwise,
    must_be_a_claim,
)
from ledger.facts import Context, Fact, fact
from ledger.keys import ArenaKey
from ledger.rules.claims import Wants, payment_name


@fact("payment.seen.v1")
class PaymentSeen(Fact, frozen=True, kw_only=True):
    """One extrinsic moved ``amount_rao`` to the treasury. Unclaimed until a commit takes it.

    Key: ``payment:<genesis>:<block hash>:<extrinsic index>``, and ``:<netuid>`` behind it where
    another arena saw the extrinsic pay its own treasury before.
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


Taken = Literal["refunded", "refund decided", "contributed", "credited"]
"""What money serves that no submission has."""


class Payment(Aggregate):
    """State and rule of one payment."""

    BESIDE = (crediting, unclaimed)

    deposits: Mapping[str, PaymentSeen] = NOTHING
    """What reached each arena's treasury, by arena, in the order in which it was seen."""
    consumed_by: UUID | None = None
    fee_rao: int | None = None
    """The fee it paid; None while it paid none."""
    credit_of: str | None = None
    credited: PaymentCredited | None = None
    """The last credit that was given, used or not."""
    claim: PaymentClaimed | None = None
    """The claim nobody has decided yet."""
    last_claim: PaymentClaimed | None = None
    claims: int = 0
    refund_decided: RefundDecided | None = None
    refunded: bool = False
    contributed: bool = False
    expired: bool = False

    @property
    def served(self) -> Taken | None:
        """What its money serves besides a submission; None while it serves nothing else."""
        if self.refunded:
            return "refunded"
        if self.refund_decided is not None:
            return "refund decided"
        if self.contributed:
            return "contributed"
        return "credited" if self.consumed_by is None and self.credited is not None else None

    @property
    def taken_by(self) -> str | None:
        """What it served: a submission's id, or what else became of the money; None if nothing."""
        return self.served if self.consumed_by is None else str(self.consumed_by)

    def granted_to(self, hotkey: str) -> bool:
        """Whether it is a credit of the hotkey that no submission has paid with at all yet."""
        return self.consumed_by is None and self.credit_of == hotkey

    def is_credit(self, arena: ArenaKey, hotkey: str) -> bool:
        """Whether the hotkey may use the payment once more, or once at all, in the arena.

        A credit is redeemed where it was given: there the books hold what is owed for it, also
        where the extrinsic paid the treasuries of other arenas, too.
        """
        given = self.credited
        return self.credit_of == hotkey and given is not None and given.arena == str(arena)

    # -- seen and consumed ------------------------------------------------------------------

    def see(self, context: Context, fact_key: str, **content: object) -> None:
        """Take note of what reached the arena's treasury; seeing it again is a no-op."""
        if str(context.arena) in self.deposits:
            return
        key = f"{fact_key}:{context.arena.netuid}" if self.deposits else fact_key
        self.record(context, PaymentSeen, key, **content)

    def consume(
        self, context: Context, submission_id: UUID, hotkey: str, fee_rao: int
    ) -> PaymentConsumed | CreditRedeemed:
        """Pay for one submission, or redeem the credit of its hotkey; refused the second time.

        An open claim lapses with it: the money was unclaimed until now.
        """
        deposit = self.deposit(context, f"pay for {submission_id}")
        if self.consumed_by is None:
            served = self.served
            if served is not None and not self.is_credit(context.arena, hotkey):
                msg = f"payment {self._named} was {served} and pays for nothing of {hotkey}"
                raise DecisionRefusedError(msg)
            if fee_rao > deposit.amount_rao:
                msg = (
                    f"payment {self._named} is of {deposit.amount_rao} rao and cannot pay "
                    f"{fee_rao} rao"
                )
                raise DecisionRefusedError(msg)
            return self.record(
                context,
                PaymentConsumed,
                f"payment-consumed:{self.id}",
                submission_id=submission_id,
                hotkey=hotkey,
                fee_rao=fee_rao,
                overpaid_rao=deposit.amount_rao - fee_rao,
            )
        if self.is_credit(context.arena, hotkey):
            return self.record(
                context,
                CreditRedeemed,
                f"credit-redeemed:{self.id}:{self.version + 1}",
                submission_id=submission_id,
                hotkey=hotkey,
                fee_rao=self.credited.fee_rao if self.credited else None,
            )
        msg = f"payment {self._named} paid for submission {self.consumed_by} already"
        raise DecisionRefusedError(msg)

    def credit(
        self,
        context: Context,
        submission_id: UUID,
        hotkey: str,
        cause: str,
        *,
        decided_by: str = RULES,
        reason: str | None = None,
    ) -> None:
        """Give the hotkey one more use, because the infrastructure failed its submission."""
        if self.consumed_by != submission_id:
            msg = f"payment {self._named} did not pay for submission {submission_id}"
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
            fee_rao=self.fee_rao,
            decided_by=decided_by,
            reason=cause if reason is None else reason,
        )

    # -- unclaimed money --------------------------------------------------------------------

    def make_claim(
        self,
        context: Context,
        *,
        claimant: str,
        wants: Wants,
        hotkey: str | None,
        signature: str,
    ) -> PaymentClaimed:
        """Claim unclaimed money. The same claim while it is open, or its signature, is a no-op.

        That the signature holds is for whoever can check one to say before.
        """
        deposit = self.deposit(context, "be claimed")
        must_be_a_claim(self._named, deposit.sender, claimant=claimant, wants=wants, hotkey=hotkey)
        last = self.last_claim
        if last is not None and last.signature == signature:
            return last
        if self.claim is not None and (wants, hotkey) == (self.claim.wants, self.claim.hotkey):
            return self.claim
        self._must_be_unclaimed("be claimed")
        if self.claim is not None:
            msg = (
                f"claim {self.claim.number} of payment {self._named} is not decided yet; "
                "wait for it"
            )
            raise DecisionRefusedError(msg)
        number = self.claims + 1
        return self.record(
            context,
            PaymentClaimed,
            f"payment-claimed:{self.id}:{number}",
            number=number,
            claimant=claimant,
            wants=wants,
            hotkey=hotkey,
            signature=signature,
        )

    def refuse_claim(self, context: Context, decided_by: str, reason: str) -> ClaimRefused:
        """Refuse the open claim; the money stays unclaimed."""
        claim = self.open_claim()
        return self.record(
            context,
            ClaimRefused,
            f"claim-refused:{self.id}:{claim.number}",
            number=claim.number,
            decided_by=decided_by,
            reason=reason,
        )

    def grant_claim(
        self, context: Context, decided_by: str, reason: str
    ) -> RefundDecided | PaymentCredited:
        """Grant the open claim: what it wants is decided."""
        claim = self.open_claim()
        if claim.hotkey is None:
            return self.decide_refund(context, decided_by, reason)
        return self.give_credit(context, claim.hotkey, decided_by, reason)

    def give_credit(
        self, context: Context, hotkey: str, decided_by: str, reason: str
    ) -> PaymentCredited:
        """Let the hotkey's next submission pay with unclaimed money; the same again is a no-op.

        Refused while a claim wants something else: that is decided first.
        """
        self.deposit(context, "be credited")
        if self.granted_to(hotkey) and self.credited is not None:
            return self.credited
        self._must_be_unclaimed("be credited")
        claim = self.claim
        if claim is not None and claim.hotkey != hotkey:
            raise claimed_otherwise(self._named, claim)
        return self.record(
            context,
            PaymentCredited,
            f"payment-credited:{self.id}:unclaimed",
            submission_id=None,
            hotkey=hotkey,
            cause="by_hand" if claim is None else "claimed",
            fee_rao=0,
            decided_by=decided_by,
            reason=reason,
        )

    def decide_refund(self, context: Context, decided_by: str, reason: str) -> RefundDecided:
        """Decide that all of it goes back to who sent it; deciding so again is a no-op.

        Refused while a claim wants something else: that is decided first.
        """
        deposit = self.deposit(context, "be refunded")
        if self.refund_decided is not None and not self.refunded:
            return self.refund_decided
        self._must_be_unclaimed("be refunded")
        if self.claim is not None and self.claim.wants != "refund":
            raise claimed_otherwise(self._named, self.claim)
        return self.record(
            context,
            RefundDecided,
            f"refund-decided:{self.id}",
            amount_rao=deposit.amount_rao,
            destination=deposit.sender,
            decided_by=decided_by,
            reason=reason,
        )

    def refund(
        self, context: Context, block: int, extrinsic_hash: str, transfer_key: str
    ) -> PaymentRefunded:
        """Match the decided refund to the one transfer that carried it out.

        ``transfer_key`` is the fact key of that transfer, and the fact's key is made of it: no
        other refund can name the same transfer.
        """
        self.deposit(context, "be refunded")
        decided = self.refund_decided
        if decided is None or self.refunded:
            what = "was refunded already" if self.refunded else "has no refund that was decided"
            msg = f"payment {self._named} {what}"
            raise DecisionRefusedError(msg)
        return self.record(
            context,
            PaymentRefunded,
            f"payment-refunded:{transfer_key}",
            amount_rao=decided.amount_rao,
            block=block,
            extrinsic_hash=extrinsic_hash,
            actor=decided.decided_by,
            reason=decided.reason,
        )

    def contribute(
        self, context: Context, *, amount_rao: int, contributor: str, reference: str, actor: str
    ) -> None:
        """Make the whole payment a gift; doing so again is a no-op.

        The contribution's own fact moves the money from unclaimed payments to contributions.
        """
        deposit = self.deposit(context, "be a contribution")
        if self.contributed:
            return
        self._must_be_unclaimed("be a contribution")
        if self.claim is not None:
            raise claimed_otherwise(self._named, self.claim)
        if amount_rao != deposit.amount_rao:
            msg = (
                f"payment {self._named} is of {deposit.amount_rao} rao, so {amount_rao} rao of it "
                "cannot be a contribution; book all of it"
            )
            raise DecisionRefusedError(msg)
        self.record(
            context,
            PaymentContributed,
            f"payment-contributed:{self.id}",
            contributor=contributor,
            reference=reference,
            actor=actor,
        )

    def expire(self, context: Context, age_blocks: int) -> None:
        """Nobody claimed it in time; expiring it twice, or a claimed one, changes nothing."""
        self.deposit(context, "expire")
        if self.taken_by is None and not self.expired:
            self.record(
                context, PaymentExpired, f"payment-expired:{self.id}", age_blocks=age_blocks
            )

    # -- inside -----------------------------------------------------------------------------

    @property
    def _named(self) -> str:
        """As people name it; its id where no arena has seen it."""
        seen = next(iter(self.deposits.values()), None)
        if seen is None:
            return str(self.id)
        return payment_name(seen.extrinsic_hash, seen.block, seen.extrinsic_index)

    def deposit(self, context: Context, what: str) -> PaymentSeen:
        """What reached the treasury of the arena; refuses ``what`` where nothing did."""
        deposit = self.deposits.get(str(context.arena))
        if deposit is None:
            msg = (
                f"payment {self._named} is not in the log of arena {context.arena}, so it cannot "
                f"{what}"
            )
            raise DecisionRefusedError(msg)
        return deposit

    def open_claim(self) -> PaymentClaimed:
        """The claim that waits to be decided; refuses where none does."""
        if self.claim is None:
            msg = f"payment {self._named} has no open claim; see 'treasury claims'"
            raise DecisionRefusedError(msg)
        return self.claim

    def _must_be_unclaimed(self, what: str) -> None:
        if self.consumed_by is not None:
            msg = (
                f"payment {self._named} paid for submission {self.consumed_by}, so it cannot {what}"
            )
            raise DecisionRefusedError(msg)
        if self.served is not None:
            msg = f"payment {self._named} is {self.served} already, so it cannot {what}"
            raise DecisionRefusedError(msg)

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case PaymentSeen():
                self.deposits = {**self.deposits, fact.arena: fact}
            case PaymentConsumed():
                self.consumed_by = fact.submission_id
                self.fee_rao = fact.fee_rao
                self.credit_of = None
                self.claim = None
            case PaymentClaimed():
                self.claim = self.last_claim = fact
                self.claims = fact.number
            case ClaimRefused():
                self.claim = None
            case RefundDecided():
                self.refund_decided = fact
                self.claim = None
            case PaymentCredited():
                self.credit_of = fact.hotkey
                self.credited = fact
                self.claim = None
            case CreditRedeemed():
                self.credit_of = None
                self.consumed_by = fact.submission_id
            case PaymentRefunded():
                self.refunded = True
            case PaymentContributed():
                self.contributed = True
            case PaymentExpired():
                self.expired = True
            case _:
                msg = f"a payment cannot take a {fact.topic}"
                raise TypeError(msg)
