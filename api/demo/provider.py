"""A stand-in for the GPU provider's own books: what its statement says, whatever ours say.

It is the outside's truth in the demo: deposits arrive when the exchange pays them in, and each
rental is billed for its seconds. The ledger never reads it but as a statement.
"""

from __future__ import annotations

from typing import Final

from api.demo.season import CONVERSIONS, ROUNDS, Window

NAME: Final = "shadeform"
OFFER: Final = "denvr:h200x8"
REGION: Final = "us-east"
ATTEMPT_S: Final = 120
"""How long an attempt uses its machine, by the provider's clock."""
OPENING_USD_MICROS: Final = 2_000_000_000
USD_MICROS_PER_HOUR: Final = 24_800_000
BLOCK_S: Final = 12


def instance_of(window: Window) -> str:
    """The provider's own name of a round's machine."""
    return f"demo-{window.start}"


def seconds_of(window: Window) -> int:
    """How long the machine of a round runs, by the provider's clock."""
    return (window.end - window.start) * BLOCK_S


def billed_usd_micros(window: Window) -> int:
    """What the provider takes for it: every second begun, rounded up to a millionth."""
    return -(-seconds_of(window) * USD_MICROS_PER_HOUR // 3_600)


def statement_usd_micros(block: int) -> int:
    """The prepaid balance the provider states as of a block."""
    deposits = sum(usd for at, _, _, usd, _ in CONVERSIONS if at <= block)
    billed = sum(billed_usd_micros(window) for window in ROUNDS if window.end <= block)
    return OPENING_USD_MICROS + deposits - billed
