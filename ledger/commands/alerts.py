"""Alerts: something needs a person."""

from __future__ import annotations

from typing import Final

from ledger.application import Ledger, Unit
from ledger.observations import AlertRaised

MAX_DETAIL_CHARS: Final = 1_000
"""How much of an alert's detail is kept: a node's error may be pages long."""


def raise_alert(ledger: Ledger, kind: str, detail: str) -> None:
    """Record an alert, one of a kind per block: a further one of that kind says nothing new."""

    def note(unit: Unit) -> None:
        note_alert(unit, kind, detail)

    ledger.decide(note)


def note_alert(unit: Unit, kind: str, detail: str) -> None:
    """The same within a unit of work."""
    key = f"alert:{unit.context.arena}:{kind}:{unit.block}"
    if unit.ledger.known(key) is None:
        detail = detail[:MAX_DETAIL_CHARS]
        unit.observe(AlertRaised, key, kind=kind, detail=detail, block=unit.block)
