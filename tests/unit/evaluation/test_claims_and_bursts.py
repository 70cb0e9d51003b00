"""What a server says of its own tokens, and how they come in, decides exactly at its limits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from entrant_evidence import answer, evidence
from hypothesis import given
from hypothesis import strategies as st

from evaluation.client import Answer
from evaluation.entrant import FIRST_EVIDENCE_FORM
from evaluation.evidence import canonical, read_evidence
from evaluation.forcing import ForcedToken
from evaluation.gates import noise_limits
from evaluation.judge import EntrantVerdict, ForcedAnswer, judge
from ledger.gate_policy import GatePolicy, Technique

OWN = tuple(-100 * (at + 1) for at in range(20))
"""What the reference finds of the twenty tokens of an answer: -0.1, -0.2 … -2 nats."""
UNDER_REFERENCE = ForcedAnswer(tokens=tuple(ForcedToken(0, 1, own) for own in OWN))


def claiming(*claims: tuple[int, ...], tokens: ForcedAnswer = UNDER_REFERENCE) -> dict[str, Any]:
    """An entrant whose answers come with ``claims``, one tuple an answer, and a baseline whose
    answers come with the reference's own."""
    answers = tuple(answer(20, claims=one) for one in claims)
    return {
        "baseline": tuple(answer(20, step_us=5_000, claims=OWN) for _ in claims),
        "answers": answers,
        "forced": (tokens,) * len(claims),
    }


def verdict(gates: GatePolicy = GatePolicy(), **fields: Any) -> EntrantVerdict:  # noqa: B008 - frozen
    return judge(evidence(**fields), gates)


def off_by(milli: int) -> tuple[int, ...]:
    """Claims that lie above and below the reference's in turn, as noise does."""
    return tuple(own + (milli if at % 2 else -milli) for at, own in enumerate(OWN))


@pytest.mark.parametrize(("milli", "code"), [(0, ""), (50, ""), (51, "quantised")])
def test_coarser_arithmetic_shows_in_the_servers_own_logprobs(milli: int, code: str) -> None:
    found = verdict(**claiming(off_by(milli), off_by(milli)))
    assert (found.logprob_delta_milli, found.code) == (milli, code)


def test_the_mean_of_what_claims_are_off_is_rounded_against_the_entrant() -> None:
    claims = (*off_by(50)[:19], OWN[19] - 51)
    assert verdict(**claiming(claims)).logprob_delta_milli == 51


@pytest.mark.parametrize(
    ("allowed", "widest"),
    [
        ((), 50),
        (("quantised_kv_cache",), 100),
        (("quantised_weights",), 200),
        (("quantised_weights", "quantised_kv_cache"), 200),
    ],
)
def test_what_a_track_allows_widens_every_limit_on_noise(
    allowed: tuple[Technique, ...], widest: int
) -> None:
    gates = GatePolicy(allowed=allowed)
    assert verdict(gates, **claiming(off_by(widest))).code == ""
    assert verdict(gates, **claiming(off_by(widest + 1))).code == "quantised"
    limits, factor = noise_limits(gates), widest // 50
    assert limits.max_mean_margin_milli == 30 * factor
    assert limits.max_p99_margin_milli == 500 * factor
    assert 1_000_000 - limits.min_top1_ppm == 30_000 * factor


