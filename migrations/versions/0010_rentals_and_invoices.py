"""Rentals with all that happened to them, and the lines of invoices

A view of their own, made anew from the log by the next read.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_rentals_and_invoices"
down_revision = "0009_claims_and_evidence"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text, "bool": sa.Boolean}

# Table: its keys, and its values. A column is `name:type`, with `?` if it may be NULL.
VERSIONED = {
    "treasury_rentals": (
        "rental_id:text",
        """
            provider:text tier:text offer:text? region:text? round:text? contest_id:text?
            status:text adopted:bool lost:bool found_by:text? reason:text? instance:text?
            address:text? assumed:text? came_up:bool max_usd_micros_per_hour:big
            offered_usd_micros_per_hour:big? usd_micros_per_hour:big? reprices:int
            requested_by:text? requested_at_s:big? started_at_s:big? ended_at_s:big?
            works_for:text? stops:int volumes_left:int seconds:big? billed_seconds:big?
            settlement:text? cost_usd_micros:big? corrected_usd_micros:big
            billed_usd_micros:big? about_block:big?
        """,
    ),
    "invoice_lines": (
        "provider:text invoice:text line:text",
        """
            instance:text tag:text? seconds:big? billed_usd_micros:big about_block:big
            rental_id:text?
        """,
    ),
}


def upgrade() -> None:
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for name, (keys, values) in VERSIONED.items():
        if name in there:
            op.drop_table(name)
        begins = sa.Column("begins", sa.Boolean(), nullable=False)
        op.create_table(
            name,
            sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
            *map(_column, keys.split()),
            sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("until", sa.BigInteger(), nullable=True),
            begins,
            *map(_column, values.split()),
            sa.PrimaryKeyConstraint(
                "log_id",
                *(key.partition(":")[0] for key in keys.split()),
                "since",
                name=op.f(f"pk_{name}"),
            ),
        )
        op.create_index(
            op.f(f"ix_{name}_log_id_since"),
            name,
            ["log_id", "since"],
            sqlite_where=sa.text("begins = 1"),
            postgresql_where=begins,
        )


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    autoincrement = "auto" if kind.endswith("?") else False
    return sa.Column(
        name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?"), autoincrement=autoincrement
    )


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
