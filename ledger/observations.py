"""Observations: what was merely seen. No rule, no state; they commute.

Each kind documents its fact key, which is what makes seeing it twice a no-op.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.facts import Observation, fact, upcast


@fact("seen.block.v1")
class BlockObserved(Observation, frozen=True, kw_only=True):
    """A finalized block was ingested: the arena's clock. Key: ``block:<arena>:<number>``.

    The same number with another hash is a conflict, so the log also proves an unbroken chain.
    """

    number: int
    hash: str
    parent_hash: str
    timestamp_ms: int | None
    spec_version: int

    @property
    def advances_to(self) -> int | None:
        """An arena's time moves by its blocks."""
        return self.number


@fact("seen.opening.v1")
class OpeningObserved(Observation, frozen=True, kw_only=True):
    """The block an arena opened at, as a node gave it. Key: ``opening:<arena>``.

    No time passes with it: the arena's opening did that. The first block read must follow it.
    """

    number: int
    hash: str
    parent_hash: str
    timestamp_ms: int | None
    spec_version: int


@fact("seen.gap.v1")
class GapObserved(Observation, frozen=True, kw_only=True):
    """Blocks that no node could give, or that the operator left out.

    Key: ``gap:<arena>:<from>:<to>``. Recorded with the block after them, and before what
    was observed anew there. A later run may fill it (:class:`BlockFilled`).
    """

    from_block: int
    to_block: int
    reason: str


@fact("seen.block_filled.v1")
class BlockFilled(Observation, frozen=True, kw_only=True):
    """A block of a gap was read after all. Key: ``block-filled:<arena>:<number>``.

    No time passes with it: what happened in the block is recorded late, at the head. Who came to
    hold what in it is history (the parallel tuples, None where the subnet's owner did not change):
    who holds it now was observed after the gap.
    """

    number: int
    hash: str
    parent_hash: str
    timestamp_ms: int | None
    spec_version: int
    uids: tuple[int, ...]
    hotkeys: tuple[str, ...]
    coldkeys: tuple[str, ...]
    swapped_hotkeys: tuple[str, ...]
    old_coldkeys: tuple[str, ...]
    new_coldkeys: tuple[str, ...]
    owner_hotkey: str | None
    owner_coldkey: str | None


@fact("seen.neuron.v1")
class NeuronObserved(Observation, frozen=True, kw_only=True):
    """From this block a UID belongs to that hotkey. Key: ``neuron:<arena>:<block>:<uid>``."""

    block: int
    uid: int
    hotkey: str
    coldkey: str
    replaced_hotkey: str | None


@fact("seen.uid_emptied.v1")
class UidEmptied(Observation, frozen=True, kw_only=True):
    """From this block nobody holds a UID. Key: ``uid-emptied:<arena>:<block>:<uid>``.

    Subnets can be trimmed to fewer UIDs; ``hotkey`` held it until then.
    """

    block: int
    uid: int
    hotkey: str


@fact("seen.owner_changed.v1")
class OwnerChanged(Observation, frozen=True, kw_only=True):
    """A hotkey's coldkey changed (a swap). Key: ``owner:<arena>:<block>:<hotkey>``."""

    block: int
    hotkey: str
    old_coldkey: str
    new_coldkey: str


@fact("seen.subnet_owner.v1")
class SubnetOwnerObserved(Observation, frozen=True, kw_only=True):
    """Who owns the subnet, which decides what UID burns. Key: ``subnet-owner:<arena>:<block>``."""

    block: int
    hotkey: str
    coldkey: str


@fact("seen.epoch.v1")
class EpochObserved(Observation, frozen=True, kw_only=True):
    """An epoch paid out: one row per hotkey, as parallel tuples. Key: ``epoch:<arena>:<block>``.

    Incentive is the miners' part and dividends the validators', in alpha units (10^-9).
    """

    block: int
    block_hash: str
    uids: tuple[int, ...]
    hotkeys: tuple[str, ...]
    coldkeys: tuple[str, ...]
    incentive_alpha: tuple[int, ...]
    dividends_alpha: tuple[int, ...]


