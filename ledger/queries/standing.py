"""How far an arena's log can be trusted: its gaps, and the last safe block."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from ledger.projections.gaps import gaps as view
from ledger.projections.gaps import missing_runs
from ledger.queries.scope import Scope


class GapLine(msgspec.Struct, frozen=True):
    """Blocks that were not in the log when it went on after them; ``missing`` still are not.

    ``missing`` holds runs of blocks, (first, last), in order; ``filled`` counts the others.
    ``filled_at_block`` is the head when the last of them was filled, None while some are missing.
    """

    from_block: int
    to_block: int
    reason: str
    seen_at_block: int
    filled: int
    missing: tuple[tuple[int, int], ...]
    filled_at_block: int | None


def gaps(scope: Scope) -> list[GapLine]:
    """Every gap so far with how far it was filled, by block."""
    return [
        GapLine(
            from_block=row["from_block"],
            to_block=row["to_block"],
            reason=row["reason"],
            seen_at_block=row["seen_at_block"],
            filled=row["filled"],
            missing=tuple(missing_runs(row["missing"])),
            filled_at_block=row["filled_at_block"],
        )
        for row in scope.rows(view)
    ]


def missing_blocks(lines: Iterable[GapLine]) -> list[tuple[int, int]]:
    """All runs of blocks that are missing, in order."""
    return sorted(run for line in lines for run in line.missing)


def last_safe_block(head: int, missing: Sequence[tuple[int, int]]) -> int:
    """The last block that everything up to is known of: min(head - 1, first missing block - 1).

    The head itself may still get facts (decisions take effect at it), so it is not safe.
    """
    return min([head, *(first for first, _ in missing)]) - 1


def safe_block(scope: Scope) -> int:
    """The last safe block at the scope's block."""
    return last_safe_block(scope.block, missing_blocks(gaps(scope)))
