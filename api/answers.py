"""The shapes of the answers, with units: what a client may rely on and what OpenAPI shows.

Amounts are integers in the smallest unit; a field's name ends in its unit, and where one field
holds several assets (``amount``) the asset stands beside it: ``TAO`` counts in rao (10^-9), ``USD``
in millionths of a dollar, ``ALPHA:<netuid>`` in 10^-9 alpha. ``None`` is unknown, never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from ledger.books.lights import Light
from ledger.queries.comparison import ExplainedUid, ValidatorLine
from ledger.queries.emissions import EpochLine, RampPoint
from ledger.queries.payout_sums import PayoutPeriod
from ledger.queries.payouts import PayoutLine
from ledger.queries.standing import GapLine
from ledger.queries.treasury import CorrectionLine, TreasuryLine

RaoInt = Annotated[int, Meta(description="rao: 10^-9 TAO")]
AlphaInt = Annotated[int, Meta(description="10^-9 of the subnet's alpha")]
UsdMicrosInt = Annotated[int, Meta(description="millionths of a US dollar")]
AssetInt = Annotated[int, Meta(description="the asset's smallest unit; debits are above zero")]
PpmInt = Annotated[int, Meta(description="parts per million")]
MicrosecondInt = Annotated[int, Meta(description="microseconds")]
MilliLogitInt = Annotated[int, Meta(description="thousandths of a logit")]
BlockInt = Annotated[int, Meta(description="block number")]

ItemT = TypeVar("ItemT")


class Part(msgspec.Struct, Generic[ItemT], frozen=True):
    """One list inside an answer: how many there are, and the page of them."""

    total: int
    items: Sequence[ItemT]


class Listing(msgspec.Struct, Generic[ItemT], frozen=True):
    """A page of a list at a block: items ``offset`` to ``offset + limit`` of ``total``."""

    block: BlockInt
    position: int
    total: int
    limit: int
    offset: int
    items: Sequence[ItemT]


class WeightsCompared(msgspec.Struct, frozen=True):
    """The vector computed at the block, and what each validator submitted and holds."""

    block: BlockInt
    position: int
    computed_digest: str
    uids: tuple[int, ...]
    values: tuple[int, ...]
    limit: int
    offset: int
    validators: Part[ValidatorLine]


class WeightsExplained(msgspec.Struct, frozen=True):
    """Why each UID has its share of the vector at the block."""

    block: BlockInt
    position: int
    policy: str
    digest: str
    uids: Sequence[ExplainedUid]


class ArenaLine(msgspec.Struct, frozen=True):
    """An arena's log and where its head stands."""

    network: str
    netuid: int
    genesis: str
    head_block: BlockInt
    head_position: int


class Arenas(msgspec.Struct, frozen=True):
    """All arenas of this database."""

    arenas: Sequence[ArenaLine]


class ViewLine(msgspec.Struct, frozen=True):
    """How far a view has folded an arena's log; ``behind`` facts are still to come."""

    view: str
    position: int
    behind: int


class ArenaHealth(msgspec.Struct, frozen=True):
    """An arena's head and its views."""

    arena: ArenaLine
    views: Sequence[ViewLine]


class Health(msgspec.Struct, frozen=True):
    """``status`` is ``ok``; a database that does not answer is an error with status 503.

    A view that is behind is brought up to date by the next question asked of it.
    """

    status: str
    database: str
    arenas: Sequence[ArenaHealth]


class ThroneLine(msgspec.Struct, frozen=True):
    """Who holds a track's throne; all None where nobody does."""

    track: str
    king_hotkey: str | None
    king_score_ppm: PpmInt | None
    since_block: BlockInt | None
    runner_up_hotkey: str | None
    runner_up_score_ppm: PpmInt | None


