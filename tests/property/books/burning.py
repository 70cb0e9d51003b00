"""What the treasury's buybacks must move: TAO out, alpha in, alpha burned, each once (DOMAIN 3)."""

from __future__ import annotations

from dataclasses import dataclass

from tests.property.books.money import ALPHA, TAO, TREASURY, Money, Outcome


@dataclass
class Buyback:
    """How far one has come."""

    request: str
    max_rao: int
    approved: bool = False
    sent: bool = False
    bought: int | None = None
    burning: bool = False
    ended: bool = False
    failed: bool = False

    def next_step(self, two_steps: bool) -> str:
        """What comes next where everything goes well."""
        if not self.approved:
            return "approve"
        if not self.sent:
            return "send"
        if self.bought is None:
            return "buy" if two_steps else "execute"
        return "burn" if self.burning else "send_burn"


class Buybacks:
    """All buybacks by number, over the same :class:`Money`."""

    def __init__(self, money: Money) -> None:
        self.money = money
        self.known: dict[int, Buyback] = {}
        self.found_in: dict[str, int] = {}
        """The buyback that an extrinsic is."""

    def plan(self, request: str, max_rao: int) -> Outcome:
        """One plan for a request."""
        if max_rao < 1:
            return "refused"
        for buyback in self.known.values():
            if buyback.request == request:
                return "same" if buyback.max_rao == max_rao else "refused"
        self.known[len(self.known) + 1] = Buyback(request, max_rao)
        return "done"

    def approve(self, number: int, actor: str) -> Outcome:
        """By a second person ("one" plans them all)."""
        buyback = self.known.get(number)
        if buyback is None or actor == "one":
            return "refused"
        before, buyback.approved = buyback.approved, True
        return "same" if before else "done"

    def send(self, number: int, rao: int) -> Outcome:
        """Once, within the plan."""
        buyback = self.known.get(number)
        if buyback is None or not buyback.approved or buyback.sent:
            return "refused"
        if not 0 < rao <= buyback.max_rao:
            return "refused"
        buyback.sent = True
        return "done"

    def execute(self, number: int, extrinsic: str, rao: int, alpha: int) -> Outcome:
        """Bought and burned in one extrinsic, which is no other's."""
        buyback = self._under_way(number)
        if buyback is None:
            return "refused"
        if buyback.ended:
            return "same"
        if buyback.bought is not None or not self._takes(number, extrinsic, burns=True):
            return "refused"
        buyback.ended = True
        self.money.move(TAO, rao, source=TREASURY, target="expenses:buyback")
        self.money.move(ALPHA, alpha, source="clearing:buyback", target="expenses:alpha_burned")
        return "done"

    def buy(self, number: int, extrinsic: str, rao: int, alpha: int) -> Outcome:
        """Bought; the alpha is the treasury's until it is burned."""
        buyback = self._under_way(number)
        if buyback is None:
            return "refused"
        if buyback.bought is not None:
            return "same"
        if buyback.ended or not self._takes(number, extrinsic, burns=False):
            return "refused"
        buyback.bought = alpha
        self.money.move(TAO, rao, source=TREASURY, target="expenses:buyback")
        self.money.move(ALPHA, alpha, source="clearing:buyback", target=TREASURY)
        return "done"

    def send_burn(self, number: int) -> Outcome:
        """One at a time."""
        buyback = self._under_way(number)
        if buyback is None or buyback.bought is None or buyback.ended or buyback.burning:
            return "refused"
        buyback.burning = True
        return "done"

    def fail_burn(self, number: int) -> Outcome:
        """That sending burned nothing."""
        buyback = self._under_way(number)
        if buyback is None:
            return "refused"
        before, buyback.burning = buyback.burning, False
        return "done" if before else "same"

    def burn(self, number: int, extrinsic: str, alpha: int) -> Outcome:
        """What was bought is burned, once."""
        buyback = self._under_way(number)
        if buyback is None:
            return "refused"
        if buyback.ended:
            return "same"
        if not buyback.burning or not self._takes(number, extrinsic, burns=True):
            return "refused"
        buyback.burning, buyback.ended = False, True
        self.money.move(ALPHA, alpha, source=TREASURY, target="expenses:alpha_burned")
        return "done"

    def fail(self, number: int) -> Outcome:
        """Nothing was bought, nor will be."""
        buyback = self.known.get(number)
        if buyback is None or not buyback.sent or buyback.bought is not None:
            return "refused"
        if buyback.ended:
            return "same" if buyback.failed else "refused"
        buyback.ended = buyback.failed = True
        return "done"

    def _under_way(self, number: int) -> Buyback | None:
        buyback = self.known.get(number)
        return None if buyback is None or not buyback.sent or buyback.failed else buyback

    def _takes(self, number: int, extrinsic: str, *, burns: bool) -> bool:
        """An extrinsic is one buyback's, and what it burns was not booked as burned already."""
        booked = self.money.booked.get(extrinsic)
        if burns and booked is not None and booked[0] == "destroy":
            return False
        if self.found_in.setdefault(extrinsic, number) != number:
            return False
        if burns:
            self.money.burned_in.add(extrinsic)
        return True
