"""Evidence that could not be stored is refused as a plan, not found out when the round is over."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from entrant_evidence import evidence
from imagined_contest import changed, plan

from evaluation.answers import MAX_LOGPROB_MILLI, Answer
from evaluation.contest import run_contest
from evaluation.evidence import MAX_EVIDENCE_BYTES, EvidenceStore, canonical
from evaluation.evidence_size import check_evidence_fits, kept_tokens
from evaluation.forcing import ForcedToken
from evaluation.judge import ForcedAnswer
from evaluation.plan import ContestPlan, PlanError
from evaluation.reference import tokenizer
from evaluation.runners.process import ProcessRunner
from evaluation.runners.reference import ReferenceImages
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy


def asking(prompts: int, output_tokens: int, **gates: int) -> ContestPlan:
    track = plan().policy
    contest = changed(track.contest, prompts=prompts, output_tokens=output_tokens)
    policy = changed(track, contest=contest, gates=changed(track.gates, **gates))
    return changed(plan(), policy=policy)


def longest(tokens: int) -> Answer:
    """An answer of the largest ids, latest arrivals and longest claims that are to be expected."""
    return Answer(
        tokens=(248_319,) * tokens,
        arrival_us=(119_999_999,) * tokens,
        end_us=119_999_999,
        finish_reason="length",
        logprobs_milli=(-MAX_LOGPROB_MILLI,) * tokens,
    )


def test_the_largest_plan_that_is_taken_can_be_stored_whatever_an_entrant_sends() -> None:
    most = next(n for n in range(1_000, 1, -1) if fits(asking(n, 2_048)))
    assert 300 < most < 576
    kept = kept_tokens(asking(most, 2_048).policy)
    base = msgspec.structs.replace(longest(2_048), logprobs_milli=(-12_345,) * 2_048)
    token = ForcedToken(margin_milli=12_345, rank=123_456, logprob_milli=-12_345)
    a_prompt = canonical(
        evidence(
            baseline=(base,),
            answers=(longest(kept),),
            forced=(ForcedAnswer(tokens=(token,) * kept, end=None),),
        )
    )
    assert most * len(a_prompt) <= MAX_EVIDENCE_BYTES


def fits(planned: ContestPlan) -> bool:
    try:
        check_evidence_fits(planned)
    except PlanError:
        return False
    return True


def test_a_policy_whose_evidence_could_not_be_stored_is_refused_before_anything_runs(
    tmp_path: Path,
) -> None:
    planned = asking(1_000, 2_048)
    runner = ProcessRunner(ReferenceImages(tmp_path, tmp_path))
    with pytest.raises(PlanError, match=r"could be larger than 67108864 bytes; ask at most \d+"):
        run_contest(planned, runner, EvidenceStore(tmp_path), tokenizer=tokenizer)


def test_what_is_kept_of_an_answer_is_more_than_the_length_gate_lets_pass() -> None:
    def kept(most_ppm: int) -> int:
        return kept_tokens(
            TrackPolicy(
                model="m",
                emission=KingTakesAll(),
                scoring=ScoreV2(),
                gates=GatePolicy(max_length_ppm=most_ppm),
                contest=ContestPolicy(output_tokens=100),
            )
        )

    assert kept(1_000_000) == 116
    assert kept(1_100_000) == 126
    assert kept(9_000_000) == 216
