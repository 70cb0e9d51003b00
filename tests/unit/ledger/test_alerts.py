"""An alert is raised when there is something new to say, and again when it was long ago."""

from __future__ import annotations

from pathlib import Path

from ledger.commands.alerts import MAX_DETAIL_CHARS, REPEAT_AFTER_BLOCKS, raise_alert
from ledger.observations import AlertRaised
from tests.unit.following.support import OPENS_AT, Following, follow


def told(place: Following) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []

    def note(fact: AlertRaised) -> bool:
        found.append((fact.kind, fact.detail, fact.block))
        return False

    place.ledger.newest(AlertRaised, where=note)
    return found[::-1]


def test_the_same_is_told_again_only_after_a_while(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    for _ in range(4):
        raise_alert(place.ledger, "a", "something is wrong")
        place.advance()
    assert told(place) == [("a", "something is wrong", OPENS_AT)]
    for _ in range(REPEAT_AFTER_BLOCKS - 5):
        place.chain.advance()
    place.follower.catch_up()
    raise_alert(place.ledger, "a", "something is wrong")
    assert len(told(place)) == 1
    place.advance()
    raise_alert(place.ledger, "a", "something is wrong")
    assert told(place)[1:] == [("a", "something is wrong", OPENS_AT + REPEAT_AFTER_BLOCKS)]


def test_another_detail_and_another_kind_are_told_at_once(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    raise_alert(place.ledger, "a", "one")
    raise_alert(place.ledger, "b", "one")
    place.advance()
    raise_alert(place.ledger, "a", "two")
    place.advance()
    raise_alert(place.ledger, "a", "one")
    assert [line[:2] for line in told(place)] == [
        ("a", "one"),
        ("b", "one"),
        ("a", "two"),
        ("a", "one"),
    ]


def test_a_detail_that_is_cut_is_compared_as_it_was_cut(tmp_path: Path) -> None:
    place = follow(tmp_path, {})
    for _ in range(2):
        raise_alert(place.ledger, "a", "x" * (MAX_DETAIL_CHARS + 1))
        place.advance()
    assert len(told(place)) == 1
