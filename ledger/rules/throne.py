"""What one round of contests does to a track's throne (DOMAIN 4).

Challengers are judged in the order in which they became known, each against the king so far in that
round, on scores of the same round. Only correct, measured servers are compared:

- a disqualified challenger, or one whose run failed by infrastructure, is passed over;
- a king that could not be measured through no fault of its own keeps the crown and nobody is
  compared with it: a round never crowns against a missing king. Those who were measured wait for
  the next one, and none of them becomes runner-up by a round that did not compare them;
- a king that could not be measured as often as policy allows, while others were, is given up: an
  image that cannot be had any more holds no throne. What follows is as after a disqualified king;
- a king disqualified in this round (its own server failed) is deposed first. Its throne is vacant,
  and the runner-up, if measured, is offered it before the challengers; after that each challenger
  must beat whoever sits there by the margin of a fresh reign.

The runner-up is the best other hotkey that is correct in this round and gains on the baseline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

from ledger.policy import TrackPolicy
from ledger.rules.scoring import Decision, Measured, Score, beats, score


@dataclass(frozen=True, slots=True)
class Candidate:
    """A submission in this round. ``order`` is (block, index), when it became known.

    ``measured`` is None when there is nothing to compare: it was disqualified, or the run failed by
    infrastructure, which ``disqualified`` tells apart.
    """

    submission_id: UUID
    hotkey: str
    order: tuple[int, ...]
    measured: Measured | None
    disqualified: bool


@dataclass(frozen=True, slots=True)
class KingState:
    """The king as the round finds it; ``measured`` and ``disqualified`` as for a candidate."""

    hotkey: str
    submission_id: UUID
    won_at_block: int
    measured: Measured | None
    disqualified: bool
    given_up: bool = False
    """It could not be measured as often as policy allows, though others could."""


@dataclass(frozen=True, slots=True)
class Crowned:
    """A reign begins; ``over`` is the hotkey it ends the reign of, None for a vacant throne."""

    submission_id: UUID
    hotkey: str
    won_at_block: int
    score: Score
    over: str | None
    decision: Decision


@dataclass(frozen=True, slots=True)
class Defended:
    """``challenger_id`` did not beat the king so far; the reign goes on as it is."""

    submission_id: UUID
    hotkey: str
    challenger_id: UUID
    decision: Decision


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The throne was vacant and ``challenger_id`` did not show the gain that takes it."""

    challenger_id: UUID
    decision: Decision


@dataclass(frozen=True, slots=True)
class Deposed:
    """The throne is vacant: the king's own server failed in this round, or (``given_up``) it could
    not be measured once too often."""

    submission_id: UUID
    hotkey: str
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class NotCompared:
    """``challenger_id`` is correct and measured, and the king could not be."""

    challenger_id: UUID
    why: str


@dataclass(frozen=True, slots=True)
class Seat:
    """Who holds a place after the round; ``score`` is this round's, None if not measured in it."""

    submission_id: UUID
    hotkey: str
    score: Score | None


@dataclass(frozen=True, slots=True)
class KingSeat(Seat):
    """The king after the round; a defended crown keeps its ``won_at_block``."""

    won_at_block: int


Step = Crowned | Defended | NotTaken | Deposed | NotCompared


@dataclass(frozen=True, slots=True)
class ThroneDecision:
    """What happened, in order, and who sits where afterwards; None is an empty place."""

    steps: tuple[Step, ...]
    king: KingSeat | None
    runner_up: Seat | None


