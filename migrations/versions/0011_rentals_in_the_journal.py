"""The journal's postings of rentals name their rental

Their rows are made anew from the log: positions begin at 0, and the next read folds them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_rentals_in_the_journal"
down_revision = "0010_rentals_and_invoices"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if "journal_postings" in sa.inspect(op.get_bind()).get_table_names():
        op.execute(sa.delete(sa.table("journal_postings")))
    tracking = sa.table("tracking", sa.column("projection"))
    op.execute(sa.delete(tracking).where(tracking.c.projection == "journal"))


def downgrade() -> None:
    msg = "views of the older shape are made by an older program: restore a backup for it"
    raise NotImplementedError(msg)
