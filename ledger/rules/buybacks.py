"""A buyback's limits, and the texts that treasurers sign.

Pure. Prices are rao per whole alpha, slippage is in parts per million. The texts are canonical: one
content has one text, so that anybody can check a recorded signature with the key beside it (sr25519
over the text's UTF-8 bytes, by any tool).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.keys import ArenaKey
from ledger.units import PPM

MAX_SLIPPAGE_PPM: Final = PPM
"""A limit of twice the observed price; beyond that a percentage is a slip of the hand."""

PLAN_TITLE: Final = "cacheon-ledger buyback plan v1"
APPROVAL_TITLE: Final = "cacheon-ledger buyback approval v1"


@dataclass(frozen=True, slots=True)
class ObservedPrice:
    """Rao per whole alpha in the state of a finalized block."""

    rao: int
    block: int
    block_hash: str


@dataclass(frozen=True, slots=True)
class BuybackTerms:
    """What a plan allows: at most ``max_rao``, at no more than ``max_price_rao`` per whole alpha.

    The price limit was worked out of ``price`` and ``max_slippage_ppm``; these are None where the
    limit itself was given. ``request`` names the intention: planning it again is the same plan.
    """

    request: str
    max_rao: int
    max_price_rao: int
    price: ObservedPrice | None
    max_slippage_ppm: int | None


@dataclass(frozen=True, slots=True)
class Signed:
    """A treasurer's key (SS58) and its signature (``0x`` hex)."""

    key: str
    signature: str


def max_price_rao(price_rao: int, max_slippage_ppm: int) -> int:
    """``price_rao`` x (1 + slippage), floored to whole rao: never above what was asked for."""
    return price_rao * (PPM + max_slippage_ppm) // PPM


def plan_text(arena: ArenaKey, terms: BuybackTerms, actor: str) -> str:
    """What the first treasurer signs."""
    price = terms.price
    return _text(
        PLAN_TITLE,
        arena=arena,
        request=terms.request,
        max_rao=terms.max_rao,
        max_price_rao_per_alpha=terms.max_price_rao,
        observed_price_rao_per_alpha=price.rao if price else "none",
        observed_at_block=price.block if price else "none",
        observed_at_block_hash=price.block_hash if price else "none",
        max_slippage_ppm="none" if terms.max_slippage_ppm is None else terms.max_slippage_ppm,
        planned_by=actor,
    )


def approval_text(arena: ArenaKey, number: int, terms: BuybackTerms, actor: str) -> str:
    """What the second treasurer signs: the plan's number and limits, whoever planned it."""
    return _text(
        APPROVAL_TITLE,
        arena=arena,
        number=number,
        request=terms.request,
        max_rao=terms.max_rao,
        max_price_rao_per_alpha=terms.max_price_rao,
        approved_by=actor,
    )


def _text(title: str, /, **lines: object) -> str:
    return "\n".join([title, *(f"{name}: {value}" for name, value in lines.items())]) + "\n"
