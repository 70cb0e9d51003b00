"""Alerts: something needs a person."""

from __future__ import annotations

from typing import Final

from ledger.application import Ledger, Unit
from ledger.observations import AlertRaised

MAX_DETAIL_CHARS: Final = 1_000
"""How much of an alert's detail is kept: a node's error may be pages long."""


def raise_alert(ledger: Ledger, kind: str, detail: str) -> None:
    """Record an alert, one of a kind per block: a further one of that kind says nothing new."""
    ledger.decide(lambda unit: note_alert(unit, kind, detail))


def note_alert(unit: Unit, kind: str, detail: str) -> None:
    """The same, in a unit that records more."""
    key = f"alert:{unit.context.arena}:{kind}:{unit.block}"
    if any(fact.fact_key == key for fact in unit.facts) or unit.ledger.known(key) is not None:
        return
    unit.observe(AlertRaised, key, kind=kind, detail=detail[:MAX_DETAIL_CHARS], block=unit.block)
