"""No order of happenings, no repetition and no crash makes the books count anything twice.

``LEDGER_PROPERTY_STEPS`` says how many steps are played at least; ``make properties STEPS=1000000``
is the long run (CONTRIBUTING.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.books.bookkeeping import Books
from tests.property.books.telling import MANNERS

STEPS: Final = int(os.environ.get("LEDGER_PROPERTY_STEPS", "10000"))
STEPS_PER_EXAMPLE: Final = 200
MAX_EXAMPLES: Final = 100
"""Of one go; hypothesis remembers all that it drew in one, so a long run has many."""


@pytest.mark.slow
def test_the_books_hold_whatever_happens_in_whatever_order(
    record_property: Callable[[str, object], None],
) -> None:
    steps = 0
    while steps < STEPS:
        before = Books.steps
        missing = 1 + (STEPS - steps) // STEPS_PER_EXAMPLE
        run_state_machine_as_test(
            Books,
            settings=settings(
                # The first example of a go is the shortest there is, and some steps do nothing.
                max_examples=min(MAX_EXAMPLES, missing + missing // 8 + 2),
                stateful_step_count=STEPS_PER_EXAMPLE,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert Books.steps > before, "hypothesis drew nothing that does anything"
        steps += Books.steps - before
    record_property("steps", steps)
    assert steps >= STEPS
    assert set(Books.manners) == set(MANNERS)
    assert set(Books.outcomes) == {"done", "same", "refused", "conflict"}
