"""Over generated blocks: no payment serves two commits, and the rules alone refuse or accept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

from hypothesis import HealthCheck, Phase, event, given, settings

from chain.commits import plain_commits
from chain.gathering import commit_found, deposits_of, sealed_found
from chain.payments import gather_payment
from chain.port import (
    Block,
    BlockRef,
    ChainReader,
    ChainUnavailableError,
    Commit,
    UnknownBlockError,
)
from ledger.application import Ledger, Unit
from ledger.books import accounts
from ledger.codes import RefusalCode
from ledger.commands.arena import adopt_policy
from ledger.commands.block_facts import BlockFacts, CommitFound
from ledger.commands.blocks import record_block
from ledger.commands.commits import judge_deferred
from ledger.decisions.payment import Payment, PaymentSeen
from ledger.decisions.submission import Submission
from ledger.keys import payment_id, submission_id
from ledger.policy import FeePolicy
from ledger.queries.submissions import deferred, every_commit
from ledger.queries.treasury import account_balances, payments
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import (
    MOST_SPECIFIC_FIRST,
    CommitFacts,
    PaymentAccepted,
    PaymentEvidence,
    PaymentRefused,
    judge_payment,
)
from ledger.store.database import open_engine
from tests.contract.stores import migrated_url
from tests.property.payments.oracle import Attempt, Oracle, attempts_in, received
from tests.property.payments.worlds import (
    HERE,
    LAST_BLOCK,
    MAX_AGE_BLOCKS,
    NEW_FEE_FROM,
    NEW_FEE_RAO,
    OWNERS,
    REGISTERED,
    THERE,
    TREASURIES,
    World,
    worlds,
)
from tests.unit.ledger.scenes import ARENA, GENESIS, OPENED_AT, OTHER_ARENA, Scene, policy

ARENAS = {HERE: ARENA, THERE: OTHER_ARENA}

thorough = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
through_a_ledger = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking through a database takes minutes; a world tells what is in it.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


class WorldReader:
    """A node that serves a world; ``silent`` makes it answer nothing about payments."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.silent = False

    def finalized_head(self) -> BlockRef:
        return self.world.chain[LAST_BLOCK].block.ref

    def block_ref(self, block_hash: str) -> BlockRef:
        self._answer()
        for made in self.world.chain.values():
            if made.block.hash == block_hash:
                return made.block.ref
        raise UnknownBlockError(block_hash)

    def block(self, number: int) -> Block:
        self._answer()
        return self.world.chain[number].block

    def owner(self, hotkey: str, block_hash: str) -> str | None:
        self._answer()
        return self.world.chain[self.block_ref(block_hash).number].owners.get(hotkey)

    def commits(self, number: int, netuid: int) -> Sequence[Commit]:
        """Reveals and plain commits, as the node adapter gives them."""
        made = self.world.chain[number]
        mine = [reveal for reveal in made.reveals if reveal[1] == netuid]
        reveals = [
            Commit(hotkey, made.block.ref, index, "timelocked", payload)
            for index, (hotkey, _, payload) in enumerate(mine)
        ]
        return [*reveals, *plain_commits(made.block, netuid)]

    def _answer(self) -> None:
        if self.silent:
            raise ChainUnavailableError("the node is silent")


def reader_of(world: World) -> ChainReader:
    return cast("ChainReader", WorldReader(world))


def in_order(world: World) -> Iterator[tuple[Attempt, Commit]]:
    """Every commit of both arenas in the order of judging, as known and as found.

    Held against each other: what was made or tried is found, with whom it was for, and no more.
    """
    reader = WorldReader(world)
    for number in range(OPENED_AT + 1, LAST_BLOCK + 1):
        for netuid in (HERE, THERE):
            known = [one for one in attempts_in(world.chain[number], netuid) if not one.sealed]
            found = sorted(reader.commits(number, netuid), key=lambda commit: commit.order)
            assert [(one.hotkey, one.payload, one.succeeded) for one in found] == [
                (one.hotkey, one.payload, one.succeeded) for one in known
            ]
            assert [one.order for one in found] == [(number, *one.order) for one in known]
            yield from zip(known, found, strict=True)


