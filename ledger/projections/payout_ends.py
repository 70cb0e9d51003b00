"""What an account's payouts came to by the end of each of the treasury's periods, in one row.

So a statement by period reads a row for each period and not the lines about its end. A period may
be closed at once or months later, and its last epoch may get another price until the next one: so
its end is summed when the next epoch in order is folded after the closing. Until then, and for any
other block, a statement adds up the lines themselves (see payout_sums). Lines of epochs that were
read late, out of a gap, are in no sums.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import BigInteger, Column, Integer, Table, Text

from ledger.decisions.treasury import PeriodClosed
from ledger.projections.payout_sums import Running, Sums, less, read_sums
from ledger.projections.rows import Rows
from ledger.projections.tables import appended

ends: Final = appended("payouts_ends", Column("to_block", BigInteger, nullable=False))
"""The ends that are summed, in their order. The first period's beginning is one, too."""

end_sums: Final = appended(
    "payouts_end_sums",
    Column("account", Integer, nullable=False),
    Column("to_block", BigInteger, nullable=False),
    Column("sums", Text, nullable=False),  # of all its lines up to that block (see payout_sums)
    indexed=(("account", "position"),),
)
"""An account has a row for an end if it had a line after the end before."""

_KEY: Final = "ends"


class _Ends(msgspec.Struct):
    due: list[int] = msgspec.field(default_factory=list)
    """Ends of closed periods that are not summed yet, in their order."""
    newest: int = -1
    """The newest end noted."""
    first: int | None = None
    """The block of the first epoch that was read in time."""
    since: int = 0
    """The position of the first epoch after the newest end that is summed."""


def note_ends(rows: Rows, state: Table, position: int, closed: PeriodClosed) -> None:
    """A period was closed: its ends are due."""
    known = _known(rows, state)
    for end in (closed.from_block, closed.to_block):
        if end > known.newest:
            known.due.append(end)
            known.newest = end
    _keep(rows, state, position, known)


def sum_ends(rows: Rows, state: Table, running: Running, position: int) -> None:
    """Sum the ends that are due before the epoch, read in time, that is folded next."""
    known = _known(rows, state)
    if known.first is None:
        known.first = running.block
        _keep(rows, state, position, known)
    due = [end for end in known.due if end < running.block]
    if not due:
        return
    counted = rows.get(state, "accounts")
    count = int(counted["value"]) if counted else 0
    numbers = running.with_lines_since(known.since, count)
    # What came after an end is taken from what all lines come to: a period is mostly closed soon.
    now = {number: running.up_to_now(number) for number in numbers}
    by_end: dict[int, dict[int, Sums]] = {end: {} for end in due if end < known.first}
    since, lines = position, running.newest_first()
    line = next(lines, None)
    for end in reversed(due[len(by_end) :]):
        while line is not None and line[1] > end:
            at, _, number, sums = line
            now[number] = less(now[number], sums)
            if end == due[-1]:
                since = at
            line = next(lines, None)
        by_end[end] = dict(now)
    for end in due:
        rows.append(ends, position, to_block=end)
        _write(rows, running, position, end, by_end[end])
    later = [end for end in known.due if end not in due]
    if due[-1] >= known.first:
        known.since = since
    known.due = later
    _keep(rows, state, position, known)


def _write(rows: Rows, running: Running, position: int, end: int, sums: dict[int, Sums]) -> None:
    found = []
    for number, own in sums.items():
        account = running.account(number)
        if account.ended is None:
            newest = next(rows.newest_first(end_sums, "account", number), None)
            account.ended = read_sums(newest["sums"])[0] if newest else 0
        if own[0] != account.ended:
            account.ended = own[0]
            found.append((number, end, msgspec.json.encode(own).decode()))
    rows.extend(end_sums, position, found)


def _known(rows: Rows, state: Table) -> _Ends:
    found = rows.get(state, _KEY)
    return msgspec.json.decode(found["value"], type=_Ends) if found else _Ends()


def _keep(rows: Rows, state: Table, position: int, known: _Ends) -> None:
    rows.put(state, position, _KEY, value=msgspec.json.encode(known).decode())
