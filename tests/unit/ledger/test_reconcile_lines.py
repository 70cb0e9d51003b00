"""One account against what the outside states: each break by name, block and amount."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.books import accounts
from ledger.books.breaks import Break
from ledger.books.lights import STALE_AFTER_BLOCKS, Light, light_of, worst
from ledger.books.lines import (
    Account,
    BookedLine,
    ClaimedDeposit,
    InvoicedLine,
    MeteredCost,
    ObservedBalance,
    Period,
    Proof,
    SeenMovement,
)
from ledger.books.reconcile import AccountLine, Figures, Known, reconcile, total_of

PERIOD = Period(1, 100, 200)
TREASURY = Account(accounts.TREASURY, accounts.TAO, steps_by_block=True)
PODS = Account(accounts.provider("pods"), accounts.USD, steps_by_block=False)


def booked(
    amount: int,
    reference: str | None = None,
    block: int = 150,
    *,
    position: int = 0,
    fact: str = "",
    proof: Proof = "needed",
    account: Account = TREASURY,
) -> BookedLine:
    return BookedLine(block, account.name, account.asset, amount, reference, position, fact, proof)


def balance(
    amount: int, block: int, holder: str = "5F", *, position: int = 0, account: Account = TREASURY
) -> ObservedBalance:
    return ObservedBalance(account.asset, account.name, holder, amount, block, position)


def out(amount: int, reference: str, block: int = 150, position: int = 0) -> SeenMovement:
    return SeenMovement(block, reference, accounts.TAO, -amount, position, f"seen {reference}")


def line(
    lines: list[BookedLine],
    balances: list[ObservedBalance],
    seen: list[SeenMovement] | None = None,
    period: Period = PERIOD,
) -> AccountLine:
    return reconcile(period, TREASURY, Known(lines, balances, seen or []))


def named(found: Figures) -> list[tuple[str, str, int, int]]:
    """Kind, reference, amount and last block of each break."""
    return [(one.kind, one.reference, one.amount, one.to_block) for one in found.breaks]


# -- the identity -----------------------------------------------------------------------------


@given(
    st.lists(st.integers(min_value=-(10**12), max_value=10**12)),
    st.integers(min_value=0, max_value=10**15),
    st.integers(min_value=0, max_value=10**15),
)
def test_opening_and_flows_and_residual_make_the_closing(
    amounts: list[int], opening: int, closing: int
) -> None:
    found = line(
        [booked(amount, proof="chain") for amount in amounts],
        [balance(opening, 100), balance(closing, 200)],
    ).figures
    assert found.residual is not None
    assert opening + found.inflows - found.outflows + found.residual == closing
    assert found.inflows - found.outflows == sum(amounts)


def test_a_period_holds_what_is_after_its_first_block_up_to_and_with_its_last() -> None:
    lines = [booked(1, block=100), booked(2, block=101), booked(4, block=200), booked(8, block=201)]
    found = line(lines, [balance(0, 100), balance(6, 200)]).figures
    assert (found.inflows, found.residual) == (6, 0)


@pytest.mark.parametrize(
    "balances",
    [
        [],
        [balance(5, 100)],
        [balance(5, 200)],
        [balance(5, 100), balance(5, 199)],
        [balance(5, 100), balance(5, 200), balance(1, 200, "second address")],
    ],
)
def test_a_balance_nobody_stated_leaves_the_residual_unknown(
    balances: list[ObservedBalance],
) -> None:
    found = line([booked(3)], balances).figures
    assert (found.residual, found.unexplained) == (None, None)
    assert found.inflows == 3


def test_an_address_first_seen_later_leaves_earlier_periods_as_they_were() -> None:
    later = balance(9, 201, "second address")
    assert line([], [balance(5, 100), balance(5, 200), later]).figures.residual == 0


def test_two_addresses_add_up() -> None:
    balances = [balance(n, block, who) for n, block, who in ((5, 100, "a"), (2, 100, "b"))]
    balances += [balance(n, block, who) for n, block, who in ((1, 200, "a"), (9, 200, "b"))]
    found = line([booked(3, proof="chain")], balances).figures
    assert (found.opening, found.closing, found.residual) == (7, 10, 0)


def test_a_total_is_unknown_where_one_account_is() -> None:
    known = line([booked(3, proof="chain")], [balance(5, 100), balance(8, 200)]).figures
    unknown = line([booked(4, proof="chain")], [balance(5, 100)]).figures
    assert total_of(accounts.TAO, [known, known]).closing == 16
    found = total_of(accounts.TAO, [known, unknown])
    assert (found.opening, found.inflows, found.residual, found.closing) == (10, 7, None, None)
    assert total_of(accounts.TAO, []).residual is None


# -- breaks against the chain -----------------------------------------------------------------


def test_each_kind_of_break_explains_its_part_of_the_residual() -> None:
    found = line(
        [booked(-30, "differs"), booked(-7, "only booked"), booked(-25, "fine")],
        [balance(1_000, 100), balance(1_000 - 70 - 25, 200)],
        [out(20, "differs"), out(20, "differs"), out(30, "only seen"), out(25, "fine")],
    ).figures
    assert named(found) == [
        ("amount_differs", "differs", -10, 150),
        ("in_books_not_on_chain", "only booked", 7, 150),
        ("on_chain_not_in_books", "only seen", -30, 150),
    ]
    assert (found.residual, found.unexplained) == (-33, 0)


def test_one_movement_booked_under_two_references_is_named_with_its_twin() -> None:
    found = line(
        [
            booked(-40, "0xaa", position=5, fact="converted"),
            booked(-40, "trade 7", position=6, fact="again"),
        ],
        [balance(100, 100), balance(60, 200)],
        [out(40, "0xaa")],
    ).figures
    (only,) = found.breaks
    assert (only.kind, only.reference, only.amount) == ("in_books_not_on_chain", "trade 7", 40)
    assert only.facts == ("again",)
    assert "converted (0xaa) booked as much in the same block" in only.detail
    assert (found.residual, found.unexplained) == (40, 0)


def test_one_extrinsic_booked_as_two_things_names_the_second() -> None:
    found = line(
        [
            booked(-40, "0xaa", position=5, fact="conversion"),
            booked(-40, "0xaa", position=6, fact="refund"),
        ],
        [balance(100, 100), balance(60, 200)],
        [out(40, "0xaa")],
    ).figures
    (only,) = found.breaks
    assert (only.kind, only.amount, only.facts) == ("in_books_not_on_chain", 40, ("refund",))
    assert "conversion" in only.detail


def test_one_deposit_recorded_twice_names_the_second() -> None:
    found = line(
        [
            booked(40, "0xaa", position=5, fact="payment", proof="chain"),
            booked(40, "0xaa", position=6, fact="the same", proof="chain"),
        ],
        [balance(100, 100), balance(140, 200)],
    ).figures
    (only,) = found.breaks
    assert (only.kind, only.amount, only.facts) == ("in_books_not_on_chain", -40, ("the same",))
    assert (found.residual, found.unexplained) == (-40, 0)


def test_what_was_bought_and_burned_at_once_is_no_outflow() -> None:
    lines = [booked(90, "0xaa", position=3), booked(-90, "0xaa", position=3)]
    assert line(lines, [balance(7, 100), balance(7, 200)]).figures.breaks == ()


def test_a_correction_with_a_reason_needs_no_movement_and_may_name_one() -> None:
    balances = [balance(100, 100), balance(60, 200)]
    written_off = [booked(-40, "audit 3", proof="reason")]
    assert line(written_off, balances).figures.breaks == ()
    of_the_theft = [booked(-40, "0xaa", proof="reason")]
    assert line(of_the_theft, balances, [out(40, "0xaa")]).figures.breaks == ()


def test_a_booking_about_another_stretch_than_its_movement_says_where_the_other_is() -> None:
    lines, seen = [booked(-40, "0xaa", 205, fact="late trade")], [out(40, "0xaa", 195)]
    balances = [balance(100, 100), balance(60, 200), balance(60, 300)]
    first = line(lines, balances, seen).figures
    assert named(first) == [("on_chain_not_in_books", "0xaa", -40, 195)]
    assert first.breaks[0].detail == "it is booked as late trade about block 205"
    second = line(lines, balances, seen, Period(2, 200, 300)).figures
    assert named(second) == [("in_books_not_on_chain", "0xaa", 40, 205)]
    assert second.breaks[0].detail == "it was seen on chain in block 195"


@pytest.mark.parametrize(
    ("deposits", "taken", "said"),
    [
        ([], None, ("in_books_not_on_chain", "no deposit of this extrinsic")),
        ([booked(9, "0xaa", proof="chain")], "consumed", ("in_books_not_on_chain", "consumed")),
        ([booked(8, "0xaa", proof="chain")], None, ("amount_differs", "smaller")),
        ([booked(9, "0xaa", proof="chain")], None, None),
    ],
)
def test_a_contribution_is_held_against_the_deposit_that_it_claims(
    deposits: list[BookedLine], taken: str | None, said: tuple[str, str] | None
) -> None:
    claim = ClaimedDeposit(150, "0xaa", accounts.TAO, 9, taken, 3, "gift")
    brought = sum(one.amount for one in deposits)
    balances = [balance(0, 100), balance(brought, 200)]
    found = reconcile(PERIOD, TREASURY, Known(deposits, balances, claims=[claim])).figures
    assert (found.residual, found.unexplained) == (0, 0)
    if said is None:
        assert found.breaks == ()
    else:
        (only,) = found.breaks
        assert (only.kind, only.amount, only.booked) == (said[0], 0, 9)
        assert said[1] in only.detail


# -- where the rest arose ---------------------------------------------------------------------


def test_unexplained_amounts_are_found_between_the_balances_around_them() -> None:
    balances = [balance(n, block) for n, block in ((100, 100), (100, 120), (70, 130), (75, 200))]
    found = line([], balances).figures
    parts = [(one.kind, one.from_block, one.to_block, one.amount) for one in found.breaks]
    assert parts == [("unexplained", 120, 130, -30), ("unexplained", 130, 200, 5)]
    assert (found.residual, found.unexplained) == (-25, -25)


def test_amounts_that_cancel_each_other_are_two_findings_on_chain() -> None:
    balances = [balance(n, block) for n, block in ((100, 100), (70, 130), (100, 200))]
    found = line([], balances).figures
    assert (found.residual, found.parts) == (0, (-30, 30))
    lit = light_of(residual=0, parts=found.parts, breaks=2, behind_blocks=0, steps_by_block=True)
    assert lit == "red"


def test_a_booking_that_did_not_happen_is_the_hint() -> None:
    found = line(
        [booked(-30, "audit", 125, fact="written off", proof="reason")],
        [balance(100, 100), balance(100, 130), balance(100, 200)],
    ).figures
    (only,) = found.breaks
    assert (only.amount, only.from_block, only.to_block) == (30, 100, 130)
    assert only.facts == ("written off",)


def test_a_booking_a_few_blocks_off_its_movement_leaves_nothing_unexplained() -> None:
    balances = [balance(n, block) for n, block in ((100, 100), (60, 120), (60, 200))]
    found = line([booked(-40, "0xaa", 160)], balances, [out(40, "0xaa", 110)]).figures
    assert (found.residual, found.breaks) == (0, ())


def test_findings_between_known_balances_do_not_wait_for_the_closing_one() -> None:
    found = line([], [balance(100, 100), balance(60, 150)]).figures
    assert (found.residual, found.unexplained, found.parts) == (None, None, (-40,))


# -- what comes late --------------------------------------------------------------------------

CLOSED = Period(1, 100, 200, closed_at=50)


def test_a_closed_period_keeps_its_figures_and_shows_what_came_late_beside_them() -> None:
    found = line(
        [
            booked(10, "fee", position=20, proof="chain"),
            booked(-40, "0xaa", position=60),
            booked(3, "filled", position=61, proof="chain"),
        ],
        [balance(100, 100), balance(73, 200, position=49)],
        [out(40, "0xaa", position=30)],
        CLOSED,
    )
    assert (found.figures.inflows, found.figures.outflows, found.figures.residual) == (10, 0, -37)
    assert named(found.figures)[0][0] == "on_chain_not_in_books"
    assert (found.late_inflows, found.late_outflows, found.now.residual) == (3, 40, 0)
    assert found.now.breaks == ()


def test_a_balance_that_came_after_the_closing_resolves_nothing_of_it() -> None:
    found = line([], [balance(100, 100), balance(90, 200, position=51)], period=CLOSED)
    assert (found.figures.residual, found.now.residual) == (None, -10)


# -- invoices ---------------------------------------------------------------------------------


def cost(rental: str, usd: int, block: int = 150, position: int = 1) -> MeteredCost:
    return MeteredCost(rental, "pods", usd, block, position, f"booked {rental}")


def billed(rental: str | None, usd: int, block: int = 150, row: str = "1") -> InvoicedLine:
    return InvoicedLine("pods", "inv", row, "i-1", usd, block, rental)


def dollars(
    costs: list[MeteredCost],
    invoiced: list[InvoicedLine],
    taken: int,
    period: Period = PERIOD,
) -> Figures:
    lines = [
        booked(
            -one.cost_usd_micros, one.rental, one.about_block, position=one.position, account=PODS
        )
        for one in costs
    ]
    balances = [
        balance(1_000, period.from_block, account=PODS),
        balance(1_000 - taken, period.to_block, account=PODS),
    ]
    known = Known(lines, balances, provider="pods", costs=costs, invoiced=invoiced)
    return reconcile(period, PODS, known).figures


def test_a_rental_that_is_billed_as_metered_is_no_break() -> None:
    found = dollars([cost("r", 70)], [billed("r", 40), billed("r", 30, row="2")], 70)
    assert (found.residual, found.breaks) == (0, ())


@pytest.mark.parametrize(
    ("costs", "invoiced", "kind", "amount"),
    [
        ([cost("r", 70)], [billed("r", 75)], "amount_differs", -5),
        ([cost("r", 70)], [billed("r", 60)], "amount_differs", 10),
        ([], [billed(None, 20)], "invoice_without_rental", -20),
        ([], [billed("never booked", 20)], "invoice_without_rental", -20),
        ([cost("r", 70)], [billed(None, 0, block=151)], "rental_without_invoice", 70),
    ],
)
def test_an_invoice_that_differs_from_the_meter_is_a_break(
    costs: list[MeteredCost], invoiced: list[InvoicedLine], kind: str, amount: int
) -> None:
    taken = sum(one.cost_usd_micros for one in costs) - amount
    found = dollars(costs, invoiced, taken)
    assert (found.residual, found.unexplained) == (amount, 0)
    assert (kind, amount) in [(one.kind, one.amount) for one in found.breaks]


def test_a_line_that_was_matched_after_the_closing_was_of_no_rental_at_it() -> None:
    unmatched = InvoicedLine("pods", "inv", "1", "i-1", 70, 150, None, position=10)
    matched = InvoicedLine("pods", "inv", "1", "i-1", 70, 150, "r", position=60)
    found = reconcile(
        Period(1, 100, 200, closed_at=50),
        PODS,
        Known(
            [booked(-70, "r", position=1, account=PODS)],
            [balance(100, 100, account=PODS), balance(30, 200, account=PODS)],
            provider="pods",
            costs=[cost("r", 70)],
            invoiced=[unmatched, matched],
        ),
    )
    assert sorted(one.kind for one in found.figures.breaks if one.kind != "unexplained") == [
        "invoice_without_rental",
        "rental_without_invoice",
    ]
    assert (found.figures.unexplained, found.now.breaks) == (0, ())


def test_a_rental_is_missed_only_in_an_invoice_that_covers_its_time() -> None:
    early = billed("other", 5, block=149)
    found = dollars([cost("other", 5, 149), cost("r", 70, 150)], [early], 75)
    assert found.breaks == ()


def test_a_correction_in_a_later_period_is_the_counterpart_of_its_break() -> None:
    costs = [cost("r", 70, 150, 1), cost("r", 5, 250, 9)]
    first = dollars(costs, [billed("r", 75)], 75)
    assert named(first) == [("amount_differs", "inv/1", -5, 150)]
    second = dollars(costs, [billed("r", 75)], 0, Period(2, 200, 300))
    assert named(second) == [("amount_differs", "inv/1", 5, 250)]
    assert (first.unexplained, second.unexplained) == (0, 0)


# -- lights -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("residual", "parts", "breaks", "behind", "by_block", "light"),
    [
        (0, (), 0, 0, True, "green"),
        (0, (), 0, STALE_AFTER_BLOCKS, True, "green"),
        (0, (), 0, STALE_AFTER_BLOCKS + 1, True, "yellow"),
        (-5, (), 1, 0, True, "yellow"),
        (0, (), 1, 0, True, "yellow"),
        (-5, (-5,), 1, 0, True, "red"),
        (0, (-5, 5), 2, 0, False, "yellow"),
        (0, (-5, 5), 2, 0, True, "red"),
        (None, (), 0, 0, True, "unresolved"),
        (None, (), 0, None, True, "unresolved"),
        (None, (-5,), 1, 0, True, "red"),
    ],
)
def test_a_light_says_how_an_account_stands(
    residual: int | None,
    parts: tuple[int, ...],
    breaks: int,
    behind: int | None,
    by_block: bool,
    light: Light,
) -> None:
    assert (
        light_of(
            residual=residual,
            parts=parts,
            breaks=breaks,
            behind_blocks=behind,
            steps_by_block=by_block,
        )
        == light
    )


def test_the_worst_light_of_several_is_shown_and_of_none_none_is_known() -> None:
    assert worst(["green", "yellow", "red", "unresolved"]) == "red"
    assert worst(["green", "unresolved"]) == "unresolved"
    assert worst(["green", "yellow"]) == "yellow"
    assert worst([]) == "unresolved"


def test_a_break_says_between_which_blocks() -> None:
    found = line([], [balance(5, 100), balance(4, 200)]).figures
    assert found.breaks == (
        Break("unexplained", "", -1, 100, 200, detail="nothing in the log accounts for it"),
    )
