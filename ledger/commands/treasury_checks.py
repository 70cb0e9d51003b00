"""What is checked of a treasurer's booking before it is one: texts, prices, places, blocks.

Each refuses by :class:`DecisionRefusedError` with one sentence.
"""

from __future__ import annotations

from typing import Final

from ledger.application import Unit
from ledger.commands.refunds import refunds_sent_in
from ledger.commands.said import check_actor, must_be_one_line
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.treasury import MAX_AMOUNT, Asset, Treasury
from ledger.observations import AlphaBurnSeen
from ledger.units import RAO_PER_TAO, Rao, UsdMicros

MAX_NAME_CHARS: Final = 64
"""Of a provider's name, or a contributor's."""
MAX_REFERENCE_CHARS: Final = 128
MAX_TEXT_CHARS: Final = 256
"""Of a reason or a source."""

CENT_USD_MICROS: Final = 10_000
"""Exchanges round what they pay out to a cent, and state a price to a millionth at best."""

_CALL: Final = {"burned": "burn_alpha", "recycled": "recycle_alpha"}

_TEXTS: Final = {
    "provider": ("a provider's name", MAX_NAME_CHARS),
    "paid_from": ("the name of the account paid from", MAX_NAME_CHARS),
    "contributor": ("a contributor's name", MAX_NAME_CHARS),
    "invoice": ("an invoice's number", MAX_NAME_CHARS),
    "reason": ("a reason", MAX_TEXT_CHARS),
    "source": ("a source", MAX_TEXT_CHARS),
}
_PLACES: Final = frozenset({"provider", "paid_from"})
"""Names that become part of an account's, whose parts a colon divides."""


def check(actor: str, reference: str | None, **texts: str | None) -> None:
    """Who acts, the reference, and the ``texts`` by what they are; None is said by nobody."""
    check_actor(actor)
    if reference is not None:
        must_be_one_line("a reference", reference, MAX_REFERENCE_CHARS)
    for name, text in texts.items():
        if text is not None:
            must_be_one_line(_TEXTS[name][0], text, _TEXTS[name][1])
            if name in _PLACES and ":" in text:
                msg = f"{_TEXTS[name][0]} has no colon, and {text!r} does; name the provider alone"
                raise DecisionRefusedError(msg)


def must_fit(sold_rao: int, bought_usd_micros: int, usd_micros_per_tao: int) -> None:
    """The stated price gives the dollars, within a cent and the price's own last place."""
    allowed = CENT_USD_MICROS * RAO_PER_TAO + sold_rao
    if abs(bought_usd_micros * RAO_PER_TAO - sold_rao * usd_micros_per_tao) > allowed:
        msg = (
            f"{Rao(sold_rao)} at {UsdMicros(usd_micros_per_tao)} per TAO is not "
            f"{UsdMicros(bought_usd_micros)}; give the price that the source states for this sale, "
            "after its charges"
        )
        raise DecisionRefusedError(msg)


def must_be_a_price(usd_micros_per_tao: int) -> None:
    """Above zero, and an amount that the views can hold."""
    if not 1 <= usd_micros_per_tao <= MAX_AMOUNT:
        msg = (
            f"a price of {UsdMicros(usd_micros_per_tao)} per TAO is none; give one above zero and "
            f"up to {UsdMicros(MAX_AMOUNT)}"
        )
        raise DecisionRefusedError(msg)


def must_have_a_place(asset: Asset, provider: str | None, *, new_provider: bool) -> None:
    """Dollars lie at a provider, known or new, and nothing else does."""
    if (asset == "USD") == (provider is None):
        msg = "dollars lie at a provider, and nothing else does: name one for dollars only"
        raise DecisionRefusedError(msg)
    if new_provider and provider is None:
        msg = "no provider is named, so none can be new; leave --new-provider out"
        raise DecisionRefusedError(msg)


def block_of(unit: Unit, said: int | None, known: int | None, what: str) -> int:
    """The block that a booking is about; within the log, and the one that the log knows."""
    if said is None and known is None:
        msg = f"the log does not know this {what}, so say the block that it is about"
        raise DecisionRefusedError(msg)
    if said is not None and known is not None and said != known:
        msg = f"the {what} is in the log at block {known}, so it is not about block {said}"
        raise DecisionRefusedError(msg)
    block = known if said is None else said
    opened = unit.arena.opened_at_block
    if block is None or not opened <= block <= unit.block:
        msg = f"block {block} is not in the log, which goes from block {opened} to {unit.block}"
        raise DecisionRefusedError(msg)
    return block


def must_carry_no_refund(unit: Unit, reference: str) -> None:
    """What left for a refund is in the books as that, and was sold to nobody."""
    refunds = refunds_sent_in(unit.ledger, reference)
    if refunds:
        msg = (
            f"extrinsic {reference} carried out the refund of payment {refunds[0].originator_id}, "
            "so it is no sale; name the transfer that was one"
        )
        raise DecisionRefusedError(msg)


def must_be_that_burn(treasury: Treasury, seen: AlphaBurnSeen, how: str) -> None:
    """It destroyed what is booked, in the same way, and is no buyback's."""
    buyback = treasury.matched.get((seen.block_hash, seen.extrinsic_index))
    if buyback is not None:
        msg = f"extrinsic {seen.extrinsic_hash} is buyback {buyback}'s, which is booked"
        raise DecisionRefusedError(msg)
    if seen.how != _CALL[how]:
        msg = (
            f"the log knows extrinsic {seen.extrinsic_hash} as {seen.how}, which is not alpha of "
            f"the treasury's own that was {how}"
        )
        raise DecisionRefusedError(msg)
