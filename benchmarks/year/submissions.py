"""Payments and commits: honest, refused and deferred ones, copies, and money nobody claims."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Final
from uuid import UUID

from benchmarks.year.mix import (
    ARENA,
    BLOCKS_PER_DAY,
    COMMIT_AFTER_BLOCKS,
    COMMITS_PER_DAY,
    COPY_PPM,
    DEFERRED_PPM,
    INFRASTRUCTURE_PPM,
    OPENED_AT,
    OVERPAID_PPM,
    REFUSED_PPM,
    STRAY_PAYMENTS_PER_DAY,
    TIMELOCKED_PPM,
)
from benchmarks.year.subnet import Subnet
from benchmarks.year.world import Tick, World, block_hash, made_hash, made_hex
from ledger.application import Unit
from ledger.commands.block_facts import CommitFound, Deposit
from ledger.commands.commits import judge_deferred
from ledger.commands.copies import find_copies, record_fingerprint
from ledger.decisions.payment import Payment
from ledger.decisions.submission import Submission
from ledger.keys import payment_id, submission_id
from ledger.rules.payload import parse_payload
from ledger.rules.payments import (
    BATCH_ALL,
    PaymentEvidence,
    PaymentExtrinsic,
    TransferSeen,
    expected_remark,
)
from ledger.units import PPM

_FIRST_SKILL: Final = 0.25
_LAST_SKILL: Final = 0.70
_SKILL_DAYS: Final = 120.0
"""How much of the baseline's time the field saves: at first, at last, and how soon."""


@dataclass(frozen=True, slots=True)
class Image:
    """What a miner hands in."""

    hotkey: str
    coldkey: str
    uid: int
    name: str
    digest: str

    @property
    def reference(self) -> str:
        """The image's name as committed."""
        return f"ghcr.io/{self.name}/engine:v1"


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment on chain."""

    image: Image
    block: int
    index: int
    amount_rao: int
    treasury: str
    remark: str

    @property
    def tx(self) -> str:
        """Its extrinsic hash."""
        return made_hash("payment", self.block, self.index)

    @property
    def id(self) -> UUID:
        """Its identity."""
        return payment_id(ARENA.genesis, block_hash(self.block), self.index)

    @property
    def deposit(self) -> Deposit:
        """What its block says of it."""
        coldkey = self.image.coldkey
        return Deposit(self.index, self.tx, coldkey, self.amount_rao, BATCH_ALL, (self.remark,))

    @property
    def evidence(self) -> PaymentEvidence:
        """What the chain answers about it."""
        transfer = TransferSeen(self.treasury, self.amount_rao, True)
        extrinsic = PaymentExtrinsic(
            self.index, BATCH_ALL, True, self.image.coldkey, (transfer,), (self.remark,)
        )
        return PaymentEvidence(self.block, extrinsic, self.image.coldkey)

    @property
    def payload(self) -> bytes:
        """The commit that names it."""
        return json.dumps(
            {
                "image": self.image.reference,
                "digest": self.image.digest,
                "payment_tx": self.tx,
                "payment_block": block_hash(self.block),
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A submission on its way: how it was paid, how fast it is, and whether it can be pulled."""

    id: UUID
    paid: Paid
    skill: float
    pullable: bool

    @property
    def hotkey(self) -> str:
        """Its hotkey."""
        return self.paid.image.hotkey