@fact("seen.sealed_commit.v1")
class SealedCommitSeen(Observation, frozen=True, kw_only=True):
    """A timelocked commitment was made. Key: ``sealed:<arena>:<block hash>:<extrinsic>:<nth>``.

    What it says becomes known at its reveal, which is a commit of its own, or never: a later
    commitment of the hotkey takes its place, and one that does not decrypt is dropped silently.
    ``extrinsic_index`` is -1 where the runtime itself made it, ``nth`` tells the commitments of one
    extrinsic apart, ``reveal_round`` is drand's. ``succeeded`` is False where the runtime refused
    it (R9).
    """

    block: int
    block_hash: str
    hotkey: str
    coldkey: str | None
    uid: int | None
    extrinsic_index: int
    nth: int
    extrinsic_hash: str | None
    reveal_round: int | None
    succeeded: bool


@fact("seen.price.v1")
class PriceObserved(Observation, frozen=True, kw_only=True):
    """A price from a source at a block. Key: ``price:<arena>:<pair>:<source>:<block>``.

    ``price`` is in the smallest unit of the second asset per whole first one: ``TAO/USD`` in USD
    millionths per TAO, ``ALPHA/TAO`` in rao per alpha.
    """

    pair: Literal["TAO/USD", "ALPHA/TAO"]
    price: int
    source: str
    about_block: int


@fact("seen.balance.v1")
class BalanceObservedV1(Observation, frozen=True, kw_only=True):
    """The first form of :class:`BalanceObserved`, which named no statement."""

    asset: Literal["TAO", "USD", "ALPHA"]
    account: str
    amount: int
    source: Literal["chain", "provider"]
    about_block: int


@fact("seen.balance.v2")
class BalanceObserved(Observation, frozen=True, kw_only=True):
    """A balance as the outside states it. Key: ``balance:<arena>:<asset>:<account>:<block>``.

    ``source`` is ``chain`` (finalized state) or ``provider`` (a statement); ``account`` is the
    address or the provider's name. Where a person recorded it, ``statement`` says where it stands
    and ``actor`` who read it there; else None. A correction says in ``reason`` why what was
    recorded of that block before was wrong, and has a number behind its key.
    """

    asset: Literal["TAO", "USD", "ALPHA"]
    account: str
    amount: int
    source: Literal["chain", "provider"]
    about_block: int
    statement: str | None = None
    actor: str | None = None
    reason: str | None = None


@upcast("seen.balance.v1")
def balance_without_a_statement(old: BalanceObservedV1) -> BalanceObserved:
    """Nobody was asked for a statement then."""
    return BalanceObserved(**msgspec.structs.asdict(old))


@fact("seen.treasury_transfer.v1")
class TreasuryTransferSeen(Observation, frozen=True, kw_only=True):
    """TAO left the treasury's address on chain. Key: ``out:<arena>:<block hash>:<event index>``.

    Not a booking: what it was for is a decision of the treasury. Until that is recorded it is the
    break "on chain but not in the books".
    """

    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    destination: str
    amount_rao: int


@fact("seen.network_fee.v1")
class NetworkFeeSeen(Observation, frozen=True, kw_only=True):
    """The treasury paid a transaction fee. Key: ``fee:<arena>:<block hash>:<extrinsic index>``."""

    block: int
    block_hash: str
    extrinsic_index: int
    payer: str
    fee_rao: int


@fact("seen.alpha_burn.v1")
class AlphaBurnSeenV1(Observation, frozen=True, kw_only=True):
    """The first form of :class:`AlphaBurnSeen`, when only the treasury's burns were noted."""

    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    how: Literal["add_stake_burn", "burn_alpha", "recycle_alpha"]
    coldkey: str
    hotkey: str
    netuid: int
    spent_rao: int | None
    alpha: int


@fact("seen.alpha_burn.v2")
class AlphaBurnSeen(Observation, frozen=True, kw_only=True):
    """Alpha was burned on chain. Key: ``burn:<arena>:<block hash>:<extrinsic index>``.

    ``how`` keeps apart what DOMAIN 3 keeps apart; ``spent_rao`` is None where no TAO paid for it.
    ``by_treasury``: the treasury's address burned it; anybody else's is no business of its books.
    A further burn of the same extrinsic has ``:<place>`` behind its key. What the runtime itself
    burned has no extrinsic: its index is negative and its hash empty.
    """

    block: int
    block_hash: str
    extrinsic_index: int
    extrinsic_hash: str
    how: Literal["add_stake_burn", "burn_alpha", "recycle_alpha"]
    coldkey: str
    hotkey: str
    netuid: int
    spent_rao: int | None
    alpha: int
    by_treasury: bool


