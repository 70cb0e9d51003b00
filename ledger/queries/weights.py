"""The vector at a block, why each UID has its share, and the vectors that were sent."""

from __future__ import annotations

import msgspec

from ledger.policy import Policy, PolicyFrom, parse_policy_json, policy_at
from ledger.projections import weights as view
from ledger.queries.scope import Scope
from ledger.rules import weights as rules
from ledger.rules.weights import Throne, WeightVector, compute_vector


class ShareLine(msgspec.Struct, frozen=True):
    """Why a UID has a part of its share."""

    uid: int
    hotkey: str | None
    ppm: int
    reason: str
    track: str | None


class VectorView(msgspec.Struct, frozen=True):
    """The vector in force at ``block``: u16 values by UID, with its digest and reasons.

    ``burn_uid_eligible`` is whether the burn UID belongs to the subnet owner's hotkey or coldkey at
    that block (DOMAIN, Words); None where the owner is not known.
    """

    block: int
    uids: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    policy: str
    policy_digest: str
    emission_paused: bool
    burn_uid: int
    burn_uid_eligible: bool | None
    shares: tuple[ShareLine, ...]


class SentVector(msgspec.Struct, frozen=True):
    """A vector that was sent for ``block``, and what became of it (None: not known yet)."""

    block: int
    uids: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    shares_ppm: tuple[int, ...]
    hotkeys: tuple[str, ...]
    validator_hotkey: str
    reason: str
    success: bool | None
    landed_block: int | None
    error: str | None


def policy_in_force(scope: Scope) -> Policy:
    """The policy at the scope's block."""
    rows = scope.rows(view.policies)
    timeline = [
        PolicyFrom(row["from_block"], parse_policy_json(row["policy_json"])) for row in rows
    ]
    return policy_at(timeline, scope.block)


def paused_switches(scope: Scope) -> dict[str, str]:
    """What is paused at the scope's block, with the reason."""
    return {row["switch"]: row["reason"] for row in scope.rows(view.switches) if row["paused"]}


def registry(scope: Scope) -> dict[int, tuple[str, str]]:
    """Hotkey and coldkey of every UID at the scope's block."""
    return {row["uid"]: (row["hotkey"], row["coldkey"]) for row in scope.rows(view.neurons)}


def thrones(scope: Scope) -> dict[str, Throne]:
    """Who holds each throne at the scope's block."""
    return {
        row["track"]: Throne(
            row["track"],
            row["king_hotkey"],
            row["king_score_ppm"],
            row["runner_up_hotkey"],
            row["runner_up_score_ppm"],
        )
        for row in scope.rows(view.thrones)
    }


def vector_in_force(scope: Scope) -> WeightVector:
    """The vector at the scope's block, as the rules compute it from this prefix of the log."""
    policy = policy_in_force(scope)
    return compute_vector(
        scope.block,
        policy,
        {name: throne for name, throne in thrones(scope).items() if name in policy.tracks},
        {hotkey: uid for uid, (hotkey, _) in registry(scope).items()},
        burn_uid=policy.weights.burn_uid,
        emission_paused="emission" in paused_switches(scope),
    )


def vector_view(scope: Scope) -> VectorView:
    """The vector at the scope's block with what explains it."""
    policy, vector = policy_in_force(scope), vector_in_force(scope)
    return VectorView(
        block=scope.block,
        uids=vector.uids,
        values=vector.values,
        digest=vector.digest,
        policy=policy.name,
        policy_digest=policy.digest(),
        emission_paused="emission" in paused_switches(scope),
        burn_uid=policy.weights.burn_uid,
        burn_uid_eligible=burn_uid_eligible(scope),
        shares=tuple(
            ShareLine(share.uid, share.hotkey, share.ppm, share.reason.value, share.track)
            for share in vector.explained
        ),
    )


def burn_uid_eligible(scope: Scope) -> bool | None:
    """Whether the burn UID is the subnet owner's; None while nobody saw who owns it."""
    holder = registry(scope).get(policy_in_force(scope).weights.burn_uid)
    return rules.burn_uid_eligible(holder, subnet_owner(scope))


def subnet_owner(scope: Scope) -> tuple[str, str] | None:
    """Hotkey and coldkey of the subnet's owner; None while nobody saw who it is."""
    owners = scope.rows(view.subnet_owner)
    return (owners[0]["hotkey"], owners[0]["coldkey"]) if owners else None


def sent_vectors(scope: Scope) -> list[SentVector]:
    """Every vector sent so far, oldest first."""
    return [
        SentVector(
            block=row["for_block"],
            uids=msgspec.json.decode(row["uids"], type=tuple[int, ...]),
            values=msgspec.json.decode(row["values"], type=tuple[int, ...]),
            digest=row["digest"],
            shares_ppm=msgspec.json.decode(row["shares_ppm"], type=tuple[int, ...]),
            hotkeys=msgspec.json.decode(row["hotkeys"], type=tuple[str, ...]),
            validator_hotkey=row["validator_hotkey"],
            reason=row["reason"],
            success=row["success"],
            landed_block=row["landed_block"],
            error=row["error"],
        )
        for row in scope.rows(view.published)
    ]
