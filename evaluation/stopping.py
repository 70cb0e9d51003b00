"""Stopping the servers of arms, whatever happened, and whatever happens to the others meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from evaluation.arms import Arm
from evaluation.runners.port import InfrastructureFaultError


def stop_all(arms: Sequence[Arm]) -> list[InfrastructureFaultError]:
    """Stop every arm's server whatever happens to the others; what could not be stopped.

    Several are stopped at once: each may take the whole of its grace.
    """
    failures = []
    with ThreadPoolExecutor(max(1, len(arms)), "server-stop") as threads:
        stops = [_stop_of(arm, threads) for arm in arms]
        for stop in stops:
            try:
                stop()
            except InfrastructureFaultError as failure:
                failures.append(failure)
    return failures


def _stop_of(arm: Arm, threads: ThreadPoolExecutor) -> Callable[[], None]:
    """What returns when the arm is stopped; by ourselves where no thread is to be had."""
    try:
        return threads.submit(arm.stop).result
    except RuntimeError:  # the interpreter is ending, or the machine has no more
        return arm.stop


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
