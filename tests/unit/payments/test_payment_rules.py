"""R2 to R10: every broken rule is recorded, and nothing that breaks one is accepted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codes import RULE_OF, RefusalCode
from ledger.policy import FeePolicy
from ledger.rules.payload import CommitPayload, MalformedPayload
from ledger.rules.payments import (
    MOST_SPECIFIC_FIRST,
    CommitFacts,
    PaymentAccepted,
    PaymentEvidence,
    PaymentExtrinsic,
    PaymentRefused,
    TransferSeen,
    expected_remark,
    judge_payment,
)

TREASURY, STRANGER, OWNER, HOTKEY = "5Treasury", "5Stranger", "5Owner", "5Hotkey"
FEE = FeePolicy(treasury_ss58=TREASURY, fee_rao=100_000_000, payment_max_age_blocks=7_200)
DIGEST = "sha256:" + "ab" * 32
REMARK = expected_remark(HOTKEY, DIGEST)
PAYLOAD = CommitPayload("engine:v1", DIGEST, "0x" + "1" * 64, "0x" + "2" * 64)
COMMIT = CommitFacts("submission-1", HOTKEY, 10_000, PAYLOAD)
PAID = TransferSeen(TREASURY, FEE.fee_rao, executed=True)
EXTRINSIC = PaymentExtrinsic(1, "Utility.batch_all", True, OWNER, (PAID,), (REMARK,))
EVIDENCE = PaymentEvidence(9_990, EXTRINSIC, OWNER)


def codes(
    commit: CommitFacts = COMMIT, evidence: PaymentEvidence = EVIDENCE, fee: FeePolicy = FEE
) -> tuple[RefusalCode, ...]:
    verdict = judge_payment(commit, evidence, fee)
    return verdict.codes if isinstance(verdict, PaymentRefused) else ()


def seen(**changes: object) -> PaymentEvidence:
    return replace(EVIDENCE, extrinsic=replace(EXTRINSIC, **changes))  # type: ignore[arg-type]


def test_an_exact_payment_is_accepted_without_overpayment() -> None:
    assert judge_payment(COMMIT, EVIDENCE, FEE) == PaymentAccepted(FEE.fee_rao, 0)


def test_an_overpayment_is_accepted_and_stated() -> None:
    paid = replace(PAID, amount_rao=FEE.fee_rao + 7)
    assert judge_payment(COMMIT, seen(transfers=(paid,)), FEE) == PaymentAccepted(
        FEE.fee_rao + 7, 7
    )


def test_treasury_transfers_of_one_batch_add_up_and_others_do_not_count() -> None:
    half = TransferSeen(TREASURY, FEE.fee_rao // 2, executed=True)
    elsewhere = TransferSeen(STRANGER, FEE.fee_rao, executed=True)
    assert judge_payment(COMMIT, seen(transfers=(half, elsewhere, half)), FEE) == PaymentAccepted(
        FEE.fee_rao, 0
    )
    assert codes(evidence=seen(transfers=(half, elsewhere))) == (RefusalCode.AMOUNT_TOO_SMALL,)


def test_one_rao_below_the_fee_is_too_small() -> None:
    paid = replace(PAID, amount_rao=FEE.fee_rao - 1)
    assert codes(evidence=seen(transfers=(paid,))) == (RefusalCode.AMOUNT_TOO_SMALL,)


@pytest.mark.parametrize(("age", "refused"), [(0, False), (7_200, False), (7_201, True)])
def test_a_payment_expires_after_the_last_allowed_block(age: int, refused: bool) -> None:
    evidence = replace(EVIDENCE, block_number=COMMIT.block_number - age)
    assert codes(evidence=evidence) == ((RefusalCode.PAYMENT_EXPIRED,) if refused else ())


def test_an_unread_payment_is_judged_by_its_age_alone() -> None:
    old = PaymentEvidence(10_000 - 7_201, unread="thrown away")
    assert codes(evidence=old) == ("payment_expired",)
    with pytest.raises(ValueError, match="only an expired payment is judged unread"):
        codes(evidence=PaymentEvidence(10_000 - 7_200, unread="thrown away"))


def test_a_payment_after_the_commit_is_unknown_to_it() -> None:
    evidence = replace(EVIDENCE, block_number=COMMIT.block_number + 1)
    assert codes(evidence=evidence) == (RefusalCode.PAYMENT_BLOCK_UNKNOWN,)


def test_a_payment_taken_by_another_submission_is_used_and_by_this_one_is_not() -> None:
    assert codes(evidence=EVIDENCE.consumed("submission-0")) == (RefusalCode.PAYMENT_ALREADY_USED,)
    assert codes(evidence=EVIDENCE.consumed(COMMIT.submission_id)) == ()


BROKEN_ALONE = [
    (replace(COMMIT, succeeded=False), EVIDENCE, RefusalCode.COMMIT_EXTRINSIC_FAILED),
    (replace(COMMIT, payload=MalformedPayload("no")), EVIDENCE, RefusalCode.MALFORMED_PAYLOAD),
    (COMMIT, PaymentEvidence(), RefusalCode.PAYMENT_BLOCK_UNKNOWN),
    (COMMIT, replace(EVIDENCE, extrinsic=None), RefusalCode.PAYMENT_TX_NOT_IN_BLOCK),
    (COMMIT, seen(success=False), RefusalCode.EXTRINSIC_FAILED),
    (COMMIT, seen(outer_call="Utility.batch"), RefusalCode.NOT_BATCH_ALL),
    (COMMIT, seen(outer_call="Utility.force_batch"), RefusalCode.NOT_BATCH_ALL),
    (COMMIT, seen(outer_call="Proxy.proxy"), RefusalCode.NOT_BATCH_ALL),
    (COMMIT, seen(transfers=()), RefusalCode.NO_TREASURY_TRANSFER),
    (COMMIT, seen(remarks=()), RefusalCode.REMARK_MISSING),
    (COMMIT, seen(remarks=("hello",)), RefusalCode.REMARK_MISSING),
    (COMMIT, seen(remarks=(REMARK + " ",)), RefusalCode.REMARK_MISMATCH),
    (COMMIT, seen(remarks=(REMARK.upper(),)), RefusalCode.REMARK_MISSING),
    (COMMIT, seen(remarks=(REMARK, REMARK)), RefusalCode.AMBIGUOUS_REMARKS),
    (
        COMMIT,
        seen(remarks=(REMARK, "0x" + (b"cacheon:" + b"\xff").hex())),
        RefusalCode.AMBIGUOUS_REMARKS,
    ),
    (COMMIT, seen(signer=STRANGER), RefusalCode.SIGNER_NOT_OWNER),
    (COMMIT, seen(signer=None), RefusalCode.SIGNER_NOT_OWNER),
    (COMMIT, replace(EVIDENCE, owner=None), RefusalCode.COLDKEY_UNKNOWN),
]


@pytest.mark.parametrize(("commit", "evidence", "code"), BROKEN_ALONE)
def test_each_rule_refuses_by_its_own_code(
    commit: CommitFacts, evidence: PaymentEvidence, code: RefusalCode
) -> None:
    assert codes(commit, evidence) == (code,)


def test_a_remark_of_another_kind_beside_the_exact_one_is_no_ambiguity() -> None:
    assert codes(evidence=seen(remarks=("for the fee", REMARK, "0xff"))) == ()


def test_money_sent_elsewhere_is_told_apart_from_money_that_never_moved() -> None:
    elsewhere = TransferSeen(STRANGER, FEE.fee_rao, executed=True)
    unmoved = replace(PAID, executed=False)
    assert codes(evidence=seen(transfers=(elsewhere,))) == (
        RefusalCode.WRONG_DESTINATION,
        RefusalCode.NO_TREASURY_TRANSFER,
    )
    assert codes(evidence=seen(transfers=(unmoved,))) == (
        RefusalCode.TRANSFER_NOT_EXECUTED,
        RefusalCode.NO_TREASURY_TRANSFER,
    )


def test_all_broken_rules_are_recorded_most_specific_first() -> None:
    evidence = replace(
        seen(outer_call="Utility.batch", success=False, signer=STRANGER, remarks=()),
        block_number=COMMIT.block_number - 7_201,
        consumed_by="submission-0",
    )
    assert codes(evidence=evidence) == (
        RefusalCode.EXTRINSIC_FAILED,
        RefusalCode.SIGNER_NOT_OWNER,
        RefusalCode.NOT_BATCH_ALL,
        RefusalCode.REMARK_MISSING,
        RefusalCode.PAYMENT_ALREADY_USED,
        RefusalCode.PAYMENT_EXPIRED,
    )


def test_every_refusal_code_has_its_place_in_the_order() -> None:
    assert sorted(MOST_SPECIFIC_FIRST) == sorted(RefusalCode)
    assert set(MOST_SPECIFIC_FIRST) == set(RULE_OF)


def test_a_refusal_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="at least one"):
        PaymentRefused(())


transfers = st.builds(
    TransferSeen,
    destination=st.sampled_from([TREASURY, STRANGER]),
    amount_rao=st.sampled_from([0, 1, 50_000_000, 99_999_999, 100_000_000, 200_000_000]),
    executed=st.booleans(),
)
evidences = st.builds(
    PaymentEvidence,
    block_number=st.none() | st.sampled_from([0, 2_799, 2_800, 9_990, 10_000, 10_001]),
    extrinsic=st.none()
    | st.builds(
        PaymentExtrinsic,
        index=st.integers(0, 5),
        outer_call=st.sampled_from(["Utility.batch_all", "Utility.batch", "System.remark"]),
        success=st.booleans(),
        signer=st.sampled_from([OWNER, STRANGER, None]),
        transfers=st.lists(transfers, max_size=3).map(tuple),
        remarks=st.lists(st.sampled_from([REMARK, "cacheon:other", "hi"]), max_size=3).map(tuple),
    ),
    owner=st.sampled_from([OWNER, STRANGER, None]),
    consumed_by=st.sampled_from([None, "submission-0", "submission-1"]),
)
commits = st.builds(
    CommitFacts,
    submission_id=st.just("submission-1"),
    hotkey=st.just(HOTKEY),
    block_number=st.just(10_000),
    payload=st.sampled_from([PAYLOAD, MalformedPayload("no")]),
    succeeded=st.booleans(),
)


def all_rules_kept(commit: CommitFacts, evidence: PaymentEvidence, paid_rao: int) -> bool:
    """The rules written a second time, as one sentence each."""
    extrinsic = evidence.extrinsic
    return (
        commit.succeeded
        and isinstance(commit.payload, CommitPayload)
        and evidence.block_number is not None
        and 0 <= commit.block_number - evidence.block_number <= 7_200
        and extrinsic is not None
        and extrinsic.success
        and extrinsic.outer_call == "Utility.batch_all"
        and paid_rao >= FEE.fee_rao
        and all(t.executed for t in extrinsic.transfers if t.destination == TREASURY)
        and [r for r in extrinsic.remarks if r.startswith("cacheon:")] == [REMARK]
        and evidence.owner is not None
        and extrinsic.signer == evidence.owner
        and evidence.consumed_by in (None, commit.submission_id)
    )


@given(commits, evidences)
def test_a_commit_is_accepted_exactly_when_no_rule_is_broken(
    commit: CommitFacts, evidence: PaymentEvidence
) -> None:
    verdict = judge_payment(commit, evidence, FEE)
    moved = [
        item.amount_rao
        for item in (evidence.extrinsic.transfers if evidence.extrinsic else ())
        if item.executed and item.destination == TREASURY
    ]
    assert isinstance(verdict, PaymentAccepted) == all_rules_kept(commit, evidence, sum(moved))
    if isinstance(verdict, PaymentAccepted):
        assert verdict.paid_rao == sum(moved)
        assert verdict.overpaid_rao == sum(moved) - FEE.fee_rao
    else:
        places = [MOST_SPECIFIC_FIRST.index(code) for code in verdict.codes]
        assert places == sorted(set(places))
