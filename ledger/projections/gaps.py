"""The `gaps` view: blocks that are not in the log, and how far they were filled since."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Column, Text

from ledger.facts import Fact
from ledger.observations import BlockFilled, GapObserved
from ledger.projections.rows import Rows
from ledger.projections.tables import versioned

gaps: Final = versioned(
    "gaps",
    [Column("from_block", BigInteger, primary_key=True, autoincrement=False)],
    [
        Column("to_block", BigInteger, nullable=False),
        Column("reason", Text, nullable=False),
        Column("seen_at_block", BigInteger, nullable=False),
        Column("missing", Text, nullable=False),  # runs of blocks as JSON: [[from, to], …]
        Column("filled", BigInteger, nullable=False),
        Column("filled_at_block", BigInteger),  # None while blocks are missing
    ],
)

Run = tuple[int, int]
"""Blocks from the first to the last, both included."""


class GapsProjection:
    """Folds gaps and the blocks that filled them."""

    name = "gaps"
    tables = (gaps,)
    knows: tuple[type[Fact], ...] = (BlockFilled, GapObserved)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        match fact:
            case GapObserved():
                rows.put_new(
                    gaps,
                    position,
                    fact.from_block,
                    to_block=fact.to_block,
                    reason=fact.reason,
                    seen_at_block=fact.effective_block,
                    missing=_text([(fact.from_block, fact.to_block)]),
                    filled=0,
                )
            case BlockFilled():
                _fill(rows, position, fact)
            case _:
                pass  # not a fact of this view


def missing_runs(text: str) -> list[Run]:
    """The runs of blocks that a row says are missing, in order."""
    return msgspec.json.decode(text, type=list[Run])


def _fill(rows: Rows, position: int, fact: BlockFilled) -> None:
    for (first,), row in rows.all(gaps).items():
        if not first <= fact.number <= row["to_block"]:
            continue
        left: list[Run] = []
        for start, end in missing_runs(row["missing"]):
            if not start <= fact.number <= end:
                left.append((start, end))
                continue
            around = ((start, fact.number - 1), (fact.number + 1, end))
            left += [run for run in around if run[0] <= run[1]]
        rows.put(
            gaps,
            position,
            first,
            missing=_text(left),
            filled=row["filled"] + 1,
            filled_at_block=None if left else fact.effective_block,
        )


def _text(runs: list[Run]) -> str:
    return msgspec.json.encode(runs).decode()
