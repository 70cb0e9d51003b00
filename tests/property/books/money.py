"""What every account must hold, predicted from DOMAIN 3 and never from the program's own postings.

:class:`Money` is told of the same happenings as the ledger, in the same order. It knows what each
must come to (:data:`Outcome`) and what it moves. Its accounts are written out by hand, so that a
name that changes in the books is noticed here.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final, Literal

Outcome = Literal["done", "same", "refused", "conflict"]
"""Recorded; known already, so nothing new; against a rule; against a recorded fact, an alarm."""

TAO: Final = "TAO"
USD: Final = "USD"
ALPHA: Final = "ALPHA:14"
FEE_RAO: Final = 100

TREASURY: Final = "assets:treasury"
UNCLAIMED: Final = "liabilities:unclaimed_payments"
FEES: Final = "income:fees"
CREDITS: Final = "liabilities:credits"


def prepaid(provider: str) -> str:
    """Dollars that a provider holds of ours."""
    return f"assets:provider:{provider}"


def owed(provider: str) -> str:
    """Dollars that a provider is owed."""
    return f"liabilities:payable:{provider}"


class Money:
    """Balances by account and asset, and what happened to whom."""

    def __init__(self) -> None:
        self.balances: dict[tuple[str, str], int] = defaultdict(int)
        self.observed: dict[str, tuple[Any, ...]] = {}
        self.booked: dict[str, tuple[Any, ...]] = {}
        self.burned_in: set[str] = set()
        """The extrinsics in which a buyback burned."""
        self.head = 0
        self.closed_to: int | None = None
        self.opened_at = 0

    def held(self) -> dict[tuple[str, str], int]:
        """Every account that holds something."""
        return {place: amount for place, amount in self.balances.items() if amount}

    def move(self, asset: str, amount: int, *, source: str, target: str) -> None:
        """So much goes from one account to another; a debit is above zero."""
        self.balances[target, asset] += amount
        self.balances[source, asset] -= amount

    # -- what is merely seen ----------------------------------------------------------------

    def observe(self, key: str, *content: Any) -> Outcome:
        """A fact of the outside: once, and never with another content."""
        known = self.observed.get(key)
        if known is not None:
            return "same" if known == content else "conflict"
        self.observed[key] = content
        return "done"

    def see_fee(self, place: int, fee_rao: int) -> Outcome:
        """The chain took a fee for a transaction of the treasury's."""
        outcome = self.observe(f"fee {place}", fee_rao)
        if outcome == "done":
            self.move(TAO, fee_rao, source=TREASURY, target="expenses:network_fees")
        return outcome

    def see_earned(self, place: int, how: str, alpha: int) -> Outcome:
        """An epoch put alpha under the treasury."""
        outcome = self.observe(f"earned {place} {how}", alpha)
        if outcome == "done":
            source = "income:owner_cut" if how == "owner_cut" else "income:alpha_earned"
            self.move(ALPHA, alpha, source=source, target=TREASURY)
        return outcome

    def see_nothing_moved(self, kind: str, place: int, amount: int) -> Outcome:
        """A price, a balance, a transfer or a burn as the outside shows it: no booking."""
        return self.observe(f"{kind} {place}", amount)

    # -- periods ----------------------------------------------------------------------------

    def close(self, to_block: int) -> Outcome:
        """A period follows the last one, up to a block that is known."""
        if to_block == self.closed_to:
            return "same"
        start = self.opened_at if self.closed_to is None else self.closed_to
        if not start < to_block <= self.head:
            return "refused"
        self.closed_to = to_block
        return "done"

    # -- what a treasurer books -------------------------------------------------------------

    def book(self, reference: str, kind: str, *content: Any) -> Outcome:
        """A reference is one booking of one kind."""
        known = self.booked.get(reference)
        if known is None:
            if kind == "destroy" and reference in self.burned_in:
                return "refused"  # that burn is a buyback's, and counted
            self.booked[reference] = (kind, *content)
            return "done"
        if known[0] != kind:
            return "refused"
        return "same" if known == (kind, *content) else "conflict"

    def convert(self, reference: str, rao: int, usd: int, provider: str) -> Outcome:
        """TAO out, dollars in, each against the clearing account: no rate hides in between."""
        if min(rao, usd) < 1:
            return "refused"
        outcome = self.book(reference, "convert", rao, usd, provider)
        if outcome == "done":
            self.move(TAO, rao, source=TREASURY, target="clearing:conversion")
            self.move(USD, usd, source="clearing:conversion", target=prepaid(provider))
        return outcome

    def contribute_dollars(self, reference: str, usd: int, provider: str) -> Outcome:
        """An operator's dollars arrive at a provider."""
        if usd < 1:
            return "refused"
        outcome = self.book(reference, "contribute", USD, usd, provider)
        if outcome == "done":
            self.move(USD, usd, source="equity:contributions", target=prepaid(provider))
        return outcome

    def adjust(self, reference: str, asset: str, amount: int, provider: str) -> Outcome:
        """A correction of any sign."""
        outcome = self.book(reference, "adjust", asset, amount, provider)
        if outcome == "done":
            target = prepaid(provider) if asset == USD else TREASURY
            self.move(asset, amount, source="equity:adjustments", target=target)
        return outcome

    def pay(self, reference: str, provider: str, paid_from: str, usd: int) -> Outcome:
        """A bill is paid out of the dollars that lie at some provider."""
        if usd < 1:
            return "refused"
        outcome = self.book(reference, "pay", provider, paid_from, usd)
        if outcome == "done":
            self.move(USD, usd, source=prepaid(paid_from), target=owed(provider))
        return outcome

    def destroy(self, reference: str, how: str, alpha: int) -> Outcome:
        """Alpha of the treasury's stake is gone: burned and recycled are two things."""
        if alpha < 1:
            return "refused"
        outcome = self.book(reference, "destroy", how, alpha)
        if outcome == "done":
            self.move(ALPHA, alpha, source=TREASURY, target=f"expenses:alpha_{how}")
        return outcome


def block_payment(block: int, place: int) -> int:
    """The number of a payment that came with a recorded block; others are below 1,000."""
    return 1_000 * block + place
