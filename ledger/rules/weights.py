"""The weight vector of a block: who gets which share, and the bytes a validator submits (DOMAIN 5).

A pure function of policy, thrones and the UIDs of one block: any validator with the log gets the
same u16 values and the same digest.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.policy import Policy, TrackPolicy
from ledger.rules.emission import pool_ppm, split
from ledger.rules.u16 import max_upscale_to_u16
from ledger.units import PPM, U16_MAX

DIGEST_HEADER: Final = b"cacheon-weights/1\n"


class ShareReason(StrEnum):
    """Why a UID has a share."""

    KING = "king"
    RUNNER_UP = "runner_up"
    SUCCESSOR = "successor"
    """The registered runner-up in the place of a deregistered king."""
    BURN = "burn"
    """What the pool leaves."""
    NO_KING = "no_king"
    """Burned: the track's throne is vacant."""
    KING_DEPARTED = "king_departed"
    """Burned: the king is deregistered and so is the runner-up, or there is none."""
    EMISSION_PAUSED = "emission_paused"
    """Burned: emission is paused."""


@dataclass(frozen=True, slots=True)
class Throne:
    """Who holds a track's throne at a block, whether or not they are still registered.

    ``king_score_ppm`` is the king's latest score; ``runner_up_score_ppm`` is the runner-up's, read
    only when it succeeds a deregistered king while the pool follows the score. If it is unknown,
    the score that won the throne keeps setting the pool.
    """

    track: str
    king_hotkey: str | None
    king_score_ppm: int | None
    runner_up_hotkey: str | None
    runner_up_score_ppm: int | None = None

    def __post_init__(self) -> None:
        if self.king_hotkey is not None and self.king_hotkey == self.runner_up_hotkey:
            msg = f"'{self.king_hotkey}' is king and runner-up of track '{self.track}' at once"
            raise ValueError(msg)

    @classmethod
    def vacant(cls, track: str) -> Throne:
        """The throne of ``track`` with nobody on it."""
        return cls(track, None, None, None)


@dataclass(frozen=True, slots=True)
class Share:
    """One reason for one UID's share. ``hotkey`` is who holds the UID, None if nobody known does.

    ``track`` is None for a share that is not of one track (emission paused).
    """

    uid: int
    hotkey: str | None
    ppm: int
    reason: ShareReason
    track: str | None


@dataclass(frozen=True, slots=True)
class WeightVector:
    """The vector in force from ``block``.

    ``shares`` is (uid, ppm) by UID, summing to 1,000,000, zero shares left out. ``uids`` and
    ``values`` are what is submitted: u16, the largest 65,535, ascending by UID; a share so small
    that it scales to 0 is left out of them. ``explained`` splits each UID's ppm into its reasons;
    its rows sum to ``shares`` UID by UID, rows of 0 ppm left out.
    """

    block: int
    shares: tuple[tuple[int, int], ...]
    uids: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    explained: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class _Claim:
    """A share before rounding: ``part`` of PPM**3, the product of three ppm factors."""

    uid: int
    part: int
    reason: ShareReason
    track: str | None


def compute_vector(
    block: int,
    policy: Policy,
    thrones: Mapping[str, Throne],
    uid_of: Mapping[str, int],
    *,
    burn_uid: int,
    emission_paused: bool,
) -> WeightVector:
    """The weight vector at ``block`` under ``policy`` (DOMAIN 5).

    ``thrones`` is by track; a track of the policy without an entry has no king, and a throne whose
    track the policy does not name is paid nothing. ``uid_of`` maps every hotkey registered at
    ``block`` to its UID. Rules:

    - paused, or no king: the burn UID gets the whole, or the whole of that track;
    - a deregistered king: the registered runner-up takes the pool as king; without one, it burns;
    - a deregistered runner-up counts as none: the king takes the pool;
    - a UID with several claims (king of two tracks, burn UID of a winner) gets their sum.

    Shares are exact until the last step and then rounded to ppm by largest remainder, ties to the
    lower UID. Raises :class:`ValueError` if two hotkeys hold one UID, a UID is no u16, a throne
    stands under another track's name, or phase 2 has a king without a score.
    """
    for name, throne in thrones.items():
        if throne.track != name:
            msg = f"the throne of track '{throne.track}' is given for track '{name}'"
            raise ValueError(msg)
    holder_of = _holders(uid_of, burn_uid)
    if emission_paused:
        claims = [_Claim(burn_uid, PPM**3, ShareReason.EMISSION_PAUSED, None)]
    else:
        claims = [
            claim
            for name, track in sorted(policy.tracks.items())
            for claim in _claims(
                block, track, thrones.get(name) or Throne.vacant(name), uid_of, burn_uid
            )
            if claim.part
        ]
    return _rounded(block, claims, holder_of)


def vector_digest(uids: Sequence[int], values: Sequence[int]) -> str:
    """``sha256:<hex>`` over the vector's one byte form.

    The bytes are the ASCII line ``cacheon-weights/1`` with its newline, then for each entry in
    ascending order of UID the UID and the value, each as u16 little-endian: 4 bytes an entry and
    nothing between. Block and arena are not part of it: equal vectors have equal digests.
    """
    entries = sorted(zip(uids, values, strict=True))
    body = b"".join(struct.pack("<HH", uid, value) for uid, value in entries)
    return "sha256:" + hashlib.sha256(DIGEST_HEADER + body).hexdigest()


@dataclass(frozen=True, slots=True)
class HeldForm:
    """Weights found on chain, in the form that a computed vector has.

    ``raw_values`` are the chain's own values where they are not canonical, else None.
    """

    uids: tuple[int, ...]
    values: tuple[int, ...]
    raw_values: tuple[int, ...] | None
    digest: str


