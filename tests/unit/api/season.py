"""A small season recorded through the ledger's commands: what the faces are tested against.

Blocks 100 to 150 of one arena ("demo"/14): two reigns, a refused commit, a disqualified server, a
void round, vectors sent, two epochs, a closed treasury period with a named break, a queue and a
pause. The texts that come from outside (log tails, the reason of the pause) are hostile on purpose.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID, uuid5

from api.app import Services
from ledger.application import Ledger, Unit
from ledger.codes import DisqualificationCode, VoidCause
from ledger.commands.arena import open_arena, pause
from ledger.commands.block_facts import (
    AlphaBurned,
    BlockFacts,
    CommitFound,
    Deposit,
    EpochPaid,
    NeuronChange,
    Withdrawal,
)
from ledger.commands.blocks import record_block
from ledger.commands.causes import after, after_decision
from ledger.commands.contests import complete_contest, plan_contest, void_contest
from ledger.commands.money import record_balances
from ledger.decisions.contest import Contest, Holder
from ledger.decisions.rental import Rental
from ledger.decisions.treasury import Treasury
from ledger.keys import NAMESPACE, ArenaKey, submission_id, treasury_id
from ledger.observations import WeightsReceipt, WeightsSubmitted
from ledger.policy import parse_policy_toml
from ledger.queries.weights import vector_in_force
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.payments import PaymentEvidence, PaymentExtrinsic, TransferSeen

NETWORK: Final = "demo"
NETUID: Final = 14
ARENA: Final = ArenaKey("0x" + "5e" * 32, NETUID)
TRACK: Final = "tiny"
OPENED_AT: Final = 100
PERIOD_END: Final = 140
HEAD: Final = 150
FEE_RAO: Final = 100_000_000
OVERPAID_RAO: Final = 25_000_000
LOST_RAO: Final = 7_000_000
"""Left the treasury's address and is in no book: the period's named break."""
ALPHA: Final = 1_000_000_000

HOSTILE_LOG: Final = (
    "INFO starting engine\n"
    "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\n"
    "error: argument --kv-cache-dtype: invalid choice: 'fp8'"
)
HOSTILE_REASON: Final = "checking <b onmouseover=alert(1)>an exploit</b> & its fix"

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def address(name: str) -> str:
    """A well-formed SS58 address (format 42) that stands for ``name``."""
    body = bytes([42]) + hashlib.sha256(name.encode()).digest()
    check = hashlib.blake2b(b"SS58PRE" + body, digest_size=64).digest()[:2]
    number, text = int.from_bytes(body + check, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return text


TREASURY: Final = address("treasury")
VALIDATOR: Final = address("validator")
ALICE, BOB, CAROL, DAVE, ERIN = (
    address(name) for name in ("alice", "bob", "carol", "dave", "erin")
)
UIDS: Final = {address("owner"): 0, ALICE: 1, BOB: 2, CAROL: 3, DAVE: 4, ERIN: 5, VALIDATOR: 9}

POLICY: Final = f"""
name = "season"
[fee]
treasury_ss58 = "{TREASURY}"
[weights]
burn_uid = 0
[tracks.{TRACK}]
model = "tiny/reference"
[tracks.{TRACK}.emission]
phase = "block_ramp"
before_ppm = 20_000
floor_ppm = 100_000
start_block = 115
length_blocks = 100
[tracks.{TRACK}.scoring]
formula = "v2"
"""


def coldkey_of(hotkey: str) -> str:
    """The season's coldkey of a hotkey."""
    return address(f"coldkey of {hotkey}")


def block_hash(number: int) -> str:
    """The hash of a block of the season."""
    return "0x" + hashlib.sha256(f"block {number}".encode()).hexdigest()


def digest_of(hotkey: str) -> str:
    """The image digest that a hotkey commits."""
    return "sha256:" + hashlib.sha256(f"image of {hotkey}".encode()).hexdigest()


