"""Evaluating: one worker takes what waits on its tracks, one contest after another.

What it does next is read from the ledger each time, so that several workers share the queue, and a
worker that was killed goes on where it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

import msgspec

from api.app import Services
from api.errors import problem_of
from evaluation.contest import ContestOutcome
from evaluation.desk import ContestDesk
from evaluation.measure import OnBlock, OnMeasured, Progress
from evaluation.plan import ContestPlan
from ledger.application import Ledger
from ledger.codes import VoidCause
from ledger.commands.alerts import raise_alert
from ledger.commands.contests import first_in_line
from ledger.commands.copies import find_copies, record_fingerprint
from ledger.commands.thrones import vacate_departed
from ledger.decisions.contest import ClaimHeldError, ClaimLostError, Contest, Holder
from ledger.decisions.submission import Submission
from ledger.queries.contests import faults_in_a_row, last_seed_block, open_contests
from ledger.queries.submissions import of_fingerprint, queue
from ledger.queries.weights import registry

MAX_CHALLENGERS: Final = 8
"""Challengers of one contest, unless the operator says otherwise."""

FAULTS_UNTIL_STANDING_BACK: Final = 2
"""After so many void rounds in a row by faults of ours a host leaves a track alone: one fewer than
the attempts after which policy credits, by default, so that no host alone credits a queue."""

POLL_S: Final = 2.0
"""How often the ledger is looked at while there is nothing to do: blocks come every 12 s."""

Say = Callable[[str], None]
Wait = Callable[[float], None]
"""Waits so many seconds; raises ``KeyboardInterrupt`` when it is time to end."""


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that this worker ran, and what became of it."""

    contest_id: str
    track: str
    attempt: int
    seed_block: int
    entrants: int
    status: Literal["completed", "void", "lost"]
    void_cause: str | None
    detail: str
    king_hotkey: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nothing can be done on a track now. ``for_a_block``: the next block may change that."""

    why: str
    for_a_block: bool = False


@dataclass(slots=True)
class Evaluator:
    """One worker over some tracks of an arena; all tracks of the policy where none is named."""

    services: Services
    network: str
    netuid: int
    ledger: Ledger
    desk: ContestDesk
    holder: Holder
    say: Say
    wait: Wait
    tracks: Sequence[str] = ()
    max_challengers: int = MAX_CHALLENGERS
    on_progress: Progress = lambda *_: None
    on_block: OnBlock = lambda *_: None
    on_measured: OnMeasured = lambda *_: None
    sweep: Callable[[], Sequence[str]] = tuple
    """Clears away what an earlier contest left on this machine; one sentence for each thing."""
    attempts: list[Attempted] = field(default_factory=list)
    _forgiven_to: dict[str, int] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)
    _swept: bool = False

    def forgive(self) -> None:
        """The operator has mended the machine: faults up to now count no longer against it."""
        with self.services.at(self.network, self.netuid) as scope:
            self._forgiven_to = {one: last_seed_block(scope, one) for one in self._tracks()}

    def once(self) -> None:
        """One contest on every track where somebody waits; waits for its seed block if need be."""
        for track in self._tracks():
            while True:
                done = self.step(track)
                if isinstance(done, Attempted) or not done.for_a_block:
                    break
                self.wait(POLL_S)

    def follow(self) -> None:
        """Go on until ``wait`` raises. What fails on one track is told and holds up no other one.

        A machine or a database that fails is tried again, as a node is; a contest that ends by an
        error counts as this host's fault, so that it stands back. Raises what nobody expected.
        """
        while True:
            steps: list[Attempted | Waiting] = []
            for track in self._tracks():
                try:
                    steps.append(self.step(track))
                except Exception as error:
                    problem = problem_of(error)
                    if problem.is_defect:
                        raise
                    self._tell(track, f"no contest runs here now: {problem.message}")
            if not any(isinstance(step, Attempted) for step in steps):
                self.wait(POLL_S)

    def step(self, track: str) -> Attempted | Waiting:
        """Run the next contest of a track, if one can be run now.

        Raises :class:`InfrastructureFaultError` where this machine can run none.
        """
        self._recover()
        ready = self._ready(track)
        # At the start, and before a contest: not at every look while there is nothing to do.
        if not self._swept or not isinstance(ready, Waiting):
            self._clear_away()
        if isinstance(ready, Waiting):
            self._tell(track, ready.why)
            return ready
        challengers, seed_block = ready
        plans: list[ContestPlan] = []

        def planned(plan: ContestPlan) -> None:
            plans.append(plan)
            self.say(
                f"{track}: attempt {plan.attempt} with seed block {seed_block}, "
                f"{len(plan.entrants)} entrants ({plan.contest_id})"
            )

        self._said.pop(track, None)
        try:
            outcome = self.desk.run(
                track,
                challengers,
                seed_block=seed_block,
                on_progress=self.on_progress,
                on_block=self.on_block,
                on_measured=self.on_measured,
                on_planned=planned,
            )
        except ClaimLostError as lost:
            self.say(f"{track}: nothing is recorded, for {lost}")
            return self._attempted(plans[0], None, str(lost))
        except ClaimHeldError as held:
            waiting = Waiting(str(held))
            self._tell(track, waiting.why)
            return waiting
        except BaseException:
            if plans:
                self._ended_early(plans[0])
            raise
        vacate_left(self.services, self.network, self.netuid)
        return self._attempted(plans[0], outcome, outcome.detail)

    def _clear_away(self) -> None:
        for line in self.sweep():
            self.say(f"left by an earlier run: {line}")
        self._swept = True

    # -- what can be done ---------------------------------------------------------------------

    def _tracks(self) -> list[str]:
        for track in self.tracks:
            track_must_be_known(self.ledger, track)
        if self.tracks:
            return list(self.tracks)
        return list(self.ledger.arena_state().policy_at(self._head()).tracks)

    def _head(self) -> int:
        return self.ledger.head().effective_block

    def _recover(self) -> None:
        with self.services.at(self.network, self.netuid) as scope:
            left = open_contests(scope)
        for contest in self.desk.recover(left):
            self.say(f"contest {contest} was left open and is void")

    def _ready(self, track: str) -> tuple[list[UUID], int] | Waiting:
        """The challengers of the next contest and its seed block."""
        arena = self.ledger.arena_state()
        if "evaluation" in arena.paused:
            return Waiting("evaluation is paused")
        head = self._head()
        with self.services.at(self.network, self.netuid) as scope:
            waiting = queue(scope, track)
            before = last_seed_block(scope, track)
            forgiven = self._forgiven_to.get(track, -1)
            faults = faults_in_a_row(scope, track, self.holder.host, after_seed_block=forgiven)
            running = open_contests(scope)
        held = self._held(track, running)
        if held is not None or not waiting:
            return Waiting(held or "no submission waits")
        allowed = arena.policy_at(head).track(track).contest.max_attempts
        if faults >= max(1, min(FAULTS_UNTIL_STANDING_BACK, allowed - 1)):
            return self._stand_back(track, faults, len(waiting))
        if head <= before:
            return Waiting(f"waiting for a block after {before}, the last seed block", True)
        line = first_of(self.ledger, waiting, head, self.max_challengers)
        if not line:
            return Waiting(f"waiting for a block after {head}, that of the newest commit", True)
        return line, head

    def _held(self, track: str, running: Sequence[UUID]) -> str | None:
        """Who runs the track's open contest, and until when nobody else may plan one."""
        for one in running:
            found = self.ledger.load(Contest, one)
            if found.ended is None and found.plan is not None and found.plan.track == track:
                claim = found.claim
                by = f", claimed by {claim.worker} until block {claim.until_block}" if claim else ""
                return (
                    f"contest {one} with {len(found.plan.entrants)} entrants is open{by}; "
                    "'contest void' ends it if that worker will not come back"
                )
        return None

    def _stand_back(self, track: str, faults: int, waiting: int) -> Waiting:
        why = (
            f"the last {faults} rounds of host {self.holder.host} on track '{track}' were void by "
            f"faults of ours while {waiting} submissions wait; mend the host, then start the "
            "evaluator with --retry"
        )
        raise_alert(self.ledger, "evaluation_failing", why)
        return Waiting(why)

    # -- afterwards ---------------------------------------------------------------------------

    def _ended_early(self, plan: ContestPlan) -> None:
        """An attempt that an interrupt or an error ended belongs to the report as well."""
        voided = self.ledger.load(Contest, UUID(plan.contest_id)).voided
        if voided is None:
            self._attempted(plan, None, "it could not be voided now, and is later")
        else:
            self._told(plan, "void", VoidCause(voided.cause), voided.detail)

    def _attempted(
        self, plan: ContestPlan, outcome: ContestOutcome | None, detail: str
    ) -> Attempted:
        cause = outcome.void_cause if outcome else None
        return self._told(plan, outcome.status if outcome else "lost", cause, detail)

    def _told(
        self,
        plan: ContestPlan,
        status: Literal["completed", "void", "lost"],
        cause: VoidCause | None,
        detail: str,
    ) -> Attempted:
        king = self.ledger.arena_state().kings.get(plan.track)
        attempted = Attempted(
            contest_id=plan.contest_id,
            track=plan.track,
            attempt=plan.attempt,
            seed_block=plan.seed_block,
            entrants=len(plan.entrants),
            status=status,
            void_cause=cause.value if cause else None,
            detail=detail,
            king_hotkey=king.hotkey if king else None,
        )
        self.attempts.append(attempted)
        ended = f"{attempted.status} ({cause.value}): {detail}" if cause else attempted.status
        throne = f"king {king.hotkey}" if king else "no king"
        self.say(f"{plan.track}: attempt {plan.attempt} {ended}; {throne}")
        return attempted

    def _tell(self, track: str, why: str) -> None:
        if self._said.get(track) != why:
            self._said[track] = why
            self.say(f"{track}: {why}")


