"""What the rim hands over of one finalized block, for the commands of this package to record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ledger.rules.payload import CommitPayload, MalformedPayload
from ledger.rules.payments import PaymentEvidence


@dataclass(frozen=True, slots=True)
class NeuronChange:
    """A UID came to a hotkey; ``replaced_hotkey`` held it before, None if nobody did."""

    uid: int
    hotkey: str
    coldkey: str
    replaced_hotkey: str | None


@dataclass(frozen=True, slots=True)
class OwnerChange:
    """A hotkey's coldkey changed."""

    hotkey: str
    old_coldkey: str
    new_coldkey: str


@dataclass(frozen=True, slots=True)
class Deposit:
    """One extrinsic of the block moved money to the treasury."""

    extrinsic_index: int
    extrinsic_hash: str
    sender: str
    amount_rao: int
    outer_call: str
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A transfer out of the treasury's address."""

    event_index: int
    extrinsic_index: int
    extrinsic_hash: str
    destination: str
    amount_rao: int


@dataclass(frozen=True, slots=True)
class FeePaid:
    """A transaction fee the treasury's address paid."""

    extrinsic_index: int
    fee_rao: int


@dataclass(frozen=True, slots=True)
class AlphaBurned:
    """Alpha burned by anybody on the subnet; ``spent_rao`` is None where no TAO paid for it."""

    extrinsic_index: int
    extrinsic_hash: str
    how: str
    coldkey: str
    hotkey: str
    netuid: int
    spent_rao: int | None
    alpha: int


@dataclass(frozen=True, slots=True)
class RegistrationPaid:
    """What a registration cost; ``event_index`` is the place of its event in the block."""

    event_index: int
    uid: int
    hotkey: str
    payer: str
    cost_rao: int


@dataclass(frozen=True, slots=True)
class PoolSeen:
    """The pool's reserves and price; ``price_rao`` (rao per alpha) is None where none is stated."""

    tao_rao: int
    alpha_in: int
    alpha_out: int
    price_rao: int | None


@dataclass(frozen=True, slots=True)
class HeldWeights:
    """The weights a validator holds, u16 as the chain keeps them; empty if it holds none."""

    validator_hotkey: str
    uids: tuple[int, ...]
    values: tuple[int, ...]
    last_update: int | None


@dataclass(frozen=True, slots=True)
class LockSeen:
    """A coldkey's conviction lock at its last touch; see ``LockObserved`` for the fields."""

    coldkey: str
    hotkey: str
    locked_alpha: int
    conviction_alpha: int
    last_update: int
    perpetual: bool
    unlock_blocks: int
    maturity_blocks: int


@dataclass(frozen=True, slots=True)
class EpochPaid:
    """An epoch's rows, as parallel tuples; alpha in 10^-9.

    ``previous_block`` is the block of the epoch before, 0 for the first, None where unknown.
    """

    uids: tuple[int, ...]
    hotkeys: tuple[str, ...]
    coldkeys: tuple[str, ...]
    incentive_alpha: tuple[int, ...]
    dividends_alpha: tuple[int, ...]
    previous_block: int | None = None


@dataclass(frozen=True, slots=True)
class AlphaEarnedFound:
    """What an epoch put under the treasury's coldkey, in 10^-9 alpha."""

    how: Literal["incentive", "dividends", "owner_cut"]
    alpha: int


@dataclass(frozen=True, slots=True)
class CommitFound:
    """A commit that became known in the block, with what the chain showed about its payment.

    ``evidence`` is None where the node could not answer; ``unanswered`` then says what failed.
    """

    hotkey: str
    coldkey: str | None
    uid: int | None
    form: str
    index: int
    payload: bytes
    parsed: CommitPayload | MalformedPayload
    succeeded: bool
    evidence: PaymentEvidence | None
    unanswered: str = ""
    nth: int = 0

    @property
    def place(self) -> str:
        """The place in the block: ``r<n>`` among reveals, ``x<n>`` as an extrinsic.

        Further commitments of one extrinsic are ``x<n>.1``, ``x<n>.2`` and so on.
        """
        further = f".{self.nth}" if self.nth else ""
        return f"{'r' if self.form == 'timelocked' else 'x'}{self.index}{further}"

    @property
    def order(self) -> tuple[int, int, int]:
        """The order of judging inside the block: reveals before extrinsics, then by place."""
        return (0 if self.form == "timelocked" else 1, self.index, self.nth)


@dataclass(frozen=True, slots=True)
class SealedFound:
    """A timelocked commitment was made in the block; it becomes a commit at its reveal, if ever.

    ``succeeded`` is False for one that the runtime refused; ``extrinsic_index`` is -1 where the
    runtime itself made it.
    """

    hotkey: str
    coldkey: str | None
    uid: int | None
    extrinsic_index: int
    nth: int
    extrinsic_hash: str | None
    reveal_round: int | None
    succeeded: bool


@dataclass(frozen=True, slots=True)
class EmptiedUid:
    """Nobody holds a UID any longer; ``hotkey`` held it before."""

    uid: int
    hotkey: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Blocks that are not in the log, both ends included, and why."""

    from_block: int
    to_block: int
    reason: str


@dataclass(frozen=True, slots=True)
class SeenAnew:
    """What was observed anew in the state of a block, because the log could not follow to it.

    The registry's changes since the log's last block are the block's ``neurons``, ``emptied``,
    ``owners`` and ``subnet_owner``; besides them balances as (asset, account, amount, source).
    ``unknown`` says of each balance that the node could not give why. ``gap`` is None where only
    the state at the opening was missing.
    """

    gap: Gap | None
    balances: tuple[tuple[str, str, int, str], ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockFacts:
    """Everything the ledger wants to know of one finalized block.

    ``upgraded_from`` is the runtime's version in the block before where it was another one.
    """

    number: int
    hash: str
    parent_hash: str
    timestamp_ms: int | None
    spec_version: int
    neurons: tuple[NeuronChange, ...] = ()
    emptied: tuple[EmptiedUid, ...] = ()
    owners: tuple[OwnerChange, ...] = ()
    subnet_owner: tuple[str, str] | None = None
    deposits: tuple[Deposit, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    fees: tuple[FeePaid, ...] = ()
    burns: tuple[AlphaBurned, ...] = ()
    registrations: tuple[RegistrationPaid, ...] = ()
    epoch: EpochPaid | None = None
    pool: PoolSeen | None = None
    treasury_alpha: int | None = None
    earned: tuple[AlphaEarnedFound, ...] = ()
    """What the block's epoch paid to the treasury, as far as that can be told."""
    weights: tuple[HeldWeights, ...] = ()
    locks: tuple[LockSeen, ...] = ()
    commits: tuple[CommitFound, ...] = ()
    sealed: tuple[SealedFound, ...] = ()
    alerts: tuple[tuple[str, str], ...] = ()
    """Kind and detail of what needs a person."""
    seen_anew: SeenAnew | None = None
    upgraded_from: int | None = None

    def header(self) -> dict[str, Any]:
        """What a fact says of the block itself, besides its number."""
        return {
            "hash": self.hash,
            "parent_hash": self.parent_hash,
            "timestamp_ms": self.timestamp_ms,
            "spec_version": self.spec_version,
        }


@dataclass(frozen=True, slots=True)
class OpeningState:
    """Who held what in the state of the block an arena opened at."""

    block_hash: str
    neurons: tuple[NeuronChange, ...]
    subnet_owner: tuple[str, str] | None
    parent_hash: str = ""
    timestamp_ms: int | None = None
    spec_version: int = 0
    weights: tuple[HeldWeights, ...] = ()
    pool: PoolSeen | None = None
