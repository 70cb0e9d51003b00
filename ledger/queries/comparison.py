"""The vector computed, submitted and held: per validator and UID, why, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import RowMapping

from ledger.projections import weights as view
from ledger.queries.emissions import ramp_now
from ledger.queries.payouts import paid_dividends
from ledger.queries.scope import Scope
from ledger.queries.standing import gaps, missing_blocks, safe_block
from ledger.queries.submissions import deferred
from ledger.queries.subnet import alerts
from ledger.queries.weights import (
    SentVector,
    burn_uid_eligible,
    paused_switches,
    policy_in_force,
    registry,
    sent_vectors,
    vector_in_force,
)
from ledger.rules.weights import Share, ShareReason
from ledger.units import PPM

LAST_ALERTS: Final = 5
"""How many alerts a status names."""

Holds = Literal["same", "differs", "nothing", "unknown"]


class Difference(msgspec.Struct, frozen=True):
    """A UID whose u16 weight is not the same everywhere; 0: not in that vector, None: unknown."""

    uid: int
    hotkey: str | None
    computed: int
    submitted: int | None
    on_chain: int | None


class ValidatorLine(msgspec.Struct, frozen=True):
    """What one validator submitted and holds, beside the vector computed at the block.

    ``holds`` compares the chain with the computed vector: ``nothing`` where the chain showed no
    weights of it, ``unknown`` where nobody looked. ``uid`` is None for one that is not registered.
    ``submitted_*`` are of the newest vector that this ledger sent for it, None if it sent none.
    """

    validator_hotkey: str
    uid: int | None
    holds: Holds
    on_chain_digest: str | None
    seen_at_block: int | None
    last_update: int | None
    submitted_for_block: int | None
    submitted_digest: str | None
    submitted_success: bool | None
    landed_block: int | None
    differences: tuple[Difference, ...]


class ExplainedUid(msgspec.Struct, frozen=True):
    """A UID's share of the vector, as ppm and as u16, and why it has it."""

    uid: int
    hotkey: str | None
    share_ppm: int
    u16: int
    why: tuple[str, ...]


class HeldVector(msgspec.Struct, frozen=True):
    """What a validator was seen to hold on chain."""

    validator_hotkey: str
    digest: str
    block: int
    last_update: int | None


class WeightsStatus(msgspec.Struct, frozen=True):
    """Whether weights can be trusted and sent at the block, and what was sent last.

    ``last_safe_block`` is the last one that every fact is known of. ``node_head_block`` and
    ``lag_blocks`` are known only where a node was asked. ``sent`` is the newest vector sent,
    ``landed`` the newest that the chain took, ``held`` what its validator holds.
    """

    block: int
    head_block: int
    last_safe_block: int
    node_head_block: int | None
    lag_blocks: int | None
    max_lag_blocks: int
    open_gaps: tuple[tuple[int, int], ...]
    burn_uid: int
    burn_uid_eligible: bool | None
    paused: Mapping[str, str]
    computed_digest: str
    sent: SentVector | None
    landed: SentVector | None
    held: HeldVector | None
    deferred: int
    alerts: tuple[dict[str, Any], ...]


def compared(scope: Scope) -> list[ValidatorLine]:
    """Every validator that holds, was sent or was paid for weights, by UID.

    All rows of the chain are looked at when an arena opens and at each epoch, and those that an
    event tells of in its block; so one that the newest epoch paid dividends to and that was not
    seen to hold any holds nothing. One that neither holds weights nor is paid is not named.
    """
    vector = vector_in_force(scope)
    computed = dict(zip(vector.uids, vector.values, strict=True))
    holders = {uid: hotkey for uid, (hotkey, _) in registry(scope).items()}
    uids = {hotkey: uid for uid, hotkey in holders.items()}
    held = {row["validator_hotkey"]: row for row in scope.rows(view.held)}
    sent = {vector.validator_hotkey: vector for vector in sent_vectors(scope)}  # the newest stays
    lines = [
        _line(hotkey, uids.get(hotkey), computed, holders, held.get(hotkey), sent.get(hotkey))
        for hotkey in held.keys() | sent.keys()
        if hotkey in uids or hotkey in sent
    ]
    lines += [
        ValidatorLine(
            validator_hotkey=hotkey,
            uid=uids[hotkey],
            holds="nothing",
            on_chain_digest=None,
            seen_at_block=epoch_block,
            last_update=None,
            submitted_for_block=None,
            submitted_digest=None,
            submitted_success=None,
            landed_block=None,
            differences=_differences(computed, None, {}, holders),
        )
        for hotkey, epoch_block in paid_dividends(scope).items()
        if hotkey in uids and hotkey not in held and hotkey not in sent
    ]
    return sorted(lines, key=lambda line: (line.uid is None, line.uid, line.validator_hotkey))


