"""The database's schema, step by step (Alembic). Applied by `cacheon-ledger db upgrade`."""
