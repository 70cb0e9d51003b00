"""Stopping the servers of arms, whatever happened, and whatever happens to the others meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from evaluation.arms import Arm
from evaluation.runners.port import InfrastructureFaultError


def stop_all(arms: Sequence[Arm]) -> list[InfrastructureFaultError]:
    """Stop every arm's server whatever happens to the others; what could not be stopped."""
    failures = []
    for arm in arms:
        try:
            arm.stop()
        except InfrastructureFaultError as failure:
            failures.append(failure)
    return failures


@contextmanager
def stopped_at_the_end(*arms: Arm) -> Iterator[None]:
    """Stop the arms' servers on leaving, also by an exception, which then carries what failed."""
    try:
        yield
    except BaseException as error:
        for failure in stop_all(arms):
            error.add_note(failure.detail)
        raise
    failures = stop_all(arms)
    for further in failures[1:]:
        failures[0].add_note(further.detail)
    if failures:
        raise failures[0]
