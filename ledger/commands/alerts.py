"""Alerts: something needs a person."""

from __future__ import annotations

from ledger.application import Ledger, Unit
from ledger.observations import AlertRaised


def raise_alert(ledger: Ledger, kind: str, detail: str) -> None:
    """Record an alert, one of a kind per block: a further one of that kind says nothing new."""

    def note(unit: Unit) -> None:
        key = f"alert:{unit.context.arena}:{kind}:{unit.block}"
        if unit.ledger.known(key) is None:
            unit.observe(AlertRaised, key, kind=kind, detail=detail, block=unit.block)

    ledger.decide(note)
