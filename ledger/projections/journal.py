"""The `journal` view: the postings of every fact that moves money, in double entry."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Text

from ledger.books.postings import MONEY_FACTS, entry_of
from ledger.facts import Fact
from ledger.projections.rows import Rows, storable_text
from ledger.projections.tables import appended

postings: Final = appended(
    "journal_postings",
    Column("about_block", BigInteger, nullable=False),
    Column("account", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reference", Text),
)
"""A posting belongs to the fact at its position."""


class JournalProjection:
    """Folds every fact that moves money."""

    name = "journal"
    tables = (postings,)
    knows: tuple[type[Fact], ...] = tuple(MONEY_FACTS)

    def fold(self, rows: Rows, position: int, fact: Fact) -> None:
        """Change the rows by one fact."""
        entry = entry_of(fact)
        if entry is None:
            return
        log_id, block, reference = rows.log_id, entry.about_block, entry.reference
        if reference is not None:
            reference = storable_text(reference)
        values, line = rows.appending(postings, position)
        for one in entry.postings:
            account = storable_text(one.account)
            values += (log_id, position, line, block, account, one.asset, one.value, reference)
            line += 1
