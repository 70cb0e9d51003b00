"""Gates that follow from honest runs: pure, by a stated rule, and named by their digest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from entrant_evidence import answer, evidence

from evaluation.calibration import (
    RESAMPLES_A_RUN,
    CalibrationError,
    CalibrationFacts,
    calibrate,
    calibration_digest,
    canonical_calibration,
    read_calibration,
)
from evaluation.entrant import EntrantEvidence
from evaluation.forcing import ForcedToken
from evaluation.judge import Fault, ForcedAnswer, judge
from evaluation.resampling import draws, resampled
from ledger.codes import DisqualificationCode
from ledger.gate_policy import GatePolicy

FACTS = CalibrationFacts(model="m", gpu="H100", engine="vllm 0.25.1")


def run(delta_milli: int = 0, *, step_us: int = 500, **fields: Any) -> EntrantEvidence:
    """A run whose claims are off by ``delta_milli``, its tokens ``step_us`` apart."""
    own = tuple(-100 * (at + 1) for at in range(20))
    claims = tuple(one + (delta_milli if at % 2 else -delta_milli) for at, one in enumerate(own))
    forced = ForcedAnswer(tokens=tuple(ForcedToken(0, 1, one) for one in own))
    answers = (answer(20, step_us=step_us, claims=claims),) * 2
    return evidence(**({"answers": answers, "forced": (forced, forced)} | fields))


def test_limits_follow_the_greatest_honest_figure_and_its_slack() -> None:
    found = calibrate([run(40), run(61)], FACTS, slack_ppm=250_000)
    assert found.figures["logprob_delta_milli"].greatest == 61
    assert found.figures["logprob_delta_milli"].samples == 2
    assert found.resampled["logprob_delta_milli"].samples == 2 + 2 * RESAMPLES_A_RUN
    assert found.gates.max_logprob_delta_milli == 77  # 61 + ceil(15.25)
    assert judge(run(77), found.gates).code == ""
    assert judge(run(78), found.gates).code == "quantised"


def test_runs_that_agree_exactly_leave_a_tenth_of_every_limit() -> None:
    gates = calibrate([run(), run(step_us=501)], FACTS).gates
    assert gates.max_logprob_delta_milli == 5
    assert gates.max_mean_margin_milli == 3
    assert gates.max_p99_margin_milli == 50
    assert gates.min_top1_ppm == 997_000


def test_limits_on_the_stream_are_only_ever_loosened() -> None:
    base = GatePolicy()
    smooth = calibrate([run(), run(1)], FACTS).gates
    assert smooth.min_stream_spread_ppm == base.min_stream_spread_ppm
    assert smooth.max_burst_ppm == base.max_burst_ppm
    late = answer(20, first_us=1_000_000, step_us=500)
    waiting = [run(answers=(late, late)), run(answers=(late, late), log_tail="")]
    loosened = calibrate(waiting, FACTS).gates
    assert loosened.min_stream_spread_ppm == 9_500 * 1_000_000 // 1_009_500 // 2
    assert loosened.max_repeat_gain_ppm == base.max_repeat_gain_ppm


def test_noise_is_measured_within_a_start_and_between_starts() -> None:
    found = calibrate([run(step_us=1_000), run(step_us=1_500)], FACTS)
    assert found.wall_within_ppm.greatest == 0
    times = (1_000 + 19 * 1_000) * 50, (1_000 + 19 * 1_500) * 50
    mean = sum(times) // 2
    assert found.wall_between_ppm is not None
    assert found.wall_between_ppm.greatest == (times[1] - mean) * 1_000_000 // mean
    # Other prompts in another contest: how far apart they lie says nothing of starts.
    apart = calibrate([run(step_us=1_000), run(step_us=1_500, contest_id="another")], FACTS)
    assert apart.wall_between_ppm is None
    assert found.prompts == 4
    assert found.tokens == 80


def test_the_document_is_the_same_whoever_writes_it() -> None:
    found = calibrate([run(), run(2)], FACTS)
    data = canonical_calibration(found)
    assert canonical_calibration(calibrate([run(), run(2)], FACTS)) == data
    assert read_calibration(data) == found
    assert calibration_digest(found).startswith("sha256:")
    assert calibration_digest(found) != calibration_digest(calibrate([run(), run(3)], FACTS))
    with pytest.raises(CalibrationError, match="no calibration"):
        read_calibration(data[:-1])
    other = msgspec.structs.replace(found, form="cacheon-calibration/9")
    with pytest.raises(CalibrationError, match="calibration/9"):
        read_calibration(canonical_calibration(other))


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([run()], "at least 2"),
        ([run(), run()], "given twice"),
        ([run(), run(1, track="other")], "one track at a time"),
        (
            [run(), run(1, fault=Fault(disqualified=DisqualificationCode.FLUSHED, detail="x"))],
            "ended with a fault",
        ),
    ],
)
def test_runs_that_calibrate_nothing_are_refused(runs: list[EntrantEvidence], words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        calibrate(runs, FACTS)


def test_a_resample_holds_whole_prompts_of_the_run() -> None:
    answers = tuple(answer(20, step_us=500 + at) for at in range(6))
    forced = tuple(ForcedAnswer(tokens=(ForcedToken(at, 1),) * 20) for at in range(6))
    found = evidence(baseline=answers, answers=answers, forced=forced)
    seen = set()
    stream = draws("a")
    for _ in range(20):
        again = resampled(found, stream, max_repeat_gain_ppm=100_000)
        places = [answers.index(one) for one in again.answers]
        assert [answers.index(one) for one in again.baseline] == places
        assert [forced.index(one) for one in again.forced] == places
        seen.add(tuple(places))
    assert len(seen) == 20
    assert resampled(found, draws("b"), max_repeat_gain_ppm=0) == resampled(
        found, draws("b"), max_repeat_gain_ppm=0
    )
    with pytest.raises(ValueError, match="no whole run"):
        resampled(evidence(answers=answers), draws("a"), max_repeat_gain_ppm=0)


def test_a_resample_asks_further_repeats_only_while_they_look_replayed() -> None:
    quick = answer(20, step_us=100)
    for repeat, asked in ((quick, 4), (answer(20), 1)):
        found = evidence(repeats=(repeat,) * 4, controls=(answer(20),) * 4)
        again = resampled(found, draws("a"), max_repeat_gain_ppm=100_000)
        assert len(again.repeats) == len(again.controls) == asked