def said_codes(codes: Sequence[RefusalCode]) -> set[str]:
    """The codes as a set; they are in the order of the rules and none twice."""
    places = [MOST_SPECIFIC_FIRST.index(code) for code in codes]
    assert places == sorted(set(places))
    return {code.value for code in codes}


@thorough
@given(worlds())
def test_the_verifier_refuses_by_the_rules_and_nothing_else(world: World) -> None:
    reader, rules = reader_of(world), world.rules()
    oracle = Oracle(world.chain, rules)
    taken: dict[tuple[str, int], str] = {}
    for place, (attempt, commit) in enumerate(in_order(world)):
        expected = oracle.judge(attempt, world.said.get(commit.payload))
        payload = parse_payload(commit.payload)
        evidence, key = PaymentEvidence(), None
        if commit.succeeded and isinstance(payload, CommitPayload):
            evidence = gather_payment(
                reader, hotkey=commit.hotkey, payload=payload, commit_block_number=attempt.block
            )
            if evidence.extrinsic is not None:
                key = (payload.payment_block, evidence.extrinsic.index)
                evidence = evidence.consumed(taken.get(key))
        fee = FeePolicy(
            treasury_ss58=TREASURIES[attempt.netuid],
            fee_rao=rules[attempt.netuid].fee_at(evidence.block_number or attempt.block),
            payment_max_age_blocks=MAX_AGE_BLOCKS,
        )
        facts = CommitFacts(str(place), commit.hotkey, attempt.block, payload, commit.succeeded)
        verdict = judge_payment(facts, evidence, fee)
        if isinstance(verdict, PaymentRefused):
            assert said_codes(verdict.codes) == expected
            for code in expected:
                event(code)
        else:
            assert not expected
            assert isinstance(verdict, PaymentAccepted)
            assert key is not None
            assert key not in taken
            assert verdict.overpaid_rao == verdict.paid_rao - fee.fee_rao >= 0
            taken[key] = str(place)
            event("accepted")


# -- through a ledger -------------------------------------------------------------------------


@contextmanager
def installation() -> Iterator[dict[int, Scene]]:
    """Two arenas in one database in memory; the first one's fee rises."""
    engine = open_engine(migrated_url("memory", cast("Any", None)))
    rules = {
        netuid: policy(treasury=TREASURIES[netuid], max_age_blocks=MAX_AGE_BLOCKS)
        for netuid in (HERE, THERE)
    }
    scenes = {netuid: Scene(engine, ARENAS[netuid], rules[netuid]) for netuid in (HERE, THERE)}
    dearer = policy("dearer", treasury=TREASURIES[HERE], fee_rao=NEW_FEE_RAO,
                    max_age_blocks=MAX_AGE_BLOCKS)  # fmt: skip
    adopt_policy(scenes[HERE].ledger, dearer, from_block=NEW_FEE_FROM, actor="op")
    yield scenes
    engine.dispose()


def registry(netuid: int) -> dict[int, tuple[str, str]]:
    hotkeys = sorted(REGISTERED[netuid])
    return {uid: (hotkey, OWNERS.get(hotkey, "nobody")) for uid, hotkey in enumerate(hotkeys)}


def ingest(
    world: World, scenes: dict[int, Scene], number: int, *, outages: bool
) -> dict[int, list[UUID]]:
    """Record one block in both logs; the submissions it made, by arena, in order."""
    reader, made = WorldReader(world), world.chain[number]
    ids: dict[int, list[UUID]] = {}
    for netuid, scene in scenes.items():
        held = registry(netuid)
        commits: list[CommitFound] = []
        for commit in reader.commits(number, netuid):
            place = (netuid, *commit.order)
            reader.silent = outages and place in world.outages
            commits.append(commit_found(cast("ChainReader", reader), made.block, commit, held))
        reader.silent = False
        record_block(
            scene.ledger,
            BlockFacts(
                number, made.block.hash, made.block.parent_hash, None, 293,
                deposits=deposits_of(made.block, TREASURIES[netuid]),
                commits=tuple(commits),
                sealed=sealed_found(made.block, netuid, held),
            ),
        )  # fmt: skip
        ids[netuid] = [
            submission_id(ARENAS[netuid], one.hotkey, number, one.place, one.payload)
            for one in sorted(commits, key=lambda found: found.order)
        ]
    return ids


