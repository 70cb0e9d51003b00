"""The reconciler against a small oracle that keeps the world and the books as two plain lists.

A world moves money in blocks; a bookkeeper books most of it, and invents, doubles, mistypes or
forgets some. The oracle knows what was done wrong because it did it. However it was done, the named
breaks and the unexplained parts sum to the residual, and what is unknown stays unknown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from ledger.books.lines import Account, BookedLine, ObservedBalance, Period, SeenMovement
from ledger.books.reconcile import Figures, Known, reconcile

ACCOUNT = Account("assets:treasury", "TAO", steps_by_block=True)
FIRST, LAST = 10, 40
PERIOD = Period(1, FIRST, LAST)
HOW = ("booked", "forgotten", "doubled", "mistyped", "invented", "silent")


@dataclass
class World:
    """What moved, what the books say, and what the oracle knows to be wrong, by block."""

    opening: int
    moved: Counter[int] = field(default_factory=Counter)
    booked: list[BookedLine] = field(default_factory=list)
    seen: list[SeenMovement] = field(default_factory=list)
    wrong: list[tuple[str, str, int, int]] = field(default_factory=list)
    silent: Counter[int] = field(default_factory=Counter)

    def balance(self, block: int) -> int:
        """The account at the end of a block."""
        return self.opening + sum(rao for at, rao in self.moved.items() if at <= block)

    def book(self, block: int, rao: int, reference: str, *, chain: bool = False) -> None:
        position = len(self.booked) + 1
        proof = "chain" if chain else "needed"
        self.booked.append(
            BookedLine(block, ACCOUNT.name, "TAO", rao, reference, position, f"f{position}", proof)
        )

    def act(self, nth: int, block: int, rao: int, how: str) -> None:
        """One outflow of ``rao``, or what passes for one."""
        reference = f"0x{nth}"
        if how == "silent":
            self.moved[block] -= rao
            self.silent[block] -= rao
            return
        if how != "invented":
            self.moved[block] -= rao
            self.seen.append(SeenMovement(block, reference, "TAO", -rao, fact=f"out {nth}"))
        if how in {"booked", "doubled", "invented"}:
            self.book(block, -rao, reference)
        if how == "mistyped":
            self.book(block, -rao - 1, reference)
            self.wrong.append(("amount_differs", reference, 1, block))
        if how == "forgotten":
            self.wrong.append(("on_chain_not_in_books", reference, -rao, block))
        if how == "invented":
            self.wrong.append(("in_books_not_on_chain", reference, rao, block))
        if how == "doubled":
            self.book(block, -rao, f"{reference} again")
            self.wrong.append(("in_books_not_on_chain", f"{reference} again", rao, block))


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A world of some inflows and outflows after the first block, up to the last."""
    world = World(draw(st.integers(0, 10**12)))
    blocks, amounts = st.integers(FIRST + 1, LAST), st.integers(1, 10**9)
    for nth, (block, rao) in enumerate(draw(st.lists(st.tuples(blocks, amounts), max_size=6))):
        world.moved[block] += rao
        world.book(block, rao, f"in {nth}", chain=True)
    acts = st.lists(st.tuples(blocks, amounts, st.sampled_from(HOW)), max_size=8)
    for nth, (block, rao, how) in enumerate(draw(acts)):
        world.act(nth, block, rao, how)
    return world


def figures(world: World, observed: set[int]) -> Figures:
    balances = [
        ObservedBalance("TAO", ACCOUNT.name, "5F", world.balance(block), block)
        for block in sorted(observed)
    ]
    return reconcile(PERIOD, ACCOUNT, Known(world.booked, balances, world.seen)).figures


OBSERVED = st.sets(st.integers(FIRST, LAST))


@given(worlds(), OBSERVED)
def test_breaks_sum_to_the_residual_and_name_what_was_done_wrong(
    world: World, between: set[int]
) -> None:
    observed = between | {FIRST, LAST}
    found = figures(world, observed)
    assert found.residual == sum(amount for _, _, amount, _ in world.wrong) + sum(
        world.silent.values()
    )
    assert found.residual == sum(one.amount for one in found.breaks)
    named = [
        (one.kind, one.reference, one.amount, one.to_block)
        for one in found.breaks
        if one.kind != "unexplained"
    ]
    assert Counter(named) == Counter(world.wrong)
    # What is silent shows between the balances around it.
    expected = {}
    for since, until in zip(sorted(observed), sorted(observed)[1:], strict=False):
        rest = sum(rao for block, rao in world.silent.items() if since < block <= until)
        if rest:
            expected[since, until] = rest
    parts = {
        (one.from_block, one.to_block): one.amount
        for one in found.breaks
        if one.kind == "unexplained"
    }
    assert parts == expected
    assert found.unexplained == sum(expected.values())


@given(worlds(), OBSERVED, st.sampled_from([FIRST, LAST]))
def test_what_is_unknown_stays_unknown(world: World, between: set[int], lacking: int) -> None:
    found = figures(world, (between | {FIRST, LAST}) - {lacking})
    assert (found.residual, found.unexplained) == (None, None)
    assert (found.opening is None, found.closing is None) == (lacking == FIRST, lacking == LAST)
    known = figures(world, between | {FIRST, LAST})
    assert (found.inflows, found.outflows) == (known.inflows, known.outflows)
    named = [one for one in known.breaks if one.kind != "unexplained"]
    assert [one for one in found.breaks if one.kind != "unexplained"] == named


@given(worlds(), OBSERVED, st.randoms())
def test_the_order_in_which_facts_were_recorded_changes_no_figure(
    world: World, between: set[int], chance: object
) -> None:
    observed = between | {FIRST, LAST}
    before = figures(world, observed)
    shuffle = chance.shuffle  # type: ignore[attr-defined]  # hypothesis gives a Random
    shuffle(world.booked)
    shuffle(world.seen)
    after = figures(world, observed)
    for name in ("opening", "inflows", "outflows", "residual", "closing", "unexplained"):
        assert getattr(after, name) == getattr(before, name)
    assert after.breaks == before.breaks
