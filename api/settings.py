"""Settings from the environment (``LEDGER_…``) or a ``.env`` file."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the ledger lives and where it listens."""

    model_config = SettingsConfigDict(env_prefix="LEDGER_", env_file=".env", extra="ignore")

    database_url: str = "sqlite:///ledger.db"
    """Any SQLAlchemy URL; SQLite and PostgreSQL are tested."""
    network: str = "finney"
    netuid: int = Field(default=14, ge=0, le=65_535)
    host: str = "127.0.0.1"
    port: int = Field(default=8014, ge=0, le=65_535)