def verdicts(scenes: dict[int, Scene]) -> dict[int, list[tuple[str, str, tuple[str, ...]]]]:
    """What each arena says of every commit that was not sealed."""
    said = {}
    for netuid, scene in scenes.items():
        said[netuid] = [
            (line["hotkey"], line["state"], tuple(line["refusals"]))
            for line in scene.read(every_commit)
            if line["reveal_block"] is not None
        ]
    return said


@through_a_ledger
@given(worlds())
def test_two_arenas_of_one_installation_judge_as_the_rules_do(world: World) -> None:
    oracle = Oracle(world.chain, world.rules())
    with installation() as scenes:
        expected: dict[int, list[tuple[str, set[str]]]] = {HERE: [], THERE: []}
        for attempt, commit in in_order(world):
            codes = oracle.judge(attempt, world.said.get(commit.payload))
            expected[attempt.netuid].append((attempt.hotkey, codes))
        for number in range(OPENED_AT + 1, LAST_BLOCK + 1):
            ingest(world, scenes, number, outages=False)
        for netuid, said in verdicts(scenes).items():
            assert [(hotkey, set(codes)) for hotkey, _, codes in said] == expected[netuid]
            assert all((state == "queued") == (not codes) for _, state, codes in said)
            money_adds_up(world, scenes[netuid], oracle)
        sealed_are_listed(world, scenes)


def money_adds_up(world: World, scene: Scene, oracle: Oracle) -> None:
    """Each rao that came is a claimed fee, overpaid, or unclaimed, in the books and in the view."""
    netuid = scene.ledger.arena.netuid
    seen = scene.facts(PaymentSeen)
    came = {fact.block: 0 for fact in seen}
    for fact in seen:
        came[fact.block] += fact.amount_rao
    for number in range(OPENED_AT + 1, LAST_BLOCK + 1):
        assert came.get(number, 0) == received(world.chain[number], TREASURIES[netuid])
    served = {key: fee for key, (on, fee) in oracle.paid.items() if on == netuid}
    by_place = {(fact.block, fact.extrinsic_index): fact.amount_rao for fact in seen}
    fees = sum(served.values())
    overpaid = sum(by_place[key] - fee for key, fee in served.items())
    lines = scene.read(payments)
    unclaimed = sum(line["amount_rao"] for line in lines if line["status"] == "unclaimed")
    assert sum(line["overpaid_rao"] or 0 for line in lines) == overpaid
    assert sum(by_place.values()) == fees + overpaid + unclaimed
    books = {line["account"]: line["amount"] for line in scene.read(account_balances)}
    assert books.get(accounts.TREASURY, 0) == sum(by_place.values())
    assert books.get(accounts.FEE_INCOME, 0) == -fees
    assert books.get(accounts.OVERPAID, 0) == -overpaid
    assert books.get(accounts.UNCLAIMED, 0) == -unclaimed


def sealed_are_listed(world: World, scenes: dict[int, Scene]) -> None:
    """Every timelocked commitment is a line until a reveal of its hotkey came next."""
    for netuid, scene in scenes.items():
        came: dict[str, list[str]] = {}
        for number in range(OPENED_AT + 1, LAST_BLOCK + 1):
            for attempt in attempts_in(world.chain[number], netuid):
                what = "sealed" if attempt.sealed else "known"
                if attempt.succeeded:
                    kind = "revealed" if attempt.order[0] == 0 else what
                    came.setdefault(attempt.hotkey, []).append(kind)
                elif attempt.sealed:
                    came.setdefault(attempt.hotkey, []).append("refused")
        expected = []
        for hotkey, line in came.items():
            happened = [kind for kind in line if kind != "refused"]
            expected += [(hotkey, "refused")] * line.count("refused")
            for place, kind in enumerate(happened, start=1):
                after = happened[place] if place < len(happened) else None
                if kind == "sealed" and after != "revealed":
                    expected.append((hotkey, "overwritten" if after else "sealed"))
        shown = [
            (line["hotkey"], line["state"])
            for line in scene.read(every_commit)
            if line["reveal_block"] is None
        ]
        assert sorted(shown) == sorted(expected)