def explained(scope: Scope) -> list[ExplainedUid]:
    """Why each UID has its share of the vector at the scope's block, in words."""
    vector = vector_in_force(scope)
    values = dict(zip(vector.uids, vector.values, strict=True))
    pools = {line["track"]: line["pool_ppm"] for line in msgspec.to_builtins(ramp_now(scope))}
    reasons: dict[int, list[Share]] = {}
    for share in vector.explained:
        reasons.setdefault(share.uid, []).append(share)
    return [
        ExplainedUid(
            uid=uid,
            hotkey=reasons[uid][0].hotkey,
            share_ppm=ppm,
            u16=values.get(uid, 0),
            why=tuple(_in_words(share, pools) for share in reasons[uid]),
        )
        for uid, ppm in vector.shares
    ]


def weights_status(scope: Scope, node_head: int | None = None) -> WeightsStatus:
    """How the arena stands for whoever sets weights; ``node_head`` is a node's finalized head."""
    policy = policy_in_force(scope)
    vectors = sent_vectors(scope)
    landed = [vector for vector in vectors if vector.success]
    held = [
        HeldVector(row["validator_hotkey"], row["digest"], row["block"], row["last_update"])
        for row in scope.rows(view.held)
        if vectors and row["validator_hotkey"] == vectors[-1].validator_hotkey
    ]
    return WeightsStatus(
        block=scope.block,
        head_block=scope.head.effective_block,
        last_safe_block=safe_block(scope),
        node_head_block=node_head,
        lag_blocks=None if node_head is None else max(0, node_head - scope.head.effective_block),
        max_lag_blocks=policy.weights.max_ingest_lag_blocks,
        open_gaps=tuple(missing_blocks(gaps(scope))),
        burn_uid=policy.weights.burn_uid,
        burn_uid_eligible=burn_uid_eligible(scope),
        paused=paused_switches(scope),
        computed_digest=vector_in_force(scope).digest,
        sent=vectors[-1] if vectors else None,
        landed=landed[-1] if landed else None,
        held=held[0] if held else None,
        deferred=len(deferred(scope)),
        alerts=tuple(alerts(scope)[-LAST_ALERTS:]),
    )


def _line(
    hotkey: str,
    uid: int | None,
    computed: Mapping[int, int],
    holders: Mapping[int, str],
    held: RowMapping | None,
    sent: SentVector | None,
) -> ValidatorLine:
    on_chain = None if held is None else _vector(held)
    submitted = None if sent is None else dict(zip(sent.uids, sent.values, strict=True))
    holds: Holds = "unknown"
    if on_chain is not None:
        holds = "nothing" if not on_chain else "same" if on_chain == computed else "differs"
    return ValidatorLine(
        validator_hotkey=hotkey,
        uid=uid,
        holds=holds,
        on_chain_digest=held["digest"] if held is not None and on_chain else None,
        seen_at_block=None if held is None else held["block"],
        last_update=None if held is None else held["last_update"],
        submitted_for_block=None if sent is None else sent.block,
        submitted_digest=None if sent is None else sent.digest,
        submitted_success=None if sent is None else sent.success,
        landed_block=None if sent is None else sent.landed_block,
        differences=_differences(computed, submitted, on_chain, holders),
    )


def _vector(row: RowMapping) -> dict[int, int]:
    uids, values = (msgspec.json.decode(row[name], type=list[int]) for name in ("uids", "values"))
    return {uid: value for uid, value in zip(uids, values, strict=True) if value}


def _differences(
    computed: Mapping[int, int],
    submitted: Mapping[int, int] | None,
    on_chain: Mapping[int, int] | None,
    holders: Mapping[int, str],
) -> tuple[Difference, ...]:
    uids = computed.keys() | (submitted or {}).keys() | (on_chain or {}).keys()
    found = []
    for uid in sorted(uids):
        own = computed.get(uid, 0)
        sent = None if submitted is None else submitted.get(uid, 0)
        there = None if on_chain is None else on_chain.get(uid, 0)
        if any(value not in (None, own) for value in (sent, there)):
            found.append(Difference(uid, holders.get(uid), own, sent, there))
    return tuple(found)


_WORDS: Final[Mapping[ShareReason, str]] = {
    ShareReason.KING: "as king of {track}{of}",
    ShareReason.RUNNER_UP: "as runner-up of {track}{of}",
    ShareReason.SUCCESSOR: "as runner-up of {track} in the place of its deregistered king{of}",
    ShareReason.BURN: "burned: what the pool of {track} leaves",
    ShareReason.NO_KING: "burned: {track} has no king",
    ShareReason.KING_DEPARTED: "burned: the king of {track} is deregistered and nobody follows",
    ShareReason.EMISSION_PAUSED: "burned: emission is paused",
}


def _in_words(share: Share, pools: Mapping[str, int | None]) -> str:
    pool = pools.get(share.track or "")
    of = "" if pool is None else f", whose pool is {_percent(pool)} at this block"
    words = _WORDS[share.reason].format(track=f"track {share.track}", of=of)
    return f"{_percent(share.ppm)} {words}"


def _percent(ppm: int) -> str:
    whole, rest = divmod(ppm * 100, PPM)
    return f"{whole}{f'.{rest:06d}'.rstrip('0').rstrip('.')} %"
