"""Power plots as a reader sees them: one colour a plan, each named below, no words on curves."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from svg_words import assert_readable, elements, middle, polylines, words, words_among_curves

from benchmarks.crowns import PLOT, Row, power_plans
from benchmarks.noise.plot import Plan, power_svg
from benchmarks.noise.pools import drawn_pool
from benchmarks.noise.study import ALONE, KING_AND_FIVE, Outcome, setups

OURS, OTHER, _, HISTORIC, *_ = setups()


def test_the_axis_of_power_ends_where_the_last_curve_has_all() -> None:
    quick = [(2.0, 0.2), (10.0, 0.99), (40.0, 1.0)]
    slow = [(2.0, 0.0), (10.0, 0.5), (25.0, 0.99), (40.0, 1.0)]
    svg = power_svg("t", [("s <", [Plan("p", quick, slow)])])
    assert_readable(svg)
    alone, among = polylines(svg)
    assert (len(alone), len(among)) == (2, 3)  # what is beyond the axis is left out
    assert [one.get("stroke-dasharray") for one in elements(svg, "polyline")] == [None, "6 4"]
    assert among[-1][0] == pytest.approx(middle(svg, "25 %"), abs=0.1)
    assert {"0 %", "5 %", "10 %", "15 %", "20 %", "25 %", "95 %", "p", "s <"} < set(words(svg))
    never = [(2.0, 0.0), (10.0, 0.1), (35.0, 0.6)]
    svg = power_svg("t", [("s", [Plan("p", quick, never)])])
    assert polylines(svg)[1][-1][0] == pytest.approx(middle(svg, "35 %"), abs=0.1)
    assert polylines(power_svg("t", [("s", [Plan("p", [], [])])])) == []


def test_plans_have_a_colour_each_which_among_five_shares() -> None:
    points = [(1.0, 0.0), (5.0, 1.0)]
    noises = [
        (f"noise {one}", [Plan("ours", points, points), Plan("historic", points)])
        for one in range(6)
    ]
    svg = power_svg("t", noises)
    assert_readable(svg)
    drawn = [
        (one.get("stroke"), one.get("stroke-dasharray") is not None)
        for one in elements(svg, "polyline")
    ]
    assert len(set(drawn)) == len(drawn) == 18
    solid = [colour for colour, dashed in drawn if not dashed]
    assert len(set(solid)) == 12
    assert [colour for colour, dashed in drawn if dashed] == solid[::2]
    assert legend(svg) == solid


def test_the_shipped_plot_can_be_read_and_names_each_of_its_curves() -> None:
    svg = PLOT.read_text(encoding="utf-8")
    assert_readable(svg)
    curves = elements(svg, "polyline")
    solid = [one.get("stroke") for one in curves if one.get("stroke-dasharray") is None]
    dashed = [one.get("stroke") for one in curves if one.get("stroke-dasharray") is not None]
    assert len(set(solid)) == len(solid)
    assert len(set(dashed)) == len(dashed)
    assert set(dashed) < set(solid)
    assert legend(svg) == solid
    assert words_among_curves(svg) == []


def legend(svg: str) -> list[str | None]:
    """The colours of the lines that have a name beside them, from above."""
    names = {box[:1] + box[3:] for own in words(svg).values() for box in own}
    found = []
    for one in elements(svg, "path"):
        drawn = re.fullmatch(r"M(\d+) (\d+)h24", one.get("d", ""))
        if drawn and (int(drawn[1]) + 30, int(drawn[2]) + 4) in names:
            found.append(one.get("stroke"))
    return found


def test_plans_are_our_own_rule_and_the_historic_one_by_noise() -> None:
    gains_ppm = (5_000, 10_000)
    outcome = Outcome(
        contests=4,
        found=Counter({(ALONE, 5_000): 1, (ALONE, 10_000): 4, (KING_AND_FIVE, 10_000): 2}),
        gains_ppm=gains_ppm,
    )
    one, other = (drawn_pool(shared_by_block=shared) for shared in (False, True))
    rows = [
        Row(OURS, one, outcome, outcome, (ALONE, KING_AND_FIVE)),
        Row(OTHER, one, outcome, outcome, (ALONE, KING_AND_FIVE)),
        Row(HISTORIC, one, outcome, outcome, (ALONE,)),
        Row(OURS, other, outcome, outcome, (ALONE, KING_AND_FIVE)),
        Row(HISTORIC, other, outcome, None, ()),
    ]
    alone, among = [(0.5, 0.25), (1.0, 1.0)], [(0.5, 0.0), (1.0, 0.5)]
    ours, historic = Plan(OURS.name, alone, among), Plan(HISTORIC.name, alone)
    assert power_plans(rows) == [(one.name, [ours, historic]), (other.name, [ours])]
