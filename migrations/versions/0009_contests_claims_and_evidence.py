"""Contests with their worker and evidence, and submissions found by their content

One view gets columns; its rows are made anew from the log: positions begin at 0, and the next read
folds them. Submissions of one content are found by an index.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_claims_and_evidence"
down_revision = "0008_commits_and_payments"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text}

# Table: its keys, and its values. A column is `name:type`, with `?` if it may be NULL.
VERSIONED = {
    "contests": (
        "contest_id:text",
        """
            track:text attempt:int seed_block:big seed_block_hash:text policy_digest:text
            status:text host:text? worker:text? claimed_until_block:big? planned_at_block:big
            ended_at_block:big? void_cause:text? detail:text baseline_image:text?
            baseline_median_e2e_us:big? baseline_median_ttft_us:big? prompts:int?
            prompts_digest:text? king_hotkey:text? reasons:text manifest_digest:text?
            evidence_url:text? calibration:text? client_lag_p99_us:big? drift_ppm:big?
            clock_drift_ppm:big? host_facts:text? baseline_gpu_ms:big?
        """,
    ),
    "contests_entrants": (
        "contest_id:text place:int",
        """
            submission_id:text hotkey:text role:text image:text digest:text status:text? code:text?
            detail:text? log_tail:text? score_ppm:big? lower_ppm:big? upper_ppm:big? top1_ppm:int?
            mean_margin_milli:big? p99_margin_milli:big? spread_ppm:int? repeat_gain_ppm:big?
            median_e2e_us:big? evidence_digest:text? fingerprint:text? image_bytes:big? gpu_ms:big?
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
    if "submissions" in there:
        op.create_index(
            op.f("ix_submissions_log_id_fingerprint"), "submissions", ["log_id", "fingerprint"]
        )
    tracking = sa.table("tracking", sa.column("projection"))
    op.execute(sa.delete(tracking).where(tracking.c.projection == "contests"))


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    autoincrement = "auto" if kind.endswith("?") else False
    return sa.Column(
        name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?"), autoincrement=autoincrement
    )


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
