"""Two vectors of one block are told apart by their digests

A pause decided at the block of another vector has one of its own. Sent vectors are kept by their
digest too; the views of weights and of payouts come back from the log, which keeps both.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007_vectors_by_digest"
down_revision = "0006_the_subnet"
branch_labels = None
depends_on = None

REMADE = ("weights", "payouts")


def upgrade() -> None:
    _empty()
    there = set(sa.inspect(op.get_bind()).get_table_names())
    if "weights_published" in there:
        op.drop_table("weights_published")
    begins = sa.Column("begins", sa.Boolean(), nullable=False)
    op.create_table(
        "weights_published",
        sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("for_block", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("validator_hotkey", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.Text(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=True),
        begins,
        sa.Column("uids", sa.Text(), nullable=False),
        sa.Column("values", sa.Text(), nullable=False),
        sa.Column("shares_ppm", sa.Text(), nullable=False),
        sa.Column("hotkeys", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("success", sa.Boolean(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("landed_block", sa.BigInteger(), nullable=True),
        sa.Column("extrinsic_hash", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(
            "log_id",
            "for_block",
            "validator_hotkey",
            "digest",
            "since",
            name=op.f("pk_weights_published"),
        ),
    )
    op.create_index(
        op.f("ix_weights_published_log_id_since"),
        "weights_published",
        ["log_id", "since"],
        sqlite_where=sa.text("begins = 1"),
        postgresql_where=begins,
    )


def _empty() -> None:
    """Both views begin at position 0 again; somebody may have dropped some of their tables."""
    for name in sa.inspect(op.get_bind()).get_table_names():
        if name.partition("_")[0] in REMADE:
            op.execute(sa.delete(sa.table(name)))
    for view in REMADE:
        op.execute(sa.text("DELETE FROM tracking WHERE projection = :view").bindparams(view=view))


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
