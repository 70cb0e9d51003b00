"""The three orders in which arms are asked (ARCHITECTURE, "Fair measuring"), as policy names them.

An entrant with a fault is asked nothing more and never ends the round for others, nor does one
under which the client was late. A baseline with a fault ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from evaluation.arms import Arm
from evaluation.blocks import arm_order, blocks_of
from evaluation.conditions import flooded, hopeless
from evaluation.judge import MIN_TOKENS, Fault
from evaluation.measure import Questions
from evaluation.stopping import stopped_at_the_end
from evaluation.together import launch_together
from evaluation.void import RoundVoidError, void_by_fault
from ledger.codes import DisqualificationCode, InfrastructureCause, VoidCause


class Order:
    """Asks all arms of one round. ``after`` is the baseline's second run, used when bracketed."""

    def __init__(
        self, questions: Questions, baseline: Arm, after: Arm, entrants: Sequence[Arm]
    ) -> None:
        self._questions = questions
        self._contest = questions.plan.policy.contest
        self._blocks = blocks_of(self._contest)
        self._repeated = questions.prompts.repeated
        self._baseline = baseline
        self._after = after
        self._entrants = entrants

    def run(self) -> None:
        """Ask everybody; raises :class:`~evaluation.void.RoundVoidError` where it is void."""
        self._run()
        self._blame()

    def _run(self) -> None:
        if self._contest.order == "interleaved":
            if self._contest.restart_each_block and self._contest.start_together:
                self._restarted_together()
            elif self._contest.restart_each_block:
                self._restarted()
            else:
                self._resident()
            return
        for arm in (self._baseline, *self._entrants):
            self._whole(arm)
        if self._contest.order == "bracketed" and self._anybody_left():
            self._whole(self._after)

    def _whole(self, arm: Arm) -> None:
        """One start of the arm, all its blocks, then its repeats."""

        def ask() -> None:
            arm.start()
            for block in range(len(self._blocks)):
                self._ask(arm, block, 0)

        with stopped_at_the_end(arm):
            self._in_time(arm, ask, ask)
            self._repeat(arm, len(self._blocks) - 1, range(len(self._repeated)), 0)
        self._check(arm)

    def _restarted(self) -> None:
        """Every block starts each server anew. A prompt can only be repeated to the very server
        that answered it first, so each block repeats its own."""
        for block, places in enumerate(self._blocks):
            own = self._repeated_in(places)
            for place, arm in enumerate(self._drawn(block)):

                def ask(arm: Arm = arm, block: int = block, place: int = place) -> None:
                    arm.start(block)
                    self._ask(arm, block, place)

                with stopped_at_the_end(arm):
                    self._in_time(arm, ask, ask)
                    self._repeat(arm, block, own, place)
                self._check(arm)
            if not self._anybody_left():
                return

    def _restarted_together(self) -> None:
        """Every block starts all servers anew, at once. Whoever was asked is frozen and not yet
        stopped, so that the last one is asked beside as many others as the first."""
        for block, places in enumerate(self._blocks):
            own = self._repeated_in(places)
            drawn = self._drawn(block)
            with stopped_at_the_end(*drawn):
                self._start_together(drawn, block)
                for place, arm in enumerate(drawn):

                    def ask(arm: Arm = arm, block: int = block, place: int = place) -> None:
                        self._ask(arm, block, place)

                    def again(
                        arm: Arm = arm, block: int = block, ask: Callable[[], None] = ask
                    ) -> None:
                        arm.start(block)
                        ask()

                    arm.thaw()
                    self._in_time(arm, ask, again)
                    self._repeat(arm, block, own, place)
                    arm.freeze()
                    self._check(arm)
            if not self._anybody_left():
                return

    def _start_together(self, arms: Sequence[Arm], block: int) -> None:
        """Launch all, then warm up one after another, each while all others are frozen."""
        launch_together(arms, block, check=self._check, stop_if_asked=self._questions.stop_if_asked)
        for arm in arms:
            arm.thaw()
            arm.warm_up()
            arm.freeze()
            self._check(arm)

    def _repeated_in(self, places: range) -> list[int]:
        """Which of the repeated prompts are among those of a block."""
        return [at for at, place in enumerate(self._repeated) if place in places]

    def _resident(self) -> None:
        """All servers stay loaded; all but the one that is asked are frozen."""
        arms = (self._baseline, *self._entrants)
        last = len(self._blocks) - 1
        with stopped_at_the_end(*arms):
            if self._contest.start_together:
                self._start_together(arms, 0)
            else:
                for arm in arms:
                    arm.start()
                    self._check(arm)
                    arm.freeze()
            for block, places in enumerate(self._blocks):
                for place, arm in enumerate(self._drawn(block)):

                    def ask(arm: Arm = arm, block: int = block, place: int = place) -> None:
                        self._ask(arm, block, place)

                    def again(
                        arm: Arm = arm, block: int = block, seen: range = range(places.start)
                    ) -> None:
                        # What it will be asked to repeat it must have answered before.
                        arm.start(block, seen)
                        ask()

                    arm.thaw()
                    self._in_time(arm, ask, again)
                    if block == last:
                        self._repeat(arm, block, range(len(self._repeated)), place)
                    arm.freeze()
                    self._check(arm)
                if not self._anybody_left():
                    return

    def _in_time(self, arm: Arm, ask: Callable[[], None], again: Callable[[], None]) -> None:
        """Ask; where the client was too late to measure this entrant, set that aside and ask a new
        server once more. Late again, the arm is out, and the round goes on without it.

        An entrant may have held the client up itself, so its lateness voids nothing. How late the
        client is in repeats is not looked at: it can only make them slower.
        """
        mark = arm.mark()
        ask()
        if arm.entrant is None or arm.too_late(mark) is None:
            return
        arm.set_aside(mark)
        mark = arm.mark()
        again()
        late = arm.too_late(mark)
        if late is not None:
            arm.give_up(f"{late}, and it was so twice")

    def _blame(self) -> None:
        """Tell those that flooded the client from those that had bad luck, now that the baseline's
        own traffic is known."""
        baseline = [self._baseline.record(), self._after.record()]
        for arm in self._entrants:
            fault = arm.fault
            if fault is None or fault.infrastructure is not InfrastructureCause.CLIENT_SATURATED:
                continue
            why = flooded(arm.record(), baseline)
            if why is not None:
                detail = f"{fault.detail}; {why}"
                arm.blame(Fault(disqualified=DisqualificationCode.FLOODED, detail=detail))

    def _drawn(self, block: int) -> list[Arm]:
        arms = (self._baseline, *self._entrants)
        order = arm_order(self._questions.prompts.seed, block, len(arms))
        return [arms[at] for at in order if arms[at].fault is None]

    def _anybody_left(self) -> bool:
        return any(arm.fault is None for arm in self._entrants)

    def _ask(self, arm: Arm, block: int, place: int) -> None:
        if arm.fault is not None:
            return
        self._questions.on_block(block, len(self._blocks), arm.entrant_id)
        arm.ask(block, self._blocks[block], place)
        if arm.entrant is None and arm.fault is None:
            self._trust(arm)

    def _repeat(self, arm: Arm, block: int, repeated: Sequence[int], place: int) -> None:
        """The baseline is not asked repeats: nobody is judged by them but entrants."""
        if arm.entrant is not None:
            arm.repeat(block, repeated, place)

    def _trust(self, baseline: Arm) -> None:
        """Void at once where the client was late so often under the baseline that no quiet rest of
        the round could make up for it: all that follows would be wasted."""
        runs = 2 if self._contest.order == "bracketed" else 1
        late = hopeless(baseline.blocks, runs * len(self._blocks), self._contest)
        if late is not None:
            raise RoundVoidError(VoidCause.CLIENT_SATURATED, late)

    def _check(self, arm: Arm) -> None:
        """The baseline must have answered, and at a length that can be timed."""
        if arm.entrant is not None:
            return
        if arm.fault is not None:
            raise void_by_fault("the baseline", arm, VoidCause.BASELINE_FAILED)
        shortest = min((len(answer.tokens) for answer in arm.answers), default=MIN_TOKENS)
        if shortest < MIN_TOKENS:
            detail = (
                f"the baseline answered a prompt with {shortest} tokens; at least {MIN_TOKENS} "
                "are needed to time anybody against it"
            )
            raise RoundVoidError(VoidCause.BASELINE_FAILED, detail, arm.log_tail)