class Submissions:
    """Everything up to the queue."""

    def __init__(self, world: World, subnet: Subnet) -> None:
        self._world = world
        self._subnet = subnet
        self.queue: list[Waiting] = []
        self._images = 0
        world.often(COMMITS_PER_DAY, self._pay)
        world.often(STRAY_PAYMENTS_PER_DAY, self._stray)

    def again(self, waiting: Waiting, block: int) -> None:
        """A credited miner commits again, with the payment it has back."""
        new, old = self._image(), waiting.paid.image
        image = replace(old, name=new.name, digest=new.digest)
        self._world.at(block, partial(self._commit, replace(waiting.paid, image=image), None))

    # -- payments -------------------------------------------------------------------------------

    def _image(self) -> Image:
        uid = self._subnet.a_miner()
        self._images += 1
        return Image(
            self._subnet.hotkeys[uid],
            self._subnet.coldkeys[uid],
            uid,
            f"miner{uid}/v{self._images}",
            "sha256:" + made_hex("image", self._images),
        )

    def _pay(self, tick: Tick) -> None:
        flaw = self._flaw()
        paid = self._paid(tick, flaw)
        if flaw not in {"payment_tx_not_in_block", "malformed_payload"}:
            tick.deposits.append(paid.deposit)
        wait = self._world.random.randint(*COMMIT_AFTER_BLOCKS)
        self._world.at(tick.number + wait, partial(self._commit, paid, flaw))

    def _paid(self, tick: Tick, flaw: str | None) -> Paid:
        image = self._image()
        policy = self._world.ledger.arena_state().policy_at(tick.number)
        amount = policy.fee.fee_rao
        if flaw == "amount_too_small":
            amount //= 2
        elif self._world.chance(OVERPAID_PPM):
            amount += self._world.random.randint(1, amount)
        digest = "sha256:" + "0" * 64 if flaw == "remark_mismatch" else image.digest
        remark = expected_remark(image.hotkey, digest)
        return Paid(image, tick.number, tick.extrinsic(), amount, policy.fee.treasury_ss58, remark)

    def _flaw(self) -> str | None:
        drawn = self._world.random.randrange(PPM)
        for flaw, ppm in REFUSED_PPM.items():
            if drawn < ppm:
                return flaw
            drawn -= ppm
        return None

    def _stray(self, tick: Tick) -> None:
        paid = self._paid(tick, None)
        tick.deposits.append(paid.deposit)
        policy = self._world.ledger.arena_state().policy_at(tick.number)
        age = policy.fee.payment_max_age_blocks + 1
        sent_back = self._world.chance(PPM // 2)
        self._world.at(tick.number + age, partial(self._end_stray, paid, sent_back))

    def _end_stray(self, paid: Paid, sent_back: bool, tick: Tick) -> None:
        def end(unit: Unit) -> None:
            payment = unit.get(Payment, paid.id)
            if sent_back:
                sent = made_hash("refund", paid.tx)
                payment.decide_refund(unit.context, "op", "nobody claimed it")
                payment.refund(unit.context, tick.number, sent, f"out:{ARENA}:{sent}:0")
            else:
                payment.expire(unit.context, tick.number - paid.block)

        def record() -> None:
            self._world.ledger.decide(end)
            self._world.ledger.forget([paid.id])

        tick.then.append(record)

    # -- commits --------------------------------------------------------------------------------

    def _commit(self, paid: Paid, flaw: str | None, tick: Tick) -> None:
        if flaw == "payment_already_used" and self.queue:
            self._world.ledger.forget([paid.id])
            paid = replace(self.queue[-1].paid, image=paid.image, remark=paid.remark)
        evidence = paid.evidence
        if flaw == "payment_tx_not_in_block":
            evidence = replace(evidence, extrinsic=None)
        elif flaw == "signer_not_owner":
            evidence = replace(evidence, owner=self._subnet.coldkeys[0])
        deferred = flaw is None and self._world.chance(DEFERRED_PPM)
        payload = b"{}" if flaw == "malformed_payload" else paid.payload
        found = CommitFound(
            hotkey=paid.image.hotkey,
            coldkey=paid.image.coldkey,
            uid=paid.image.uid,
            form="timelocked" if self._world.chance(TIMELOCKED_PPM) else "plain",
            index=tick.extrinsic(),
            payload=payload,
            parsed=parse_payload(payload),
            succeeded=flaw != "commit_extrinsic_failed",
            evidence=None if deferred else evidence,
            unanswered="the node did not answer in time" if deferred else "",
        )
        tick.commits.append(found)
        identity = submission_id(ARENA, found.hotkey, tick.number, found.place, payload)
        pullable = not self._world.chance(INFRASTRUCTURE_PPM)
        waiting = Waiting(identity, paid, self._skill(tick.number), pullable)
        if deferred:
            self._world.at(tick.number + 1, partial(self._judge_late, waiting))
        else:
            tick.then.append(partial(self._judged, waiting, tick.number))

    def _skill(self, block: int) -> float:
        """Around what the field has learned by now; few are ahead of it."""
        days = (block - OPENED_AT) / BLOCKS_PER_DAY
        learned = 1.0 - math.exp(-days / _SKILL_DAYS)
        field = _FIRST_SKILL + (_LAST_SKILL - _FIRST_SKILL) * learned
        return min(0.95, max(0.01, field + self._world.random.gauss(-0.04, 0.03)))

    def _judge_late(self, waiting: Waiting, tick: Tick) -> None:
        def judge() -> None:
            judge_deferred(self._world.ledger, waiting.id, waiting.paid.evidence)
            self._judged(waiting, tick.number)

        tick.then.append(judge)

    def _judged(self, waiting: Waiting, block: int) -> None:
        if self._world.ledger.load(Submission, waiting.id).status != "queued":
            self._world.ledger.forget([waiting.id])
            if all(waiting.paid.id != other.paid.id for other in self.queue):
                self._world.ledger.forget([waiting.paid.id])
            return
        self.queue.append(waiting)
        self._world.at(block + 1, partial(self._fingerprint, waiting))

    def _fingerprint(self, waiting: Waiting, tick: Tick) -> None:
        tick.then.append(partial(self._look_into, waiting))

    def _look_into(self, waiting: Waiting) -> None:
        ledger = self._world.ledger
        own = "sha256:" + made_hex("files", waiting.paid.image.digest)
        kings = list(ledger.arena_state().kings.values())
        king = ledger.load(Submission, kings[0].submission_id) if kings else None
        if king is None or king.fingerprint is None or not self._world.chance(COPY_PPM):
            record_fingerprint(ledger, waiting.id, own)
            return
        record_fingerprint(ledger, waiting.id, king.fingerprint)
        if find_copies(ledger, [king.id, waiting.id]) and waiting in self.queue:
            self.queue.remove(waiting)
            ledger.forget([waiting.id, waiting.paid.id])
