"""Submissions: their state and reasons, and the queue of a track."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import RowMapping

from ledger.codes import RULE_OF, RefusalCode
from ledger.projections.submissions import submissions as view
from ledger.queries.scope import Scope, plain
from ledger.queries.weights import registry

WAITING = ("queued",)


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


def _order(row: RowMapping) -> tuple[int, int, int]:
    return (row["block"], 0 if row["form"] == "timelocked" else 1, row["place"])


def _queue(rows: list[RowMapping], scope: Scope) -> list[RowMapping]:
    registered = {hotkey for hotkey, _ in registry(scope).values()}
    return [row for row in rows if row["status"] in WAITING and row["hotkey"] in registered]


def _line(row: RowMapping, place: int | None) -> dict[str, Any]:
    line = plain(row, without=("before_contest",))
    codes = msgspec.json.decode(row["codes"], type=list[str])
    refusals = {code.value for code in RefusalCode}
    rules = [RULE_OF[RefusalCode(code)] for code in codes if code in refusals]
    return {**line, "codes": codes, "rules": rules, "queue_place": place}
