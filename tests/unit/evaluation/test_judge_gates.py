"""Every gate opens and shuts exactly at its limit, and the first shut one names the verdict."""

from __future__ import annotations

from typing import Any

import pytest
from entrant_evidence import BEST, answer, evidence, forced
from msgspec.structs import replace as changed

from evaluation.entrant import FIRST_EVIDENCE_FORM
from evaluation.forcing import ForcedToken
from evaluation.judge import EntrantVerdict, Fault, ForcedAnswer, judge
from ledger.codes import DisqualificationCode, InfrastructureCause
from ledger.gate_policy import GatePolicy

GATES = GatePolicy()
NEAR = ForcedToken(400, 2)


def verdict(gates: GatePolicy = GATES, **fields: Any) -> EntrantVerdict:
    return judge(evidence(**fields), gates, evidence_digest="sha256:e")


def test_an_honest_entrant_is_scored_with_both_sides_times() -> None:
    found = verdict()
    assert (found.status, found.code, found.evidence_digest) == ("scored", "", "sha256:e")
    assert found.baseline_ttft_us == found.ttft_us == (1_000, 1_000)
    assert found.baseline_e2e_us == (1_000 + 19 * 5_000, 1_000 + 19 * 4_000)
    assert found.e2e_us == (1_000 + 19 * 500,) * 2
    assert found.tokens == found.baseline_tokens == (20, 20)
    assert (found.top1_ppm, found.mean_margin_milli, found.p99_margin_milli) == (1_000_000, 0, 0)
    assert (found.min_length_ppm, found.coverage_ppm) == (1_000_000, 1_000_000)
    assert found.spread_ppm == 9_500 * 1_000_000 // 10_500
    assert found.repeat_gain_ppm == 0


def test_both_sides_are_timed_over_the_tokens_both_have() -> None:
    found = verdict(
        answers=(answer(18, end="stop"), answer(22)), forced=(forced(18, end=BEST), forced(22))
    )
    assert found.status == "scored"
    assert found.tokens == (18, 20)
    assert found.baseline_e2e_us == (1_000 + 17 * 5_000, 1_000 + 19 * 4_000)
    assert found.e2e_us == (1_000 + 17 * 500, 1_000 + 19 * 500)
    assert found.baseline_tokens == (20, 20)


@pytest.mark.parametrize(
    ("baseline", "own", "code"),
    [
        (20, 18, ""),
        (20, 17, "truncated"),
        (21, 19, ""),
        (21, 18, "truncated"),
        (2, 2, ""),
        (2, 1, "truncated"),
        (20, 0, "truncated"),
        (20, 22, ""),
        (20, 23, "overlong"),
        (19, 20, ""),
        (19, 21, "overlong"),
    ],
)
def test_length_is_judged_against_the_baselines(baseline: int, own: int, code: str) -> None:
    answers = (answer(20), answer(own, end="stop"))
    found = verdict(
        baseline=(answer(20), answer(baseline)),
        answers=answers,
        forced=(forced(20), forced(own, end=BEST)),
    )
    assert found.code == code
    assert found.min_length_ppm == min(1_000_000, own * 1_000_000 // baseline)


@pytest.mark.parametrize(("unknown", "status"), [(20, "scored"), (21, "infrastructure")])
def test_too_little_coverage_is_nobodys_fault(unknown: int, status: str) -> None:
    covered = (forced(20, *[None] * (unknown - 10)), forced(20, *[None] * 10))
    found = verdict(forced=covered)
    assert found.status == status
    assert found.code == ("" if status == "scored" else InfrastructureCause.COVERAGE_TOO_LOW)
    assert found.coverage_ppm == (40 - unknown) * 1_000_000 // 40


def test_no_coverage_at_all_is_never_scored_even_where_none_is_asked_for() -> None:
    nothing = (forced(20, *[None] * 20),) * 2
    found = verdict(GatePolicy(min_coverage_ppm=0), forced=nothing)
    assert found.status == "infrastructure"
    assert found.top1_ppm is None


def with_margins(*others: ForcedToken) -> tuple[ForcedAnswer, ...]:
    """100 tokens in two answers of 50, ``others`` among them."""
    half = len(others) // 2
    return forced(50, *others[:half]), forced(50, *others[half:])


HUNDRED: dict[str, Any] = {
    "baseline": (answer(50), answer(50)),
    "answers": (answer(50), answer(50)),
}


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ([ForcedToken(10, 2)] * 3, ""),
        ([ForcedToken(10, 2)] * 4, "sampler_changed"),
        ([ForcedToken(10, 2)] * 50, "sampler_changed"),
        ([ForcedToken(10, 2)] * 51, "other_weights"),
        ([ForcedToken(500, 2)] * 2, ""),
        ([ForcedToken(501, 2)] * 2, "sampler_changed"),
        ([ForcedToken(501, 2)], ""),
        ([ForcedToken(900_000, 2)], ""),
    ],
)
def test_choices_are_judged_by_rate_and_tail(others: list[ForcedToken], code: str) -> None:
    assert verdict(forced=with_margins(*others), **HUNDRED).code == code


