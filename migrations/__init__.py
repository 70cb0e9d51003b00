"""The database's schema, step by step (Alembic). Applied by `cacheon-ledger db upgrade`."""

from __future__ import annotations

from typing import Final

NEWEST: Final = "0015_payouts_at_ends"
"""The last step's revision. It is named here so that a start need not read every step."""
