"""Tables at every width of a terminal: a value is shown whole, shortened by a mark, or wrapped."""

from __future__ import annotations

import pytest

from api.cli.cells import Kind, shortened
from api.cli.options import OutputFormat
from api.cli.output import Column, Section, show

RENTAL = "2b52d43b-32f6-53ed-bed7-eddf56644c9b"
LAYOUT = (
    Section(
        "Machines",
        (
            Column("tier of it", "tier"),
            Column("round of the track", "round"),
            Column("cost so far", "cost", Kind.USD),
            Column("rental", "rental", Kind.ID),
        ),
    ),
)
ITEM = {
    "tier": "8x H200 or better",
    "round": "a void round, then four cheats",
    "cost": 1_234_567_891,
    "rental": RENTAL,
}
FULL_WIDTH = 106


@pytest.mark.parametrize("width", range(52, FULL_WIDTH + 20))
def test_no_width_cuts_a_value_unseen(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    show({"items": [ITEM]}, LAYOUT, OutputFormat.TABLE)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    # One below the other, a value is continued under itself.
    joined = "".join(shown.split())
    for value in ("8x H200 or better", "a void round, then four cheats", "1,234.567891"):
        assert value.replace(" ", "") in joined
    assert RENTAL in joined or shortened(RENTAL) in joined
    if width >= FULL_WIDTH:
        assert RENTAL in shown


def test_a_title_is_not_wrapped_to_a_narrow_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    title = "What is longer than the one column below it"
    layout = (Section(title, (Column("cost", "cost", Kind.USD),)),)
    show({"items": [ITEM]}, layout, OutputFormat.TABLE)
    assert capsys.readouterr().out.splitlines()[0] == title
