"""The view of gaps: blocks that are not in the log, and how far they were filled

An epoch of a gap is recorded when later vectors have landed, so payouts keep all of them: their
view is emptied, and the next read folds it anew from the log.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_gaps"
down_revision = "0004_snapshots"
branch_labels = None
depends_on = None


PAYOUTS = ("payouts", "payouts_addresses", "payouts_owners", "payouts_state")


def upgrade() -> None:
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for name in PAYOUTS:
        if name in there:  # somebody may have dropped some
            op.execute(sa.delete(sa.table(name)))
    tracking = sa.table("tracking", sa.column("projection"))
    op.execute(sa.delete(tracking).where(tracking.c.projection == "payouts"))
    begins = sa.Column("begins", sa.Boolean(), nullable=False)
    op.create_table(
        "gaps",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("from_block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        begins,
        sa.Column("to_block", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("seen_at_block", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.Text(), nullable=False),
        sa.Column("filled", sa.BigInteger(), nullable=False),
        sa.Column("filled_at_block", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("log_id", "from_block", "since", name=op.f("pk_gaps")),
    )
    op.create_index(
        op.f("ix_gaps_log_id_since"),
        "gaps",
        ["log_id", "since"],
        sqlite_where=sa.text("begins = 1"),
        postgresql_where=begins,
    )


def downgrade() -> None:
    op.drop_table("gaps")
