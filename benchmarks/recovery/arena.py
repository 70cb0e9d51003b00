"""An arena with a queue of paid submissions, in a database of its own, and blocks that come."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

from benchmarks.paid_commit import Paid, paid_commit
from evaluation.images import ImageRef
from evaluation.reference.image import reference_image_kinds, write_image
from evaluation.reference.model import init_weights
from evaluation.reference.model_files import save_model
from ledger.application import Ledger
from ledger.commands.arena import open_arena
from ledger.commands.block_facts import BlockFacts, NeuronChange
from ledger.commands.blocks import record_block
from ledger.contest_policy import ContestPolicy, ServerLimits
from ledger.decisions.contest import ContestJudged, ContestPlanned
from ledger.decisions.payment import Payment
from ledger.decisions.submission import Submission, SubmissionDisqualified, SubmissionScored
from ledger.gate_policy import GatePolicy
from ledger.keys import ArenaKey, submission_id
from ledger.policy import (
    FeePolicy,
    KingTakesAll,
    MarginPolicy,
    Policy,
    ScoreV2,
    TrackPolicy,
    WeightPolicy,
)
from ledger.store.database import open_engine
from ledger.store.logs import facts_of
from ledger.store.migrate import upgrade
from ledger.units import PPM

NETWORK: Final = "recovery"
NETUID: Final = 14
TRACK: Final = "reference"
TREASURY: Final = "5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo"
FEE_RAO: Final = 100
BLOCK_EVERY_S: Final = 0.25
BASELINE: Final = "recompute"
CHALLENGERS: Final = ("kv_cache", "prefix_cache")
ENDS_WELL: Final = frozenset({"queued", "scored", "credited"})
"""Where a fee may lie when all is over. All servers here are honest: a disqualified one has lost it
by a killing that was not its own."""

_ARENA: Final = ArenaKey("0x" + "5e" * 32, NETUID)
_OPENED_AT: Final = 10
_MODEL_SEED: Final = 14


def process_images(folder: Path) -> dict[str, ImageRef]:
    """The model and the image directories of all kinds below ``folder``, by kind."""
    model = folder / "model"
    if not model.exists():
        model.mkdir(parents=True)
        save_model(init_weights(_MODEL_SEED), model)
    kinds = reference_image_kinds()
    return {
        kind: ImageRef("", write_image(folder / "images", kind, kinds[kind].config()))
        for kind in (BASELINE, *CHALLENGERS)
    }


class RecoveryArena:
    """One arena; ``submissions`` are those that were paid for, in judging order."""

    def __init__(self, database: Path, images: dict[str, ImageRef], memory_bytes: int) -> None:
        self.url = f"sqlite:///{database}"
        self.engine = open_engine(self.url)
        upgrade(self.engine)
        self.ledger: Ledger = open_arena(
            self.engine,
            _ARENA,
            network=NETWORK,
            at_block=_OPENED_AT,
            policy=_policy(images[BASELINE], memory_bytes),
            actor="operator",
        )
        hotkeys = {kind: f"hotkey-of-{kind}" for kind in CHALLENGERS}
        self._block(
            neurons=tuple(
                NeuronChange(uid, hotkey, f"cold-{hotkey}", None)
                for uid, hotkey in enumerate(hotkeys.values(), start=1)
            )
        )
        self.submissions = tuple(self._submit(hotkeys[kind], images[kind]) for kind in CHALLENGERS)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def tick(self, over: threading.Event) -> None:
        """Blocks, until it is over."""
        while not over.wait(BLOCK_EVERY_S):
            self._block()

    def waits(self) -> bool:
        """Whether a submission still waits or is contested."""
        return any(self._load(one).status in {"queued", "contested"} for one in self.submissions)

    def faults(self) -> list[str]:
        """What is wrong with the log: a contest counted twice, a fee lost, a seed used again."""
        with self.engine.connect() as connection:
            log = [logged.fact for logged in facts_of(connection, self.ledger.head().log_id)]
        found = []
        judged = [fact.originator_id for fact in log if isinstance(fact, ContestJudged)]
        if len(set(judged)) < len(judged):
            found.append("a contest was judged twice")
        seeds = [fact.seed_block for fact in log if isinstance(fact, ContestPlanned)]
        if sorted(set(seeds)) != seeds:
            found.append(f"seed blocks are not each later than the one before: {seeds}")
        for one in self.submissions:
            verdicts = [
                fact
                for fact in log
                if isinstance(fact, SubmissionScored | SubmissionDisqualified)
                and fact.originator_id == one
                and self._was_challenger(fact.contest_id, one, log)
            ]
            if len(verdicts) > 1:
                found.append(f"{one} was counted {len(verdicts)} times as challenger")
            found += self._fee_faults(one)
        return found

    # -- inside -------------------------------------------------------------------------------

    def _load(self, submission: UUID) -> Submission:
        return self.ledger.load(Submission, submission)

    def _fee_faults(self, one: UUID) -> list[str]:
        submission = self._load(one)
        if submission.status not in ENDS_WELL or submission.payment_id is None:
            return [f"the fee of {one} is lost: it is {submission.status}"]
        payment = self.ledger.load(Payment, submission.payment_id)
        if submission.status == "credited" and payment.credit_of is None:
            return [f"the fee of {one} is lost: its credit cannot be used"]
        return []

    @staticmethod
    def _was_challenger(contest: UUID, submission: UUID, log: Sequence[object]) -> bool:
        return any(
            isinstance(fact, ContestPlanned)
            and fact.originator_id == contest
            and any(
                entrant.submission_id == submission and entrant.role == "challenger"
                for entrant in fact.entrants
            )
            for fact in log
        )

    def _block(self, **content: object) -> int:
        number = self.ledger.head().effective_block + 1
        facts = BlockFacts(number, _hash(number), _hash(number - 1), None, 1, **content)  # type: ignore[arg-type]  # its own fields by name
        record_block(self.ledger, facts)
        return number

    def _submit(self, hotkey: str, image: ImageRef) -> UUID:
        number = self.ledger.head().effective_block + 1
        name = image.repository or "reference"
        paid = Paid(hotkey, f"cold-{hotkey}", name, image.digest, TREASURY, FEE_RAO)
        deposit, commit = paid_commit(paid, number, _hash(number), _hash(number, "tx"))
        self._block(deposits=(deposit,))
        at = self._block(commits=(commit,))
        return submission_id(_ARENA, hotkey, at, commit.place, commit.payload)


def _hash(number: int, what: str = "block") -> str:
    return "0x" + hashlib.sha256(f"{what}:{number}".encode()).hexdigest()


def _policy(baseline: ImageRef, memory_bytes: int) -> Policy:
    """Short contests; the gates are wide, for it is not about them here."""
    return Policy(
        name="recovery",
        fee=FeePolicy(treasury_ss58=TREASURY, fee_rao=FEE_RAO),
        weights=WeightPolicy(burn_uid=0),
        tracks={
            TRACK: TrackPolicy(
                model="cacheon-reference",
                emission_share_ppm=PPM,
                emission=KingTakesAll(),
                scoring=ScoreV2(),
                margin=MarginPolicy(start_ppm=0),
                contest=ContestPolicy(
                    prompts=2,
                    repeated_prompts=0,
                    warmup_prompts=0,
                    context_tokens=256,
                    output_tokens=8,
                    startup_timeout_s=120,
                    prompt_timeout_s=60,
                    max_drift_ppm=PPM,
                    max_client_lag_us=10_000_000,
                    limits=ServerLimits(
                        memory_bytes=memory_bytes,
                        cpus=2,
                        pids=64,
                        shm_bytes=2**24,
                        tmp_bytes=2**23,
                    ),
                ),
                gates=GatePolicy(min_stream_spread_ppm=0, max_burst_ppm=PPM),
                baseline_image=str(baseline),
            )
        },
    )