@pytest.mark.parametrize(
    "claims",
    [(0,) * 20, (-5,) * 20, tuple(own // 8 for own in OWN), tuple(reversed(OWN))],
    ids=["certain", "nearly certain", "shrunk", "of other tokens"],
)
def test_made_up_logprobs_beside_the_right_tokens_are_called_forged(
    claims: tuple[int, ...],
) -> None:
    found = verdict(**claiming(claims, claims))
    assert (found.status, found.code) == ("disqualified", "logprobs_forged")
    assert found.claims_fit_ppm is not None
    assert found.claims_fit_ppm < 500_000


def test_where_the_tokens_are_off_as_well_no_claim_is_called_forged() -> None:
    worse = ForcedAnswer(
        tokens=(*(ForcedToken(9, 2, own) for own in OWN[:9]), *UNDER_REFERENCE.tokens[9:])
    )
    assert verdict(**claiming((0,) * 20, tokens=worse)).code == "quantised"


def test_a_changed_sampler_with_honest_logprobs_is_named_as_that() -> None:
    worse = ForcedAnswer(tokens=(ForcedToken(900, 2, OWN[0]), *UNDER_REFERENCE.tokens[1:]))
    assert verdict(**claiming(OWN, tokens=worse)).code == "sampler_changed"


@pytest.mark.parametrize(("off", "limit"), [(0, 3), (2, 3), (5, 6), (24, 29), (25, 30), (50, 30)])
def test_a_server_as_exact_as_its_claims_has_little_margin_left(off: int, limit: int) -> None:
    """The mean margin is ``margin / 20``: one token of twenty is off."""
    for margin, code in ((20 * limit, ""), (20 * limit + 1, "sampler_changed")):
        tokens = (ForcedToken(margin, 2, OWN[0]), *UNDER_REFERENCE.tokens[1:])
        gates = GatePolicy(min_top1_ppm=950_000, max_p99_margin_milli=10_000)
        fields = claiming(off_by(off), tokens=ForcedAnswer(tokens=tokens))
        assert verdict(gates, **fields).code == code
    unclaimed = {**fields, "baseline": (answer(20),), "answers": (answer(20),)}
    assert verdict(gates, **unclaimed).code == ("sampler_changed" if limit == 30 else "")


@pytest.mark.parametrize(
    ("silent", "required", "code"),
    [(1, True, ""), (2, True, "logprobs_missing"), (2, False, ""), (10, False, "")],
)
def test_claims_are_asked_for_as_far_as_the_baseline_gives_them(
    silent: int, required: bool, code: str
) -> None:
    claims = [()] * silent + [OWN] * (10 - silent)
    found = verdict(GatePolicy(require_logprobs=required), **claiming(*claims))
    assert (found.claims_ppm, found.code) == (1_000_000 - silent * 100_000, code)
    assert (found.logprob_delta_milli is None) == (silent == 10)


def test_nobody_is_asked_for_claims_that_the_baseline_does_not_give() -> None:
    assert verdict().code == ""
    assert verdict().logprob_delta_milli is None


def test_claims_for_the_first_tokens_of_an_answer_count_for_those() -> None:
    assert verdict(**claiming(OWN[:19])).claims_ppm == 950_000


def test_more_claims_than_tokens_are_refused_not_judged() -> None:
    with pytest.raises(ValueError, match="more claims than tokens"):
        verdict(**claiming((*OWN, 0)))


def arriving(*arrivals: int) -> Answer:
    return msgspec.structs.replace(answer(len(arrivals)), arrival_us=arrivals, end_us=arrivals[-1])


def streamed(*arrivals: int, **fields: Any) -> dict[str, Any]:
    """An entrant both of whose answers arrive so; the repeats, too."""
    one = arriving(*arrivals)
    return {
        "baseline": (answer(len(arrivals)),) * 2,
        "answers": (one, one),
        "repeats": (one,),
        "controls": (one,),
        **fields,
    }


def test_a_first_token_early_and_the_rest_at_once_is_a_flush() -> None:
    found = verdict(**streamed(10_000, *range(100_000, 100_019)))
    assert (found.code, found.burst_ppm) == ("flushed", 950_000)
    assert found.spread_ppm is not None
    assert found.spread_ppm > 850_000


@pytest.mark.parametrize(("late", "code"), [(16, ""), (17, "flushed")])
def test_eight_tenths_of_an_answer_may_come_at_once(late: int, code: str) -> None:
    early = [1_000 * at for at in range(1, 21 - late)]
    found = verdict(**streamed(*early, *[100_000] * late))
    assert (found.burst_ppm, found.code) == (late * 50_000, code)


def test_a_stall_in_one_answer_of_two_accuses_nobody() -> None:
    stalled = arriving(1_000, *[50_000] * 19)
    smooth = answer(20)
    found = verdict(answers=(stalled, smooth), repeats=(smooth,), controls=(smooth,))
    assert found.code == ""


def test_a_stall_between_two_tokens_does_not_make_a_burst_of_all_the_others() -> None:
    """Each answer but one stalls once, for longer than all its tokens take."""
    stalled = arriving(*(300 * at + (50_000 if at > 2 else 0) for at in range(1, 21)))
    smooth = arriving(*range(300, 6_300, 300))
    answers = (stalled, smooth, stalled)
    fields = {"baseline": (answer(20),) * 3, "repeats": (), "controls": (), "repeated": ()}
    assert verdict(answers=answers, **fields).code == ""


BURSTS_OF_TWO = tuple(10_000 * (1 + at // 2) + at % 2 for at in range(20))


@pytest.mark.parametrize(
    ("arrivals", "limit_milli", "allowed", "code"),
    [
        (BURSTS_OF_TWO, 2_000, (), ""),
        (BURSTS_OF_TWO, 1_999, (), "speculative"),
        (BURSTS_OF_TWO, 1_999, ("speculative_decoding",), ""),
        (tuple(range(10_000, 210_000, 10_000)), 1_000, (), ""),
    ],
)
def test_tokens_in_bursts_are_speculative_where_that_is_not_allowed(
    arrivals: tuple[int, ...], limit_milli: int, allowed: tuple[Technique, ...], code: str
) -> None:
    gates = GatePolicy(max_burst_tokens_milli=limit_milli, allowed=allowed)
    assert verdict(gates, **streamed(*arrivals)).code == code


def test_bursts_are_told_by_their_gap_however_slow_the_server_is() -> None:
    paced = (1_000, *range(2_000_000, 2_019_000, 1_000))
    assert verdict(**streamed(*paced)).code == "flushed"
    gates = GatePolicy(burst_gap_us=0)
    assert verdict(gates, **streamed(*range(10, 210, 10))).code == ""


def test_with_several_streams_others_prefills_between_two_tokens_are_no_flush() -> None:
    """One answer's tokens a millisecond apart, but for a tenth of a second of another's prefill."""
    waits = tuple(1_000 * at + (100_000 if at > 2 else 0) for at in range(1, 21))
    assert verdict(**streamed(*waits)).code == "flushed"
    assert verdict(**streamed(*waits), streams=8).code == ""
    assert verdict(**streamed(1_000, *[100_000] * 19), streams=8).code == "flushed"


def test_with_several_streams_waiting_for_a_turn_is_no_flush() -> None:
    turns = tuple(
        arriving(*(10_000 * turn + 500 * at for at in range(1, 21))) for turn in range(40)
    )
    fields: dict[str, Any] = {
        "baseline": (answer(20),) * 40,
        "answers": turns,
        "repeats": (),
        "controls": (),
        "repeated": (),
    }
    assert verdict(**fields).code == "flushed"
    assert verdict(**fields, streams=40).code == ""
    assert verdict(**fields, streams=40).spread_ppm == 950_000


def test_evidence_of_the_first_form_is_judged_as_it_was_then() -> None:
    fields = {**claiming((0,) * 20, ()), "answers": (arriving(1_000, *[50_000] * 19),) * 2}
    assert verdict(**fields).code == "logprobs_missing"
    then = verdict(**fields, form=FIRST_EVIDENCE_FORM)
    assert (then.code, then.burst_ppm, then.claims_ppm) == ("", None, None)


MILLIS = st.integers(-5_000, 0)
TIMES = st.integers(0, 10**9)


@st.composite
def any_evidence(draw: st.DrawFn) -> Any:
    """Whole evidence on an entrant that may do anything."""
    prompts = draw(st.integers(1, 4))

    def any_answer() -> Answer:
        length = draw(st.integers(2, 8))
        arrivals = sorted(draw(st.lists(TIMES, min_size=length, max_size=length)))
        claims = draw(st.sampled_from([0, 1, length]))
        return Answer(
            tokens=tuple(range(length)),
            arrival_us=tuple(arrivals),
            end_us=arrivals[-1],
            finish_reason=draw(st.sampled_from(["stop", "length"])),
            logprobs_milli=tuple(draw(st.lists(MILLIS, min_size=claims, max_size=claims))),
        )

    token = st.builds(ForcedToken, st.integers(0, 9_000), st.integers(1, 9), st.none() | MILLIS)
    answers = [any_answer() for _ in range(prompts)]
    forced = [
        ForcedAnswer(
            tokens=tuple(draw(st.none() | token) for _ in one.tokens), end=draw(st.none() | token)
        )
        for one in answers
    ]
    return evidence(
        baseline=tuple(any_answer() for _ in range(prompts)),
        answers=tuple(answers),
        forced=tuple(forced),
        repeats=tuple(any_answer() for _ in range(draw(st.integers(0, 2)))),
        streams=draw(st.integers(1, 3)),
    )


@given(any_evidence(), st.sampled_from([(), ("quantised_weights",), ("speculative_decoding",)]))
def test_a_verdict_from_evidence_read_back_is_the_same(
    found: Any, allowed: tuple[Technique, ...]
) -> None:
    gates = GatePolicy(allowed=allowed)
    assert judge(read_evidence(canonical(found)), gates) == judge(found, gates)
