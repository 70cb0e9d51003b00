"""How long an answer is where its text had to be cut into tokens anew.

Text that a model wrote in 256 tokens can be 289 of our cutting: bytes that are no character, or a
word in unusual pieces. That befalls honest servers that name no ids, or ids that do not spell what
they sent, and says nothing of how much was computed.
"""

from __future__ import annotations

from typing import Final

from evaluation.client import Answer
from ledger.units import PPM

MOST_GROWTH_PPM: Final = 250_000
"""How much longer our cutting may make an answer than its server says; seen were 130,000."""


def baseline_tokens(base: Answer) -> int:
    """The baseline's own count: its image is ours, so what it names is believed."""
    return len(base.tokens) if base.named_tokens is None else base.named_tokens


def at_most_tokens(own: Answer) -> int:
    """The fewest tokens an entrant's answer can honestly have been.

    What it names is believed only as far as our cutting can differ: text is what it is paid for.
    """
    cut = len(own.tokens)
    if own.ids_from_server or own.named_tokens is None or own.named_tokens >= cut:
        return cut
    return max(own.named_tokens, -(-cut * PPM // (PPM + MOST_GROWTH_PPM)))


def time_to_us(answer: Answer, count: int, of: int) -> int:
    """Microseconds to the ``count``-th of the ``of`` tokens that an answer was; to its end for 0.

    Where our cutting made another number of pieces, the place among them is the same share of all.
    """
    if not count:
        return answer.end_us
    return answer.arrival_us[-(-count * len(answer.tokens) // of) - 1]
