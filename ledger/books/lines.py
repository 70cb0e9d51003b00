"""What a reconciliation is made of: spans, lines of the journal, balances, movements seen outside.

Plain values without a database. Amounts are integers in the asset's smallest unit and signed as the
account's balance moves: above zero comes in, below zero goes out. ``position`` is where the fact
stands in its arena's log, so that "as known then" is a comparison. ``fact`` is the fact's key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ledger.units import Amount, amount_of

Proof = Literal["chain", "needed", "reason"]
"""What stands behind a booking: it was itself read from the chain; it needs a movement that was
seen there; or it has a person's reason and need not have a movement of its own."""


@dataclass(frozen=True, slots=True)
class Period:
    """After ``from_block``, up to and with ``to_block``.

    ``number`` is 0 for a stretch that is no period of the books. ``closed_at`` is the position of
    the fact that closed it, None for what is open.
    """

    number: int
    from_block: int
    to_block: int
    closed_at: int | None = None

    def __contains__(self, block: int) -> bool:
        return self.from_block < block <= self.to_block


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the journal in one asset, whose balance the outside states.

    ``steps_by_block``: its balance moves in the very block a booking is about, as a chain's does; a
    provider deducts when it pleases.
    """

    name: str
    asset: str
    steps_by_block: bool


@dataclass(frozen=True, slots=True)
class BookedLine:
    """One posting as the journal keeps it, with the event it belongs to."""

    about_block: int
    account: str
    asset: str
    amount: int
    reference: str | None
    position: int = 0
    fact: str = ""
    proof: Proof = "needed"

    @property
    def money(self) -> Amount:
        """The amount in its unit."""
        return amount_of(self.asset, self.amount)


@dataclass(frozen=True, slots=True)
class ObservedBalance:
    """A balance the outside states for an account of the journal.

    ``holder`` is who the outside calls it: an address, or a provider's name. An account may have
    several holders; its balance is known where all of them are.
    """

    asset: str
    account: str
    holder: str
    amount: int
    about_block: int
    position: int = 0
    fact: str = ""

    @property
    def money(self) -> Amount:
        """The amount in its unit."""
        return amount_of(self.asset, self.amount)


@dataclass(frozen=True, slots=True)
class SeenMovement:
    """Money that was seen to move at the treasury's address on chain, by extrinsic."""

    block: int
    reference: str
    asset: str
    amount: int
    position: int = 0
    fact: str = ""
    what: str = ""

    @property
    def money(self) -> Amount:
        """The amount in its unit."""
        return amount_of(self.asset, self.amount)


@dataclass(frozen=True, slots=True)
class ClaimedDeposit:
    """A booking that says what a deposit was, and moves none of the account's money itself.

    ``taken_by`` says what else became of the deposit of that extrinsic, None where nothing did, and
    ``taken_at`` is the position of the fact that made it so.
    """

    block: int
    reference: str
    asset: str
    amount: int
    taken_by: str | None
    position: int = 0
    fact: str = ""
    taken_at: int = 0

    def upto(self, position: int) -> ClaimedDeposit:
        """The same as it was known at a position of the log."""
        return self if self.taken_at <= position else replace(self, taken_by=None, taken_at=0)


@dataclass(frozen=True, slots=True)
class MeteredCost:
    """A booked cost of a rental, or a correction of it (signed); in millionths of a dollar."""

    rental: str
    provider: str
    cost_usd_micros: int
    about_block: int
    position: int = 0
    fact: str = ""


@dataclass(frozen=True, slots=True)
class InvoicedLine:
    """A line of a provider's invoice, and the rental it was matched with (None: with none).

    The same line recorded again later (it was matched then) takes the place of the earlier one.
    """

    provider: str
    invoice: str
    line: str
    instance: str
    billed_usd_micros: int
    about_block: int
    rental: str | None
    position: int = 0
