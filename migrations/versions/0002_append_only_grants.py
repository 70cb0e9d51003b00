"""On PostgreSQL nobody has the right to rewrite events, besides the trigger that refuses it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_append_only_grants"
down_revision = "0001"
branch_labels = None
depends_on = None

_REWRITING = "UPDATE, DELETE, TRUNCATE"

# An owner begins with every right. Taken from it, they are missing as anybody's are, until it
# grants them to itself again. A superuser is asked for no rights: for it there is the trigger.
_OWNER = sa.text(
    "SELECT quote_ident(tableowner) FROM pg_tables "
    "WHERE schemaname = current_schema() AND tablename = 'events'"
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        owner = connection.execute(_OWNER).scalar_one()
        op.execute(f"REVOKE {_REWRITING} ON events FROM PUBLIC, {owner}")


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        owner = connection.execute(_OWNER).scalar_one()
        op.execute(f"GRANT {_REWRITING} ON events TO {owner}")
