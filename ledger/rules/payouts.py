"""Who an epoch paid, for what, and whether it was meant for somebody else (DOMAIN 5).

A vector gives shares to UIDs, and means the hotkeys that held them then. By the epoch a UID may
belong to another hotkey: the chain pays that one, and the ledger says whom it was meant for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from ledger.units import PPM


class Named(NamedTuple):
    """Whom a vector means at a UID, and the share in ppm that it gives."""

    hotkey: str
    share_ppm: int


class Paid(NamedTuple):
    """What the chain gave a UID in an epoch, in 10^-9 alpha, and who held it."""

    uid: int
    hotkey: str
    coldkey: str
    incentive_alpha: int
    dividends_alpha: int


class Settled(NamedTuple):
    """One hotkey in one epoch, in 10^-9 alpha.

    ``misdirected_alpha`` is the part of ``paid_alpha`` that the vector meant for another:
    ``meant_for``, or nobody (None) where it was to be burned. ``lost_alpha`` is what the UID that
    the vector named for this hotkey brought to who holds it by now, ``lost_to``; burned or paid.
    ``uid`` and ``coldkey`` are None for one that holds no UID in the epoch.
    """

    uid: int | None
    hotkey: str
    coldkey: str | None
    share_ppm: int
    entitled_alpha: int
    paid_alpha: int
    withheld_alpha: int
    dividends_alpha: int
    misdirected_alpha: int
    meant_for: str | None
    lost_alpha: int
    lost_to: str | None


_NOTHING_LOST = (0, None)


def settle(
    rows: Collection[Paid],
    named: Mapping[int, Named],
    *,
    burn_uid: int | None,
    burned: Collection[int],
) -> list[Settled]:
    """What each hotkey was entitled to, was paid and lost; without those that have nothing.

    ``named`` is the vector in force by UID, without its ``burn_uid`` (None without a vector);
    ``burned`` are the UIDs whose incentive the chain burned.
    """
    total = sum(row.incentive_alpha for row in rows)
    shares: dict[str, int] = {}
    for hotkey, ppm in named.values():
        shares[hotkey] = shares.get(hotkey, 0) + ppm
    strays, lost = _strays(rows, named)
    settled = []
    for uid, hotkey, coldkey, incentive, dividends in rows:
        share = shares.pop(hotkey, 0)
        if not (share or incentive or dividends):
            continue
        paid, withheld = (0, incentive) if uid in burned else (incentive, 0)
        meant_for = strays.get(uid) if paid else None
        stray = paid if meant_for is not None or uid == burn_uid else 0
        settled.append(
            Settled(
                uid,
                hotkey,
                coldkey,
                share,
                share * total // PPM,
                paid,
                withheld,
                dividends,
                stray,
                meant_for,
                *(lost.get(hotkey, _NOTHING_LOST) if share else _NOTHING_LOST),
            )
        )
    for hotkey, share in sorted(shares.items()):
        gone = lost.get(hotkey, _NOTHING_LOST)
        entitled = share * total // PPM
        settled.append(Settled(None, hotkey, None, share, entitled, 0, 0, 0, 0, None, *gone))
    return settled


def _strays(
    rows: Collection[Paid], named: Mapping[int, Named]
) -> tuple[dict[int, str], dict[str, tuple[int, str | None]]]:
    """By UID that changed hands whom it was meant for; by those what they lost, and to whom."""
    strays: dict[int, str] = {}
    lost: dict[str, tuple[int, str | None]] = {}
    if not named:
        return strays, lost
    for uid, hotkey, _, incentive, _ in rows:
        meant = named.get(uid)
        if meant is not None and meant.hotkey != hotkey:
            strays[uid] = meant.hotkey
            before, _ = lost.get(meant.hotkey, _NOTHING_LOST)
            lost[meant.hotkey] = (before + incentive, hotkey)
    return strays, lost
