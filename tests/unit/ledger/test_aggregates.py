"""Each aggregate's rule: what may follow what, and one sentence for what may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from ledger.codes import DepositionCause, DisqualificationCode, RefusalCode, VoidCause
from ledger.decisions.arena import Arena, RunnerUp
from ledger.decisions.base import Aggregate, DecisionRefusedError
from ledger.decisions.contest import Contest, ContestClaimed, Holder, PlannedEntrant
from ledger.decisions.payment import Payment
from ledger.decisions.rental import Rental, RentalCostBooked
from ledger.decisions.submission import MAX_LOG_TAIL_CHARS, Submission, SubmissionDisqualified
from ledger.decisions.treasury import Contributed, Treasury
from ledger.decisions.unclaimed import PaymentExpired
from ledger.facts import Context, Fact
from ledger.keys import ArenaKey, KeyFormError
from tests.unit.ledger.scenes import ARENA, TRACK, policy

AT = Context(ARENA, 100)
ONE, TWO, THREE = UUID(int=1), UUID(int=2), UUID(int=3)


def refused(call: Callable[[], object], expected: str) -> None:
    with pytest.raises(DecisionRefusedError, match=expected) as error:
        call()
    sentence = str(error.value)
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    assert ". " not in sentence


def kinds(aggregate: Aggregate) -> list[str]:
    return [fact.topic for fact in aggregate.sink]


# -- arena ------------------------------------------------------------------------------------


def opened() -> Arena:
    arena = Arena(ONE)
    arena.open(AT, "test", policy(), "op", at_block=AT.block)
    return arena


def crown(arena: Arena, hotkey: str, submission: UUID) -> None:
    arena.crown(
        AT,
        track=TRACK,
        hotkey=hotkey,
        submission_id=submission,
        contest_id=THREE,
        score_ppm=5,
        how="contest",
        needed_ppm=1,
        reached_ppm=5,
        why="fast",
    )


def test_an_arena_that_is_not_open_decides_nothing() -> None:
    arena = Arena(ONE)
    refused(lambda: arena.pause(AT, "emission", "r", "op"), "is unknown here")
    refused(lambda: arena.adopt(AT, policy(), 200, "op"), "is unknown here")


def test_a_king_is_not_crowned_over_itself_nor_its_own_runner_up() -> None:
    arena = opened()
    crown(arena, "A", ONE)
    refused(lambda: crown(arena, "A", ONE), "holds the throne")
    refused(
        lambda: arena.name_runner_up(AT, TRACK, RunnerUp("A", TWO, THREE, 5)), "its own runner-up"
    )


def test_overtaking_deposes_before_it_crowns() -> None:
    arena = opened()
    crown(arena, "A", ONE)
    crown(arena, "B", TWO)
    assert kinds(arena)[1:] == [
        "arena.king_crowned.v1",
        "arena.king_deposed.v1",
        "arena.king_crowned.v1",
    ]
    assert arena.kings[TRACK].hotkey == "B"


def test_a_throne_without_a_runner_up_stays_vacant_when_its_king_leaves() -> None:
    arena = opened()
    crown(arena, "A", ONE)
    arena.succeed(AT, TRACK, DepositionCause.DEREGISTERED, "left")
    assert TRACK not in arena.kings


def test_naming_the_same_runner_up_again_is_no_fact() -> None:
    arena = opened()
    second = RunnerUp("B", TWO, THREE, 5)
    for _ in range(2):
        arena.name_runner_up(AT, TRACK, second)
    arena.name_runner_up(AT, "other", None)
    assert kinds(arena).count("arena.runner_up_named.v1") == 1


# -- payment ----------------------------------------------------------------------------------


def seen_payment(amount_rao: int = 10) -> Payment:
    payment = Payment(ONE)
    payment.see(
        AT,
        "payment",
        block=1,
        block_hash="0x",
        extrinsic_index=1,
        extrinsic_hash="0x",
        sender="c",
        treasury="t",
        amount_rao=amount_rao,
        outer_call="Utility.batch_all",
        remarks=(),
    )
    return payment


def test_a_payment_not_in_the_log_pays_for_nothing() -> None:
    refused(lambda: Payment(ONE).consume(AT, TWO, "A", 1), "is not in the log")
    refused(lambda: Payment(ONE).decide_refund(AT, "op", "why"), "is not in the log")
    refused(lambda: Payment(ONE).expire(AT, 9), "is not in the log")


def test_a_payment_is_consumed_once() -> None:
    payment = seen_payment()
    payment.consume(AT, TWO, "A", 7)
    refused(lambda: payment.consume(AT, THREE, "A", 7), f"paid for submission {TWO} already")
    refused(lambda: payment.decide_refund(AT, "op", "why"), "paid for submission")
    refused(lambda: payment.credit(AT, THREE, "A", "x"), "did not pay for submission")
    payment.expire(AT, 99)
    assert PaymentExpired.topic not in kinds(payment)


def test_a_refunded_payment_pays_for_nothing() -> None:
    payment = seen_payment()
    refused(lambda: payment.refund(AT, 1, "0x", "out:1"), "no refund that was decided")
    payment.decide_refund(AT, "op", "why")
    refused(lambda: payment.consume(AT, TWO, "A", 7), "was refund decided")
    assert payment.refund(AT, 1, "0x", "out:1").amount_rao == 10
    refused(lambda: payment.consume(AT, TWO, "A", 7), "was refunded")
    refused(lambda: payment.refund(AT, 1, "0x", "out:2"), "refunded already")
    refused(lambda: payment.decide_refund(AT, "op", "why"), "is refunded already")


def test_an_expired_payment_stays_claimable_and_refundable() -> None:
    claims: list[Callable[[Payment], object]] = [
        lambda payment: payment.consume(AT, TWO, "A", 7),
        lambda payment: payment.decide_refund(AT, "op", "why"),
    ]
    for claim in claims:
        payment = seen_payment()
        payment.expire(AT, 51)
        payment.expire(AT, 52)
        claim(payment)
        assert kinds(payment).count(PaymentExpired.topic) == 1


def test_a_credit_is_redeemed_in_the_arena_that_gave_it() -> None:
    elsewhere = Context(ArenaKey(ARENA.genesis, ARENA.netuid + 1), 100)
    deposit = {**seen_payment().deposits[str(ARENA)].content(), "treasury": "another"}
    by_fault, by_grant = seen_payment(), seen_payment()
    for payment in (by_fault, by_grant):
        payment.see(elsewhere, "payment", **deposit)
    by_fault.consume(AT, TWO, "A", 7)
    by_fault.credit(AT, TWO, "A", "pull_failed")
    by_grant.give_credit(AT, "A", "op", "why")
    refused(lambda: by_fault.consume(elsewhere, THREE, "A", 7), f"paid for submission {TWO} al")
    refused(lambda: by_grant.consume(elsewhere, THREE, "A", 7), "was credited and pays for noth")
    for payment in (by_fault, by_grant):
        payment.consume(AT, THREE, "A", 7)
        assert payment.consumed_by == THREE


# -- submission -------------------------------------------------------------------------------


def seen_submission() -> Submission:
    submission = Submission(ONE)
    submission.see(
        AT,
        "commit",
        track=TRACK,
        hotkey="A",
        coldkey=None,
        uid=None,
        form="plain",
        block=1,
        block_hash="0x",
        index=1,
        nth=0,
        payload="",
        payload_sha256="",
        image="i",
        digest="d",
        payment_tx=None,
        payment_block=None,
    )
    return submission


ACTIONS: dict[str, Callable[[Submission], Any]] = {
    "defer": lambda s: s.defer(AT, "down"),
    "accept": lambda s: s.accept(AT, TWO, 1, 0, by_credit=False),
    "refuse": lambda s: s.refuse(AT, (RefusalCode.NOT_BATCH_ALL,), "x"),
    "enter": lambda s: s.enter(AT, THREE, 1),
    "requeue": lambda s: s.requeue(AT, THREE, "pull_failed", "x", counted=True),
    "score": lambda s: s.score(AT, THREE, 5, None, None),
    "disqualify": lambda s: s.disqualify(
        AT, THREE, DisqualificationCode.TRUNCATED, "x", "y" * 9_000, None
    ),
    "credit": lambda s: s.credit(AT, THREE, "x"),
    "supersede": lambda s: s.supersede(AT, TWO),
}
LEGAL: dict[tuple[str, ...], set[str]] = {
    (): {"defer", "accept", "refuse"},
    ("defer",): {"defer", "accept", "refuse"},
    ("refuse",): set(),
    ("accept",): {"enter", "credit", "supersede"},
    ("accept", "enter"): {"requeue", "score", "disqualify", "credit"},
    ("accept", "enter", "requeue"): {"enter", "credit", "supersede"},
    ("accept", "enter", "score"): {"enter"},
    ("accept", "enter", "score", "enter", "requeue"): {"enter"},
    ("accept", "enter", "disqualify"): set(),
    ("accept", "credit"): set(),
    ("accept", "supersede"): set(),
}


@pytest.mark.parametrize("path", LEGAL, ids=lambda path: "-".join(path) or "known")
@pytest.mark.parametrize("action", ACTIONS)
def test_a_submission_takes_only_the_steps_of_its_path(path: tuple[str, ...], action: str) -> None:
    submission = seen_submission()
    for step in path:
        ACTIONS[step](submission)
    if action in LEGAL[path]:
        ACTIONS[action](submission)
    else:
        refused(lambda: ACTIONS[action](submission), f"submission {ONE} is ")


@pytest.mark.parametrize("action", ACTIONS)
def test_an_unknown_submission_takes_no_step(action: str) -> None:
    refused(lambda: ACTIONS[action](Submission(ONE)), "is unknown here")


def test_a_refusal_names_a_code() -> None:
    refused(lambda: seen_submission().refuse(AT, (), "x"), "cannot be refused without a code")


def test_a_copy_is_found_once_and_only_where_contents_are_known() -> None:
    copy, original = seen_submission(), seen_submission()
    refused(lambda: copy.find_copy(AT, original), "before both contents are known")
    copy.fingerprint_as(AT, "f")
    copy.find_copy(AT, original)
    copy.find_copy(AT, original)
    assert kinds(copy).count("submission.copy_found.v1") == 1
    refused(lambda: ACTIONS["enter"](copy), "is copy")


def test_only_the_end_of_a_server_s_log_is_kept() -> None:
    submission = seen_submission()
    for step in ("accept", "enter", "disqualify"):
        ACTIONS[step](submission)
    fact = submission.sink[-1]
    assert isinstance(fact, SubmissionDisqualified)
    assert len(fact.log_tail) == MAX_LOG_TAIL_CHARS


# -- contest ----------------------------------------------------------------------------------


def planned() -> Contest:
    contest = Contest(ONE)
    entrant = PlannedEntrant(
        submission_id=TWO, hotkey="A", role="challenger", image="i", digest="d"
    )
    contest.plan_as(
        AT,
        track=TRACK,
        attempt=1,
        seed_block=9,
        seed_block_hash="0x",
        policy_digest="d",
        entrants=(entrant,),
    )
    return contest


def test_an_unplanned_contest_takes_no_step() -> None:
    contest = Contest(ONE)
    refused(lambda: contest.claim_for(AT, Holder("host/0", "a"), 200), "is unknown here")
    refused(lambda: contest.void(AT, VoidCause.INTERRUPTED, "x"), "is unknown here")
    refused(lambda: contest.judge(AT, (), ()), "is unknown here")


def test_a_contest_is_planned_once_and_ends_once() -> None:
    contest = planned()
    refused(lambda: contest.plan_as(AT, track=TRACK), "planned already")
    refused(lambda: contest.judge(AT, (), ()), "1 entrants are not measured")
    refused(lambda: contest.measure(AT, THREE), "is no entrant")
    contest.void(AT, VoidCause.INTERRUPTED, "x")
    refused(lambda: contest.void(AT, VoidCause.INTERRUPTED, "x"), "is void and cannot be void")
    refused(lambda: contest.complete(AT, None), "is void and cannot be completed")
    refused(lambda: contest.measure(AT, TWO), "is void and cannot take a measurement")


def test_one_run_of_one_worker_holds_a_claim_and_prolongs_it_while_it_lasts() -> None:
    contest, one, two = planned(), Holder("one/0", "a"), Holder("two/0", "a")
    contest.claim_for(AT, one, 110)
    contest.claim_for(AT, one, 120)
    contest.claim_for(AT, one, 115)
    again = Holder("one/0", "b")
    for other in (two, again):
        refused(lambda: contest.claim_for(Context(ARENA, 120), other, 130), "is claimed by one/0")  # noqa: B023
    refused(lambda: contest.claim_for(Context(ARENA, 121), one, 130), "ended at block 120")
    refused(lambda: contest.claim_for(Context(ARENA, 121), two, 130), "is claimed by one/0")
    claims = [fact.until_block for fact in contest.sink if isinstance(fact, ContestClaimed)]
    assert claims == [110, 120]


def test_only_the_holder_of_a_lasting_claim_records_a_contest_and_anybody_voids_it_later() -> None:
    one, two = Holder("one/0", "a"), Holder("two/0", "a")
    for holder, block, why in (
        (None, 110, "is claimed by one/0"),
        (two, 110, "is claimed by one/0"),
        (one, 111, "ended at block 110"),
    ):
        contest, at = planned(), Context(ARENA, block)
        contest.claim_for(AT, one, 110)
        refused(lambda: contest.measure_baseline(at, holder=holder), why)  # noqa: B023
        refused(lambda: contest.measure(at, TWO, holder=holder), why)  # noqa: B023
        if block == 110:
            refused(lambda: contest.void(at, VoidCause.INTERRUPTED, "x", holder=holder), why)  # noqa: B023
        contest.void(Context(ARENA, 111), VoidCause.INTERRUPTED, "x", holder=two)
        assert contest.ended == "void"


def test_a_claim_names_its_worker_and_session_in_short_printable_text() -> None:
    for holder in (Holder("", "a"), Holder("a\nb", "a"), Holder("a" * 129, "a"), Holder("a", "")):
        refused(lambda: planned().claim_for(AT, holder, 110), "printable characters")  # noqa: B023
    planned().claim_for(AT, Holder("a" * 128, "b" * 64), 110)


# -- rental -----------------------------------------------------------------------------------


def test_a_rental_is_metered_from_its_start_to_its_end_and_booked_once() -> None:
    rental = Rental(ONE)
    refused(
        lambda: rental.start(AT, instance="i", usd_micros_per_hour=1, started_at_s=5),
        "start before it was requested",
    )
    refused(lambda: rental.match_invoice(AT, "i", "1", 5), "invoiced before it was requested")
    for _ in range(2):
        rental.request(AT, provider="p", tier="t", max_usd_micros_per_hour=9, contest_id=None)
    refused(lambda: rental.end(AT, 9, "x"), "end before it started")
    for _ in range(2):
        rental.start(AT, instance="i", usd_micros_per_hour=3_601, started_at_s=100)
    refused(lambda: rental.book_cost(AT, 1), "its meter still runs")
    refused(lambda: rental.end(AT, 99, "x"), "end before its own start")
    for _ in range(2):
        rental.end(AT, 110, "done")
        rental.book_cost(AT, 1)
        rental.match_invoice(AT, "i", "1", 5)
    assert len(rental.sink) == 5
    booked = rental.sink[3]
    assert isinstance(booked, RentalCostBooked)
    assert (booked.seconds, booked.cost_usd_micros) == (10, 11)  # 10.002… rounded up


# -- treasury ---------------------------------------------------------------------------------


def contribute(treasury: Treasury, amount: int = 5, reference: str = "r") -> None:
    treasury.contribute(
        AT,
        reference=reference,
        asset="USD",
        amount=amount,
        provider="p",
        contributor="c",
        about_block=1,
        actor="op",
    )


def test_a_reference_is_booked_once_and_never_as_two_things() -> None:
    treasury = Treasury(ONE)
    contribute(treasury)
    contribute(treasury)
    assert kinds(treasury) == [Contributed.topic]
    refused(
        lambda: treasury.adjust(AT, reference="r", reason="x", amount=1),
        r"is booked already, by a treasury\.contributed\.v1",
    )
    contribute(treasury, 6)  # the same key with other content: the store refuses it as a conflict
    assert treasury.sink[0].fact_key == treasury.sink[1].fact_key


def test_money_in_is_above_zero_and_a_correction_has_a_reason() -> None:
    treasury = Treasury(ONE)
    refused(lambda: contribute(treasury, 0), "needs amount from 1 to 9223372036854775807, not 0")
    refused(lambda: contribute(treasury, 2**63), "amount from 1 to")
    refused(
        lambda: treasury.convert(AT, reference="r", sold_rao=-1, bought_usd_micros=1),
        "sold_rao from 1 to",
    )
    refused(lambda: treasury.adjust(AT, reference="r", reason=" ", amount=1), "without a reason")
    refused(lambda: treasury.plan_buyback(AT, 0, 1, "op"), "max_rao from 1 to")


def executed(treasury: Treasury) -> None:
    treasury.execute_buyback(
        AT,
        1,
        block=1,
        block_hash="0x",
        extrinsic_index=1,
        extrinsic_hash="0x",
        netuid=14,
        spent_rao=5,
        burned_alpha=6,
        about_block=1,
    )


def test_a_buyback_needs_two_people_and_is_sent_once() -> None:
    treasury = Treasury(ONE)
    refused(lambda: treasury.approve_buyback(AT, 1, "two"), "there is no buyback 1; 0 are planned")
    treasury.plan_buyback(AT, 10, 5, "one")
    refused(lambda: treasury.approve_buyback(AT, 1, "one"), "a second person must approve")
    refused(lambda: treasury.send_buyback(AT, 1, 5, 0), "is not approved")
    refused(lambda: executed(treasury), "was never sent")
    refused(lambda: treasury.fail_buyback(AT, 1, "x"), "was never sent")
    treasury.approve_buyback(AT, 1, "two")
    refused(lambda: treasury.send_buyback(AT, 1, 11, 0), "allows up to 10 rao, not 11")
    treasury.send_buyback(AT, 1, 5, 0)
    refused(lambda: treasury.send_buyback(AT, 1, 5, 0), "was sent already")
    executed(treasury)
    executed(treasury)
    assert len(treasury.sink) == 4
    refused(lambda: treasury.fail_buyback(AT, 1, "x"), "was executed")


def destroyed(treasury: Treasury, reference: str) -> None:
    treasury.destroy_alpha(
        AT,
        reference=reference,
        how="burned",
        alpha=7,
        netuid=14,
        reason="on purpose",
        about_block=8,
        actor="op",
    )


def test_what_a_buyback_burned_is_not_booked_as_destroyed_too() -> None:
    treasury = Treasury(ONE)
    treasury.plan_buyback(AT, 10, 5, "one")
    treasury.approve_buyback(AT, 1, "two")
    treasury.send_buyback(AT, 1, 5, 0)
    executed(treasury)
    refused(lambda: destroyed(treasury, "0x"), "is buyback 1's, and in the books")
    destroyed(treasury, "0xother")


def test_what_is_booked_as_destroyed_is_not_burned_by_a_buyback_too() -> None:
    treasury = Treasury(ONE)
    treasury.plan_buyback(AT, 10, 5, "one")
    treasury.approve_buyback(AT, 1, "two")
    treasury.send_buyback(AT, 1, 5, 0)
    destroyed(treasury, "0x")
    refused(lambda: executed(treasury), "is booked as alpha destroyed already")


def test_a_failed_buyback_is_not_silently_executed() -> None:
    treasury = Treasury(ONE)
    treasury.plan_buyback(AT, 10, 5, "one")
    treasury.approve_buyback(AT, 1, "two")
    treasury.send_buyback(AT, 1, 5, 0)
    for _ in range(2):
        treasury.fail_buyback(AT, 1, "slippage")
    assert len(treasury.sink) == 4
    refused(lambda: executed(treasury), "is recorded as failed")


def test_periods_follow_each_other_without_gap_or_overlap() -> None:
    treasury = Treasury(ONE)
    refused(lambda: treasury.close_period(AT, 10, 10, "op"), "cannot end at block 10")
    refused(lambda: treasury.close_period(AT, 101, 10, "op"), "block 100 is the newest")
    for to_block in (50, 50, 100):
        treasury.close_period(AT, to_block, 10, "op")
    refused(lambda: treasury.close_period(AT, 60, 10, "op"), "the last one ended at 100")
    spans = [(fact.from_block, fact.to_block) for fact in treasury.sink]  # type: ignore[attr-defined]
    assert spans == [(10, 50), (50, 100)]


# -- all --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Arena, Payment, Submission, Contest, Rental, Treasury])
def test_an_aggregate_refuses_another_one_s_facts(kind: type[Aggregate]) -> None:
    foreign: list[Fact] = [*opened().sink, *seen_payment().sink]
    with pytest.raises(TypeError, match="cannot take a"):
        for fact in foreign:
            kind(ONE).take(fact)


@pytest.mark.parametrize("text", ["", "0x14/1", "0x" + "14" * 32, "0x" + "14" * 32 + "/65536"])
def test_a_text_that_names_no_arena_is_refused(text: str) -> None:
    with pytest.raises(KeyFormError):
        ArenaKey.parse(text)


def test_an_arena_is_read_back_from_its_text() -> None:
    assert ArenaKey.parse(str(ARENA)) == ARENA
