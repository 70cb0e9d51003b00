"""Of an answer as much is kept as the length gate needs to see."""

from __future__ import annotations

from evaluation.evidence_size import kept_tokens
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy


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
