"""Texts that people hand in and the log keeps for ever: one line, visible, of a bounded length."""

from __future__ import annotations


def is_one_line(text: str, max_chars: int) -> bool:
    """Whether ``text`` is 1 to ``max_chars`` printable characters, of which one is no space."""
    return bool(text.strip()) and len(text) <= max_chars and text.isprintable()
