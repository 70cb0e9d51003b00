"""A contest on a rented machine from here: all steps in order, with the facts around them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from api.errors import InputFileError

if TYPE_CHECKING:
    from evaluation.bundle import Bundle, Signer
    from evaluation.pods.host import PodHost
    from evaluation.pods.installing import Installed
    from evaluation.pods.remote import Order, RemoteContest

Say = Callable[[str], None]
PULL_TIMEOUT_S: Final = 1_800.0
"""For the baseline's image ahead of a contest, which gives every image less."""
SWEEP_TIMEOUT_S: Final = 120.0


class Meter(Protocol):
    """Who is told when a machine begins and ends to work for a contest."""

    def met(self, host_key: str) -> None:
        """The machine's SSH showed this key, and was taken for it."""

    def began(self) -> None:
        """Before it."""

    def ended(self) -> None:
        """After it, also where it failed; not where it may go on there."""


class NoMeter:
    """For a machine that is no rental of the ledger."""

    def met(self, host_key: str) -> None:
        """Nothing is recorded."""

    def began(self) -> None:
        """Nothing is recorded."""

    def ended(self) -> None:
        """Nothing is recorded."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done besides. ``venv`` names an environment on the machine that has the program,
    ``docker_socket`` its engine's socket, from which the baseline is pulled ahead."""

    venv: str | None = None
    keep_program: bool = False
    pull_baseline: bool = True
    docker_socket: str = "/var/run/docker.sock"


def run_there(
    host: PodHost,
    order: Order,
    out: Path,
    *,
    steps: Steps,
    sign: Signer | None,
    meter: Meter,
    say: Say,
) -> Bundle:
    """Run the contest there, or find it running or finished, and bring its bundle into ``out``.

    An interrupt ends it there too. Where the connection is lost for good nothing is recorded as
    ended: the contest may still be fetched by another call.
    """
    from evaluation.pods.faults import RemoteContestError
    from evaluation.pods.remote import RemoteContest

    taken = _here_already(out, order)
    if taken is None:
        meter.began()
    may_go_on = False
    try:
        with _program(host, steps, say) as installed:
            contest = RemoteContest(host, installed, order)
            if taken is None:
                _prepare(host, contest.is_there(), order, steps, say)
                may_go_on = True
                try:
                    taken = _run(host, contest, order, out, sign, say)
                except RemoteContestError:
                    may_go_on = False
                    _sweep(host, installed, order, say)
                    raise
                except KeyboardInterrupt:
                    may_go_on = not _stopped(host, contest, order, say)
                    raise
            contest.clear()
            may_go_on = False
    finally:
        if not may_go_on:
            meter.ended()
    return taken


def _run(
    host: PodHost,
    contest: RemoteContest,
    order: Order,
    out: Path,
    sign: Signer | None,
    say: Say,
) -> Bundle:
    if contest.start():
        say(f"contest {order.plan.contest_id} runs on {host.ssh.address}")
    else:
        say(f"contest {order.plan.contest_id} is there already; taking it up")
    contest.follow(say, say=say)
    return contest.take(out, sign)


def _stopped(host: PodHost, contest: RemoteContest, order: Order, say: Say) -> bool:
    """Whether it was ended there; else it ends by itself, unless another call takes it up."""
    from evaluation.pods.faults import HostError

    say(f"ending the contest on {host.ssh.address}")
    try:
        contest.stop()
    except HostError as error:
        say(f"{error}; it ends there within {order.unasked_s} s, as nobody asks for it")
        return False
    return True


def _here_already(out: Path, order: Order) -> Bundle | None:
    """The bundle that an earlier call brought home, before it was cleared away there."""
    from evaluation.bundle import BundleError, read_bundle
    from evaluation.pods.remote import is_of

    if not out.exists():
        return None
    with suppress(BundleError):
        bundle = read_bundle(out)
        if is_of(bundle, order.plan):
            return bundle
    msg = f"'{out}' exists and is no bundle of this contest; name another file, or move it away"
    raise InputFileError(msg)


def _prepare(host: PodHost, is_there: bool, order: Order, steps: Steps, say: Say) -> None:
    """The baseline's image, which is ours and large, before the contest's own clock runs."""
    from evaluation.pods.engine import engine_of

    if is_there or not (steps.pull_baseline and order.confined):
        return
    contest = order.plan.policy.contest
    with engine_of(host, steps.docker_socket) as engine:
        facts = engine.facts()
        say(f"Docker Engine {facts.version} on {host.ssh.address}")
        if engine.pull(
            order.plan.baseline,
            max_bytes=contest.limits.image_bytes,
            timeout_s=PULL_TIMEOUT_S,
        ):
            say(f"pulled {order.plan.baseline}")


@contextmanager
def _program(host: PodHost, steps: Steps, say: Say) -> Iterator[Installed]:
    """The program on the machine; taken away again unless it is to stay or was there before."""
    from evaluation.pods.installing import install, installed_at, uninstall
    from evaluation.pods.program import this_program

    if steps.venv is not None:
        yield installed_at(host, steps.venv)
        host.remove_if_empty()
        return
    program = this_program()
    say(f"installing {program.name} on {host.ssh.address}")
    installed = install(host, program)
    yield installed
    # After an error it stays: another call may find the contest by it.
    if not steps.keep_program:
        uninstall(host, program)
    host.remove_if_empty()


def _sweep(host: PodHost, installed: Installed, order: Order, say: Say) -> None:
    """What a contest that failed left of containers; the machine says of which nobody lives."""
    from evaluation.pods.faults import HostError

    if not order.confined:
        return
    try:
        host.ssh.run(
            [installed.python, "-m", "evaluation.pods.sweeping"], timeout_s=SWEEP_TIMEOUT_S
        )
    except HostError as error:
        say(f"what the contest left could not be removed: {error}")


class RentalMeter:
    """Tells the log of a rental."""

    def __init__(
        self,
        meet: Callable[[str, int], None],
        begin: Callable[[int], None],
        end: Callable[[int], None],
    ) -> None:
        self._meet = meet
        self._begin = begin
        self._end = end

    def met(self, host_key: str) -> None:
        """See :class:`Meter`."""
        self._meet(host_key, int(time.time()))

    def began(self) -> None:
        """See :class:`Meter`."""
        self._begin(int(time.time()))

    def ended(self) -> None:
        """See :class:`Meter`."""
        self._end(int(time.time()))