@pytest.mark.parametrize(
    ("margin_milli", "mean_milli", "code"),
    [(1_500, 30, ""), (1_501, 31, "sampler_changed"), (9_999, 40, "sampler_changed")],
)
def test_the_mean_margin_is_clipped_and_rounded_against_the_entrant(
    margin_milli: int, mean_milli: int, code: str
) -> None:
    gates = GatePolicy(max_p99_margin_milli=100_000)
    others = [ForcedToken(margin_milli, 2)] * 2
    found = verdict(gates, forced=with_margins(*others), **HUNDRED)
    assert (found.mean_margin_milli, found.code) == (mean_milli, code)


@pytest.mark.parametrize(("margin_milli", "code"), [(1_000, ""), (1_001, "other_weights")])
def test_a_mean_margin_beyond_half_the_clip_is_other_weights(margin_milli: int, code: str) -> None:
    gates = GatePolicy(
        min_top1_ppm=0,
        min_model_top1_ppm=0,
        max_mean_margin_milli=1_000,
        max_p99_margin_milli=100_000,
    )
    others = [ForcedToken(margin_milli, 2)] * 100
    assert verdict(gates, forced=with_margins(*others), **HUNDRED).code == code


def test_tied_tokens_are_all_the_first_choice() -> None:
    found = verdict(forced=with_margins(*[ForcedToken(0, 2)] * 100), **HUNDRED)
    assert (found.status, found.top1_ppm) == ("scored", 1_000_000)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (BEST, ""),
        (ForcedToken(500, 2), ""),
        (ForcedToken(501, 2), DisqualificationCode.TRUNCATED),
    ],
)
def test_a_claimed_end_must_be_the_references(end: ForcedToken, code: str) -> None:
    found = verdict(
        answers=(answer(20), answer(18, end="stop")), forced=(forced(20), forced(18, end=end))
    )
    assert found.code == code
    assert bool(code) == ("reference goes on" in found.detail)


@pytest.mark.parametrize(
    ("baseline", "own", "named", "code"),
    [
        (50, 50, False, ""),
        (50, 49, False, ""),
        (50, 48, False, "truncated"),
        (51, 49, False, ""),
        (51, 48, False, "truncated"),
        (50, 50, True, ""),
        (50, 49, True, "truncated"),
        (50, 52, True, ""),
    ],
)
def test_who_reached_the_limit_has_as_many_tokens_as_the_baseline(
    baseline: int, own: int, named: bool, code: str
) -> None:
    other = changed(answer(own), ids_from_server=named)
    found = verdict(baseline=(answer(20), answer(baseline)), answers=(answer(20), other))
    assert found.code == code
    assert bool(code) == ("says that it reached max_tokens" in found.detail)


@pytest.mark.parametrize("reason", ["content_filter", "abort", "Stop", ""])
def test_an_answer_that_neither_ended_nor_reached_the_limit_is_truncated(reason: str) -> None:
    """However many tokens it has: who may name an end of its own leaves out what it likes."""
    ended = (answer(20), answer(20, end=reason))
    found = verdict(answers=ended)
    assert (found.code, repr(reason) in found.detail) == ("truncated", True)
    assert verdict(answers=ended, form=FIRST_EVIDENCE_FORM).code == ""


def test_a_claimed_end_that_was_not_scored_counts_as_not_covered() -> None:
    found = verdict(answers=(answer(20), answer(19, end="stop")))
    assert found.coverage_ppm == 39 * 1_000_000 // 40


