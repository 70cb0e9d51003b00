"""Playing the season: what the operator, the validator and the treasurer do, block by block.

A season is a list of steps, each at a block. A step may be killed anywhere and run again: what it
recorded stands, the rest is done now. A step whose block lies behind the log's newest is over,
because the chain only moves on when a step is done.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from api.app import Services
from api.demo import provider, season
from api.demo.accounts import TREASURY, VALIDATOR_HOTKEY
from api.demo.machines import Machines
from api.demo.season import NETUID, NETWORK, ROUNDS, TRACK, Window
from api.demo.world import TOKENIZER, DemoError, World
from api.following import beside_at
from chain.buyback import Desk
from chain.buyback_outcomes import settle_buyback
from chain.publish import WeightPublisher
from chain.reader import BlockReader
from evaluation.desk import ContestDesk
from evaluation.measure import Progress
from evaluation.runners.port import RunningServer
from ledger.application import Ledger, Unit
from ledger.codes import VoidCause
from ledger.commands.arena import adopt_policy, open_arena, pause, resume
from ledger.commands.copies import find_copies
from ledger.commands.thrones import vacate_departed
from ledger.commands.treasury import close_period, convert, observe_price, observe_statement
from ledger.decisions.treasury import Treasury
from ledger.keys import ArenaKey, contest_id, treasury_id
from ledger.queries.contests import contests, last_seed_block, open_contests
from ledger.queries.periods import closing_at, periods
from ledger.queries.submissions import of_fingerprints_shared, queue, submissions
from ledger.queries.weights import (
    burn_uid_eligible,
    policy_in_force,
    registry,
    vector_in_force,
)
from ledger.store.logs import head_of
from ledger.units import RAO_PER_TAO, Rao

OPERATOR: Final = "operator"
TREASURER: Final = "treasurer"
SECOND_TREASURER: Final = "second treasurer"
BUYBACK_MAX_PRICE_RAO: Final = 60_000_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do at ``block``; it is over once the log is past ``until``."""

    block: int
    until: int
    what: str
    do: Callable[[], None]


@dataclass(slots=True)
class Watcher:
    """Who is told how the season goes: one line per happening, and the progress of a contest."""

    say: Say = lambda _: None
    block: Callable[[int, int], None] = lambda *_: None
    contest: Progress = field(default=lambda *_: None)


def is_over(services: Services) -> bool:
    """Whether the database holds the season to its last block, with the books of it closed.

    Nothing is left to play then, so that the folder with the season's chain is not needed either.
    """
    arena = ArenaKey(season.genesis().hash, NETUID)
    with services.engine.connect() as connection:
        head = head_of(connection, arena)
    if head is None or head.effective_block < season.ENDS_AT:
        return False
    treasury = Ledger(services.engine, arena).load(Treasury, treasury_id(arena))
    return treasury.closed_to_block == season.PERIODS_END[-1]


