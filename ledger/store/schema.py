"""The tables of the log. They come from Alembic (``migrations/``); nothing here creates them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

logs: Final = Table(
    "logs",
    METADATA,
    Column("log_id", Integer, primary_key=True),
    Column("arena", Text, nullable=False, unique=True),
    Column("network", Text, nullable=False),
    Column("netuid", Integer, nullable=False),
    # The head: the row every writer of this arena locks, so that positions are dense.
    Column("position", BigInteger, nullable=False),
    Column("effective_block", BigInteger, nullable=False),
    UniqueConstraint("network", "netuid"),
)

events: Final = Table(
    "events",
    METADATA,
    Column("log_id", Integer, ForeignKey("logs.log_id"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("originator_id", Uuid, nullable=False),
    Column("originator_version", Integer, nullable=False),
    Column("topic", Text, nullable=False),
    Column("fact_key", Text, nullable=False),
    Column("effective_block", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
    UniqueConstraint("originator_id", "originator_version"),
    UniqueConstraint("fact_key"),
    Index(None, "log_id", "effective_block", "position"),
)

tracking: Final = Table(
    "tracking",
    METADATA,
    Column("projection", Text, primary_key=True),
    Column("log_id", Integer, ForeignKey("logs.log_id"), primary_key=True),
    Column("position", BigInteger, nullable=False),
    # How often the view was made anew: a runner's kept rows are of one making.
    Column("generation", Integer, nullable=False, server_default="0"),
)

snapshots: Final = Table(
    "snapshots",
    METADATA,
    Column("originator_id", Uuid, primary_key=True),
    # A digest of what the state is written as: other programs' snapshots are passed over.
    Column("form", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
