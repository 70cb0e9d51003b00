"""A plan without meaning is refused before any server runs."""

from __future__ import annotations

import msgspec
import pytest

from evaluation.images import ImageRef
from evaluation.plan import ContestPlan, EntrantRole, PlanError, PlannedEntrant, checked
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy

IMAGE = ImageRef("", "sha256:" + "0" * 64)


def plan(*roles: EntrantRole, ids: str = "abcdef") -> ContestPlan:
    entrants = tuple(
        PlannedEntrant(
            entrant_id=name, hotkey="5F", role=role, image=ImageRef("", "sha256:" + "0" * 64)
        )
        for name, role in zip(ids, roles, strict=False)
    )
    return ContestPlan(
        contest_id="round-1",
        track="qwen",
        attempt=1,
        seed_block=8,
        seed_block_hash="0x" + "ab" * 32,
        policy=TrackPolicy(model="qwen", emission=KingTakesAll(), scoring=ScoreV2()),
        model_dir="/models",
        model_name="qwen",
        baseline=ImageRef("", "sha256:" + "1" * 64),
        entrants=entrants,
    )


@pytest.mark.parametrize(
    "roles", [(), ("challenger",), ("king", "runner_up", "challenger", "challenger")]
)
def test_a_plan_in_order_passes_and_survives_being_written_down(
    roles: tuple[EntrantRole, ...],
) -> None:
    written = msgspec.json.encode(checked(plan(*roles)))
    assert msgspec.json.decode(written, type=ContestPlan) == plan(*roles)


@pytest.mark.parametrize(
    ("roles", "ids", "message"),
    [
        (("challenger", "king"), "ab", "out of order"),
        (("king", "king"), "ab", "more than one"),
        (("king", "challenger"), "aa", "twice"),
        (("challenger",) * 257, [str(at) for at in range(257)], "at most 256"),
    ],
)
def test_a_plan_without_meaning_is_refused(
    roles: tuple[EntrantRole, ...], ids: str, message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        checked(plan(*roles, ids=ids))
