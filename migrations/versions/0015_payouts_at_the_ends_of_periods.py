"""Payouts are summed at the ends of the treasury's periods

The view's rows are made anew from the log: positions begin at 0, and the next read folds them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015_payouts_at_ends"
down_revision = "0014_payouts_and_sums"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text}
OLD = ("payouts_state", "payouts_accounts", "payouts_epochs", "payouts_owners", "payouts")

# A column is `name:type`.
APPENDED = {
    "payouts_ends": "to_block:big",
    "payouts_end_sums": "account:int to_block:big sums:text",
}


def upgrade() -> None:
    for name, columns in APPENDED.items():
        op.create_table(
            name,
            sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
            *map(_column, columns.split()),
            sa.PrimaryKeyConstraint("log_id", "position", "line", name=op.f(f"pk_{name}")),
            sqlite_with_rowid=False,
        )
    op.create_index(
        op.f("ix_payouts_end_sums_log_id_account_position"),
        "payouts_end_sums",
        ["log_id", "account", "position"],
    )
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for name in OLD:
        if name in there:  # somebody may have dropped some
            op.execute(sa.delete(sa.table(name)))
    tracking = sa.table("tracking", sa.column("projection"))
    op.execute(sa.delete(tracking).where(tracking.c.projection == "payouts"))


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    return sa.Column(name, TYPES[kind](), autoincrement=False, nullable=False)


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
