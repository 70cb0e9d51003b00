"""A reader that follows a log by its pages, and notices what it missed or saw out of order."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from ledger.store.logs import LoggedFact, read_log


@dataclass(slots=True)
class Tail:
    """Where it stands, what it has seen of each writer, and what was wrong."""

    log_id: int
    position: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    """By writer: how many of its alerts came, which are numbered in the order it sent them."""
    faults: list[str] = field(default_factory=list)

    def follow(self, connection: Connection, limit: int) -> int:
        """Read the next page and go on behind it; how many facts it had."""
        page = read_log(connection, self.log_id, after=self.position, limit=limit)
        for logged in page:
            self._take(logged)
        return len(page)

    def _take(self, logged: LoggedFact) -> None:
        if logged.position != self.position + 1:
            # It goes on from here, as any reader would: what comes between is missed for ever.
            self.faults.append(f"{logged.position} came after {self.position}")
        self.position = logged.position
        kind, *rest = logged.fact.fact_key.split(":")
        if kind != "alert":
            return
        writer, number = rest[0], int(rest[1])
        if number != self.seen.get(writer, 0):
            self.faults.append(f"{number} of {writer} came after {self.seen.get(writer, 0) - 1}")
        self.seen[writer] = number + 1