@through_a_ledger
@given(worlds())
def test_a_silent_node_defers_and_its_later_answers_judge_as_immediate_ones(world: World) -> None:
    with installation() as immediate, installation() as late:
        for number in range(OPENED_AT + 1, LAST_BLOCK + 1):
            ingest(world, immediate, number, outages=False)
            ingest(world, late, number, outages=True)
            answer_some(world, late, number)
        answer_some(world, late, None)
        assert verdicts(late) == verdicts(immediate)
        for netuid in (HERE, THERE):
            assert late[netuid].read(payments) == [
                {**line, "payment_id": line["payment_id"]}
                for line in immediate[netuid].read(payments)
            ]


def answer_some(world: World, scenes: dict[int, Scene], number: int | None) -> None:
    """Look again for what was deferred two blocks ago, or (None) at all, until nothing is."""
    reader = reader_of(world)
    for _ in range(2):
        for scene in scenes.values():
            for line in scene.read(deferred):
                if number is not None and number - line["block"] != 2:
                    continue
                payload = CommitPayload(
                    line["image"], line["digest"], line["payment_tx"], line["payment_block"]
                )
                evidence = gather_payment(
                    reader,
                    hotkey=line["hotkey"],
                    payload=payload,
                    commit_block_number=line["block"],
                )
                judge_deferred(scene.ledger, UUID(line["submission_id"]), evidence)
    if number is None:
        assert all(scene.read(deferred) == [] for scene in scenes.values())


@through_a_ledger
@given(worlds())
def test_a_credit_serves_its_hotkey_once_and_a_refund_ends_a_payment(world: World) -> None:
    oracle = Oracle(world.chain, world.rules())
    expected: list[tuple[str, set[str]]] = []
    with installation() as scenes:
        scene = scenes[HERE]
        attempts = list(in_order(world))
        for number in range(OPENED_AT + 1, LAST_BLOCK + 1):
            ids = ingest(world, scenes, number, outages=False)
            for attempt, commit in attempts:
                if attempt.block != number:
                    continue
                codes = oracle.judge(attempt, world.said.get(commit.payload))
                if attempt.netuid == HERE:
                    expected.append((attempt.hotkey, codes))
            for identity in ids[HERE]:
                credit_or_refund(world, scene, oracle, identity, number)
        said = verdicts(scenes)[HERE]
        assert [(hotkey, set(codes)) for hotkey, _, codes in said] == expected


def credit_or_refund(
    world: World, scene: Scene, oracle: Oracle, identity: UUID, number: int
) -> None:
    """Credit what was just accepted, as if its contest had failed; refund an unclaimed payment."""
    accepted = scene.ledger.load(Submission, identity)
    for tx in (tx for made in world.chain.values() for tx in made.txs):
        key = payment_id(GENESIS, world.chain[tx.number].block.hash, tx.index)
        payment = scene.ledger.load(Payment, key)
        if payment.consumed_by == identity and accepted.commit is not None and number % 2:
            hotkey = accepted.commit.hotkey
            _credit(scene.ledger, key, identity, hotkey)
            oracle.credits[tx.number, tx.index] = hotkey
            event("credited")
        elif str(ARENA) in payment.deposits and payment.taken_by is None and tx.number % 5 == 0:
            _refund(scene.ledger, key, number)
            oracle.used.add((tx.number, tx.index))
            event("refunded")


def _credit(ledger: Ledger, key: UUID, submission: UUID, hotkey: str) -> None:
    def work(unit: Unit) -> None:
        unit.get(Payment, key).credit(unit.context, submission, hotkey, "host_failed")

    ledger.decide(work)


def _refund(ledger: Ledger, key: UUID, number: int) -> None:
    def work(unit: Unit) -> None:
        payment = unit.get(Payment, key)
        payment.decide_refund(unit.context, "op", "asked for")
        payment.refund(unit.context, number, "0x", f"out:{key}")

    ledger.decide(work)