class Season:
    """One playing of the season over one database; playing it again finishes what is left."""

    def __init__(self, services: Services, world: World, watcher: Watcher) -> None:
        self._services = services
        self._world = world
        self._watch = watcher
        self._must_be_of_one_playing()
        self._ledger = self._open()
        with services.at(NETWORK, NETUID) as scope:
            held, beside = registry(scope), beside_at(scope)
        self._machines = Machines(self._ledger, OPERATOR, self._time_s)
        self._reader = BlockReader(world.chain, self._ledger, held, beside)
        self._publisher = WeightPublisher(
            world.chain, world.chain, self._ledger, validator_hotkey=VALIDATOR_HOTKEY
        )
        self._desk = ContestDesk(
            self._ledger,
            world.runner,
            world.evidence,
            tokenizer=TOKENIZER,
            holder=world.slot.holder,
            dead=world.slot.dead,
            model_dir=world.model_dir,
        )

    def play(self) -> None:
        """Play to the end."""
        self._recover()
        for step in self._steps():
            if self._head() > step.until:
                continue
            self._advance_to(step.block)
            self._watch.say(f"block {step.block}: {step.what}")
            step.do()
        self._advance_to(season.ENDS_AT)
        self._services.refresh()

    # -- the way through ------------------------------------------------------------------------

    def _must_be_of_one_playing(self) -> None:
        """The ledger and the chain must stand at the same place; a crash puts one block between."""
        with self._services.engine.connect() as connection:
            head = head_of(connection, self._arena())
        ledger_block = head.effective_block if head else season.OPENS_AT
        chain_block = self._world.chain.finalized_head().number
        if not 0 <= chain_block - ledger_block <= 1:
            msg = (
                f"the demo's chain in {self._world.folder} is at block {chain_block} and the "
                f"ledger at block {ledger_block}, so they are not of one playing; give an empty "
                "--folder and a database without this demo"
            )
            raise DemoError(msg)

    def _arena(self) -> ArenaKey:
        return ArenaKey(self._world.chain.genesis_hash(), NETUID)

    def _open(self) -> Ledger:
        return open_arena(
            self._services.engine,
            self._arena(),
            network=NETWORK,
            at_block=season.OPENS_AT,
            policy=self._world.policies[0],
            actor=OPERATOR,
        )

    def _recover(self) -> None:
        """What a killed run left open is settled before anything new is done."""
        self._publisher.settle()
        treasury = self._ledger.load(Treasury, treasury_id(self._ledger.arena))
        for number, buyback in treasury.buybacks.items():
            if buyback.sent is not None and not buyback.ended:
                settle_buyback(self._world.chain, self._ledger, number)
        with self._services.at(NETWORK, NETUID) as scope:
            left_open = open_contests(scope)
        self._desk.recover(left_open)
        self._reader.observe_opening()
        self._ingest()

    def _head(self) -> int:
        return self._ledger.head().effective_block

    def _advance_to(self, block: int) -> None:
        # Block by block, so that a crash leaves the chain at most one block ahead of the log.
        self._ingest()
        while self._world.chain.finalized_head().number < block:
            self._world.chain.advance()
            self._ingest()

    def _ingest(self) -> None:
        self._reader.ingest(on_block=lambda number, _: self._watch.block(number, season.ENDS_AT))

    def _steps(self) -> list[Step]:
        steps = [self._policy_step(1), self._policy_step(2)]
        for number, window in enumerate(ROUNDS, start=1):
            what = f"round {number}: {window.name}"
            do = self._with(self._round, window)
            steps.append(Step(window.start, window.end - 1, what, do))
            do = self._with(self._machines.give_back, window)
            steps.append(Step(window.end, window.end, "the rented machine goes back", do))
        for _, label, _, _, reported_at in season.CONVERSIONS:
            do = self._with(self._report_conversion, label)
            steps.append(Step(reported_at, reported_at, f"a conversion is booked ({label})", do))
        for block, price in season.PRICES:
            do = self._with(self._observe_price, price)
            steps.append(Step(block, block, "the price of TAO is recorded", do))
        invoice = self._with(self._machines.invoice, ROUNDS[0])
        at = season.INVOICE_AT
        steps.append(Step(at, at, "the provider's bill is held against the meter", invoice))
        opening = season.OPENS_AT
        steps.append(Step(opening, opening, "the provider's statement", self._provider_balance))
        for end in season.PERIODS_END:
            steps.append(Step(end, end, "the books of a period close", self._close_period))
        pause_at, resume_at = season.PAUSED_AT, season.RESUMED_AT
        steps.append(Step(pause_at, pause_at, "evaluation and emission pause", self._pause))
        steps.append(Step(resume_at, resume_at, "evaluation and emission resume", self._resume))
        audit, buyback = season.AUDIT_AT, season.BUYBACK_AT
        steps.append(Step(audit, audit, "contents are compared for copies", self._audit))
        steps.append(Step(buyback, buyback, "alpha is bought back and burned", self._buyback))
        # Last at its block, because sending weights moves the chain on.
        steps += [
            Step(block, block, "the validator looks at its weights", self._publish)
            for block in season.VECTOR_BLOCKS
        ]
        return sorted(steps, key=lambda step: step.block)

    @staticmethod
    def _with(do: Callable[..., None], argument: object) -> Callable[[], None]:
        return lambda: do(argument)

    # -- the operator ---------------------------------------------------------------------------

    def _policy_step(self, number: int) -> Step:
        from_block = (season.SECOND_POLICY_FROM, season.THIRD_POLICY_FROM)[number - 1]
        policy = self._world.policies[number]

        def adopt() -> None:
            adopt_policy(self._ledger, policy, from_block=from_block, actor=OPERATOR)

        what = f"policy '{policy.name}' is adopted from block {from_block}"
        return Step(from_block - 1, from_block - 1, what, adopt)

    def _pause(self) -> None:
        reason = "an exploit is being looked into"
        pause(self._ledger, "evaluation", reason=reason, actor=OPERATOR)
        pause(self._ledger, "emission", reason=reason, actor=OPERATOR)

    def _resume(self) -> None:
        reason = "the gates catch the exploit"
        resume(self._ledger, "evaluation", reason=reason, actor=OPERATOR)
        resume(self._ledger, "emission", reason=reason, actor=OPERATOR)

    def _audit(self) -> None:
        with self._services.at(NETWORK, NETUID) as scope:
            known = [line["submission_id"] for line in submissions(scope)]
            suspects = of_fingerprints_shared(scope)
        copies = find_copies(self._ledger, suspects)
        self._watch.say(f"{len(known)} submissions compared, {len(copies)} copies found")

    # -- rounds ---------------------------------------------------------------------------------

    def _round(self, window: Window) -> None:
        self._machines.start(window)
        while not self._completed(window):
            self._advance_to(self._head() + 1)
            if self._head() >= window.end:
                msg = (
                    f"the round '{window.name}' was interrupted too often: no block is left for it "
                    f"before {window.end}; play the demo anew in an empty --folder"
                )
                raise DemoError(msg)
            self._attempt(window)

    def _completed(self, window: Window) -> bool:
        return any(line["status"] == "completed" for line in self._attempts(window))

    def _attempts(self, window: Window) -> list[dict[str, object]]:
        with self._services.at(NETWORK, NETUID) as scope:
            return [
                line for line in contests(scope) if window.start < line["seed_block"] <= window.end
            ]

    def _attempt(self, window: Window) -> None:
        with self._services.at(NETWORK, NETUID) as scope:
            waiting = queue(scope, TRACK)
            before = last_seed_block(scope, TRACK)
        seed_block = self._head()
        if seed_block <= before:
            return  # the next block will be later than the last attempt's
        attempts = self._attempts(window)
        died = any(line["void_cause"] == VoidCause.BASELINE_FAILED.value for line in attempts)
        kill = window.baseline_dies and not died
        contest = contest_id(self._ledger.arena, TRACK, seed_block)
        self._machines.begin(window, contest, seed_block)
        outcome = self._desk.run(
            TRACK,
            waiting,
            seed_block=seed_block,
            attempt=len(attempts) + 1,
            on_progress=self._watch.contest,
            on_server=_killing_the_baseline if kill else _leaving_it_alone,
        )
        self._machines.end(window, contest)
        with self._services.at(NETWORK, NETUID) as scope:
            registered = {hotkey for hotkey, _ in registry(scope).values()}
        vacate_departed(self._ledger, registered)
        cause = f" ({outcome.void_cause.value})" if outcome.void_cause else ""
        self._watch.say(f"attempt with seed block {seed_block}: {outcome.status}{cause}")
        if outcome.status == "void":
            self._watch.say(f"  {outcome.detail}")

    def _time_s(self, block: int) -> int:
        return (self._world.chain.block(block).timestamp_ms or 0) // 1_000

    # -- the validator --------------------------------------------------------------------------

    def _publish(self) -> None:
        with self._services.at(NETWORK, NETUID) as scope:
            vector, policy = vector_in_force(scope), policy_in_force(scope)
            eligible = burn_uid_eligible(scope)
        published = self._publisher.publish(vector, policy.weights, burn_uid_eligible=eligible)
        receipt = published.receipt
        if receipt is not None:
            self._watch.say(f"weights {receipt.digest[:19]}… sent, success: {receipt.success}")

    # -- the treasurer --------------------------------------------------------------------------

    def _report_conversion(self, label: str) -> None:
        block, _, rao, usd_micros, _ = next(row for row in season.CONVERSIONS if row[1] == label)
        convert(
            self._ledger,
            sold_rao=rao,
            bought_usd_micros=usd_micros,
            usd_micros_per_tao=usd_micros * RAO_PER_TAO // rao,
            provider=provider.NAME,
            source="exchange confirmation",
            reference=self._world.chain.labels[label].extrinsic_hash,
            about_block=block,
            actor=TREASURER,
        )

    def _observe_price(self, usd_micros_per_tao: int) -> None:
        observe_price(
            self._ledger,
            usd_micros_per_tao=usd_micros_per_tao,
            source="exchange",
            about_block=self._head(),
        )

    def _provider_balance(self) -> None:
        block = self._head()
        observe_statement(
            self._ledger,
            provider=provider.NAME,
            usd_micros=provider.statement_usd_micros(block),
            statement=f"statement at block {block}",
            about_block=block,
            actor=TREASURER,
        )

    def _close_period(self) -> None:
        block = self._head()
        treasury = self._ledger.load(Treasury, treasury_id(self._ledger.arena))
        if treasury.closed_to_block == block:
            return
        self._reader.observe_balances()
        self._provider_balance()
        with self._services.at(NETWORK, NETUID) as scope:
            found = closing_at(scope, block)
        close_period(self._ledger, found, TREASURER)
        proposed = Rao(found.proposed_buyback_rao or 0)
        self._watch.say(f"period {found.number}: a buyback of {proposed} is proposed")

    def _buyback(self) -> None:
        """What the closed periods proposed is bought back and burned, all at once."""
        with self._services.at(NETWORK, NETUID) as scope:
            proposed = sum(line.proposed_buyback_rao or 0 for line in periods(scope))

        def plan(unit: Unit) -> int:
            treasury = unit.get(Treasury, treasury_id(unit.context.arena))
            if not treasury.buybacks:
                treasury.plan_buyback(unit.context, proposed, BUYBACK_MAX_PRICE_RAO, TREASURER)
            unit.because(treasury.buybacks[1].planned)
            treasury.approve_buyback(unit.context, 1, SECOND_TREASURER)
            return treasury.buybacks[1].planned.max_rao

        amount = self._ledger.decide(plan)
        desk = Desk(self._world.chain, self._ledger, TREASURY, VALIDATOR_HOTKEY)
        desk.execute(1, amount_rao=amount)


def _leaving_it_alone(_role: str, _server: RunningServer) -> None:
    """Nobody interferes."""


def _killing_the_baseline(role: str, server: RunningServer) -> None:
    """The demo's accident: the baseline's process crashes, for real, as it is about to answer."""
    if role == "baseline" and server.pid is not None:
        os.kill(server.pid, signal.SIGABRT)
