"""Settings from the environment (``LEDGER_…``) or a ``.env`` file."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from api.errors import InputFileError

ENV_FILE: Final = ".env"


class Settings(BaseSettings):
    """Where the ledger lives and where it listens."""

    model_config = SettingsConfigDict(env_prefix="LEDGER_", env_file=ENV_FILE, extra="ignore")

    database_url: str = "sqlite:///ledger.db"
    """Any SQLAlchemy URL; SQLite and PostgreSQL are tested."""
    network: str = "finney"
    netuid: int = Field(default=14, ge=0, le=65_535)
    host: str = "127.0.0.1"
    port: int = Field(default=8014, ge=0, le=65_535)


def load_settings(**said: Any) -> Settings:
    """The settings of the environment, with ``said`` instead where something is said.

    Raises :class:`~api.errors.InputFileError` for a ``.env`` that is no text, and pydantic's
    ``ValidationError`` for a value that cannot be.
    """
    try:
        return Settings(**said)
    except UnicodeDecodeError as error:
        msg = f"the file '{ENV_FILE}' of this folder is not UTF-8 text; mend or remove it"
        raise InputFileError(msg) from error
