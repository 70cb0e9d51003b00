"""What periods came to when they were closed, prices of TAO, and what each contest cost

New views; their rows are made from the log: positions begin at 0, and the next read folds them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_figures_and_costs"
down_revision = "0011_rentals_in_the_journal"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text}

# A column is `name:type`, with `?` if it may be NULL.
APPENDED = {
    "period_figures": """
        number:int from_block:big to_block:big closed_at_block:big actor:text price_source:text?
        fees_rao:big? rental_due_usd_micros:big? price_usd_micros_per_tao:big? price_block:big?
        rental_due_rao:big? carried_in_rao:big? surplus_rao:big? deficit_rao:big? reserve_rao:big?
        proposed_buyback_rao:big? counted_to_position:big?
    """,
    "tao_prices": "about_block:big usd_micros_per_tao:big source:text stated:text",
    "rental_costs": """
        rental_id:text contest_id:text? provider:text usd_micros:big seconds:big? about_block:big
    """,
}
VERSIONED = {"rental_contest_seconds": ("rental_id:text contest_id:text", "seconds:big")}


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
        op.f("ix_rental_costs_log_id_contest_id"), "rental_costs", ["log_id", "contest_id"]
    )
    for name, (keys, values) in VERSIONED.items():
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
