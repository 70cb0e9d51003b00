"""An arena in one look, for the API's status and the head of the page."""

from __future__ import annotations

from api.answers import ArenaLine, Status, ThroneLine
from ledger.queries.emissions import ramp_now
from ledger.queries.reigns import reigns
from ledger.queries.scope import Scope
from ledger.queries.standing import gaps, last_safe_block, missing_blocks
from ledger.queries.submissions import submissions
from ledger.queries.weights import (
    burn_uid_eligible,
    paused_switches,
    policy_in_force,
    thrones,
)
from ledger.store.logs import LogHead


def arena_line(head: LogHead) -> ArenaLine:
    """An arena's log and its head."""
    return ArenaLine(
        head.network, head.netuid, head.arena.genesis, head.effective_block, head.position
    )


def throne_lines(scope: Scope) -> list[ThroneLine]:
    """The throne of each track of the policy in force; vacant ones too."""
    since = {
        row["track"]: row["won_at_block"] for row in reigns(scope) if row["ended_at_block"] is None
    }
    seats = thrones(scope)
    lines = []
    for track in sorted(policy_in_force(scope).tracks):
        seat = seats.get(track)
        lines.append(
            ThroneLine(
                track=track,
                king_hotkey=seat.king_hotkey if seat else None,
                king_score_ppm=seat.king_score_ppm if seat else None,
                since_block=since.get(track),
                runner_up_hotkey=seat.runner_up_hotkey if seat else None,
                runner_up_score_ppm=seat.runner_up_score_ppm if seat else None,
            )
        )
    return lines


def status_of(scope: Scope) -> Status:
    """The status of an arena at the scope's block."""
    policy = policy_in_force(scope)
    head, missed = scope.head, gaps(scope)
    return Status(
        network=head.network,
        netuid=head.netuid,
        genesis=head.arena.genesis,
        block=scope.block,
        position=scope.position,
        head_block=head.effective_block,
        head_position=head.position,
        policy=policy.name,
        policy_digest=policy.digest(),
        paused=paused_switches(scope),
        thrones=throne_lines(scope),
        ramp=ramp_now(scope),
        queue_length=sum(line["queue_place"] is not None for line in submissions(scope)),
        burn_uid=policy.weights.burn_uid,
        burn_uid_eligible=burn_uid_eligible(scope),
        last_safe_block=last_safe_block(scope.block, missing_blocks(missed)),
        gaps=missed,
    )
