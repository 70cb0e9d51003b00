"""How much of a server's answer is kept as evidence."""

from __future__ import annotations

from typing import Final

from ledger.policy import TrackPolicy
from ledger.units import PPM

SPARE_TOKENS: Final = 16
"""An answer that is that much too long is too long for any verdict but one."""


def kept_tokens(policy: TrackPolicy) -> int:
    """How many tokens of an answer are kept: what the length gate may let pass, and some more, so
    that it sees what it must refuse. Never more than twice what was asked for, and some."""
    asked = policy.contest.output_tokens
    return min(2 * asked, asked * policy.gates.max_length_ppm // PPM) + SPARE_TOKENS
