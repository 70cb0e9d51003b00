"""Commits and payments in full: sealed commits, several in one extrinsic, what a payment says

Two views get columns and one a table. Their rows are made anew from the log: positions begin at 0,
and the next read folds them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_commits_and_payments"
down_revision = "0007_vectors_by_digest"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text, "bool": sa.Boolean}

# Table: its key, and its values. A column is `name:type`, with `?` if it may be NULL.
VERSIONED = {
    "submissions": (
        "submission_id:text",
        """
            track:text hotkey:text coldkey:text? uid:int? form:text block:big block_hash:text
            place:int nth:int image:text? digest:text? payment_tx:text? payment_block:text?
            accepted:bool? status:text codes:text detail:text payment_id:text? fee_rao:big?
            overpaid_rao:big? by_credit:bool? fingerprint:text? contest_id:text? attempts:int
            score_ppm:big? log_tail:text? evidence_digest:text? changed_at_block:big
            before_contest:text?
        """,
    ),
    "treasury_payments": (
        "payment_id:text",
        """
            block:big block_hash:text extrinsic_index:int extrinsic_hash:text sender:text
            amount_rao:big outer_call:text remarks:text status:text submission_id:text?
            hotkey:text? overpaid_rao:big?
        """,
    ),
}

SEALED = """
    block:big hotkey:text coldkey:text? uid:int? place:int nth:int extrinsic_hash:text?
    reveal_round:big? succeeded:bool
"""

EMPTIED = (
    "treasury_balances",
    "treasury_outflows",
    "treasury_periods",
    "treasury_buybacks",
    "treasury_rentals",
)
"""The other tables of the same views, whose rows come back, too."""


def upgrade() -> None:
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for name, (key, values) in VERSIONED.items():
        if name in there:
            op.drop_table(name)
        begins = sa.Column("begins", sa.Boolean(), nullable=False)
        op.create_table(
            name,
            sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
            _column(key),
            sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("until", sa.BigInteger(), nullable=True),
            begins,
            *map(_column, values.split()),
            sa.PrimaryKeyConstraint(
                "log_id", key.partition(":")[0], "since", name=op.f(f"pk_{name}")
            ),
        )
        op.create_index(
            op.f(f"ix_{name}_log_id_since"),
            name,
            ["log_id", "since"],
            sqlite_where=sa.text("begins = 1"),
            postgresql_where=begins,
        )
    op.create_table(
        "submissions_sealed",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        *map(_column, SEALED.split()),
        sa.PrimaryKeyConstraint("log_id", "position", "line", name=op.f("pk_submissions_sealed")),
        sqlite_with_rowid=False,
    )
    for name in EMPTIED:
        if name in there:
            op.execute(sa.delete(sa.table(name)))
    tracking = sa.table("tracking", sa.column("projection"))
    op.execute(sa.delete(tracking).where(tracking.c.projection.in_(["submissions", "treasury"])))


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    autoincrement = "auto" if kind.endswith("?") else False
    return sa.Column(
        name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?"), autoincrement=autoincrement
    )


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
