"""Payments with their claims, credits and refunds, found by extrinsic

The view's rows are made anew from the log: positions begin at 0, and the next read folds them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_claims_of_payments"
down_revision = "0012_figures_and_costs"
branch_labels = None
depends_on = None

PAYMENTS = "treasury_payments"
TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text}

# `name:type`, with `?` if it may be NULL.
VALUES = """
    block:big block_hash:text extrinsic_index:int extrinsic_hash:text sender:text amount_rao:big
    outer_call:text remarks:text status:text submission_id:text? hotkey:text? overpaid_rao:big?
    claim_number:int? claim_wants:text? claim_hotkey:text? claim_state:text? credit_of:text?
    decided_by:text? reason:text? refund_extrinsic_hash:text?
"""


def upgrade() -> None:
    there = set(sa.inspect(op.get_bind()).get_table_names())
    if PAYMENTS in there:
        op.drop_table(PAYMENTS)
    begins = sa.Column("begins", sa.Boolean(), nullable=False)
    op.create_table(
        PAYMENTS,
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        begins,
        *map(_column, VALUES.split()),
        sa.PrimaryKeyConstraint("log_id", "payment_id", "since", name=op.f(f"pk_{PAYMENTS}")),
    )
    op.create_index(
        op.f(f"ix_{PAYMENTS}_log_id_since"),
        PAYMENTS,
        ["log_id", "since"],
        sqlite_where=sa.text("begins = 1"),
        postgresql_where=begins,
    )
    for column in ("extrinsic_hash", "credit_of"):
        op.create_index(op.f(f"ix_{PAYMENTS}_log_id_{column}"), PAYMENTS, ["log_id", column])
    for table in sorted(there - {PAYMENTS}):
        if table.startswith("treasury_"):  # of the same view, which begins anew
            op.execute(sa.delete(sa.table(table)))
    tracking = sa.table("tracking", sa.column("projection"))
    op.execute(sa.delete(tracking).where(tracking.c.projection == "treasury"))


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    return sa.Column(name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?"))


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
