"""The database's schema, step by step (Alembic). Applied by `cacheon-ledger db upgrade`."""

from __future__ import annotations

from typing import Final

NEWEST: Final = "0014_payouts_and_sums"
"""The last step's revision. It is named here so that a start need not read every step."""
