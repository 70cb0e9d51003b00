"""A stand-in for a model's tokenizer where the model is not at hand: a token is a character.

Good enough to make prompts and to tell two answers apart; it counts nobody's tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

EOS_ID: Final = 0x11_0000
"""One beyond the last character there is."""


END_IDS: Final = frozenset({EOS_ID})


def encode(text: str) -> list[int]:
    """The code point of each character."""
    return [ord(char) for char in text]


def decode(ids: Sequence[int]) -> str:
    """The characters again; the end of the sequence adds nothing."""
    return "".join(chr(token) for token in ids if token != EOS_ID)


def text_ends(ids: Sequence[int]) -> list[int]:
    """One character more after each id; none after the end of the sequence."""
    ends, chars = [], 0
    for token in ids:
        chars += token != EOS_ID
        ends.append(chars)
    return ends


def chat_prompt(messages: Sequence[Mapping[str, str]]) -> list[int]:
    """What the messages say, one after the other."""
    return encode("".join(message["content"] for message in messages))
