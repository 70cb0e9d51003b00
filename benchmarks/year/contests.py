"""Contests, crowns and pauses, and the machine rented for each contest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from benchmarks.year.mix import (
    ARENA,
    CHALLENGERS,
    CONTESTS_PER_DAY,
    DISQUALIFIED_PPM,
    MEASURED_AFTER_BLOCKS,
    PAUSED_BLOCKS,
    PAUSES_PER_DAY,
    POLICY_EVERY_BLOCKS,
    PROMPTS,
    PROVIDER,
    RENTAL_USD_MICROS_PER_HOUR,
    VOID_PPM,
)
from benchmarks.year.submissions import Submissions, Waiting
from benchmarks.year.subnet import Subnet
from benchmarks.year.world import Tick, World, made_hex, seconds_at
from ledger.application import Unit
from ledger.codes import VoidCause
from ledger.commands.causes import after
from ledger.commands.contests import complete_contest, plan_contest, void_contest
from ledger.commands.thrones import vacate_departed
from ledger.decisions.arena import Switch
from ledger.decisions.contest import Contest, ContestPlanned, Holder, PlannedEntrant
from ledger.decisions.rental import Rental
from ledger.decisions.submission import Submission
from ledger.keys import natural_id
from ledger.observations import InvoiceLineSeen
from ledger.units import PPM

_HOLDER: Final = Holder("host-1/0", "made")
_CLAIM_BLOCKS: Final = 1_000
"""Longer than any contest of the year, so that no claim is prolonged."""
_BASELINE: Final = "vllm/vllm-openai@sha256:" + "b" * 64
_BASELINE_TTFT_US: Final = 900_000
_BASELINE_E2E_US: Final = 9_000_000
_TOKENS: Final = 512
_NOISE: Final = 0.02
_FAILURES: Final = ("truncated", "http_error", "other_weights", "exited_at_start", "replayed")
_LOG_TAIL: Final = "".join(
    f"INFO {line:03d} engine: step {line} took 12 ms, 128 sequences running\n" for line in range(30)
)


@dataclass(slots=True)
class _Running:
    plan: ContestPlanned
    entrants: dict[UUID, Waiting]
    rental: UUID

    @property
    def id(self) -> UUID:
        return self.plan.originator_id


class Contests:
    """One contest after the other, from the queue to the throne."""

    def __init__(self, world: World, subnet: Subnet, submissions: Submissions) -> None:
        self._world = world
        self._subnet = subnet
        self._submissions = submissions
        self._running: _Running | None = None
        self._seated: dict[UUID, Waiting] = {}
        self._before: list[UUID] = []
        self._attempt = 0
        self._adopted = 0
        world.often(CONTESTS_PER_DAY, self._due)
        world.often(PAUSES_PER_DAY, partial(self._pause, "evaluation"))
        world.often(PAUSES_PER_DAY, partial(self._pause, "emission"))
        world.every(POLICY_EVERY_BLOCKS, self._adopt)

    # -- planning ---------------------------------------------------------------------------------

    def _due(self, tick: Tick) -> None:
        tick.then.append(partial(self._plan, tick.number))

    def _plan(self, block: int) -> None:
        ledger, queue = self._world.ledger, self._submissions.queue
        for waiting in [one for one in queue if not self._subnet.holds(one.hotkey)]:
            queue.remove(waiting)  # whoever left the subnet is passed over
            ledger.forget([waiting.id, waiting.paid.id])
        line = [one for one in queue if one.id not in self._seated][:CHALLENGERS]
        paused = "evaluation" in ledger.arena_state().paused
        if self._running is not None or not line or paused:
            return
        if any(one.paid.block >= block for one in line) or not self._known_before(line, block):
            return
        self._attempt += 1
        track = next(iter(ledger.arena_state().policy_at(block).tracks))
        identity = plan_contest(
            ledger,
            track=track,
            challengers=[one.id for one in line],
            seed_block=block,
            attempt=self._attempt,
            holder=_HOLDER,
            claim_blocks=_CLAIM_BLOCKS,
        )
        plan = ledger.load(Contest, identity).plan
        if plan is None:
            msg = f"contest {identity} was planned and has no plan"
            raise AssertionError(msg)
        entered = {entrant.submission_id for entrant in plan.entrants}
        for superseded in [one for one in line if one.id not in entered]:
            ledger.forget([superseded.id, superseded.paid.id])
        known = {one.id: one for one in line} | self._seated
        self._submissions.queue[:] = [one for one in queue if one not in line]
        self._running = _Running(
            plan,
            {entrant.submission_id: known[entrant.submission_id] for entrant in plan.entrants},
            self._rent(block, identity),
        )
        self._world.at(block + MEASURED_AFTER_BLOCKS, self._baseline)

    def _known_before(self, line: list[Waiting], block: int) -> bool:
        commits = [self._world.ledger.load(Submission, one.id).commit for one in line]
        return all(commit is not None and commit.block < block for commit in commits)

    # -- measuring --------------------------------------------------------------------------------

    def _baseline(self, tick: Tick) -> None:
        running = self._open()

        def measure(unit: Unit) -> None:
            contest = unit.get(Contest, running.id)
            contest.measure_baseline(
                after(unit, contest),
                holder=_HOLDER,
                image=_BASELINE,
                prompts=PROMPTS,
                prompts_digest="sha256:" + made_hex("prompts", running.plan.seed_block),
                median_ttft_us=_BASELINE_TTFT_US,
                median_e2e_us=_BASELINE_E2E_US,
                median_tokens=_TOKENS,
            )

        tick.then.append(lambda: self._world.ledger.decide(measure))
        self._world.at(tick.number + MEASURED_AFTER_BLOCKS, partial(self._entrant, 0))

    def _entrant(self, place: int, tick: Tick) -> None:
        running = self._open()
        if place and self._world.chance(VOID_PPM // len(running.entrants)):
            tick.then.append(partial(self._void, tick.number))
            return
        entrant = running.plan.entrants[place]
        figures = self._figures(running.entrants[entrant.submission_id], entrant)

        def measure(unit: Unit) -> None:
            contest = unit.get(Contest, running.id)
            contest.measure(after(unit, contest), entrant.submission_id, holder=_HOLDER, **figures)

        tick.then.append(lambda: self._world.ledger.decide(measure))
        last = place + 1 == len(running.plan.entrants)
        then = self._complete if last else partial(self._entrant, place + 1)
        self._world.at(tick.number + MEASURED_AFTER_BLOCKS, then)

    def _figures(self, one: Waiting, entrant: PlannedEntrant) -> dict[str, Any]:
        gauss = self._world.random.gauss
        baseline = [int(_BASELINE_E2E_US * gauss(1, _NOISE)) for _ in range(PROMPTS)]
        own = [max(2, int(us * (1 - one.skill) * gauss(1, _NOISE))) for us in baseline]
        figures: dict[str, Any] = {
            "hotkey": entrant.hotkey,
            "status": "scored",
            "code": None,
            "detail": "",
            "log_tail": "",
            "evidence_digest": "sha256:" + made_hex("evidence", one.id, self._attempt),
            "baseline_ttft_us": tuple(us // 10 for us in baseline),
            "baseline_e2e_us": tuple(baseline),
            "baseline_tokens": (_TOKENS,) * PROMPTS,
            "ttft_us": tuple(us // 10 for us in own),
            "e2e_us": tuple(own),
            "tokens": (_TOKENS,) * PROMPTS,
            "top1_ppm": 990_000,
            "mean_margin_milli": 11,
            "p99_margin_milli": 190,
            "spread_ppm": 900_000,
            "repeat_gain_ppm": 12_000,
        }
        if not one.pullable:
            figures |= {"status": "infrastructure", "code": "pull_failed", "detail": "no route"}
            figures |= dict.fromkeys(("ttft_us", "e2e_us", "tokens"), ())
        elif self._world.chance(DISQUALIFIED_PPM):
            code = self._world.random.choice(_FAILURES)
            figures |= {"status": "disqualified", "code": code, "detail": f"the server: {code}"}
            figures |= {"log_tail": _LOG_TAIL}
        return figures

    # -- the end ----------------------------------------------------------------------------------

    def _complete(self, tick: Tick) -> None:
        tick.then.append(partial(self._judge, tick.number))

    def _judge(self, block: int) -> None:
        complete_contest(self._world.ledger, self._open().id, holder=_HOLDER)
        vacate_departed(self._world.ledger, set(self._subnet.hotkeys))
        self._settle(block)

    def _void(self, block: int) -> None:
        void_contest(
            self._world.ledger,
            self._open().id,
            cause=VoidCause.INTERRUPTED,
            detail="the machine was taken away",
            holder=_HOLDER,
        )
        self._settle(block)

    def _settle(self, block: int) -> None:
        """Give the machine back, put who waits again in the queue, and forget who is done."""
        running, ledger = self._open(), self._world.ledger
        self._return_machine(running, block)
        arena = ledger.arena_state()
        seats = {king.submission_id for king in arena.kings.values()}
        seats |= {second.submission_id for second in arena.runners_up.values()}
        known = running.entrants | self._seated
        waiting = []
        for identity, one in known.items():
            status = ledger.load(Submission, identity).status
            if status == "credited":
                self._submissions.again(one, block + MEASURED_AFTER_BLOCKS)
                ledger.forget([identity])
            elif status == "queued":
                waiting.append(one)
            elif identity not in seats:
                ledger.forget([identity, one.paid.id])
        self._submissions.queue[:0] = waiting
        self._seated = {identity: known[identity] for identity in seats}
        # The next one is planned only when the ledger sees that this one has ended.
        ledger.forget([running.rental, *self._before])
        self._before = [running.id]
        self._running = None

    def _open(self) -> _Running:
        if self._running is None:
            msg = "no contest is running"
            raise AssertionError(msg)
        return self._running

    # -- the machine ------------------------------------------------------------------------------

    def _rent(self, block: int, contest: UUID) -> UUID:
        identity = natural_id("rental", ARENA, contest)

        def rent(unit: Unit) -> None:
            rental = unit.get(Rental, identity)
            rental.request(
                unit.context,
                provider=PROVIDER,
                tier="8xH200",
                max_usd_micros_per_hour=RENTAL_USD_MICROS_PER_HOUR * 11 // 10,
                contest_id=contest,
            )
            rental.start(
                after(unit, rental),
                instance=f"pod-{self._attempt}",
                usd_micros_per_hour=RENTAL_USD_MICROS_PER_HOUR,
                started_at_s=seconds_at(block),
            )

        self._world.ledger.decide(rent)
        return identity

    def _return_machine(self, running: _Running, block: int) -> None:
        invoice, line = f"inv-{self._attempt // 30}", str(self._attempt % 30)

        def end(unit: Unit) -> None:
            rental = unit.get(Rental, running.rental)
            rental.end(after(unit, rental), seconds_at(block), "the contest ended")
            rental.book_cost(after(unit, rental), block)
            seconds = seconds_at(block) - seconds_at(running.plan.effective_block)
            billed = -(-seconds * RENTAL_USD_MICROS_PER_HOUR // 3_600)
            seen = unit.observe(
                InvoiceLineSeen,
                f"invoice:{ARENA}:{PROVIDER}:{invoice}:{line}",
                provider=PROVIDER,
                invoice=invoice,
                line=line,
                instance=f"pod-{self._attempt}",
                tag=None,
                seconds=seconds,
                from_s=None,
                to_s=None,
                billed_usd_micros=billed,
                about_block=block,
            )
            rental.match_invoice(unit.context.because(seen), invoice, line, billed)

        self._world.ledger.decide(end)

    # -- the operator -----------------------------------------------------------------------------

    def _pause(self, switch: Switch, tick: Tick) -> None:
        def pause(unit: Unit) -> None:
            if switch not in unit.arena.paused:
                unit.arena.pause(unit.context, switch, "an exploit is being fixed", "operator")
                wait = self._world.random.randint(*PAUSED_BLOCKS)
                self._world.at(tick.number + wait, partial(self._resume, switch))

        tick.then.append(lambda: self._world.ledger.decide(pause))

    def _resume(self, switch: Switch, tick: Tick) -> None:
        def resume(unit: Unit) -> None:
            unit.arena.resume(unit.context, switch, "it is fixed", "operator")

        tick.then.append(lambda: self._world.ledger.decide(resume))

    def _adopt(self, tick: Tick) -> None:
        self._adopted += 1

        def adopt(unit: Unit) -> None:
            policy = unit.arena.policy_at(unit.block)
            fee = msgspec.structs.replace(policy.fee, fee_rao=policy.fee.fee_rao + PPM)
            changed = msgspec.structs.replace(policy, name=f"year-{self._adopted}", fee=fee)
            unit.arena.adopt(unit.context, changed, unit.block + MEASURED_AFTER_BLOCKS, "operator")

        tick.then.append(lambda: self._world.ledger.decide(adopt))
