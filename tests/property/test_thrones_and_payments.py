"""Whatever is tried in whatever order: a payment pays once, a track has one king."""

from __future__ import annotations

import tempfile
from pathlib import Path
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger.books import accounts
from ledger.books.postings import entry_of
from ledger.decisions.arena import KingCrowned, KingDeposed
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.credits import CreditRedeemed, PaymentCredited
from ledger.decisions.payment import Payment, PaymentConsumed, PaymentSeen
from ledger.decisions.unclaimed import (
    ClaimRefused,
    PaymentClaimed,
    PaymentContributed,
    PaymentRefunded,
    RefundDecided,
)
from ledger.facts import Context
from tests.contract.stores import quick_engine
from tests.property.season import Season, actions
from tests.unit.ledger.scenes import ARENA, Scene

SUBMISSIONS = st.integers(min_value=1, max_value=4).map(lambda number: UUID(int=number))
HOTKEYS = st.sampled_from(["A", "B"])
CLAIMANTS = st.sampled_from(["c", "thief"])
AMOUNT_RAO = 10
FEE_RAO = 7


class PaymentMachine(RuleBasedStateMachine):
    """One payment under every order of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.payment = Payment(UUID(int=99))
        self.context = Context(ARENA, 1)
        self.signed = 0

    @rule()
    def see(self) -> None:
        self.payment.see(
            self.context,
            "payment",
            block=1,
            block_hash="0x",
            extrinsic_index=1,
            extrinsic_hash="0x",
            sender="c",
            treasury="t",
            amount_rao=AMOUNT_RAO,
            outer_call="Utility.batch_all",
            remarks=(),
        )

    @rule(submission=SUBMISSIONS, hotkey=HOTKEYS)
    def consume(self, submission: UUID, hotkey: str) -> None:
        self._attempt(lambda: self.payment.consume(self.context, submission, hotkey, FEE_RAO))

    @rule(submission=SUBMISSIONS, hotkey=HOTKEYS)
    def credit(self, submission: UUID, hotkey: str) -> None:
        self._attempt(lambda: self.payment.credit(self.context, submission, hotkey, "host_failed"))

    @rule(claimant=CLAIMANTS, hotkey=st.none() | HOTKEYS)
    def claim(self, claimant: str, hotkey: str | None) -> None:
        self.signed += 1
        self._attempt(
            lambda: self.payment.make_claim(
                self.context,
                claimant=claimant,
                wants="refund" if hotkey is None else "credit",
                hotkey=hotkey,
                signature=f"0x{self.signed}",
            )
        )

    @rule(granted=st.booleans())
    def decide(self, granted: bool) -> None:
        act = self.payment.grant_claim if granted else self.payment.refuse_claim
        self._attempt(lambda: act(self.context, "op", "why"))

    @rule(hotkey=HOTKEYS)
    def give_credit(self, hotkey: str) -> None:
        self._attempt(lambda: self.payment.give_credit(self.context, hotkey, "op", "why"))

    @rule()
    def decide_refund(self) -> None:
        self._attempt(lambda: self.payment.decide_refund(self.context, "op", "why"))

    @rule(transfer=st.integers(1, 3))
    def refund(self, transfer: int) -> None:
        self._attempt(lambda: self.payment.refund(self.context, 1, "0x", f"out:{transfer}"))

    @rule(amount_rao=st.sampled_from([AMOUNT_RAO, AMOUNT_RAO - 1]))
    def contribute(self, amount_rao: int) -> None:
        self._attempt(
            lambda: self.payment.contribute(
                self.context, amount_rao=amount_rao, contributor="x", reference="0x", actor="op"
            )
        )

    @rule()
    def expire(self) -> None:
        self._attempt(lambda: self.payment.expire(self.context, 9))

    @staticmethod
    def _attempt(call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except DecisionRefusedError as refused:
            assert "\n" not in str(refused)

    @invariant()
    def pays_for_one_submission_and_once_more_for_every_credit_of_the_same_hotkey(self) -> None:
        credit: str | None = None
        consumed = 0
        for fact in self.payment.sink:
            match fact:
                case PaymentConsumed():
                    assert credit in (None, fact.hotkey)
                    consumed += 1
                    credit = None
                case PaymentCredited():
                    credit = fact.hotkey
                case CreditRedeemed():
                    assert credit == fact.hotkey
                    credit = None
                case _:
                    pass
        assert consumed <= 1

    @invariant()
    def is_worth_no_more_than_what_came_in(self) -> None:
        """What its facts book against what it owes comes to the deposit at most, in all orders."""
        came = given = owed_as_credit = unclaimed = 0
        for fact in self.payment.sink:
            match fact:
                case PaymentSeen():
                    came += fact.amount_rao
                case PaymentConsumed():
                    given += fact.fee_rao + fact.overpaid_rao
                case PaymentRefunded():
                    given += fact.amount_rao
                case PaymentContributed():
                    given += AMOUNT_RAO
                case PaymentCredited():
                    owed_as_credit += fact.fee_rao or 0
                case CreditRedeemed():
                    owed_as_credit -= fact.fee_rao or 0
                case _:
                    pass
            assert 0 <= given <= came
            assert 0 <= owed_as_credit <= FEE_RAO
            entry = entry_of(fact)
            for posting in entry.postings if entry else ():
                unclaimed -= posting.value if posting.account == accounts.UNCLAIMED else 0
            if PaymentContributed not in {type(one) for one in self.payment.sink}:
                assert unclaimed == came - given  # a contribution is moved by the treasury's fact

    @invariant()
    def serves_one_thing_only(self) -> None:
        kinds = {type(fact) for fact in self.payment.sink}
        ends = kinds & {PaymentConsumed, RefundDecided, PaymentContributed}
        assert len(ends) <= 1
        assert PaymentRefunded not in kinds or RefundDecided in kinds

    @invariant()
    def only_who_paid_claims_and_one_claim_is_open_at_a_time(self) -> None:
        opened = False
        for fact in self.payment.sink:
            match fact:
                case PaymentClaimed():
                    assert not opened
                    assert fact.claimant == "c"
                    opened = True
                case ClaimRefused() | RefundDecided() | PaymentCredited() | PaymentConsumed():
                    opened = False
                case _:
                    pass
        assert opened == (self.payment.claim is not None)

    @invariant()
    def every_fact_has_a_key_and_version_of_its_own_and_replays(self) -> None:
        facts = self.payment.sink
        assert [fact.originator_version for fact in facts] == list(range(1, len(facts) + 1))
        assert len({fact.fact_key for fact in facts}) == len(facts)
        again = Payment.project(None, facts)
        if again is not None:
            assert (again.consumed_by, again.credit_of, again.served, again.claim) == (
                self.payment.consumed_by,
                self.payment.credit_of,
                self.payment.served,
                self.payment.claim,
            )


PaymentMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
TestPayment = PaymentMachine.TestCase


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(actions(min_size=6, max_size=30))
def test_a_track_never_has_two_kings_and_no_king_is_its_own_runner_up(
    drawn: list[tuple[str, int, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = quick_engine(Path(folder))
        season = Season(Scene(engine))
        for action in drawn:
            season.play(action)
            arena = season.scene.arena
            for track, king in arena.kings.items():
                second = arena.runners_up.get(track)
                assert second is None or second.hotkey != king.hotkey
                assert season.scene.status(king.submission_id) in {"scored", "contested"}
        seated: dict[str, str] = {}
        for logged in season.scene.log():
            match logged.fact:
                case KingCrowned() as crowned:
                    assert crowned.track not in seated
                    seated[crowned.track] = crowned.hotkey
                case KingDeposed() as deposed:
                    assert seated.pop(deposed.track) == deposed.hotkey
        paid_for: dict[UUID, int] = {}
        for fact in season.scene.facts(PaymentConsumed):
            paid_for[fact.originator_id] = paid_for.get(fact.originator_id, 0) + 1
        assert set(paid_for.values()) <= {1}
        statuses = season.submissions()
        accepted = [found for found in statuses if found.payment_id is not None]
        by_payment: dict[UUID, int] = {}
        for found in accepted:
            assert found.payment_id is not None
            by_payment[found.payment_id] = by_payment.get(found.payment_id, 0) + 1
        redeemed = [fact.originator_id for fact in season.scene.facts(CreditRedeemed)]
        for payment, uses in by_payment.items():
            assert uses == 1 + redeemed.count(payment)
        engine.dispose()
