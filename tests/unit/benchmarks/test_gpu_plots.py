"""The page's plots as a reader sees them: where things lie, and that words do not."""

from __future__ import annotations

import re
from math import log
from pathlib import Path

import pytest
from gpu_summaries import drawn, summary
from svg_words import assert_readable, elements, middle, polylines, words, words_among_curves

from benchmarks.gpu.measured import read_measured
from benchmarks.gpu.page import page_of, plots_of
from benchmarks.gpu.page_gates import speed_groups
from benchmarks.gpu.page_noise import noise_groups
from benchmarks.gpu.plots import Group, Row, Tail, margins_svg, strip_svg
from benchmarks.gpu.summary import ArmVerdict, write_summary


@pytest.mark.parametrize("name", sorted(plots_of(read_measured())))
def test_the_words_of_the_shipped_plots_can_be_read(name: str) -> None:
    svg = plots_of(read_measured())[name]
    assert_readable(svg)
    if polylines(svg):  # no words lie among them but those of the gate
        assert all(text.startswith("gate: ") for text in words_among_curves(svg))


def test_on_a_logarithmic_axis_equal_ratios_lie_equally_far_apart() -> None:
    rows = [
        Row("a", [0.5], (0.4, 0.6)),
        Row("b <", [17.0], (11.0, 24.0)),
        Row("c", [1.0]),
        Row("d", [34.0]),
    ]
    groups = [Group("first & own", rows[:2]), Group("second", rows[2:])]
    svg = strip_svg("t", "times", groups, ("the baseline", 1), logarithmic=True)
    assert_readable(svg)
    assert {"b <", "first & own", "second"} < set(words(svg))
    a, b, c, d = (float(one.get("cx", "")) for one in elements(svg, "circle"))
    assert d - b == pytest.approx(c - a, abs=0.2)
    assert (b - c) / (c - a) == pytest.approx(log(17) / log(2), abs=0.02)
    assert middle(svg, "the baseline") == pytest.approx(c, abs=0.1)
    ticks = [text for text in words(svg) if re.fullmatch(r"[0-9.]+", text)]
    assert ticks == ["0.5", "1", "2", "5", "10", "20"]
    assert middle(svg, "0.5") == pytest.approx(a, abs=0.1)


def test_a_logarithmic_axis_of_one_octave_has_ticks_all_the_same() -> None:
    groups = [Group("g", [Row("a", [0.97], (0.93, 1.12))])]
    svg = strip_svg("t", "times", groups, ("the baseline", 1), logarithmic=True)
    ticks = [float(text) for text in words(svg) if re.fullmatch(r"[0-9.]+", text)]
    assert len(ticks) >= 3
    assert ticks == sorted(ticks)
    assert all(0.9 < one < 1.15 for one in ticks)


def test_long_names_of_a_strip_have_the_room_they_need() -> None:
    name = "K9: a setting of four words and many letters"
    svg = strip_svg("t", "%", [Group("g", [Row(name, [-1.0, 1.0])])], ("mean", 0))
    assert_readable(svg)
    ((_, _, right, _),) = words(svg)[name]
    assert all(float(one.get("cx", "")) > right for one in elements(svg, "circle"))


def test_many_settings_have_a_colour_each_and_two_columns() -> None:
    tails = [Tail(f"setting {one}", [(0, 0.5), (50, 0.1), (70, 0.0)]) for one in range(22)]
    svg = margins_svg("t", tails, 500)
    assert_readable(svg)
    assert len({one.get("stroke") for one in elements(svg, "polyline")}) == 22
    assert len({words(svg)[tail.name][0][0] for tail in tails}) == 2
    assert [len(curve) for curve in polylines(svg)] == [2] * 22  # it ends where none lies beyond
    long = [Tail(f"setting {one} {'x' * 60}", [(0, 0.5)]) for one in range(22)]
    assert len({words(margins_svg("t", long, 500))[tail.name][0][0] for tail in long}) == 1
    assert_readable(margins_svg("t", long, 500))


def verdict(name: str, saved: int | None, lower: int | None, upper: int | None) -> ArmVerdict:
    return ArmVerdict(
        arm=name,
        name=name,
        role="challenger",
        expected="",
        status="scored",
        code="",
        calibrated_code=None,
        detail="",
        figures=None,
        tokens=0,
        beyond=(),
        saved_ppm=saved,
        lower_ppm=lower,
        upper_ppm=upper,
    )


def test_what_is_saved_is_plotted_as_times_the_fastest_first(tmp_path: Path) -> None:
    slow = verdict("slow", -16_000_000, -23_000_000, -10_000_000)
    fast = verdict("fast", 400_000, 300_000, 1_000_000)
    unknown = verdict("unknown", None, None, None)
    run = summary("two", drawn(2, 4, 16), verdicts=(slow, unknown, fast))
    write_summary(run, tmp_path)
    write_summary(summary("without", drawn(2, 4, 16)), tmp_path)
    found = read_measured(tmp_path)
    (group,) = speed_groups(found)
    assert group.name == "two (aa; a start for every block)"
    assert [(row.name, row.values, row.interval) for row in group.rows] == [
        ("fast", [0.6], (0.000001, 0.7)),
        ("slow", [17.0], (11.0, 24.0)),
    ]
    page = page_of(found, "")
    assert "| fast | 40.00 | 30.00 to 100.00 | faster |" in page
    assert "0.6 times as long as the baseline is 40 % saved" in page.replace("\n", " ")
    assert_readable(plots_of(found)["speed.svg"])


def test_rows_of_two_servers_are_mirror_images_as_the_page_says(tmp_path: Path) -> None:
    write_summary(summary("two", drawn(2, 4, 16, block=0.1)), tmp_path)
    write_summary(summary("three", drawn(3, 4, 16, block=0.1)), tmp_path)
    found = read_measured(tmp_path)
    groups = {group.name: [list(row.values) for row in group.rows] for group in noise_groups(found)}
    one, other = groups["two"]
    assert one == pytest.approx([-value for value in other])
    assert all(sum(at) == pytest.approx(0, abs=1e-9) for at in zip(*groups["three"], strict=True))
    assert groups["three"][0] != pytest.approx([-value for value in groups["three"][1]])
    assert "the rows of a run with two are mirror images" in page_of(found, "").replace("\n", " ")
