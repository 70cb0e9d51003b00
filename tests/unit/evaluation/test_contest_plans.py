"""A plan without meaning is refused before any server runs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from evaluation.images import ImageRef
from evaluation.plan import ContestPlan, EntrantRole, PlanError, PlannedEntrant, checked
from ledger.contest_policy import ContestPolicy
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


@pytest.mark.parametrize(
    ("contest", "message"),
    [
        ({"order": "interleaved", "prompts": 3, "prompts_per_block": 2}, "interleaves 1 block"),
        ({"streams": 3, "prompts_per_block": 2}, "3 streams of blocks of 2"),
        ({"order": "bracketed", "start_together": True}, "together in the order bracketed"),
        ({"ask_logprobs": False}, "requires logprobs and does not ask for them"),
    ],
)
def test_an_order_that_cannot_be_kept_is_refused(contest: dict[str, Any], message: str) -> None:
    found = plan("challenger")
    policy = msgspec.structs.replace(found.policy, contest=ContestPolicy(**contest))
    with pytest.raises(PlanError, match=message):
        checked(msgspec.structs.replace(found, policy=policy))


def test_a_reign_that_begins_after_the_seed_block_is_refused() -> None:
    found = plan("king", "challenger")
    assert checked(msgspec.structs.replace(found, king_won_at_block=8)).king_won_at_block == 8
    with pytest.raises(PlanError, match="reigns from block 9, after its seed block 8"):
        checked(msgspec.structs.replace(found, king_won_at_block=9))
