"""What people say with a command and the log keeps for ever: checked in one way."""

from __future__ import annotations

from typing import Final

from ledger.decisions.base import DecisionRefusedError
from ledger.texts import is_one_line

MAX_ACTOR_CHARS: Final = 64


def must_be_one_line(what: str, text: str, max_chars: int) -> None:
    """Refuse (:class:`DecisionRefusedError`) a text that is not one visible line of that length."""
    if not is_one_line(text, max_chars):
        msg = f"{what} must be 1 to {max_chars} printable characters of one line"
        raise DecisionRefusedError(msg)


def check_actor(actor: str) -> None:
    """Refuse what is no name of somebody who acts."""
    must_be_one_line("an actor's name", actor, MAX_ACTOR_CHARS)
