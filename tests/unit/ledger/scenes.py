"""A small arena to act in: blocks, payments, commits and contests in one line each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from chain.simulated.accounts import account
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.commands.block_facts import (
    BlockFacts,
    CommitFound,
    Deposit,
    NeuronChange,
)
from ledger.commands.blocks import record_block
from ledger.commands.causes import after
from ledger.commands.contests import complete_contest, plan_contest
from ledger.contest_policy import ContestPolicy
from ledger.decisions.arena import Arena
from ledger.decisions.contest import Contest, Holder
from ledger.decisions.payment import Payment
from ledger.decisions.submission import Submission
from ledger.facts import Fact
from ledger.keys import ArenaKey, payment_id, submission_id
from ledger.policy import (
    FeePolicy,
    KingTakesAll,
    MarginPolicy,
    Policy,
    ScoreV2,
    TrackPolicy,
    WeightPolicy,
)
from ledger.projections.all import PROJECTIONS
from ledger.projections.runner import catch_up
from ledger.queries.scope import Scope, scope_at
from ledger.rules.payload import CommitPayload, MalformedPayload, parse_payload
from ledger.rules.payments import PaymentEvidence, PaymentExtrinsic, TransferSeen, expected_remark
from ledger.store.logs import LoggedFact, read_log
from ledger.units import PPM

GENESIS = "0x" + "14" * 32
ARENA = ArenaKey(GENESIS, 14)
OTHER_ARENA = ArenaKey(GENESIS, 15)
TRACK = "qwen"
FEE_RAO = 100
OPENED_AT = 10


def treasury_of(netuid: int) -> str:
    """The treasury's address of the arena of that netuid."""
    return account(f"treasury-{netuid}")


TREASURY = treasury_of(14)


def block_hash(number: int, chain: str = "main") -> str:
    """A made-up block hash."""
    return "0x" + hashlib.sha256(f"{chain}:{number}".encode()).hexdigest()


def digest(name: str) -> str:
    """A made-up image digest."""
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def policy(
    name: str = "test",
    *,
    treasury: str = TREASURY,
    fee_rao: int = FEE_RAO,
    max_age_blocks: int = 50,
    max_attempts: int = 2,
    tracks: Sequence[str] = (TRACK,),
    baseline_image: str = "sha256:" + "b" * 64,
) -> Policy:
    """A short policy: v2 scores, no margin, the king takes all."""
    share = PPM // len(tracks)
    return Policy(
        name=name,
        fee=FeePolicy(
            treasury_ss58=treasury, fee_rao=fee_rao, payment_max_age_blocks=max_age_blocks
        ),
        weights=WeightPolicy(burn_uid=0),
        tracks={
            track: TrackPolicy(
                model="m",
                emission_share_ppm=share,
                emission=KingTakesAll(),
                scoring=ScoreV2(),
                margin=MarginPolicy(start_ppm=0),
                contest=ContestPolicy(prompts=2, max_attempts=max_attempts),
                baseline_image=baseline_image,
            )
            for track in tracks
        },
    )


@dataclass(frozen=True)
class Paid:
    """A payment as the chain shows it."""

    hotkey: str
    digest: str
    block: int
    index: int
    amount_rao: int
    treasury: str = TREASURY

    @property
    def tx(self) -> str:
        """Its extrinsic hash."""
        return block_hash(self.block * 1_000 + self.index, "tx")

    @property
    def remark(self) -> str:
        """Its remark, in form."""
        return expected_remark(self.hotkey, self.digest)

    @property
    def deposit(self) -> Deposit:
        """What the block says of it."""
        return Deposit(
            self.index,
            self.tx,
            f"cold-{self.hotkey}",
            self.amount_rao,
            "Utility.batch_all",
            (self.remark,),
        )

    @property
    def evidence(self) -> PaymentEvidence:
        """What the chain answers about it."""
        extrinsic = PaymentExtrinsic(
            self.index,
            "Utility.batch_all",
            True,
            f"cold-{self.hotkey}",
            (TransferSeen(self.treasury, self.amount_rao, True),),
            (self.remark,),
        )
        return PaymentEvidence(self.block, extrinsic, f"cold-{self.hotkey}")

    @property
    def id(self) -> UUID:
        """The payment's identity."""
        return payment_id(GENESIS, block_hash(self.block), self.index)

    def payload(self, image_digest: str | None = None) -> bytes:
        """A commit's bytes that name this payment."""
        return json.dumps(
            {
                "image": f"ghcr.io/{self.hotkey.lower()}/engine:v1",
                "digest": image_digest or self.digest,
                "payment_tx": self.tx,
                "payment_block": block_hash(self.block),
            }
        ).encode()


def commit(
    paid: Paid, *, index: int = 1, form: str = "plain", hotkey: str | None = None, **changes: Any
) -> CommitFound:
    """A commit naming a payment; ``changes`` override its fields."""
    payload = changes.pop("payload", paid.payload())
    parsed: CommitPayload | MalformedPayload = parse_payload(payload)
    found = CommitFound(
        hotkey=hotkey or paid.hotkey,
        coldkey=f"cold-{hotkey or paid.hotkey}",
        uid=None,
        form=form,
        index=index,
        payload=payload,
        parsed=parsed,
        succeeded=True,
        evidence=paid.evidence,
    )
    return replace(found, **changes)


