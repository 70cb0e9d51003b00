"""Submissions: their state and reasons, and the queue of a track."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import RowMapping, select

from ledger.codes import RULE_OF, RefusalCode
from ledger.projections.submissions import sealed
from ledger.projections.submissions import submissions as view
from ledger.queries.scope import Scope, plain
from ledger.queries.weights import registry

WAITING = ("queued",)

Order = tuple[int, int, int, int]
"""Block, reveals before extrinsics, place in the block, place in the extrinsic."""


def submissions(scope: Scope, hotkey: str | None = None) -> list[dict[str, Any]]:
    """Every commit so far in the order they became known, with its place in the queue if it waits.

    ``codes`` are the refusal or disqualification codes, ``rules`` the payment rules they stand for.
    """
    rows = sorted(scope.rows(view), key=_order)
    waiting = _queue(rows, scope)
    places = {row["submission_id"]: place for place, row in enumerate(waiting, start=1)}
    return [
        _line(row, places.get(row["submission_id"]))
        for row in rows
        if hotkey is None or row["hotkey"] == hotkey
    ]


def every_commit(scope: Scope, hotkey: str | None = None) -> list[dict[str, Any]]:
    """Every commit ever seen, the sealed ones too, in the order in which they were made or known.

    A sealed commitment is a line of its own until its reveal, which then takes its place.
    """
    known = [row for row in scope.rows(view) if hotkey is None or row["hotkey"] == hotkey]
    lines = [(_order(row), _in_short(row)) for row in known]
    for row, state in _never_revealed(scope, known):
        if hotkey is None or row["hotkey"] == hotkey:
            lines.append((_order_of_sealed(row), _sealed_in_short(row, state)))
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def sealed_commits(scope: Scope, hotkey: str | None = None) -> list[dict[str, Any]]:
    """The timelocked commitments that were not revealed so far, with the round of their reveal.

    ``state`` is ``sealed``, ``overwritten`` (a later commitment took its place) or ``refused``.
    """
    return [
        {**plain(row), "state": state}
        for row, state in _never_revealed(scope, scope.rows(view))
        if hotkey is None or row["hotkey"] == hotkey
    ]


def queue(scope: Scope, track: str) -> list[UUID]:
    """The submissions of a track that wait for a contest, in the order of judging.

    One whose hotkey is not registered at this block stays queued and is passed over: it could win
    a throne that its hotkey cannot hold (DOMAIN 5).
    """
    rows = sorted(scope.rows(view), key=_order)
    return [UUID(row["submission_id"]) for row in _queue(rows, scope) if row["track"] == track]


def deferred(scope: Scope) -> list[dict[str, Any]]:
    """The commits whose payment no node could show yet."""
    return [line for line in submissions(scope) if line["status"] == "deferred"]


def of_fingerprints_shared(scope: Scope) -> list[UUID]:
    """Submissions whose content fingerprint another hotkey's submission has too."""
    by_print: dict[str, list[RowMapping]] = {}
    for row in scope.rows(view):
        if row["fingerprint"] is not None:
            by_print.setdefault(row["fingerprint"], []).append(row)
    return [
        UUID(row["submission_id"])
        for group in by_print.values()
        if len({row["hotkey"] for row in group}) > 1
        for row in group
    ]


def of_fingerprint(scope: Scope, fingerprint: str) -> list[UUID]:
    """The accepted submissions of that content, in the order of their commits.

    Asked of the newest versions alone, by an index: at every other position than the newest it is
    no answer.
    """
    query = select(view).where(
        view.c.log_id == scope.head.log_id,
        view.c.fingerprint == fingerprint,
        view.c.until.is_(None),
        view.c.accepted,
    )
    rows = sorted(scope.connection.execute(query).mappings(), key=_order)
    return [UUID(row["submission_id"]) for row in rows]


def _order(row: RowMapping) -> Order:
    return (row["block"], 0 if row["form"] == "timelocked" else 1, row["place"], row["nth"])


def _order_of_sealed(row: RowMapping) -> Order:
    return (row["block"], 1, row["place"], row["nth"])


def _never_revealed(scope: Scope, known: Sequence[RowMapping]) -> Iterator[tuple[RowMapping, str]]:
    """The sealed commitments that no reveal took the place of, each with its state.

    What came next of its hotkey decides. The chain holds one commitment of a hotkey, so a reveal is
    of the last one that was made. ``known`` are the commits of all hotkeys that matter.
    """
    hidden = scope.rows(sealed)
    came: dict[str, list[tuple[Order, str]]] = {row["hotkey"]: [] for row in hidden}
    for row in known:
        if row["hotkey"] in came and _was_made(row):
            what = "revealed" if row["form"] == "timelocked" else "overwritten"
            came[row["hotkey"]].append((_order(row), what))
    for row in hidden:
        if row["succeeded"]:
            came[row["hotkey"]].append((_order_of_sealed(row), "overwritten"))
    for line in came.values():
        line.sort()
    for row in hidden:
        line = came[row["hotkey"]]
        place = bisect_right(line, _order_of_sealed(row), key=lambda entry: entry[0])
        state = "sealed" if place == len(line) else line[place][1]
        if not row["succeeded"]:
            yield row, "refused"
        elif state != "revealed":
            yield row, state


def _was_made(row: RowMapping) -> bool:
    return RefusalCode.COMMIT_EXTRINSIC_FAILED not in _codes(row)


def _codes(row: RowMapping) -> list[str]:
    return msgspec.json.decode(row["codes"], type=list[str])


def _in_short(row: RowMapping) -> dict[str, Any]:
    refusals = _codes(row) if row["status"] == "refused" else []
    return {
        "hotkey": row["hotkey"],
        "uid": row["uid"],
        "coldkey": row["coldkey"],
        "reveal_block": row["block"],
        "image": row["image"],
        "digest": row["digest"],
        "payment_tx": row["payment_tx"],
        "payment_block": row["payment_block"],
        "state": row["status"],
        "refusal": refusals[0] if refusals else None,
        "refusals": refusals,
    }


def _sealed_in_short(row: RowMapping, state: str) -> dict[str, Any]:
    refusals = [RefusalCode.COMMIT_EXTRINSIC_FAILED.value] if state == "refused" else []
    unknown = ("reveal_block", "image", "digest", "payment_tx", "payment_block")
    return {
        "hotkey": row["hotkey"],
        "uid": row["uid"],
        "coldkey": row["coldkey"],
        **dict.fromkeys(unknown),
        "state": state,
        "refusal": refusals[0] if refusals else None,
        "refusals": refusals,
    }


def _queue(rows: list[RowMapping], scope: Scope) -> list[RowMapping]:
    registered = {hotkey for hotkey, _ in registry(scope).values()}
    return [row for row in rows if row["status"] in WAITING and row["hotkey"] in registered]


def _line(row: RowMapping, place: int | None) -> dict[str, Any]:
    line = plain(row, without=("before_contest",))
    codes = _codes(row)
    refusals = {code.value for code in RefusalCode}
    rules = [RULE_OF[RefusalCode(code)] for code in codes if code in refusals]
    return {**line, "codes": codes, "rules": rules, "queue_place": place}