def copy_finder(services: Services, network: str, netuid: int, say: Say) -> Callable[[str], None]:
    """What looks for copies of a content when it becomes known: the earliest commit owns it."""
    ledger = services.ledger(network, netuid)

    def find(fingerprint: str) -> None:
        with services.at(network, netuid) as scope:
            alike = of_fingerprint(scope, fingerprint)
        for copy in find_copies(ledger, alike) if len(alike) > 1 else ():
            say(f"submission {copy} is a copy: its content is an earlier commit of another hotkey")

    return find


def track_must_be_known(ledger: Ledger, track: str) -> None:
    """Refuse a track that the policy in force does not have."""
    ledger.arena_state().policy_at(ledger.head().effective_block).track(track)


def first_of(
    ledger: Ledger, waiting: Sequence[UUID], seed_block: int, max_challengers: int
) -> list[UUID]:
    """Everything that the first hotkeys in the line have committed before the seed block."""
    return first_in_line(
        lambda identity: ledger.load(Submission, identity).commit,
        waiting,
        seed_block,
        max_challengers,
    )


def vacate_left(services: Services, network: str, netuid: int) -> None:
    """A hotkey that left while its contest ran holds no throne."""
    with services.at(network, netuid) as scope:
        registered = {hotkey for hotkey, _ in registry(scope).values()}
    vacate_departed(services.ledger(network, netuid), registered)


def settle_imported(
    services: Services, network: str, netuid: int, contest: UUID, find: Callable[[str], None]
) -> None:
    """After an import: the contents become known and copies are found, and who left is unseated."""
    ledger = services.ledger(network, netuid)
    sealed = ledger.load(Contest, contest).evidence
    for arm in sealed.arms if sealed else ():
        if arm.submission_id is None or arm.fingerprint is None:
            continue
        if ledger.load(Submission, arm.submission_id).fingerprint is None:
            record_fingerprint(ledger, arm.submission_id, arm.fingerprint)
        find(arm.fingerprint)
    vacate_left(services, network, netuid)