def figures(us: int | None, code: str | None = None) -> dict[str, Any]:
    """An entrant's measurement: its time to the last token, or the code of its failure.

    The baseline takes 1,000 us, so that the v2 score is (1,000 - us) thousandths.
    """
    times = (us, us) if us is not None else ()
    infrastructure = {"pull_failed", "host_failed", "coverage_too_low"}
    status = "scored" if us is not None else "disqualified"
    if code in infrastructure:
        status = "infrastructure"
    return {
        "status": status,
        "code": code,
        "detail": "",
        "log_tail": "bye\0" if code else "",
        "evidence_digest": None,
        "baseline_ttft_us": (100, 100),
        "baseline_e2e_us": (1_000, 1_000),
        "baseline_tokens": (8, 8),
        "ttft_us": tuple(min(50, time) for time in times),
        "e2e_us": times,
        "tokens": tuple(8 for _ in times),
        "top1_ppm": None,
        "mean_margin_milli": None,
        "p99_margin_milli": None,
        "spread_ppm": None,
        "repeat_gain_ppm": None,
    }


class Scene:
    """One arena in one database, and a chain that goes on one block at a time."""

    def __init__(
        self, engine: Engine, arena: ArenaKey = ARENA, rules: Policy | None = None
    ) -> None:
        self.engine = engine
        self.rules = rules or policy(treasury=treasury_of(arena.netuid))
        self.ledger: Ledger = open_arena(
            engine, arena, network="test", at_block=OPENED_AT, policy=self.rules, actor="op"
        )

    # -- the chain --------------------------------------------------------------------------

    @property
    def head(self) -> int:
        """The newest block."""
        return self.ledger.head().effective_block

    def facts_of(self, number: int, **content: Any) -> BlockFacts:
        """A block's facts."""
        return BlockFacts(number, block_hash(number), block_hash(number - 1), None, 1, **content)

    def block(self, **content: Any) -> int:
        """Record the next block."""
        number = self.head + 1
        record_block(self.ledger, self.facts_of(number, **content))
        return number

    def register(self, *changes: tuple[int, str, str | None]) -> int:
        """A block in which UIDs come to hotkeys: (uid, hotkey, replaced)."""
        return self.block(
            neurons=tuple(
                NeuronChange(uid, hotkey, f"cold-{hotkey}", replaced)
                for uid, hotkey, replaced in changes
            )
        )

    def pay(self, hotkey: str, name: str, amount_rao: int = FEE_RAO, index: int = 3) -> Paid:
        """A block with a payment for an image."""
        paid = Paid(hotkey, digest(name), self.head + 1, index, amount_rao)
        self.block(deposits=(paid.deposit,))
        return paid

    def submit(self, hotkey: str, name: str | None = None) -> UUID:
        """A payment and a commit that takes it, in two blocks."""
        paid = self.pay(hotkey, name or f"{hotkey}-{self.head}")
        found = commit(paid)
        return self.identity(found, self.block(commits=(found,)))

    def identity(self, found: CommitFound, number: int) -> UUID:
        """The id of the submission a commit in that block made."""
        return submission_id(self.ledger.arena, found.hotkey, number, found.place, found.payload)

    # -- contests ---------------------------------------------------------------------------

    def plan(self, *challengers: UUID, attempt: int = 1, track: str = TRACK) -> UUID:
        """Plan a contest on a fresh block's hash."""
        return plan_contest(
            self.ledger,
            track=track,
            challengers=challengers,
            seed_block=self.block(),
            attempt=attempt,
        )

    def measure(
        self, contest: UUID, results: Mapping[UUID, int | str], holder: Holder | None = None
    ) -> None:
        """Note all entrants: microseconds, or a failure's code."""

        def work(unit: Any) -> None:
            found = unit.get(Contest, contest)
            found.measure_baseline(
                after(unit, found),
                holder=holder,
                image="base",
                prompts=2,
                prompts_digest="sha256:00",
                median_ttft_us=100,
                median_e2e_us=1_000,
                median_tokens=8,
            )
            for entrant in found.plan.entrants:
                result = results[entrant.submission_id]
                own = figures(result) if isinstance(result, int) else figures(None, result)
                context = after(unit, found)
                found.measure(
                    context, entrant.submission_id, holder=holder, hotkey=entrant.hotkey, **own
                )

        self.ledger.decide(work)

    def contest(self, results: Mapping[UUID, int | str], *challengers: UUID) -> UUID:
        """Plan, measure and complete a contest; challengers default to everybody in ``results``."""
        contest = self.plan(*(challengers or results))
        self.measure(contest, results)
        complete_contest(self.ledger, contest)
        return contest

    # -- reading ----------------------------------------------------------------------------

    def status(self, submission: UUID) -> str:
        """A submission's state."""
        return self.ledger.load(Submission, submission).status

    def payment(self, paid: Paid) -> Payment:
        """A payment's state."""
        return self.ledger.load(Payment, paid.id)

    @property
    def arena(self) -> Arena:
        """The arena's state."""
        return self.ledger.arena_state()

    def king(self, track: str = TRACK) -> str | None:
        """Who sits on a throne."""
        king = self.arena.kings.get(track)
        return king.hotkey if king else None

    def runner_up(self, track: str = TRACK) -> str | None:
        """Who is second."""
        second = self.arena.runners_up.get(track)
        return second.hotkey if second else None

    def log(self) -> list[LoggedFact]:
        """All of the arena's log."""
        with self.engine.connect() as connection:
            return read_log(connection, self.ledger.head().log_id, after=0, limit=1_000_000)

    def facts(self, kind: type[Fact]) -> list[Any]:
        """All facts of a type."""
        return [logged.fact for logged in self.log() if isinstance(logged.fact, kind)]

    def read(self, question: Any, *args: Any, at: int | None = None) -> Any:
        """Ask a query at a block."""
        catch_up(self.engine, PROJECTIONS)
        with self.engine.connect() as connection:
            scope: Scope = scope_at(connection, self.ledger.head(), at)
            return question(scope, *args)