@upcast("seen.alpha_burn.v1")
def alpha_burn_of_the_treasury(old: AlphaBurnSeenV1) -> AlphaBurnSeen:
    """Only the treasury's own were noted then."""
    return AlphaBurnSeen(**msgspec.structs.asdict(old), by_treasury=True)


@fact("seen.registration_cost.v1")
class RegistrationCostSeen(Observation, frozen=True, kw_only=True):
    """TAO was burned for a registration. Key: ``registration-cost:<arena>:<block hash>:<event>``.

    ``event`` is the place of the registration's event in the block, as a block can register a UID
    twice. It is no burn of alpha and no part of the treasury's books (DOMAIN 3).
    """

    block: int
    uid: int
    hotkey: str
    payer: str
    cost_rao: int


@fact("seen.pool.v1")
class PoolObserved(Observation, frozen=True, kw_only=True):
    """The subnet's pool in the state of a block: rao, and alpha in 10^-9.

    Key: ``pool:<arena>:<block>``. ``alpha_out`` is all alpha outside the pool. The price beside it
    is a :class:`PriceObserved` of source ``chain``, where the runtime states one.
    """

    block: int
    tao_rao: int
    alpha_in: int
    alpha_out: int


@fact("seen.lock.v1")
class LockObserved(Observation, frozen=True, kw_only=True):
    """A coldkey's conviction lock at its last touch. Key: ``lock:<arena>:<block>:<coldkey>``.

    ``hotkey`` is whose conviction it builds, ``last_update`` the block of the touch, from which
    :mod:`ledger.rules.conviction` evaluates it; conviction is rounded down. A lock that is gone
    locks 0. ``unlock_blocks`` and ``maturity_blocks`` are the chain's rates then.
    """

    block: int
    hotkey: str
    coldkey: str
    locked_alpha: int
    conviction_alpha: int
    last_update: int
    perpetual: bool
    unlock_blocks: int
    maturity_blocks: int


@fact("seen.alpha_earned.v1")
class AlphaEarned(Observation, frozen=True, kw_only=True):
    """An epoch put alpha under the treasury's coldkey. Key: ``alpha-earned:<arena>:<block>:<how>``.

    ``how``: as a miner, as a validator, or as the subnet's owner, whose cut of the emission arrives
    as stake and shows in no transfer (DOMAIN 3). ``alpha`` in 10^-9, over all its hotkeys.
    """

    block: int
    block_hash: str
    coldkey: str
    how: Literal["incentive", "dividends", "owner_cut"]
    alpha: int


@fact("seen.invoice_line.v1")
class InvoiceLineSeenV1(Observation, frozen=True, kw_only=True):
    """The first form of :class:`InvoiceLineSeen`, which named an instance only."""

    provider: str
    invoice: str
    line: str
    instance: str
    seconds: int
    billed_usd_micros: int
    about_block: int


@fact("seen.invoice_line.v2")
class InvoiceLineSeen(Observation, frozen=True, kw_only=True):
    """A line of a provider's invoice. Key: ``invoice:<arena>:<provider>:<invoice>:<line>``.

    ``tag`` is our own request's UUID where the invoice repeats it; ``seconds`` and the Unix times
    of the billed stretch are None where it does not say. ``about_block``: the block it is about.
    """

    provider: str
    invoice: str
    line: str
    instance: str
    tag: str | None
    seconds: int | None
    from_s: int | None
    to_s: int | None
    billed_usd_micros: int
    about_block: int


@upcast("seen.invoice_line.v1")
def invoice_line_without_a_tag(old: InvoiceLineSeenV1) -> InvoiceLineSeen:
    """Nobody read a tag or the times of an invoice then."""
    return InvoiceLineSeen(**msgspec.structs.asdict(old), tag=None, from_s=None, to_s=None)


