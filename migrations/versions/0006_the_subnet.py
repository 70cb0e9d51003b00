"""A view of the subnet, and more of what validators hold"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_the_subnet"
down_revision = "0005_gaps"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text, "bool": sa.Boolean}

# Table: its columns, `name:type`, with `?` if it may be NULL.
APPENDED = {
    "subnet_alerts": "block:big kind:text detail:text",
    "subnet_burns": """
        block:big extrinsic_hash:text how:text coldkey:text hotkey:text spent_rao:big? alpha:big
        by_treasury:bool
    """,
    "subnet_pools": "block:big tao_rao:big alpha_in:big alpha_out:big",
    "subnet_prices": "about_block:big pair:text price:big source:text",
    "subnet_registrations": "block:big uid:int hotkey:text payer:text cost_rao:big",
}
LOCKS = """
    hotkey:text locked_alpha:big conviction_alpha:big last_update:big perpetual:bool
    unlock_blocks:big maturity_blocks:big
"""


def upgrade() -> None:
    op.add_column("weights_held", sa.Column("raw_values", sa.Text(), nullable=True))
    op.add_column("weights_held", sa.Column("last_update", sa.BigInteger(), nullable=True))
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
    begins = sa.Column("begins", sa.Boolean(), nullable=False)
    op.create_table(
        "subnet_locks",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("coldkey", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        begins,
        *map(_column, LOCKS.split()),
        sa.PrimaryKeyConstraint("log_id", "coldkey", "since", name=op.f("pk_subnet_locks")),
    )
    op.create_index(
        op.f("ix_subnet_locks_log_id_since"),
        "subnet_locks",
        ["log_id", "since"],
        sqlite_where=sa.text("begins = 1"),
        postgresql_where=begins,
    )


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    return sa.Column(name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?"))


def downgrade() -> None:
    for name in (*APPENDED, "subnet_locks"):
        op.drop_table(name)
    op.drop_column("weights_held", "last_update")
    op.drop_column("weights_held", "raw_values")