def extrinsic_hash(what: str) -> str:
    """The hash of an extrinsic of the season."""
    return "0x" + hashlib.sha256(f"extrinsic {what}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Season:
    """What was recorded: ids by who they belong to."""

    ledger: Ledger
    submissions: dict[str, UUID]
    """By hotkey: ALICE and DAVE were kings, BOB was disqualified, CAROL refused, ERIN waits."""
    first_contest: UUID
    second_contest: UUID
    void_round: UUID


def record_season(services: Services) -> Season:
    """Record the season in an empty database and bring the views up to date."""
    policy = parse_policy_toml(POLICY)
    ledger = open_arena(
        services.engine, ARENA, network=NETWORK, at_block=OPENED_AT, policy=policy, actor="alice"
    )
    record_balances(
        ledger,
        (("TAO", TREASURY, 5 * 10**9, "chain"), ("USD", "lium", 0, "provider")),
        about_block=OPENED_AT,
    )
    _register(ledger)
    submissions = {hotkey: _pay_and_commit(ledger, hotkey) for hotkey in (ALICE, BOB)}
    submissions[CAROL] = _commit_unpaid(ledger, CAROL)
    record_blocks(ledger, 110)
    first = _first_contest(ledger, submissions)
    _send_weights(services, ledger)
    record_blocks(ledger, 119)
    record_block(ledger, _epoch(120, {0: 900, 1: 100}))
    submissions[DAVE] = _pay_and_commit(ledger, DAVE)
    record_blocks(ledger, 125)
    second = _second_contest(ledger, submissions)
    _send_weights(services, ledger)
    _treasury(ledger, second)
    record_blocks(ledger, 143)
    submissions[ERIN] = _pay_and_commit(ledger, ERIN)
    record_blocks(ledger, 147)
    void = plan_contest(
        ledger, track=TRACK, challengers=[submissions[ERIN]], seed_block=147, attempt=1
    )
    void_contest(
        ledger, void, cause=VoidCause.BASELINE_FAILED, detail="the baseline did not become healthy"
    )
    record_blocks(ledger, HEAD)
    pause(ledger, "evaluation", reason=HOSTILE_REASON, actor="alice")
    services.refresh()
    return Season(ledger, submissions, first, second, void)


# -- blocks ---------------------------------------------------------------------------------


def _facts(number: int) -> BlockFacts:
    stamp = 1_780_000_000_000 + 12_000 * number
    return BlockFacts(number, block_hash(number), block_hash(number - 1), stamp, 250)


def _with(number: int, **parts: Any) -> BlockFacts:
    return replace(_facts(number), **parts)


def _next(ledger: Ledger) -> int:
    return ledger.head().effective_block + 1


def record_blocks(ledger: Ledger, to_block: int) -> None:
    """Record blocks in which nothing happens, up to and with ``to_block``."""
    for number in range(_next(ledger), to_block + 1):
        record_block(ledger, _facts(number))


def _register(ledger: Ledger) -> None:
    neurons = tuple(
        NeuronChange(uid, hotkey, coldkey_of(hotkey), None) for hotkey, uid in UIDS.items()
    )
    owner = address("owner")
    record_block(
        ledger, _with(_next(ledger), neurons=neurons, subnet_owner=(owner, coldkey_of(owner)))
    )


def _epoch(number: int, incentive_by_uid: dict[int, int]) -> BlockFacts:
    hotkeys = tuple(UIDS)
    paid = EpochPaid(
        uids=tuple(UIDS.values()),
        hotkeys=hotkeys,
        coldkeys=tuple(coldkey_of(hotkey) for hotkey in hotkeys),
        incentive_alpha=tuple(incentive_by_uid.get(uid, 0) * ALPHA for uid in UIDS.values()),
        dividends_alpha=tuple(41 * ALPHA if uid == 9 else 0 for uid in UIDS.values()),
    )
    return _with(number, epoch=paid)


# -- commits --------------------------------------------------------------------------------


def _payload(hotkey: str, paid_at: int) -> bytes:
    return json.dumps(
        {
            "image": f"registry.example/{hotkey[:6].lower()}/server:v1",
            "digest": digest_of(hotkey),
            "payment_tx": extrinsic_hash(f"fee of {hotkey}"),
            "payment_block": block_hash(paid_at),
        }
    ).encode()


def _pay_and_commit(ledger: Ledger, hotkey: str) -> UUID:
    paid_at = _next(ledger)
    amount = FEE_RAO + (OVERPAID_RAO if hotkey == BOB else 0)
    coldkey = coldkey_of(hotkey)
    remark = f"cacheon:{hotkey}:{digest_of(hotkey)}"
    deposit = Deposit(
        3, extrinsic_hash(f"fee of {hotkey}"), coldkey, amount, "Utility.batch_all", (remark,)
    )
    record_block(ledger, _with(paid_at, deposits=(deposit,)))
    evidence = PaymentEvidence(
        paid_at,
        PaymentExtrinsic(
            3,
            "Utility.batch_all",
            success=True,
            signer=coldkey,
            transfers=(TransferSeen(TREASURY, amount, executed=True),),
            remarks=(remark,),
        ),
        coldkey,
    )
    return _commit(ledger, hotkey, _payload(hotkey, paid_at), evidence)


def _commit_unpaid(ledger: Ledger, hotkey: str) -> UUID:
    """A commit that names a block nobody knows; its hotkey's coldkey paid without the remark."""
    number = _next(ledger)
    deposit = Deposit(
        2,
        extrinsic_hash(f"lone transfer of {hotkey}"),
        coldkey_of(hotkey),
        FEE_RAO,
        "Balances.transfer_keep_alive",
        (),
    )
    record_block(ledger, _with(number, deposits=(deposit,)))
    return _commit(ledger, hotkey, _payload(hotkey, 9), PaymentEvidence())


def _commit(ledger: Ledger, hotkey: str, payload: bytes, evidence: PaymentEvidence) -> UUID:
    number = _next(ledger)
    parsed = parse_payload(payload)
    assert isinstance(parsed, CommitPayload), parsed
    commit = CommitFound(
        hotkey=hotkey,
        coldkey=coldkey_of(hotkey),
        uid=UIDS[hotkey],
        form="plain",
        index=4,
        payload=payload,
        parsed=parsed,
        succeeded=True,
        evidence=evidence,
    )
    record_block(ledger, _with(number, commits=(commit,)))
    return submission_id(ledger.arena, hotkey, number, commit.place, payload)


# -- contests -------------------------------------------------------------------------------


def _first_contest(ledger: Ledger, submissions: dict[str, UUID]) -> UUID:
    contest = plan_contest(
        ledger,
        track=TRACK,
        challengers=[submissions[ALICE], submissions[BOB]],
        seed_block=110,
        attempt=1,
    )
    _baseline(ledger, contest)
    _scored(ledger, contest, submissions[ALICE], ALICE, saved_ppm=120_000)

    def fail(unit: Unit) -> None:
        found = unit.get(Contest, contest)
        found.measure(
            after(unit, found),
            submissions[BOB],
            holder=WORKER,
            hotkey=BOB,
            status="disqualified",
            code=DisqualificationCode.EXITED_AT_START.value,
            detail="the server ended with status 2 before it answered /health",
            log_tail=HOSTILE_LOG,
            evidence_digest=digest_of("bob's evidence"),
            **_NOT_TIMED,
        )

    ledger.decide(fail)
    complete_contest(ledger, contest, holder=WORKER)
    return contest


def _second_contest(ledger: Ledger, submissions: dict[str, UUID]) -> UUID:
    contest = plan_contest(
        ledger, track=TRACK, challengers=[submissions[DAVE]], seed_block=125, attempt=1
    )
    _baseline(ledger, contest)
    _scored(ledger, contest, submissions[ALICE], ALICE, saved_ppm=110_000)
    _scored(ledger, contest, submissions[DAVE], DAVE, saved_ppm=210_000)
    complete_contest(ledger, contest, holder=WORKER)
    return contest


WORKER: Final = Holder("pod-1/0", "a")
_BASELINE_E2E_US: Final = (4_000_000, 4_100_000, 3_900_000)
_GATES: Final = ("top1_ppm", "mean_margin_milli", "p99_margin_milli", "spread_ppm")
_NOT_TIMED: Final[dict[str, object]] = {
    "baseline_ttft_us": (),
    "baseline_e2e_us": (),
    "baseline_tokens": (),
    "ttft_us": (),
    "e2e_us": (),
    "tokens": (),
    **dict.fromkeys((*_GATES, "repeat_gain_ppm")),
}


def _baseline(ledger: Ledger, contest: UUID) -> None:
    def work(unit: Unit) -> None:
        found = unit.get(Contest, contest)
        found.claim_for(after(unit, found), WORKER, unit.block + 20)
        found.measure_baseline(
            after(unit, found),
            holder=WORKER,
            image="registry.example/baseline@" + digest_of("baseline"),
            prompts=3,
            prompts_digest=digest_of("prompts"),
            median_ttft_us=200_000,
            median_e2e_us=4_000_000,
            median_tokens=64,
        )

    ledger.decide(work)


def _scored(
    ledger: Ledger, contest: UUID, submission: UUID, hotkey: str, *, saved_ppm: int
) -> None:
    e2e_us = tuple(us - us * saved_ppm // 1_000_000 for us in _BASELINE_E2E_US)

    def work(unit: Unit) -> None:
        found = unit.get(Contest, contest)
        found.measure(
            after(unit, found),
            submission,
            holder=WORKER,
            hotkey=hotkey,
            status="scored",
            code=None,
            detail="",
            log_tail="",
            evidence_digest=digest_of(f"evidence of {hotkey} in {contest}"),
            baseline_ttft_us=(200_000,) * 3,
            baseline_e2e_us=_BASELINE_E2E_US,
            baseline_tokens=(64,) * 3,
            ttft_us=(150_000,) * 3,
            e2e_us=e2e_us,
            tokens=(64,) * 3,
            top1_ppm=995_000,
            mean_margin_milli=3,
            p99_margin_milli=90,
            spread_ppm=800_000,
            repeat_gain_ppm=5_000,
        )

    ledger.decide(work)


# -- weights and money ----------------------------------------------------------------------


def _send_weights(services: Services, ledger: Ledger) -> None:
    with services.at(NETWORK, NETUID) as scope:
        vector = vector_in_force(scope)
    uid_hotkeys = {uid: hotkey for hotkey, uid in UIDS.items()}
    shares: dict[int, int] = {}
    for share in vector.explained:
        shares[share.uid] = shares.get(share.uid, 0) + share.ppm
    for_block = ledger.head().effective_block

    def send(unit: Unit) -> WeightsSubmitted:
        unit.context = after_decision(unit, for_block)
        return unit.observe(
            WeightsSubmitted,
            f"weights-sent:{ARENA}:{VALIDATOR}:{for_block}:{vector.digest}",
            for_block=for_block,
            validator_hotkey=VALIDATOR,
            uids=vector.uids,
            hotkeys=tuple(uid_hotkeys[uid] for uid in vector.uids),
            shares_ppm=tuple(shares[uid] for uid in vector.uids),
            values=vector.values,
            digest=vector.digest,
            version_key=1,
            reason="results changed",
            nonce=0,
            sent_after=for_block,
        )

    def land(unit: Unit) -> None:
        unit.because(sent)
        unit.observe(
            WeightsReceipt,
            sent.receipt_key,
            for_block=for_block,
            validator_hotkey=VALIDATOR,
            digest=vector.digest,
            block=unit.block,
            extrinsic_hash=extrinsic_hash(f"weights {for_block}"),
            success=True,
            error=None,
        )

    sent = ledger.decide(send)
    record_blocks(ledger, for_block + 1)
    ledger.decide(land)


def _treasury(ledger: Ledger, contest: UUID) -> None:
    """A buyback, a rental, an outflow that nobody booked; then the period closes."""

    def plan(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.contribute(
            unit.context,
            reference="receipt-1",
            asset="USD",
            amount=50_000_000,
            provider="lium",
            contributor="a friend",
            about_block=unit.block,
            actor="alice",
        )
        treasury.plan_buyback(unit.context, 150_000_000, 20_000_000, "alice")
        treasury.approve_buyback(after(unit, treasury), 1, "bert")
        treasury.send_buyback(after(unit, treasury), 1, 150_000_000, 0)

    def rent(unit: Unit) -> None:
        rental = unit.get(Rental, uuid5(NAMESPACE, "rental of the season"))
        rental.request(
            unit.context,
            provider="lium",
            tier="8xH200",
            max_usd_micros_per_hour=30_000_000,
            contest_id=contest,
        )
        rental.start(
            after(unit, rental),
            instance="pod-1",
            usd_micros_per_hour=24_000_000,
            started_at_s=1_780_001_500,
        )
        rental.end(after(unit, rental), 1_780_005_100, "the contest ended")
        rental.book_cost(after(unit, rental), unit.block)

    ledger.decide(plan)
    ledger.decide(rent)
    bought_at = _next(ledger)
    bought, lost = extrinsic_hash("buyback 1"), extrinsic_hash("lost")
    burn = AlphaBurned(
        1, bought, "add_stake_burn", TREASURY, VALIDATOR, NETUID, 150_000_000, 8 * ALPHA
    )
    record_block(
        ledger,
        _with(
            bought_at,
            burns=(burn,),
            withdrawals=(Withdrawal(7, 2, lost, address("nobody knows"), LOST_RAO),),
        ),
    )

    def executed(unit: Unit) -> None:
        treasury = unit.get(Treasury, treasury_id(unit.context.arena))
        treasury.execute_buyback(
            after(unit, treasury),
            1,
            block=bought_at,
            block_hash=block_hash(bought_at),
            extrinsic_index=1,
            extrinsic_hash=bought,
            netuid=NETUID,
            spent_rao=150_000_000,
            burned_alpha=8 * ALPHA,
            about_block=bought_at,
        )

    def close(unit: Unit) -> None:
        unit.get(Treasury, treasury_id(unit.context.arena)).close_period(
            unit.context, PERIOD_END, OPENED_AT, "alice"
        )

    ledger.decide(executed)
    record_blocks(ledger, PERIOD_END - 1)
    record_block(ledger, _epoch(PERIOD_END, {0: 675, 4: 260, 1: 65}))
    in_rao = 4 * FEE_RAO + OVERPAID_RAO
    closing_rao = 5 * 10**9 + in_rao - 150_000_000 - LOST_RAO
    record_balances(
        ledger,
        (("TAO", TREASURY, closing_rao, "chain"), ("USD", "lium", 26_000_000, "provider")),
        about_block=PERIOD_END,
    )
    ledger.decide(close)
