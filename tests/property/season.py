"""A small random season: a list of drawn actions, played through the commands.

An action that the rules refuse at that moment records nothing, one that contradicts a recorded fact
records the conflict, and the season goes on: every list of actions is a season, and hypothesis
shrinks the list.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from uuid import UUID, uuid5

from hypothesis import strategies as st

from ledger.application import Unit
from ledger.codes import VoidCause
from ledger.commands.arena import adopt_policy, pause, resume
from ledger.commands.block_facts import (
    AlphaBurned,
    EmptiedUid,
    EpochPaid,
    FeePaid,
    Gap,
    HeldWeights,
    LockSeen,
    OwnerChange,
    PoolSeen,
    RegistrationPaid,
    SealedFound,
    SeenAnew,
    Withdrawal,
)
from ledger.commands.blocks import record_block
from ledger.commands.causes import after, after_decision, after_transfer
from ledger.commands.commits import judge_deferred
from ledger.commands.contests import complete_contest, void_contest
from ledger.commands.copies import find_copies, record_fingerprint
from ledger.commands.gaps import fill_block
from ledger.commands.money import record_balances
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.contest import Contest
from ledger.decisions.rental import Rental
from ledger.decisions.rental_budget import RentalBudget
from ledger.decisions.submission import Submission
from ledger.decisions.treasury import Treasury
from ledger.keys import NAMESPACE, rental_budget_id, treasury_id
from ledger.observations import InvoiceLineSeen, WeightsReceipt, WeightsSubmitted
from ledger.queries.weights import vector_in_force
from ledger.store.conflicts import FactConflictError
from tests.unit.ledger.scenes import (
    FEE_RAO,
    OPENED_AT,
    TREASURY,
    Paid,
    Scene,
    block_hash,
    commit,
    digest,
    policy,
)

Action = tuple[str, int, int]

HOTKEYS = ("A", "B", "C", "D")
FAILURES = ("truncated", "pull_failed", "other_weights", "host_failed")

NAMES = (
    *("submit",) * 5,
    *("contest",) * 4,
    *("block", "register", "defer", "recommit", "void", "pause", "resume", "copy", "epoch"),
    *("weights", "convert", "buyback", "rental", "period", "outflow", "policy", "owner"),
    *("leave", "lock", "seal"),
    *("gap", "fill"),
)


def actions(min_size: int = 0, max_size: int = 25) -> st.SearchStrategy[list[Action]]:
    """Lists of actions to play."""
    number = st.integers(min_value=0, max_value=7)
    return st.lists(st.tuples(st.sampled_from(NAMES), number, number), max_size=max_size).filter(
        lambda drawn: len(drawn) >= min_size
    )


class Season:
    """One arena's season; :meth:`play` takes one action."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.paid: list[Paid] = []
        self.known: list[UUID] = []
        self.open: list[UUID] = []
        self.held: dict[int, str] = {0: "owner"}
        self.missing: list[int] = []
        scene.block(subnet_owner=("owner", "cold-owner"))

    def play(self, action: Action) -> None:
        """Take one action, or be refused it."""
        name, one, two = action
        with suppress(DecisionRefusedError, FactConflictError):
            getattr(self, f"_{name}")(one, two)

    def _block(self, _one: int, _two: int) -> None:
        self.scene.block()

    def _submit(self, one: int, two: int) -> None:
        self.paid.append(self.scene.pay(HOTKEYS[one % 4], f"image-{two}", FEE_RAO + one))
        self._commit(self.paid[-1])

    def _recommit(self, one: int, _two: int) -> None:
        if self.paid:
            self._commit(self.paid[one % len(self.paid)], form="timelocked")

    def _defer(self, one: int, two: int) -> None:
        paid = self.scene.pay(HOTKEYS[one % 4], f"late-{two}")
        identity = self._commit(paid, evidence=None, unanswered="the node is down")
        again = self._commit(paid)  # it waits behind the first one
        judge_deferred(self.scene.ledger, identity, paid.evidence)
        if two % 2:
            judge_deferred(self.scene.ledger, again, paid.evidence)

    def _commit(self, paid: Paid, **changes: Any) -> UUID:
        found = commit(paid, **changes)
        self.known.append(self.scene.identity(found, self.scene.block(commits=(found,))))
        return self.known[-1]

    def _seal(self, one: int, two: int) -> None:
        hotkey = HOTKEYS[one % 4]
        sealed = SealedFound(hotkey, f"cold-{hotkey}", two, two, 0, "0x", 1_000, two % 5 != 4)
        self.scene.block(sealed=(sealed,))

    def _register(self, one: int, two: int) -> None:
        hotkey, uid = HOTKEYS[one % 4], 1 + two % 3
        if hotkey not in self.held.values():
            self.scene.register((uid, hotkey, self.held.get(uid)))
            self.held[uid] = hotkey

    def _owner(self, one: int, _two: int) -> None:
        hotkey = HOTKEYS[one % 4]
        self.scene.block(owners=(OwnerChange(hotkey, f"cold-{hotkey}", f"colder-{hotkey}"),))

    def _leave(self, _one: int, two: int) -> None:
        uid = 1 + two % 3
        if uid in self.held:
            alert = (("burn_uid_not_eligible", "drawn"),)
            gone = EmptiedUid(uid, self.held.pop(uid))
            self.scene.block(emptied=(gone,), alerts=alert)

    def _lock(self, one: int, two: int) -> None:
        hotkey, head = HOTKEYS[one % 4], self.scene.head
        lock = LockSeen(f"cold-{hotkey}", hotkey, 1_000 * two, 10 * one, head, two > 4, 50, 70)
        cost = RegistrationPaid(3, 1, hotkey, f"cold-{hotkey}", 1 + two)
        self.scene.block(locks=(lock,), registrations=(cost,))

    def _contest(self, one: int, two: int) -> None:
        ledger = self.scene.ledger
        waiting = [known for known in self.known if self.scene.status(known) == "queued"]
        contest = self.scene.plan(*waiting)
        self.open.append(contest)
        plan = ledger.load(Contest, contest).plan
        assert plan is not None
        if two == 7:
            return  # left open, to be voided or completed late
        results: dict[UUID, int | str] = {}
        for place, entrant in enumerate(plan.entrants):
            drawn = (one * 3 + two * 5 + place * 7) % 12
            failed = drawn >= 9
            result: int | str = FAILURES[drawn % 4] if failed else 200 + 100 * drawn
            results[entrant.submission_id] = result
        self.scene.measure(contest, results)
        complete_contest(ledger, contest)

    def _void(self, one: int, _two: int) -> None:
        cause = list(VoidCause)[one % len(VoidCause)]
        for contest in self.open:
            void_contest(self.scene.ledger, contest, cause=cause, detail="drawn")

    def _pause(self, one: int, _two: int) -> None:
        pause(self.scene.ledger, "emission" if one % 2 else "evaluation", reason="r", actor="op")

    def _resume(self, one: int, _two: int) -> None:
        for switch in ("emission", "evaluation"):
            resume(self.scene.ledger, switch, reason="r", actor="op")

    def _copy(self, one: int, two: int) -> None:
        for place in (one, two):
            if place < len(self.known):
                record_fingerprint(self.scene.ledger, self.known[place], "sha256:same")
        find_copies(self.scene.ledger, self.known)

    def _policy(self, one: int, two: int) -> None:
        rules = policy(f"policy-{one}", max_attempts=1 + two, fee_rao=FEE_RAO - one)
        adopt_policy(self.scene.ledger, rules, from_block=self.scene.head + two, actor="op")

    def _epoch(self, one: int, two: int) -> None:
        self.scene.block(
            epoch=self._paid(one, two),
            pool=PoolSeen(1_000 + one, 2_000, 3_000, two or None),
            treasury_alpha=one,
            weights=(HeldWeights("owner", (0, 1 + two), (60_000 + one, 7), self.scene.head),),
        )

    def _paid(self, one: int, two: int) -> EpochPaid:
        uids = tuple(sorted(self.held))
        return EpochPaid(
            uids,
            tuple(self.held[uid] for uid in uids),
            tuple(f"cold-{self.held[uid]}" for uid in uids),
            tuple(1_000 * (one + uid) for uid in uids),
            tuple(two for _ in uids),
            previous_block=self.scene.head - one,
        )

    def _gap(self, one: int, two: int) -> None:
        """Some blocks are missed, and meanwhile somebody left without a successor."""
        first = self.scene.head + 1
        number = first + 1 + one
        uid = 1 + two % 3
        gone = self.held.pop(uid, None)
        anew = SeenAnew(
            Gap(first, number - 1, "drawn"),
            balances=(("TAO", TREASURY, two, "chain"),),
        )
        facts = self.scene.facts_of(
            number,
            subnet_owner=("owner", "cold-owner"),
            emptied=() if gone is None else (EmptiedUid(uid, gone),),
            seen_anew=anew,
        )
        record_block(self.scene.ledger, facts)
        self.missing += range(first, number)

    def _fill(self, one: int, two: int) -> None:
        """A missed block is read late, with a paid commit or an epoch in it."""
        if not self.missing:
            return
        number = self.missing.pop(one % len(self.missing))
        if two % 2:
            facts = self.scene.facts_of(number, epoch=self._paid(one, two))
        else:
            paid = Paid(HOTKEYS[one % 4], digest(f"filled-{two}"), number, 3, FEE_RAO)
            found = commit(paid)
            facts = self.scene.facts_of(number, deposits=(paid.deposit,), commits=(found,))
            self.known.append(self.scene.identity(found, number))
        fill_block(self.scene.ledger, facts)

    def _weights(self, one: int, _two: int) -> None:
        head = self.scene.head
        vector = self.scene.read(vector_in_force)

        def send(unit: Unit) -> None:
            unit.context = after_decision(unit, head)
            sent = unit.observe(
                WeightsSubmitted,
                f"weights-sent:{unit.context.arena}:owner:{head}:{vector.digest}",
                for_block=head,
                validator_hotkey="owner",
                uids=vector.uids,
                hotkeys=tuple(self.held.get(uid, "") for uid in vector.uids),
                shares_ppm=tuple(dict(vector.shares)[uid] for uid in vector.uids),
                values=vector.values,
                digest=vector.digest,
                version_key=1,
                reason="drawn",
                nonce=0,
                sent_after=head,
            )
            unit.because(sent)
            unit.observe(
                WeightsReceipt,
                sent.receipt_key,
                for_block=head,
                validator_hotkey="owner",
                digest=vector.digest,
                block=head,
                extrinsic_hash=block_hash(head, "tx"),
                success=one != 0,
                error=None if one else "too soon",
            )

        self.scene.ledger.decide(send)

    def _treasury(self, work: Any) -> None:
        identity = treasury_id(self.scene.ledger.arena)
        self.scene.ledger.decide(lambda unit: work(unit.get(Treasury, identity), unit))

    def _convert(self, one: int, two: int) -> None:
        self._treasury(
            lambda treasury, unit: treasury.convert(
                after_transfer(unit, block_hash(one, "trade")),
                reference=block_hash(one, "trade"),
                sold_rao=1 + one,
                bought_usd_micros=1 + two,
                usd_micros_per_tao=1,
                provider="pods",
                source="desk",
                about_block=unit.block,
                actor="op",
            )
        )

    def _buyback(self, one: int, _two: int) -> None:
        def work(treasury: Treasury, unit: Unit) -> None:
            number = treasury.plan_buyback(unit.context, 10, 10, "one").number
            treasury.approve_buyback(after(unit, treasury), number, "two")
            treasury.send_buyback(after(unit, treasury), number, 1 + one, number)
            if one % 2:
                treasury.fail_buyback(after(unit, treasury), number, "refused")
                return
            treasury.execute_buyback(
                after(unit, treasury),
                number,
                block=unit.block,
                block_hash=block_hash(unit.block),
                extrinsic_index=number,
                extrinsic_hash=block_hash(number, "buyback"),
                netuid=14,
                spent_rao=1 + one,
                burned_alpha=5 + one,
                about_block=unit.block,
            )

        self._treasury(work)

    def _rental(self, one: int, two: int) -> None:
        identity = uuid5(NAMESPACE, f"rental-{one}-{two}")

        def work(unit: Unit) -> None:
            rental = unit.get(Rental, identity)
            budget = unit.get(RentalBudget, rental_budget_id(unit.context.arena))
            limits = {"a_day": 20_000, "a_round": 200_000}
            asked = {"day": one, "round_": "r", "usd_micros": 9_000}
            if not budget.reserve(unit.context, identity, **asked, **limits):
                return
            rental.request(
                after(unit, budget),
                provider="pods",
                tier="8xH200",
                max_usd_micros_per_hour=9_000,
                contest_id=None,
            )
            if two == 7:
                rental.refuse(after(unit, rental), "none left", 10, lost=one % 2 == 0)
                budget.settle(after(unit, rental), identity, 0)
                return
            rental.create(
                after(unit, rental), instance="i", usd_micros_per_hour=None, created_at_s=9
            )
            rental.start(
                after(unit, rental), instance="i", usd_micros_per_hour=8_000, started_at_s=10
            )
            if rental.ended is None:
                rental.request_volume(after(unit, rental), 10, 10)
                rental.create_volume(after(unit, rental), "v", 11)
                rental.reach(after(unit, rental), "root@pods:22", 12)
                rental.begin_contest(after(unit, rental), identity, 12)
                rental.reprice(after(unit, rental), 7_000, 20)
                rental.send_stop(after(unit, rental), "done", 10 + 60 * one)
            rental.end(after(unit, rental), 10 + 60 * one, "done")
            rental.book_cost(after(unit, rental), unit.block)
            budget.settle(after(unit, rental), identity, 8_000)
            rental.delete_volume(after(unit, rental), "v", 90)
            line = f"{one}-{two}"
            seen = unit.observe(
                InvoiceLineSeen,
                f"invoice:{unit.context.arena}:pods:inv:{line}",
                provider="pods",
                invoice="inv",
                line=line,
                instance="i",
                tag=str(identity),
                seconds=60 * one,
                from_s=None,
                to_s=None,
                billed_usd_micros=one,
                about_block=OPENED_AT,
            )
            rental.match_invoice(unit.context.because(seen), "inv", line, one)

        self.scene.ledger.decide(work)

    def _outflow(self, one: int, two: int) -> None:
        number, burner = self.scene.head + 1, TREASURY if one % 2 else "somebody"
        self.scene.block(
            withdrawals=(Withdrawal(one, 1, block_hash(one, "trade"), "somebody", 1 + two),),
            fees=(FeePaid(1, 1 + one),),
            burns=(
                AlphaBurned(
                    2, block_hash(number, "burn"), "burn_alpha", burner, "h", 14, None, 1 + two
                ),
            ),
        )

    def _period(self, one: int, two: int) -> None:
        head = self.scene.head
        record_balances(
            self.scene.ledger,
            (("TAO", TREASURY, one, "chain"), ("ALPHA", TREASURY, two, "chain")),
            about_block=head,
        )
        self._treasury(lambda treasury, unit: treasury.close_period(unit.context, head, 10, "op"))

    def statuses(self) -> dict[UUID, str]:
        """Every submission's state."""
        return {known: self.scene.status(known) for known in self.known}

    def submissions(self) -> list[Submission]:
        """Every submission."""
        return [self.scene.ledger.load(Submission, known) for known in self.known]
