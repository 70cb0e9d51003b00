"""Text and token ids of the reference model: one token is one byte, 256 ends the sequence.

Text is Latin-1: the character of id ``i`` is ``chr(i)``, so that encoding and decoding undo each
other for every sequence, whatever the model writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final

EOS_ID: Final = 256
END_IDS: Final = frozenset({EOS_ID})
VOCABULARY: Final = 257
EOS_TEXT: Final = "<|endoftext|>"


class TokenizerError(ValueError):
    """Text or ids outside the vocabulary; the message names the first offender."""


def encode(text: str) -> list[int]:
    """Token ids of ``text``; :class:`TokenizerError` for a character above U+00FF."""
    try:
        return list(text.encode("latin-1"))
    except UnicodeEncodeError as error:
        msg = (
            f"character U+{ord(text[error.start]):04X} at index {error.start} has no token; "
            "use characters up to U+00FF"
        )
        raise TokenizerError(msg) from error


def decode(ids: Sequence[int]) -> str:
    """The text of ``ids``. EOS adds nothing to it; an id outside 0..256 is an error."""
    return "".join(token_text(token) for token in ids if token != EOS_ID)


def text_ends(ids: Sequence[int]) -> list[int]:
    """How many characters of ``decode(ids)`` are whole after each id: one more, save for EOS."""
    return list(accumulate(int(token != EOS_ID) for token in ids))


def token_text(token: int) -> str:
    """How one token is shown beside its logprob: its character, or ``<|endoftext|>``."""
    if token == EOS_ID:
        return EOS_TEXT
    if not 0 <= token < EOS_ID:
        msg = f"token id {token} is outside 0..{EOS_ID}"
        raise TokenizerError(msg)
    return chr(token)


def token_bytes(token: int) -> list[int]:
    """The bytes of one token as OpenAI's ``bytes`` field lists them."""
    return list(token_text(token).encode("latin-1"))


def chat_prompt(messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a conversation, each message ``{"role", "content"}``.

    One user message becomes ``user: <content>\\nassistant: ``; several stand below one another
    before the same ending. :class:`TokenizerError` for none at all or one without its two fields.
    """
    if not messages:
        msg = "a chat needs at least one message"
        raise TokenizerError(msg)
    lines = []
    for index, message in enumerate(messages):
        if "role" not in message or "content" not in message:
            msg = f"message {index} needs a role and a content"
            raise TokenizerError(msg)
        lines.append(f"{message['role']}: {message['content']}\n")
    return encode("".join(lines) + "assistant: ")
