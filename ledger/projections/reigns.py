"""The `reigns` view: who held each throne from when to when, and how it began and ended.

A defended crown is the same reign. What is found later (a copy) annotates it; it is never removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import BigInteger, Column, Integer, Text

from ledger.decisions.arena import CrownDefended, KingCrowned, KingDeposed
from ledger.decisions.submission import CopyFound
from ledger.facts import Fact
from ledger.projections.rows import Rows
from ledger.projections.tables import versioned

reigns: Final = versioned(
    "reigns",
    [
        Column("track", Text, primary_key=True),
        Column("number", Integer, primary_key=True, autoincrement=False),
    ],
    [
        Column("hotkey", Text, nullable=False),
        Column("submission_id", Text, nullable=False),
        Column("contest_id", Text, nullable=False),
        Column("how", Text, nullable=False),
        Column("previous_hotkey", Text),
        Column("won_score_ppm", BigInteger, nullable=False),
        Column("last_score_ppm", BigInteger, nullable=False),
        Column("needed_ppm", BigInteger),
        Column("reached_ppm", BigInteger),
        Column("why", Text, nullable=False),
        Column("won_at_block", BigInteger, nullable=False),
        Column("defended", Integer, nullable=False),
        Column("ended_at_block", BigInteger),
        Column("ended_by", Text),
        Column("ended_detail", Text),
        Column("annotation", Text),
    ],
)


state: Final = versioned(
    "reigns_state",
    [Column("key", Text, primary_key=True)],
    [Column("value", Text, nullable=False)],
)
"""By ``track:<name>`` the number of its last reign; by ``submission:<id>`` the reigns it won."""


class ReignsProjection:
    """Folds crownings, defences, falls and copies."""

    name = "reigns"
    tables = (reigns, state)
    knows: tuple[type[Fact], ...] = (CopyFound, CrownDefended, KingCrowned, KingDeposed)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case KingCrowned():
                number = 1 + _last(rows, fact.track)
                _remember(rows, position, fact.track, number, str(fact.submission_id))
                rows.put_new(
                    reigns,
                    position,
                    fact.track,
                    number,
                    hotkey=fact.hotkey,
                    submission_id=str(fact.submission_id),
                    contest_id=str(fact.contest_id),
                    how=fact.how,
                    previous_hotkey=fact.previous_hotkey,
                    won_score_ppm=fact.score_ppm,
                    last_score_ppm=fact.score_ppm,
                    needed_ppm=fact.needed_ppm,
                    reached_ppm=fact.reached_ppm,
                    why=fact.why,
                    won_at_block=fact.effective_block,
                    defended=0,
                )
            case CrownDefended():
                number, row = _running(rows, fact.track)
                rows.put(
                    reigns,
                    position,
                    fact.track,
                    number,
                    last_score_ppm=fact.score_ppm,
                    defended=row["defended"] + 1,
                )
            case KingDeposed():
                number, _ = _running(rows, fact.track)
                rows.put(
                    reigns,
                    position,
                    fact.track,
                    number,
                    ended_at_block=fact.effective_block,
                    ended_by=fact.cause,
                    ended_detail=fact.detail,
                )
            case CopyFound():
                copy = str(fact.originator_id)
                note = f"its content was an earlier commit of {fact.original_hotkey}"
                for track, number in _won_by(rows, copy):
                    rows.put(reigns, position, track, number, annotation=note)
            case _:
                pass  # not a fact of this view


def _running(rows: Rows, track: str) -> tuple[int, Mapping[str, Any]]:
    number = _last(rows, track)
    row = rows.get(reigns, track, number)
    if row is None or row["ended_at_block"] is not None:
        msg = f"track '{track}' has no running reign: the log is not whole"
        raise LookupError(msg)
    return number, row


def _last(rows: Rows, track: str) -> int:
    found = rows.get(state, f"track:{track}")
    return int(found["value"]) if found else 0


def _won_by(rows: Rows, submission: str) -> list[tuple[str, int]]:
    found = rows.get(state, f"submission:{submission}")
    return msgspec.json.decode(found["value"], type=list[tuple[str, int]]) if found else []


def _remember(rows: Rows, position: int, track: str, number: int, submission: str) -> None:
    won = [*_won_by(rows, submission), (track, number)]
    rows.put(state, position, f"track:{track}", value=str(number))
    text = msgspec.json.encode(won).decode()
    rows.put(state, position, f"submission:{submission}", value=text)