class Status(msgspec.Struct, frozen=True):
    """An arena at a block, in one look. ``paused`` gives the reason by switch.

    ``gaps`` are blocks that were or are missing in the log; up to ``last_safe_block`` none is, and
    nothing will be added. ``block`` and ``position`` are what was asked for; the head moves on, so
    that even a status of the past is not the same for ever.
    """

    network: str
    netuid: int
    genesis: str
    block: BlockInt
    position: int
    head_block: BlockInt
    head_position: int
    policy: str
    policy_digest: str
    paused: dict[str, str]
    thrones: Sequence[ThroneLine]
    ramp: Sequence[RampPoint]
    queue_length: int
    burn_uid: int
    burn_uid_eligible: bool | None
    last_safe_block: BlockInt
    gaps: Sequence[GapLine]


class Emissions(msgspec.Struct, frozen=True):
    """The pool of each track now, and what every epoch paid. Alpha in 10^-9, pools in ppm."""

    block: BlockInt
    position: int
    limit: int
    offset: int
    ramp: Sequence[RampPoint]
    epochs: Part[EpochLine]


class AccountBalance(msgspec.Struct, frozen=True):
    """The journal's balance of one account in one asset."""

    account: str
    asset: str
    amount: AssetInt


class BuybackLine(msgspec.Struct, frozen=True):
    """A buyback and how far it came: planned, approved, sent, executed or failed."""

    number: int
    status: str
    max_rao: RaoInt
    max_price_rao: Annotated[int, Meta(description="rao per whole alpha")]
    planned_by: str
    approved_by: str | None
    spent_rao: RaoInt | None
    burned_alpha: AlphaInt | None
    block: BlockInt | None
    extrinsic_hash: str | None
    detail: str | None


UnixSeconds = Annotated[int, Meta(description="Unix time of the provider, s")]
OurSeconds = Annotated[int, Meta(description="Unix time of our clock, s")]


class RentalLine(msgspec.Struct, frozen=True):
    """A rented machine, its meter in whole seconds and its cost.

    ``status``: requested, refused, created, running, stopping, ended or booked. ``lost`` were asked
    for without an answer, ``adopted`` found running without a request. ``assumed`` names what the
    provider never stated of its meter. ``works_for`` is the contest it serves now.
    """

    rental_id: str
    provider: str
    tier: str
    offer: str | None
    region: str | None
    round: str | None
    contest_id: str | None
    status: str
    adopted: bool
    lost: bool
    found_by: str | None
    reason: str | None
    instance: str | None
    address: str | None
    assumed: str | None
    came_up: bool
    max_usd_micros_per_hour: UsdMicrosInt
    offered_usd_micros_per_hour: UsdMicrosInt | None
    usd_micros_per_hour: UsdMicrosInt | None
    reprices: int
    requested_by: str | None
    requested_at_s: OurSeconds | None
    started_at_s: UnixSeconds | None
    ended_at_s: UnixSeconds | None
    works_for: str | None
    stops: int
    volumes_left: int
    seconds: int | None
    billed_seconds: int | None
    settlement: str | None
    cost_usd_micros: UsdMicrosInt | None
    corrected_usd_micros: UsdMicrosInt
    billed_usd_micros: UsdMicrosInt | None
    about_block: BlockInt | None


class TreasuryAnswer(msgspec.Struct, frozen=True):
    """The treasury; ``limit`` and ``offset`` cut each of the lists alike."""

    block: BlockInt
    position: int
    limit: int
    offset: int
    lines: Part[TreasuryLine]
    balances: Part[AccountBalance]
    buybacks: Part[BuybackLine]
    rentals: Part[RentalLine]


class TreasuryReconciled(msgspec.Struct, frozen=True):
    """A stretch of the books against what the outside states, and the worst of its lights.

    ``period`` is 0 for a stretch that is no period. ``totals`` are of what is held, so that
    payables stand among the accounts and in no total. ``corrections`` are of statements of the
    stretch that were recorded otherwise before.
    """

    block: BlockInt
    position: int
    period: int
    closed: bool
    from_block: BlockInt
    to_block: BlockInt
    light: Light
    accounts: Sequence[TreasuryLine]
    totals: Sequence[TreasuryLine]
    corrections: Sequence[CorrectionLine]


