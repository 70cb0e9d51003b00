"""One round's effect on a throne, case by case (DOMAIN 4)."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.policy import KingTakesAll, MarginPolicy, ScoreInterval, ScoreV2, TrackPolicy
from ledger.rules.scoring import Measured
from ledger.rules.throne import (
    Candidate,
    Crowned,
    Defended,
    Deposed,
    KingSeat,
    KingState,
    NotCompared,
    NotTaken,
    ThroneDecision,
    decide_round,
)
from ledger.units import PPM

BLOCK = 100_000
TRACK = TrackPolicy(
    model="m",
    emission=KingTakesAll(),
    scoring=ScoreV2(),
    margin=MarginPolicy(start_ppm=10_000, decay_blocks=50_400),
)


def scoring_ppm(score_ppm: int) -> Measured:
    """An entrant whose v2 score is ``score_ppm``."""
    return Measured((1,), (PPM,), (1,), (1,), (PPM - score_ppm,), (1,))


def king(score_ppm: int | None, *, won_at: int = BLOCK, disqualified: bool = False) -> KingState:
    measured = None if score_ppm is None else scoring_ppm(score_ppm)
    return KingState("king", UUID(int=1), won_at, measured, disqualified)


def entrant(
    number: int, hotkey: str, score_ppm: int | None, *, disqualified: bool = False
) -> Candidate:
    measured = None if score_ppm is None else scoring_ppm(score_ppm)
    return Candidate(UUID(int=number), hotkey, (BLOCK - 50, number), measured, disqualified)


def decide(
    state: KingState | None,
    *challengers: Candidate,
    runner_up: Candidate | None = None,
    track: TrackPolicy = TRACK,
) -> ThroneDecision:
    return decide_round(state, challengers, runner_up, track=track, block=BLOCK, seed=3)


def outline(decision: ThroneDecision) -> list[tuple[str, int]]:
    """Each step as its kind and the number of the submission it is about."""
    lines = []
    for step in decision.steps:
        if isinstance(step, Crowned | Deposed):
            lines.append((type(step).__name__, step.submission_id.int))
        else:
            lines.append((type(step).__name__, step.challenger_id.int))
    return lines


def seated(decision: ThroneDecision) -> tuple[str | None, str | None]:
    return (
        decision.king.hotkey if decision.king else None,
        decision.runner_up.hotkey if decision.runner_up else None,
    )


def test_a_challenger_over_the_margin_is_crowned_and_the_king_becomes_runner_up() -> None:
    decision = decide(king(200_000), entrant(2, "alice", 202_001))
    assert outline(decision) == [("Crowned", 2)]
    assert seated(decision) == ("alice", "king")
    assert decision.king is not None
    assert decision.king.won_at_block == BLOCK
    assert isinstance(decision.steps[0], Crowned)
    assert decision.steps[0].over == "king"
    assert decision.steps[0].score.score_ppm == 202_001


def test_a_defended_crown_is_the_same_reign_with_this_rounds_score() -> None:
    decision = decide(king(200_000, won_at=BLOCK - 10), entrant(2, "alice", 200_500))
    assert outline(decision) == [("Defended", 2)]
    assert seated(decision) == ("king", "alice")
    assert decision.king is not None
    assert decision.king.won_at_block == BLOCK - 10
    assert decision.king.score is not None
    assert decision.king.score.score_ppm == 200_000


def test_the_margin_wears_off_with_the_age_of_the_reign() -> None:
    challenger = entrant(2, "alice", 200_001)
    assert outline(decide(king(200_000, won_at=BLOCK - 50_399), challenger)) == [("Crowned", 2)]
    assert outline(decide(king(200_000, won_at=BLOCK - 40_000), challenger)) == [("Defended", 2)]


def test_two_kings_in_one_round() -> None:
    decision = decide(
        king(200_000, won_at=BLOCK - 50_400),
        entrant(2, "alice", 210_000),
        entrant(3, "bob", 211_000),
        entrant(4, "carol", 220_000),
    )
    # bob is faster than alice, but not by the margin of her reign, which begins in this round
    assert outline(decision) == [("Crowned", 2), ("Defended", 3), ("Crowned", 4)]
    assert seated(decision) == ("carol", "bob")
    assert isinstance(decision.steps[2], Crowned)
    assert decision.steps[2].over == "alice"


def test_a_vacant_throne_goes_to_the_first_with_a_gain() -> None:
    decision = decide(None, entrant(2, "alice", 0), entrant(3, "bob", 1))
    assert outline(decision) == [("NotTaken", 2), ("Crowned", 3)]
    assert isinstance(decision.steps[0], NotTaken)
    assert seated(decision) == ("bob", None)


def test_disqualified_and_unmeasured_challengers_are_passed_over() -> None:
    decision = decide(
        king(200_000),
        entrant(2, "alice", None, disqualified=True),
        entrant(3, "bob", None),
        entrant(4, "carol", 900_000, disqualified=True),
    )
    assert decision.steps == ()
    assert seated(decision) == ("king", None)


def test_nobody_is_crowned_against_a_king_that_could_not_be_measured() -> None:
    decision = decide(king(None, won_at=BLOCK - 5), entrant(2, "alice", 900_000))
    assert outline(decision) == [("NotCompared", 2)]
    assert isinstance(decision.steps[0], NotCompared)
    assert decision.king == KingSeat(UUID(int=1), "king", None, BLOCK - 5)
    assert seated(decision) == ("king", None)


def test_a_king_given_up_falls_as_a_disqualified_one_does() -> None:
    gone = replace(king(None), given_up=True)
    runner_up = entrant(9, "second", 50_000)
    decision = decide(gone, entrant(2, "alice", 60_000), runner_up=runner_up)
    assert outline(decision) == [("Deposed", 1), ("Crowned", 9), ("Crowned", 2)]
    assert isinstance(decision.steps[0], Deposed)
    assert decision.steps[0].given_up
    assert seated(decision) == ("alice", "second")


def test_a_disqualified_king_falls_to_a_correct_challenger() -> None:
    decision = decide(
        king(None, disqualified=True),
        entrant(2, "alice", 50_000),
        entrant(3, "bob", 60_000),
    )
    assert outline(decision) == [("Deposed", 1), ("Crowned", 2), ("Crowned", 3)]
    assert seated(decision) == ("bob", "alice")


def test_a_disqualified_kings_throne_is_offered_to_the_runner_up_first() -> None:
    runner_up = entrant(9, "second", 50_000)
    decision = decide(
        king(None, disqualified=True), entrant(2, "alice", 50_400), runner_up=runner_up
    )
    assert outline(decision) == [("Deposed", 1), ("Crowned", 9), ("Defended", 2)]
    assert seated(decision) == ("second", "alice")


def test_a_disqualified_king_without_a_correct_rival_leaves_the_throne_vacant() -> None:
    decision = decide(king(None, disqualified=True), entrant(2, "alice", None))
    assert outline(decision) == [("Deposed", 1)]
    assert seated(decision) == (None, None)


def test_a_disqualified_king_is_not_runner_up_by_what_was_measured_before_it_failed() -> None:
    decision = decide(king(900_000, disqualified=True), entrant(2, "alice", 50_000))
    assert seated(decision) == ("alice", None)


def test_the_runner_up_is_never_the_kings_own_hotkey() -> None:
    decision = decide(king(200_000), entrant(2, "king", 201_000), entrant(3, "alice", 100_000))
    assert seated(decision) == ("king", "alice")
    assert seated(decide(king(200_000), entrant(2, "king", 300_000))) == ("king", None)


def test_a_hotkeys_several_submissions_count_once_by_the_best() -> None:
    decision = decide(king(200_000), entrant(2, "alice", 100_000), entrant(3, "alice", 150_000))
    assert decision.runner_up is not None
    assert decision.runner_up.submission_id == UUID(int=3)


def test_equal_scores_go_to_the_earlier_one() -> None:
    decision = decide(king(200_000), entrant(2, "alice", 100_000), entrant(3, "bob", 100_000))
    assert seated(decision) == ("king", "alice")


def test_the_runner_up_defends_its_place_on_this_rounds_scores() -> None:
    before = entrant(9, "second", 120_000)
    slower, faster = entrant(2, "alice", 119_999), entrant(2, "alice", 120_001)
    assert seated(decide(king(200_000), slower, runner_up=before)) == ("king", "second")
    assert seated(decide(king(200_000), faster, runner_up=before)) == ("king", "alice")


def test_the_runner_up_is_not_a_challenger() -> None:
    decision = decide(king(200_000), runner_up=entrant(9, "second", 300_000))
    assert decision.steps == ()
    assert seated(decision) == ("king", "second")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (entrant(9, "second", None), "second"),
        (entrant(9, "second", None, disqualified=True), None),
        (entrant(9, "second", 0), None),
    ],
)
def test_a_runner_up_loses_its_place_by_its_own_fault_only(
    before: Candidate, expected: str | None
) -> None:
    decision = decide(king(200_000), runner_up=before)
    assert seated(decision) == ("king", expected)
    if decision.runner_up is not None:
        assert decision.runner_up.score is None


def test_an_unmeasured_runner_up_who_is_crowned_anew_is_not_also_runner_up() -> None:
    decision = decide(
        king(200_000, disqualified=True),
        entrant(2, "second", 300_000),
        runner_up=entrant(9, "second", None),
    )
    assert seated(decision) == ("second", None)


def test_the_interval_rule_reads_the_tracks_blocks_and_seed() -> None:
    track = TrackPolicy(model="m", emission=KingTakesAll(), scoring=ScoreInterval(resamples=100))
    ten = Measured((1,) * 10, (PPM,) * 10, (1,) * 10, (1,) * 10, (900_000,) * 10, (1,) * 10)
    one = Measured((1,), (PPM,), (1,), (1,), (900_000,), (1,))
    enough = Candidate(UUID(int=2), "alice", (1, 1), ten, False)
    too_few = Candidate(UUID(int=2), "alice", (1, 1), one, False)
    assert outline(decide(None, enough, track=track)) == [("Crowned", 2)]
    assert outline(decide(None, too_few, track=track)) == [("NotTaken", 2)]


def test_challengers_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order of their commits"):
        decide(None, entrant(3, "bob", 1), entrant(2, "alice", 1))


def test_a_reign_from_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="after block"):
        decide(king(200_000, won_at=BLOCK + 1))


def candidates(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Candidate]:
    return st.builds(
        lambda number, hotkey, score_ppm, bad: entrant(number, hotkey, score_ppm, disqualified=bad),
        numbers,
        st.sampled_from(["king", "alice", "bob", "carol"]),
        st.none() | st.integers(0, 400_000),
        st.booleans(),
    )


runners_up = st.none() | candidates(st.just(99))
lines = st.lists(candidates(st.integers(2, 50)), max_size=6, unique_by=lambda one: one.order).map(
    lambda found: sorted(found, key=lambda one: one.order)
)
kings = st.none() | st.builds(
    lambda score_ppm, bad: king(score_ppm, won_at=BLOCK - 1_000, disqualified=bad),
    st.none() | st.integers(0, 400_000),
    st.booleans(),
)


@given(kings, lines, runners_up)
@settings(max_examples=200)
def test_every_round_seats_only_correct_servers_and_two_different_hotkeys(
    state: KingState | None, line: list[Candidate], before: Candidate | None
) -> None:
    decision = decide(state, *line, runner_up=before)
    everyone = [*line, *([] if before is None else [before])]
    at_fault = {one.submission_id for one in everyone if one.disqualified}
    if state is not None and state.disqualified:
        at_fault.add(state.submission_id)
    for seat in (decision.king, decision.runner_up):
        assert seat is None or seat.submission_id not in at_fault
    if decision.king is not None and decision.runner_up is not None:
        assert decision.king.hotkey != decision.runner_up.hotkey


@given(kings, lines, runners_up)
@settings(max_examples=200)
def test_the_seated_king_is_the_last_crowned_or_the_king_before(
    state: KingState | None, line: list[Candidate], before: Candidate | None
) -> None:
    decision = decide(state, *line, runner_up=before)
    crowned = [step for step in decision.steps if isinstance(step, Crowned)]
    if crowned:
        assert decision.king is not None
        assert decision.king.submission_id == crowned[-1].submission_id
        assert decision.king.won_at_block == BLOCK
    elif state is not None and not state.disqualified:
        assert decision.king is not None
        assert decision.king.submission_id == state.submission_id
        assert decision.king.won_at_block == state.won_at_block
    else:
        assert decision.king is None
    if state is not None and state.measured is None and not state.disqualified:
        assert not any(isinstance(step, Crowned | Defended) for step in decision.steps)


def test_a_rounds_error_is_shared_by_those_who_are_compared() -> None:
    def timed(us: int) -> Measured:
        times = tuple(us + 4_000 * (place % 5) for place in range(20))
        return Measured((1,) * 20, (PPM,) * 20, (1,) * 20, (1,) * 20, times, (1,) * 20)

    def candidate(number: int, measured: Measured | None, *, disqualified: bool) -> Candidate:
        order = (BLOCK - 50, number)
        return Candidate(UUID(int=number), f"hotkey {number}", order, measured, disqualified)

    track = TrackPolicy(
        model="m",
        emission=KingTakesAll(),
        scoring=ScoreInterval(resamples=200, error_of="round"),
    )
    state = KingState("king", UUID(int=1), BLOCK, timed(800_000), False)
    line = [
        candidate(2, timed(801_000), disqualified=False),
        candidate(3, None, disqualified=False),
        candidate(4, timed(700_000), disqualified=True),
        candidate(5, timed(802_000), disqualified=False),
    ]
    steps = decide(state, *line, track=track).steps
    whys = [step.decision.why for step in steps if isinstance(step, Defended)]
    assert len(whys) == len(steps) == 2
    assert all("for all 2 comparisons of the round" in why for why in whys)
