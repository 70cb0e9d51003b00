"""Payouts say what was meant for another, with an epoch's price and sums where they lie

The view gets other tables; its rows are made anew from the log: positions begin at 0, and the next
read folds them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014_payouts_and_sums"
down_revision = "0013_claims_of_payments"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text, "bool": sa.Boolean}
OLD = ("payouts", "payouts_addresses", "payouts_owners", "payouts_state")

# Table: its keys, its values, and what is looked up. A column is `name:type`, with `?` if it may
# be NULL.
VERSIONED = {
    "payouts_state": ("key:text", "value:text", ()),
    "payouts_accounts": ("hotkey:text coldkey:text", "number:int", ("number", "coldkey")),
    "payouts_epochs": (
        "epoch_block:big",
        "late:bool withheld_alpha:big price_rao:big? price_block:big?",
        ("late epoch_block",),
    ),
    "payouts_owners": ("hotkey:text", "coldkeys:text", ()),
}
PAYOUTS = """
    epoch_block:big uid:int? account:int vector_block:big? share_ppm:int entitled_alpha:big
    paid_alpha:big withheld_alpha:big dividends_alpha:big misdirected_alpha:big meant_for:int?
    lost_alpha:big lost_to:int? sums:text?
"""


def upgrade() -> None:
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for name in OLD:
        if name in there:  # somebody may have dropped some
            op.drop_table(name)
    for name, (keys, values, indexed) in VERSIONED.items():
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
        for columns in indexed:
            _index(name, columns.split())
    op.create_table(
        "payouts",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
        *map(_column, PAYOUTS.split()),
        sa.PrimaryKeyConstraint("log_id", "position", "line", name=op.f("pk_payouts")),
        sqlite_with_rowid=False,
    )
    _index("payouts", ["account", "position"])
    tracking = sa.table("tracking", sa.column("projection"))
    op.execute(sa.delete(tracking).where(tracking.c.projection == "payouts"))
    if "emissions" in there:  # what was burned is in `payouts_epochs` now
        op.drop_column("emissions", "burned_alpha")


def _index(table: str, columns: list[str]) -> None:
    name = op.f(f"ix_{table}_log_id_{'_'.join(columns)}")
    op.create_index(name, table, ["log_id", *columns])


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    autoincrement = "auto" if kind.endswith("?") else False
    return sa.Column(
        name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?"), autoincrement=autoincrement
    )


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