class JournalLine(msgspec.Struct, frozen=True):
    """A posting, the event it belongs to, and the balance of its account and asset after it.

    ``event`` is the event's type, and ``position`` and ``fact_key`` say which one it is.
    """

    position: int
    event: str
    fact_key: str
    recorded_at_block: BlockInt
    about_block: BlockInt
    account: str
    asset: str
    amount: AssetInt
    balance: AssetInt
    reference: str | None


class PaymentLine(msgspec.Struct, frozen=True):
    """A payment to the treasury, and what became of it.

    ``status`` is unclaimed, expired, consumed, credited, refund decided, refunded or contributed.
    ``extrinsic_hash`` and ``block_hash`` are what a commit names as ``payment_tx`` and
    ``payment_block``; ``remarks`` are those of its direct children, text or ``0x`` hex. The claim
    is the newest one, open, granted, refused or lapsed; ``credit_of`` is the hotkey that has an
    unused credit of it, ``decided_by`` and ``reason`` are of the newest decision about it.
    """

    payment_id: str
    block: BlockInt
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    sender: str
    amount_rao: RaoInt
    outer_call: str
    remarks: Sequence[str]
    status: str
    submission_id: str | None
    hotkey: str | None
    overpaid_rao: RaoInt | None
    claim_number: int | None
    claim_wants: str | None
    claim_hotkey: str | None
    claim_state: str | None
    credit_of: str | None
    decided_by: str | None
    reason: str | None
    refund_extrinsic_hash: str | None


class Payouts(msgspec.Struct, frozen=True):
    """A statement by hotkey or coldkey: sums over all its lines, and a page of them.

    By period it has ``periods`` and no lines; ``periods`` is null otherwise.
    """

    address: str
    block: BlockInt
    position: int
    entitled_alpha: AlphaInt
    paid_alpha: AlphaInt
    withheld_alpha: AlphaInt
    dividends_alpha: AlphaInt
    difference_alpha: AlphaInt
    misdirected_alpha: AlphaInt
    lost_alpha: AlphaInt
    paid_rao: RaoInt | None
    dividends_rao: RaoInt | None
    unpriced_alpha: AlphaInt
    total: int
    limit: int
    offset: int
    lines: Sequence[PayoutLine]
    periods: Sequence[PayoutPeriod] | None = None


class SubmissionLine(msgspec.Struct, frozen=True):
    """A commit and what became of it.

    ``codes`` are those of its refusal or disqualification, ``rules`` the payment rules (R1 to R10)
    they stand for; ``place`` is its index in the block, ``nth`` tells the commitments of one
    extrinsic apart, ``queue_place`` counts from 1 while it waits; ``log_tail`` is the end of its
    own server's log, as that server wrote it.
    """

    submission_id: str
    track: str
    hotkey: str
    coldkey: str | None
    uid: int | None
    form: str
    block: BlockInt
    block_hash: str
    place: int
    nth: int
    image: str | None
    digest: str | None
    payment_tx: str | None
    payment_block: str | None
    accepted: bool | None
    status: str
    codes: Sequence[str]
    rules: Sequence[str]
    detail: str
    payment_id: str | None
    fee_rao: RaoInt | None
    overpaid_rao: RaoInt | None
    by_credit: bool | None
    fingerprint: str | None
    contest_id: str | None
    attempts: int
    score_ppm: PpmInt | None
    log_tail: str | None
    evidence_digest: str | None
    changed_at_block: BlockInt
    queue_place: int | None


class CommitLine(msgspec.Struct, frozen=True):
    """A commit ever seen, in short.

    ``reveal_block`` is the block it became known in: of the commit, or of its reveal. It is None
    for a timelocked one that is ``sealed``, or ``overwritten`` by a later commit of its hotkey
    before it was revealed; nobody knows then what it says. ``state`` is otherwise that of its
    submission. ``refusals`` are the codes of all rules it breaks, ``refusal`` the first of them.
    """

    hotkey: str
    uid: int | None
    coldkey: str | None
    reveal_block: BlockInt | None
    image: str | None
    digest: str | None
    payment_tx: str | None
    payment_block: str | None
    state: str
    refusal: str | None
    refusals: Sequence[str]


