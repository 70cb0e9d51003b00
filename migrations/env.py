"""Alembic's entry point: runs the migrations on the connection it is given."""

from __future__ import annotations

from alembic import context

import ledger.projections.all  # noqa: F401  registers the views' tables
from ledger.store.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transaction_per_migration=False,
    on_version_apply=context.config.attributes["on_applied"],
)
context.run_migrations()
