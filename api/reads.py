"""Reads that are more than one query: shaped here once, for the command line and HTTP alike.

Every function takes a :class:`~ledger.queries.scope.Scope` and gives values that ``msgspec`` turns
into JSON. What a single query of :mod:`ledger.queries` answers is asked there directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ledger.projections import weights as weights_view
from ledger.queries.contests import contests
from ledger.queries.emissions import EpochLine, RampPoint, epochs, ramp_now
from ledger.queries.payouts import Statement, UnknownAccountError, statement
from ledger.queries.scope import Scope
from ledger.queries.submissions import submissions
from ledger.queries.weights import (
    paused_switches,
    policy_in_force,
    registry,
    sent_vectors,
    thrones,
    vector_view,
)
from ledger.store.logs import LogHead


class ArenaLine(msgspec.Struct, frozen=True):
    """An arena's log: its name, its chain, and where it stands."""

    network: str
    netuid: int
    genesis: str
    block: int
    position: int


class ThroneLine(msgspec.Struct, frozen=True):
    """Who holds a track's throne; scores in ppm, None where nobody sits."""

    track: str
    king_hotkey: str | None
    king_score_ppm: int | None
    runner_up_hotkey: str | None
    runner_up_score_ppm: int | None


class Status(msgspec.Struct, frozen=True):
    """An arena at a block, at a glance. ``paused`` gives the reason by switch.

    ``last_sent_block`` is the block the newest vector was sent for, ``last_sent_success`` what
    became of it (None: not known yet, or nothing was sent).
    """

    network: str
    netuid: int
    genesis: str
    block: int
    position: int
    policy: str
    policy_digest: str
    paused: dict[str, str]
    thrones: tuple[ThroneLine, ...]
    ramp: tuple[RampPoint, ...]
    queued: int
    open_contests: int
    vector_digest: str
    burn_uid: int
    burn_uid_eligible: bool | None
    last_sent_block: int | None
    last_sent_success: bool | None


class Emissions(msgspec.Struct, frozen=True):
    """The pool of each track now, and every epoch so far."""

    ramp: tuple[RampPoint, ...]
    epochs: tuple[EpochLine, ...]


class PolicyView(msgspec.Struct, frozen=True):
    """The policy in force at ``block``, since ``from_block``, with every default written out."""

    block: int
    from_block: int
    digest: str
    policy: dict[str, Any]


def arena_lines(heads: Iterable[LogHead]) -> list[ArenaLine]:
    """All arenas of the database, in the order they were opened."""
    return [
        ArenaLine(
            head.network, head.netuid, head.arena.genesis, head.effective_block, head.position
        )
        for head in heads
    ]


def status(scope: Scope) -> Status:
    """The arena at the scope's block, at a glance."""
    policy, vector, sent = policy_in_force(scope), vector_view(scope), sent_vectors(scope)
    seats = thrones(scope)
    return Status(
        network=scope.head.network,
        netuid=scope.head.netuid,
        genesis=scope.head.arena.genesis,
        block=scope.block,
        position=scope.position,
        policy=policy.name,
        policy_digest=vector.policy_digest,
        paused=paused_switches(scope),
        thrones=tuple(
            ThroneLine(
                track,
                seats[track].king_hotkey if track in seats else None,
                seats[track].king_score_ppm if track in seats else None,
                seats[track].runner_up_hotkey if track in seats else None,
                seats[track].runner_up_score_ppm if track in seats else None,
            )
            for track in sorted(policy.tracks)
        ),
        ramp=tuple(ramp_now(scope)),
        queued=len(queue_lines(scope)),
        open_contests=sum(line["status"] in {"planned", "running"} for line in contests(scope)),
        vector_digest=vector.digest,
        burn_uid=vector.burn_uid,
        burn_uid_eligible=vector.burn_uid_eligible,
        last_sent_block=sent[-1].block if sent else None,
        last_sent_success=sent[-1].success if sent else None,
    )


def emissions(scope: Scope) -> Emissions:
    """The ramp at the scope's block and the epochs up to it."""
    return Emissions(tuple(ramp_now(scope)), tuple(epochs(scope)))


def queue_lines(scope: Scope) -> list[dict[str, Any]]:
    """The submissions that wait for a contest, in the order of judging."""
    return [line for line in submissions(scope) if line["queue_place"] is not None]


def known_statement(scope: Scope, address: str) -> Statement:
    """The statement of a hotkey or coldkey that the log knows.

    Raises :class:`~ledger.queries.payouts.UnknownAccountError` for an address that no payout, no
    submission and no UID has: "earned nothing" and "mistyped" must not read alike.
    """
    found = statement(scope, address)
    if found.lines or _is_known(scope, address):
        return found
    msg = (
        f"no payout, submission or UID of '{address}' is in the log of {scope.head.network}/"
        f"{scope.head.netuid} up to block {scope.block}; check the address"
    )
    raise UnknownAccountError(msg)


def policy_view(scope: Scope) -> PolicyView:
    """The policy in force at the scope's block, and since when."""
    policy = policy_in_force(scope)
    starts = [row["from_block"] for row in scope.rows(weights_view.policies)]
    return PolicyView(
        block=scope.block,
        from_block=max(start for start in starts if start <= scope.block),
        digest=policy.digest(),
        policy=msgspec.json.decode(policy.canonical_json(), type=dict[str, Any]),
    )


def _is_known(scope: Scope, address: str) -> bool:
    if any(address in keys for keys in registry(scope).values()):
        return True
    return any(address in {line["hotkey"], line["coldkey"]} for line in submissions(scope))
