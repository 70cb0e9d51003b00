"""What the benchmark of killings calls a fee lost: all its servers are honest."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.recovery.arena import BASELINE, CHALLENGERS, TRACK, RecoveryArena
from evaluation.images import ImageRef
from ledger.commands.causes import after
from ledger.commands.contests import complete_contest, plan_contest
from ledger.decisions.contest import Contest
from tests.unit.ledger.scenes import digest, figures


@pytest.mark.parametrize(
    ("code", "said"),
    [(None, []), ("host_failed", []), ("stream_broken", ["is lost: it is disqualified"])],
)
def test_an_honest_server_disqualified_by_a_killing_has_lost_its_fee(
    tmp_path: Path, code: str | None, said: list[str]
) -> None:
    images = {kind: ImageRef("", digest(kind)) for kind in (BASELINE, *CHALLENGERS)}
    arena = RecoveryArena(tmp_path / "ledger.db", images, 2**30)
    try:
        first, second = arena.submissions
        ledger = arena.ledger
        seed_block = arena._block()
        contest = plan_contest(
            ledger, track=TRACK, challengers=[first, second], seed_block=seed_block
        )
        measured = {first: figures(400), second: figures(None if code else 500, code)}
        for submission, found in measured.items():
            ledger.decide(
                lambda unit, submission=submission, found=found: unit.get(Contest, contest).measure(
                    after(unit, unit.get(Contest, contest)), submission, hotkey="h", **found
                )
            )
        complete_contest(ledger, contest)
        faults = arena.faults()
        assert len(faults) == len(said)
        assert all(words in fault for words, fault in zip(said, faults, strict=True))
    finally:
        arena.close()