@pytest.mark.parametrize(("first_ms", "code"), [(95, ""), (96, "flushed"), (100, "flushed")])
def test_tokens_that_arrive_at_once_were_flushed(first_ms: int, code: str) -> None:
    flushing = arriving(first_ms * 1_000, last_us=100_000)
    found = verdict(answers=(flushing, flushing), repeats=(flushing,), controls=(flushing,))
    assert found.code == code


def arriving(first_us: int, last_us: int) -> Any:
    one = answer(20)
    arrivals = tuple(first_us + (last_us - first_us) * at // 19 for at in range(20))
    return type(one)(tokens=one.tokens, arrival_us=arrivals, end_us=last_us, finish_reason="length")


def test_one_answer_that_came_in_a_single_chunk_accuses_nobody() -> None:
    stalled = arriving(10_000, last_us=10_000)
    answers = (answer(20), answer(20), stalled)
    assert verdict(baseline=(answer(20),) * 3, answers=answers).status == "scored"


def timed(wall: int) -> Any:
    """An answer that took ``wall`` tenths of a millisecond."""
    return arriving(wall * 50, last_us=wall * 100)


@pytest.mark.parametrize(
    ("repeats", "gain_ppm", "code"),
    [
        ((900,), 100_000, ""),
        ((899,), 101_000, "replayed"),
        ((1_500,), -500_000, ""),
        ((10, 950), 50_000, ""),
        ((10, 20), 980_000, "replayed"),
        ((10, 20, 990), 980_000, "replayed"),
        ((10, 990, 990), 10_000, ""),
    ],
)
def test_a_repeat_may_be_a_tenth_faster_than_the_fastest_fresh_answer(
    repeats: tuple[int, ...], gain_ppm: int, code: str
) -> None:
    found = verdict(
        answers=(timed(1_000), timed(4_000)),
        repeated=tuple(range(len(repeats))),
        repeats=tuple(timed(wall) for wall in repeats),
        controls=(timed(2_000),),
    )
    assert (found.repeat_gain_ppm, found.code) == (gain_ppm, code)


def test_a_machine_that_was_busy_only_before_the_repeats_accuses_nobody() -> None:
    busy = {"answers": (timed(3_000), timed(3_100)), "repeats": (timed(1_000),)}
    assert verdict(controls=(timed(1_050),), **busy).status == "scored"
    assert verdict(controls=(timed(3_000),), **busy).code == "replayed"


def test_without_repeats_nothing_is_said_about_replaying() -> None:
    found = verdict(repeated=(), repeats=(), controls=())
    assert (found.status, found.repeat_gain_ppm) == ("scored", None)


def test_the_first_shut_gate_in_order_names_the_verdict() -> None:
    bad = [ForcedToken(9_000, 50)] * 20
    found = verdict(
        answers=(answer(10), answer(20)), forced=(forced(10), forced(20, *bad)), repeats=(timed(1),)
    )
    assert found.code == "truncated"
    assert found.repeat_gain_ppm is not None
    assert found.repeat_gain_ppm > 900_000


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (
            Fault(disqualified=DisqualificationCode.EXITED_AT_START, detail="gone"),
            "disqualified",
            "exited_at_start",
        ),
        (
            Fault(infrastructure=InfrastructureCause.PULL_FAILED, detail="gone"),
            "infrastructure",
            "pull_failed",
        ),
    ],
)
def test_a_fault_is_the_verdict_with_the_servers_own_words(
    fault: Fault, status: str, code: str
) -> None:
    found = verdict(answers=(), repeats=(), controls=(), forced=(), fault=fault)
    assert (found.status, found.code, found.detail) == (status, code, "gone")
    assert found.log_tail == "listening\n"
    assert found.e2e_us == found.baseline_e2e_us == ()
    assert found.top1_ppm is None


@pytest.mark.parametrize(
    "holes",
    [
        {"answers": (answer(20),)},
        {"forced": (forced(20),)},
        {"forced": (forced(20), forced(19))},
        {"baseline": (answer(20), answer(1))},
        {"baseline": (), "answers": (), "forced": ()},
        {"fault": Fault(detail="whose?")},
    ],
)
def test_evidence_with_holes_is_refused_not_judged(holes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"evidence|baseline answer"):
        verdict(**holes)
