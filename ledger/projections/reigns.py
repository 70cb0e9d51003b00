"""The `reigns` view: who held each throne from when to when, and how it began and ended.

A defended crown is the same reign. What is found later (a copy) annotates it; it is never removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, Text

from ledger.decisions.arena import CrownDefended, KingCrowned, KingDeposed
from ledger.decisions.submission import CopyFound
from ledger.facts import Fact
from ledger.projections.rows import Rows, versioned

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


class ReignsProjection:
    """Folds crownings, defences, falls and copies."""

    name = "reigns"
    tables = (reigns,)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case KingCrowned():
                number = 1 + sum(track == fact.track for track, _ in rows.all(reigns))
                rows.put(
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
                    ended_at_block=None,
                    ended_by=None,
                    ended_detail=None,
                    annotation=None,
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
                for key, row in rows.all(reigns).items():
                    if row["submission_id"] == copy:
                        rows.put(reigns, position, *key, annotation=note)
            case _:
                pass  # not a fact of this view


def _running(rows: Rows, track: str) -> tuple[int, Mapping[str, Any]]:
    for (of_track, number), row in rows.all(reigns).items():
        if of_track == track and row["ended_at_block"] is None:
            return number, row
    msg = f"track '{track}' has no running reign: the log is not whole"
    raise LookupError(msg)
