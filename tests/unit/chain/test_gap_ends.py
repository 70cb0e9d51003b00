"""Where a gap ends is found with few questions, and who came and went meanwhile by comparison."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gaps import first_given
from ledger.commands.block_facts import EmptiedUid, NeuronChange, OwnerChange
from ledger.commands.registry import changes_between

MOST_QUESTIONS = 45
"""Twice the digits of a million blocks in binary, and some."""


@pytest.mark.parametrize("missing", [1, 2, 3, 255, 256, 257, 999_999, 1_000_000])
def test_a_million_missing_blocks_cost_few_questions(missing: int) -> None:
    asked: list[int] = []

    def given_from(number: int) -> bool:
        asked.append(number)
        return number >= 5_000 + missing

    assert first_given(5_000, 5_000 + missing + 256, given_from) == 5_000 + missing
    assert len(asked) <= MOST_QUESTIONS


@given(st.integers(1, 3_000), st.integers(0, 300))
def test_the_end_is_exact_where_state_is_kept_for_the_newest_blocks(
    missing: int, kept: int
) -> None:
    last = missing + kept
    found = first_given(0, last, lambda number: number >= missing)
    assert found == (missing if missing <= last else None)


@given(st.sets(st.integers(1, 80)), st.integers(1, 80))
def test_whatever_is_kept_the_found_block_is_given_and_the_one_before_it_is_not(
    kept: set[int], last: int
) -> None:
    found = first_given(0, last, lambda number: number in kept)
    if found is not None:
        assert found in kept
        assert found <= last
        assert found - 1 not in kept
    else:
        assert last not in kept


def test_nothing_is_given_up_to_the_head() -> None:
    assert first_given(7, 7, lambda _: True) is None
    assert first_given(7, 90, lambda _: False) is None


def test_holders_that_came_changed_and_left_are_told_apart() -> None:
    before = {0: ("a", "ca"), 1: ("b", "cb"), 2: ("c", "cc"), 3: ("d", "cd")}
    now = {0: ("a", "ca"), 1: ("b", "new"), 2: ("e", "ce"), 4: ("f", "cf")}
    changes = changes_between(before, now)
    assert changes.neurons == (
        NeuronChange(2, "e", "ce", "c"),
        NeuronChange(4, "f", "cf", None),
    )
    assert changes.owners == (OwnerChange("b", "cb", "new"),)
    assert changes.emptied == (EmptiedUid(3, "d"),)


def test_a_registry_that_did_not_change_has_no_changes() -> None:
    held = {0: ("a", "ca"), 7: ("b", "cb")}
    changes = changes_between(held, dict(held))
    assert (changes.neurons, changes.owners, changes.emptied) == ((), (), ())