class SealedLine(msgspec.Struct, frozen=True):
    """A timelocked commitment that was not revealed: sealed, overwritten, or refused."""

    hotkey: str
    uid: int | None
    coldkey: str | None
    block: BlockInt
    place: int
    nth: int
    extrinsic_hash: str | None
    reveal_round: Annotated[int, Meta(description="drand round")] | None
    succeeded: bool
    state: str


class ReignLine(msgspec.Struct, frozen=True):
    """A reign, from crowning to fall; a running one has no end yet."""

    track: str
    number: int
    hotkey: str
    submission_id: str
    contest_id: str
    how: str
    previous_hotkey: str | None
    won_score_ppm: PpmInt
    last_score_ppm: PpmInt
    needed_ppm: PpmInt | None
    reached_ppm: PpmInt | None
    why: str
    won_at_block: BlockInt
    defended: int
    ended_at_block: BlockInt | None
    ended_by: str | None
    ended_detail: str | None
    annotation: str | None


class EntrantLine(msgspec.Struct, frozen=True):
    """An entrant of a contest; None where nothing was measured."""

    place: int
    submission_id: str
    hotkey: str
    role: str
    image: str
    digest: str
    status: str | None
    code: str | None
    detail: str | None
    log_tail: str | None
    score_ppm: PpmInt | None
    lower_ppm: PpmInt | None
    upper_ppm: PpmInt | None
    top1_ppm: PpmInt | None
    mean_margin_milli: MilliLogitInt | None
    p99_margin_milli: MilliLogitInt | None
    spread_ppm: PpmInt | None
    repeat_gain_ppm: PpmInt | None
    median_e2e_us: MicrosecondInt | None
    evidence_digest: str | None
    fingerprint: str | None
    image_bytes: int | None
    gpu_ms: int | None


class ContestLine(msgspec.Struct, frozen=True):
    """An attempt: planned, running, completed or void; its entrants in the order of judging."""

    contest_id: str
    track: str
    attempt: int
    seed_block: BlockInt
    seed_block_hash: str
    policy_digest: str
    status: str
    host: str | None
    worker: str | None
    claimed_until_block: BlockInt | None
    planned_at_block: BlockInt
    ended_at_block: BlockInt | None
    void_cause: str | None
    detail: str
    baseline_image: str | None
    baseline_median_e2e_us: MicrosecondInt | None
    baseline_median_ttft_us: MicrosecondInt | None
    prompts: int | None
    prompts_digest: str | None
    king_hotkey: str | None
    reasons: Sequence[str]
    manifest_digest: str | None
    evidence_url: str | None
    calibration: str | None
    client_lag_p99_us: MicrosecondInt | None
    drift_ppm: PpmInt | None
    clock_drift_ppm: PpmInt | None
    host_facts: dict[str, str]
    baseline_gpu_ms: int | None
    entrants: Sequence[EntrantLine]


class PolicyView(msgspec.Struct, frozen=True):
    """The policy in force at ``block``, since ``from_block``, with every default written out."""

    block: BlockInt
    from_block: BlockInt
    digest: str
    policy: dict[str, Any]


class ErrorDetail(msgspec.Struct, frozen=True):
    """A stable code and one sentence."""

    code: str
    message: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """What every error looks like."""

    error: ErrorDetail


LineT = TypeVar("LineT", bound=msgspec.Struct)


def shaped(kind: type[LineT], rows: Sequence[dict[str, Any]]) -> list[LineT]:
    """Rows of a query in the shape that is promised; a query that lacks a field of it fails."""
    return [msgspec.convert(row, kind) for row in rows]
