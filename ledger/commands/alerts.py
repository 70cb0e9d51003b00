"""Alerts: something needs a person."""

from __future__ import annotations

from typing import Final

from ledger.application import Ledger, Unit
from ledger.observations import AlertRaised

MAX_DETAIL_CHARS: Final = 1_000
"""How much of an alert's detail is kept: a node's error may be pages long."""

REPEAT_AFTER_BLOCKS: Final = 300
"""An alert that says the same is raised again after so many blocks, about an hour."""


def raise_alert(ledger: Ledger, kind: str, detail: str) -> None:
    """Record an alert, unless the newest of its kind says the same and is not old.

    One of a kind per block: a further one of that block says nothing new.
    """
    ledger.decide(lambda unit: note_alert(unit, kind, detail))


def note_alert(unit: Unit, kind: str, detail: str) -> None:
    """The same, in a unit that records more."""
    detail = detail[:MAX_DETAIL_CHARS]
    key = f"alert:{unit.context.arena}:{kind}:{unit.block}"
    if any(fact.fact_key == key for fact in unit.facts) or unit.ledger.known(key) is not None:
        return
    newest = unit.ledger.newest(AlertRaised, where=lambda fact: fact.kind == kind)
    if (
        newest is not None
        and newest.detail == detail
        and unit.block - newest.block < REPEAT_AFTER_BLOCKS
    ):
        return
    unit.observe(AlertRaised, key, kind=kind, detail=detail, block=unit.block)