@fact("seen.weights_submitted.v1")
class WeightsSubmittedV1(Observation, frozen=True, kw_only=True):
    """As :class:`WeightsSubmitted`, of programs that did not know the nonce before sending.

    Key: ``weights-sent:<arena>:<validator>:<for_block>``.
    """

    for_block: int
    validator_hotkey: str
    uids: tuple[int, ...]
    hotkeys: tuple[str, ...]
    shares_ppm: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    version_key: int
    reason: str


@fact("seen.weights_submitted.v2")
class WeightsSubmitted(Observation, frozen=True, kw_only=True):
    """A vector is about to be sent. Key: ``weights-sent:<arena>:<validator>:<for_block>:<digest>``.

    ``for_block`` is the block it was computed for; the parallel tuples hold, by UID, who held it,
    its share in ppm and its u16 value. The validator's hotkey signs with exactly ``nonce``, after
    the finalized block ``sent_after``; both are None where version 1 did not record them.
    ``sealed_hash`` is the hash of the one extrinsic that is sent of it where its weights are sealed
    (nobody can look into that extrinsic when it has landed), None for plain weights.
    """

    for_block: int
    validator_hotkey: str
    uids: tuple[int, ...]
    hotkeys: tuple[str, ...]
    shares_ppm: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    version_key: int
    reason: str
    nonce: int | None
    sent_after: int | None
    sealed_hash: str | None = None

    @property
    def receipt_key(self) -> str:
        """The fact key of its receipt, which differs by its first word, in either version."""
        return self.fact_key.replace("weights-sent:", "weights-receipt:", 1)


@upcast("seen.weights_submitted.v1")
def submitted_with_nonce(old: WeightsSubmittedV1) -> WeightsSubmitted:
    """The nonce of an old one is not known; what became of it was found by its values."""
    return WeightsSubmitted(**msgspec.structs.asdict(old), nonce=None, sent_after=None)


@fact("seen.weights_receipt.v1")
class WeightsReceipt(Observation, frozen=True, kw_only=True):
    """What became of a sent vector. Key: ``weights-receipt:`` and the rest of the sending's key."""

    for_block: int
    validator_hotkey: str
    digest: str
    block: int | None
    extrinsic_hash: str | None
    success: bool
    error: str | None

    @property
    def sent_key(self) -> str:
        """The fact key of what it is the receipt of."""
        return self.fact_key.replace("weights-receipt:", "weights-sent:", 1)


@fact("seen.weights_on_chain.v1")
class WeightsReadBackV1(Observation, frozen=True, kw_only=True):
    """The first form of :class:`WeightsReadBack`, without the block the chain dates it to."""

    block: int
    validator_hotkey: str
    uids: tuple[int, ...]
    values: tuple[int, ...]
    digest: str


@fact("seen.weights_on_chain.v2")
class WeightsReadBack(Observation, frozen=True, kw_only=True):
    """What a validator holds on chain. Key: ``weights-held:<arena>:<validator>:<block>``.

    ``values`` are in the canonical u16 form, the largest 65,535, and ``digest`` is theirs, so that
    it can be held against a computed vector's. ``raw_values`` are the chain's own where those
    differ, else None. ``last_update`` is the block that the chain says the weights are of.
    """

    block: int
    validator_hotkey: str
    uids: tuple[int, ...]
    values: tuple[int, ...]
    digest: str
    raw_values: tuple[int, ...] | None = None
    last_update: int | None = None


@upcast("seen.weights_on_chain.v1")
def weights_without_a_date(old: WeightsReadBackV1) -> WeightsReadBack:
    """The publisher's own vectors, which are canonical; nobody asked what the chain dates them."""
    return WeightsReadBack(**msgspec.structs.asdict(old))


@fact("seen.conflict.v1")
class FactConflictSeen(Observation, frozen=True, kw_only=True):
    """A known key came with other content: an alarm. Key: ``conflict:<key>:<digest of content>``.

    The recorded fact stands; ``differs`` names the fields and both values.
    """

    conflicting_key: str
    topic_refused: str
    differs: str


@fact("seen.alert.v1")
class AlertRaised(Observation, frozen=True, kw_only=True):
    """Something needs a person. Key: ``alert:<arena>:<kind>:<block>``."""

    kind: str
    detail: str
    block: int