def held_form(uids: Sequence[int], values: Sequence[int]) -> HeldForm:
    """Weights as the chain holds them in canonical u16 form: ascending by UID, the largest 65,535.

    A value that scales to 0 stays, as the chain holds it. Nothing held is two empty tuples.
    """
    held = sorted(zip(uids, values, strict=True))
    ordered, raw = tuple(uid for uid, _ in held), tuple(value for _, value in held)
    scaled = max_upscale_to_u16(raw)
    return HeldForm(ordered, scaled, None if scaled == raw else raw, vector_digest(ordered, scaled))


def burn_uid_eligible(holder: tuple[str, str] | None, owner: tuple[str, str] | None) -> bool | None:
    """Whether the burn UID's holder is the subnet's owner, by hotkey or by coldkey.

    Both are (hotkey, coldkey). None while either is unknown; a UID that nobody holds burns nothing,
    but that is for who knows the whole registry to say.
    """
    if holder is None or owner is None:
        return None
    return holder[0] == owner[0] or holder[1] == owner[1]


def _holders(uid_of: Mapping[str, int], burn_uid: int) -> dict[int, str]:
    holder_of: dict[int, str] = {}
    for hotkey, uid in uid_of.items():
        if uid in holder_of:
            msg = f"UID {uid} is held by two hotkeys, '{holder_of[uid]}' and '{hotkey}'"
            raise ValueError(msg)
        holder_of[uid] = hotkey
    for uid in (*holder_of, burn_uid):
        if not 0 <= uid <= U16_MAX:
            msg = f"UID {uid} is outside 0 to {U16_MAX}"
            raise ValueError(msg)
    return holder_of


def _claims(
    block: int,
    track: TrackPolicy,
    throne: Throne,
    uid_of: Mapping[str, int],
    burn_uid: int,
) -> list[_Claim]:
    name = throne.track
    whole = track.emission_share_ppm * PPM * PPM
    if throne.king_hotkey is None:
        return [_Claim(burn_uid, whole, ShareReason.NO_KING, name)]
    king_uid = uid_of.get(throne.king_hotkey)
    runner_up_uid = None if throne.runner_up_hotkey is None else uid_of.get(throne.runner_up_hotkey)
    score_ppm, reason = throne.king_score_ppm, ShareReason.KING
    if king_uid is None:
        if runner_up_uid is None:
            return [_Claim(burn_uid, whole, ShareReason.KING_DEPARTED, name)]
        king_uid, runner_up_uid, reason = runner_up_uid, None, ShareReason.SUCCESSOR
        if throne.runner_up_score_ppm is not None:
            score_ppm = throne.runner_up_score_ppm
    pool = pool_ppm(track.emission, block, score_ppm)
    parts = split(track.emission, has_runner_up=runner_up_uid is not None)
    share = track.emission_share_ppm
    claims = [_Claim(king_uid, share * pool * parts.king_ppm, reason, name)]
    if runner_up_uid is not None:
        part = share * pool * parts.runner_up_ppm
        claims.append(_Claim(runner_up_uid, part, ShareReason.RUNNER_UP, name))
    claims.append(_Claim(burn_uid, share * (PPM - pool) * PPM, ShareReason.BURN, name))
    return claims


def _rounded(block: int, claims: Sequence[_Claim], holder_of: Mapping[int, str]) -> WeightVector:
    claims_of: dict[int, list[_Claim]] = {}
    for claim in claims:
        claims_of.setdefault(claim.uid, []).append(claim)
    uids = sorted(claims_of)
    sums = [sum(claim.part for claim in claims_of[uid]) for uid in uids]
    shares = tuple(
        (uid, ppm) for uid, ppm in zip(uids, largest_remainder(sums, PPM), strict=True) if ppm
    )
    if sum(ppm for _, ppm in shares) != PPM:
        msg = f"the shares at block {block} sum to {sum(ppm for _, ppm in shares)} ppm, not {PPM}"
        raise AssertionError(msg)
    explained: list[Share] = []
    for uid, ppm in shares:
        mine = claims_of[uid]
        rows = largest_remainder([claim.part for claim in mine], ppm)
        explained.extend(
            Share(uid, holder_of.get(uid), row_ppm, claim.reason, claim.track)
            for claim, row_ppm in zip(mine, rows, strict=True)
            if row_ppm
        )
    scaled = max_upscale_to_u16([ppm for _, ppm in shares])
    sent = [(uid, value) for (uid, _), value in zip(shares, scaled, strict=True) if value]
    sent_uids, values = tuple(uid for uid, _ in sent), tuple(value for _, value in sent)
    digest = vector_digest(sent_uids, values)
    return WeightVector(block, shares, sent_uids, values, digest, tuple(explained))


def largest_remainder(parts: Sequence[int], total: int) -> list[int]:
    """``total`` whole units divided in proportion to ``parts``, summing to it exactly.

    Each gets its floor; the units left go to the largest remainders, ties to the earlier part.
    Raises :class:`ValueError` if the parts are negative or sum to zero.
    """
    whole = sum(parts)
    if whole <= 0 or any(part < 0 for part in parts):
        msg = f"cannot divide {total} in proportion to {list(parts)}"
        raise ValueError(msg)
    floors = [part * total // whole for part in parts]
    remainders = [part * total % whole for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda place: (-remainders[place], place))
    for place in by_remainder[: total - sum(floors)]:
        floors[place] += 1
    return floors
