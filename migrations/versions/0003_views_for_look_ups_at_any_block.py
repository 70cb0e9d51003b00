"""Views keep their versions for look-ups at any block

Every view is made anew: a versioned one marks the first version of each key (``begins``), so that
what held at a block is one look-up per key; one that only grows lies in the order of its key. The
rows come back from the log: positions begin at 0, and the next read folds them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_views_at_any_block"
down_revision = "0002_append_only_grants"
branch_labels = None
depends_on = None

TYPES = {"int": sa.Integer, "big": sa.BigInteger, "text": sa.Text, "bool": sa.Boolean}

# Table: its keys, and its values. A column is `name:type`, with `?` if it may be NULL.
VERSIONED = {
    "contests": (
        "contest_id:text",
        """
            track:text attempt:int seed_block:big seed_block_hash:text policy_digest:text
            status:text host:text? claimed_until_block:big? planned_at_block:big ended_at_block:big?
            void_cause:text? detail:text baseline_image:text? baseline_median_e2e_us:big?
            baseline_median_ttft_us:big? prompts:int? prompts_digest:text? king_hotkey:text?
            reasons:text
        """,
    ),
    "contests_entrants": (
        "contest_id:text place:int",
        """
            submission_id:text hotkey:text role:text image:text digest:text status:text? code:text?
            detail:text? log_tail:text? score_ppm:big? lower_ppm:big? upper_ppm:big? top1_ppm:int?
            mean_margin_milli:big? p99_margin_milli:big? spread_ppm:int? repeat_gain_ppm:big?
            median_e2e_us:big? evidence_digest:text?
        """,
    ),
    "emissions_state": (
        "key:text",
        "value:text",
    ),
    "payouts_addresses": (
        "address:text",
        "number:int",
    ),
    "payouts_owners": (
        "coldkey:int hotkey:int",
        "",
    ),
    "payouts_state": (
        "key:text",
        "value:text",
    ),
    "reigns": (
        "track:text number:int",
        """
            hotkey:text submission_id:text contest_id:text how:text previous_hotkey:text?
            won_score_ppm:big last_score_ppm:big needed_ppm:big? reached_ppm:big? why:text
            won_at_block:big defended:int ended_at_block:big? ended_by:text? ended_detail:text?
            annotation:text?
        """,
    ),
    "reigns_state": (
        "key:text",
        "value:text",
    ),
    "submissions": (
        "submission_id:text",
        """
            track:text hotkey:text coldkey:text? uid:int? form:text block:big block_hash:text
            place:int image:text? digest:text? payment_tx:text? payment_block:text? accepted:bool?
            status:text codes:text detail:text payment_id:text? fee_rao:big? overpaid_rao:big?
            by_credit:bool? fingerprint:text? contest_id:text? attempts:int score_ppm:big?
            log_tail:text? evidence_digest:text? changed_at_block:big before_contest:text?
        """,
    ),
    "treasury_buybacks": (
        "number:int",
        """
            status:text max_rao:big max_price_rao:big planned_by:text approved_by:text?
            spent_rao:big? burned_alpha:big? block:big? extrinsic_hash:text? detail:text?
        """,
    ),
    "treasury_payments": (
        "payment_id:text",
        """
            block:big extrinsic_hash:text sender:text amount_rao:big status:text submission_id:text?
            hotkey:text? overpaid_rao:big?
        """,
    ),
    "treasury_rentals": (
        "rental_id:text",
        """
            provider:text tier:text contest_id:text? status:text instance:text?
            usd_micros_per_hour:big? seconds:big? cost_usd_micros:big? billed_usd_micros:big?
            started_at_s:big? ended_at_s:big?
        """,
    ),
    "weights_held": (
        "validator_hotkey:text",
        "block:big uids:text values:text digest:text",
    ),
    "weights_neurons": (
        "uid:int",
        "hotkey:text coldkey:text",
    ),
    "weights_published": (
        "for_block:big validator_hotkey:text",
        """
            uids:text values:text shares_ppm:text hotkeys:text digest:text reason:text success:bool?
            error:text? landed_block:big? extrinsic_hash:text?
        """,
    ),
    "weights_subnet_owner": (
        "part:text",
        "hotkey:text coldkey:text",
    ),
    "weights_switches": (
        "switch:text",
        "paused:bool reason:text actor:text block:big",
    ),
    "weights_thrones": (
        "track:text",
        """
            king_hotkey:text? king_score_ppm:big? won_at_block:big? runner_up_hotkey:text?
            runner_up_score_ppm:big?
        """,
    ),
}

# Table: what is looked up in it besides its position, and its columns.
APPENDED = {
    "emissions": (
        [],
        """
            epoch_block:big track:text phase:text paused:bool pool_ppm:big? king_hotkey:text?
            king_score_ppm:big? miner_incentive_alpha:big burned_alpha:big
            validator_dividends_alpha:big
        """,
    ),
    "journal_postings": (
        [],
        "about_block:big account:text asset:text amount:big reference:text?",
    ),
    "payouts": (
        [("hotkey", "position")],
        """
            epoch_block:big uid:int? hotkey:int coldkey:int? vector_block:big? share_ppm:int
            entitled_alpha:big paid_alpha:big withheld_alpha:big dividends_alpha:big
        """,
    ),
    "treasury_balances": (
        [],
        "about_block:big asset:text account:text amount:big source:text",
    ),
    "treasury_outflows": (
        [],
        "block:big reference:text asset:text amount:big what:text",
    ),
    "treasury_periods": (
        [],
        "number:int from_block:big to_block:big actor:text",
    ),
    "weights_policies": (
        [],
        "from_block:big policy_digest:text policy_json:text",
    ),
}


FORMER = {"treasury_postings"}
"""The journal is a view of its own now."""


def upgrade() -> None:
    _drop_views()
    generation = sa.Column("generation", sa.Integer(), nullable=False, server_default="0")
    op.add_column("tracking", generation)
    for name, (keys, values) in VERSIONED.items():
        key_names = [column.partition(":")[0] for column in keys.split()]
        begins = sa.Column("begins", sa.Boolean(), nullable=False)
        op.create_table(
            name,
            sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
            *map(_column, keys.split()),
            sa.Column("since", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("until", sa.BigInteger(), nullable=True),
            begins,
            *map(_column, values.split()),
            sa.PrimaryKeyConstraint("log_id", *key_names, "since", name=op.f(f"pk_{name}")),
        )
        op.create_index(
            op.f(f"ix_{name}_log_id_since"),
            name,
            ["log_id", "since"],
            sqlite_where=sa.text("begins = 1"),
            postgresql_where=begins,
        )
    op.create_index(
        op.f("ix_payouts_addresses_log_id_number"), "payouts_addresses", ["log_id", "number"]
    )
    for name, (indexes, columns) in APPENDED.items():
        op.create_table(
            name,
            sa.Column("log_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("line", sa.Integer(), autoincrement=False, nullable=False),
            *map(_column, columns.split()),
            sa.PrimaryKeyConstraint("log_id", "position", "line", name=op.f(f"pk_{name}")),
            sqlite_with_rowid=False,
        )
        for own in indexes:
            op.create_index(op.f("_".join(["ix", name, "log_id", *own])), name, ["log_id", *own])


def _column(text: str) -> sa.Column[object]:
    name, _, kind = text.partition(":")
    autoincrement = "auto" if kind.endswith("?") else False
    return sa.Column(
        name, TYPES[kind.rstrip("?")](), nullable=kind.endswith("?"), autoincrement=autoincrement
    )


def _drop_views() -> None:
    """Drop what views there are; somebody may have dropped some."""
    there = set(sa.inspect(op.get_bind()).get_table_names())
    for name in sorted((VERSIONED.keys() | APPENDED.keys() | FORMER) & there):
        op.drop_table(name)
    op.execute("DELETE FROM tracking")


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