def decide_round(
    king: KingState | None,
    challengers: Sequence[Candidate],
    runner_up: Candidate | None,
    *,
    track: TrackPolicy,
    block: int,
    seed: int,
) -> ThroneDecision:
    """The throne after one round of ``track``, decided at ``block`` (see the module's text).

    ``challengers`` come in strictly ascending order; ``runner_up`` is the one named so far, with
    its measurement of this round. ``seed`` is the contest's and drives the interval's bootstrap. An
    error that is the round's is shared by all who are correct and measured in the line.

    The runner-up afterwards: of the king before the round, the runner-up before it and all
    challengers, those correct and measured with a score above 0 whose hotkey is not the king's, the
    best score; ties in that order. Several submissions of a hotkey count once, by the best. If
    there is none, the runner-up before keeps the place unless it was measured or disqualified.

    Raises :class:`ValueError` for challengers out of order or a reign that begins after ``block``.
    """
    orders = [challenger.order for challenger in challengers]
    if any(later <= earlier for earlier, later in pairwise(orders)):
        msg = f"challengers are judged in the order of their commits, got {orders}"
        raise ValueError(msg)
    if king is not None and king.won_at_block > block:
        msg = f"the reign of {king.hotkey} begins at block {king.won_at_block}, after block {block}"
        raise ValueError(msg)
    steps: list[Step] = []
    holder: KingState | None = king
    everyone = [*([] if runner_up is None else [runner_up]), *challengers]
    line = challengers
    if king is not None and (king.disqualified or king.given_up):
        steps.append(Deposed(king.submission_id, king.hotkey, not king.disqualified))
        holder, line = None, everyone
    correct = list(_correct(line))
    for candidate, measured in correct:
        step = _judged(
            *(holder, candidate, measured, track), block=block, seed=seed, comparisons=len(correct)
        )
        steps.append(step)
        if isinstance(step, Crowned):
            holder = KingState(candidate.hotkey, candidate.submission_id, block, measured, False)
    seat = None
    if holder is not None:
        own = None if holder.measured is None else _score(holder.measured, track, seed)
        seat = KingSeat(holder.submission_id, holder.hotkey, own, holder.won_at_block)
    uncompared = {step.challenger_id for step in steps if isinstance(step, NotCompared)}
    others = [
        Seat(candidate.submission_id, candidate.hotkey, _score(measured, track, seed))
        for candidate, measured in _correct(everyone)
        if candidate.submission_id not in uncompared
    ]
    if king is not None and king.measured is not None and not king.disqualified:
        others.insert(0, Seat(king.submission_id, king.hotkey, _score(king.measured, track, seed)))
    return ThroneDecision(tuple(steps), seat, _second(others, seat, runner_up))


def _correct(line: Sequence[Candidate]) -> Iterator[tuple[Candidate, Measured]]:
    for candidate in line:
        if candidate.measured is not None and not candidate.disqualified:
            yield candidate, candidate.measured


def _judged(
    holder: KingState | None,
    candidate: Candidate,
    measured: Measured,
    track: TrackPolicy,
    *,
    block: int,
    seed: int,
    comparisons: int,
) -> Step:
    if holder is not None and holder.measured is None:
        why = f"the king {holder.hotkey} could not be measured in this round and keeps the crown"
        return NotCompared(candidate.submission_id, why)
    decision = beats(
        measured,
        None if holder is None else holder.measured,
        track.scoring,
        track.margin,
        reign_age_blocks=0 if holder is None else block - holder.won_at_block,
        prompts_per_block=track.contest.prompts_per_block,
        seed=seed,
        comparisons=comparisons,
    )
    if decision.wins:
        own = _score(measured, track, seed)
        over = None if holder is None else holder.hotkey
        return Crowned(candidate.submission_id, candidate.hotkey, block, own, over, decision)
    if holder is None:
        return NotTaken(candidate.submission_id, decision)
    return Defended(holder.submission_id, holder.hotkey, candidate.submission_id, decision)


def _second(others: Sequence[Seat], king: KingSeat | None, before: Candidate | None) -> Seat | None:
    best, best_ppm = None, 0
    for seat in others:
        is_king = king is not None and seat.hotkey == king.hotkey
        reached_ppm = 0 if seat.score is None else seat.score.score_ppm
        if not is_king and reached_ppm > best_ppm:
            best, best_ppm = seat, reached_ppm
    if best is not None or before is None:
        return best
    unseen = before.measured is None and not before.disqualified
    if unseen and (king is None or before.hotkey != king.hotkey):
        return Seat(before.submission_id, before.hotkey, None)
    return None


def _score(measured: Measured, track: TrackPolicy, seed: int) -> Score:
    return score(measured, track.scoring, track.contest.prompts_per_block, seed)
