"""What the ledger needs of a chain, in the field's words.

Two adapters stand behind it: :mod:`chain.node` (a real node, through substrate-interface and
bittensor) and :mod:`chain.simulated` (the demo's chain). Every read names the block it is about, by
hash, so that a later state never leaks into an earlier answer.

Errors: :class:`ChainUnavailableError` when the node cannot answer now (the caller defers, it never
refuses), :class:`UnknownBlockError` when the chain says that there is no such finalized block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


class ChainError(Exception):
    """Something about the chain went wrong; the message is one sentence for the operator."""


class ChainUnavailableError(ChainError):
    """The node did not answer, or not in time. Nothing follows from it but to ask again."""


class UnknownBlockError(ChainError):
    """The chain has no finalized block of that hash or number."""


class SendRefusedError(ChainError):
    """The chain refused what was sent; the message carries its reason."""


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A finalized block: its number and its hash (``0x`` + 64 lower-case hex)."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Call:
    """A decoded call. ``children`` are the direct inner calls of a batch, in order, else empty.

    ``args`` of calls inside ``children`` are decoded too, and an argument that is a call (what a
    proxy or a multisig wraps) is a ``Call``; addresses are SS58 (format 42), amounts
    ``int``, a remark's bytes are text when they are valid UTF-8 and ``0x`` hex otherwise.
    """

    module: str
    function: str
    args: Mapping[str, Any]
    children: tuple[Call, ...] = ()

    @property
    def name(self) -> str:
        """``Module.function``, e.g. ``Utility.batch_all``."""
        return f"{self.module}.{self.function}"


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """A decoded event of a block; ``extrinsic_index`` is None for those of the runtime itself."""

    index: int
    extrinsic_index: int | None
    module: str
    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Extrinsic:
    """A decoded extrinsic. ``signer`` is None for inherents; ``hash`` is blake2b-256 in hex."""

    index: int
    hash: str
    signer: str | None
    call: Call
    success: bool
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """One finalized block, decoded."""

    number: int
    hash: str
    parent_hash: str
    timestamp_ms: int | None
    spec_version: int
    extrinsics: tuple[Extrinsic, ...]
    events: tuple[ChainEvent, ...]

    @property
    def ref(self) -> BlockRef:
        """Number and hash."""
        return BlockRef(self.number, self.hash)


CommitForm = Literal["plain", "timelocked"]


@dataclass(frozen=True, slots=True)
class Commit:
    """A commitment whose content became known in this block.

    ``form`` tells a plain ``set_commitment`` (``index`` = extrinsic index, known at once) from a
    timelocked one at its reveal (``index`` = place among the block's reveals; judged before the
    block's extrinsics, DOMAIN 1 and the cassette's README 5). ``payload`` is the joined, unwrapped
    JSON bytes as the miner wrote them. ``succeeded`` is False for a ``set_commitment`` that the
    runtime refused (R9): it is still in the block. ``nth`` tells the commitments of one extrinsic
    apart, from 0; ``index`` is -1 for one that the runtime itself dispatched.
    """

    hotkey: str
    block: BlockRef
    index: int
    form: CommitForm
    payload: bytes
    succeeded: bool = True
    extrinsic_hash: str | None = None
    nth: int = 0

    @property
    def order(self) -> tuple[int, int, int, int]:
        """Sorting key: block, reveals before extrinsics, place, place inside the extrinsic."""
        return (self.block.number, 0 if self.form == "timelocked" else 1, self.index, self.nth)


@dataclass(frozen=True, slots=True)
class Neuron:
    """Who holds a UID in the state of one block."""

    uid: int
    hotkey: str
    coldkey: str


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What one hotkey was paid at an epoch, in alpha units (10^-9).

    ``incentive`` is the miner's part and ``dividends`` the validator's (chain storage adds them up
    in ``Emission``; the adapter splits them).
    """

    uid: int
    hotkey: str
    coldkey: str
    incentive_alpha: int
    dividends_alpha: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that ran in ``block``. Observed, never computed (DOMAIN, Words)."""

    block: BlockRef
    rows: tuple[EpochRow, ...]


@dataclass(frozen=True, slots=True)
class ValidatorWeights:
    """The weights one validator holds on chain, u16 by UID, zero entries left out."""

    uid: int
    hotkey: str
    weights: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of something sent: where it landed and the events it caused."""

    extrinsic_hash: str
    block: BlockRef
    extrinsic_index: int
    success: bool
    error: str | None = None
    events: tuple[ChainEvent, ...] = field(default=())


class ChainReader(Protocol):
    """The reading half of the port."""

    def genesis_hash(self) -> str:
        """The hash of block 0, which names the chain."""
        ...

    def finalized_head(self) -> BlockRef:
        """The newest finalized block."""
        ...

    def block(self, number: int) -> Block:
        """The finalized block of that number; raises :class:`UnknownBlockError`."""
        ...

    def block_ref(self, block_hash: str) -> BlockRef:
        """The finalized block of that hash; raises :class:`UnknownBlockError`."""
        ...

    def commits(self, block: Block, netuid: int) -> Sequence[Commit]:
        """Commits and reveals that became known in ``block``, in the order they are judged."""
        ...

    def neurons(self, netuid: int, block_hash: str) -> Sequence[Neuron]:
        """All UIDs and their holders in the state of that block, by UID."""
        ...

    def owner(self, hotkey: str, block_hash: str) -> str | None:
        """The coldkey owning ``hotkey`` in the state of that block; None if it has none."""
        ...

    def subnet_owner(self, netuid: int, block_hash: str) -> tuple[str, str] | None:
        """(hotkey, coldkey) of the subnet's owner in the state of that block (DOMAIN, burn UID)."""
        ...

    def epoch(self, block: Block, netuid: int) -> Epoch | None:
        """What was paid at ``block`` if an epoch of the subnet ran in it, else None."""
        ...

    def balance_rao(self, address: str, block_hash: str) -> int:
        """Free TAO of an address in the state of that block, in rao."""
        ...

    def stake_alpha(self, coldkey: str, netuid: int, block_hash: str) -> int:
        """Alpha that a coldkey holds as stake on a subnet, all hotkeys together, in 10^-9."""
        ...

    def next_nonce(self, address: str) -> int:
        """The nonce that the address's next extrinsic has, by the newest finalized block."""
        ...

    def validator_weights(self, netuid: int, block_hash: str) -> Sequence[ValidatorWeights]:
        """The weights every validator holds in the state of that block, by UID."""
        ...


class ChainWriter(Protocol):
    """The writing half. Both calls return after the extrinsic is in a finalized block."""

    def set_weights(
        self, netuid: int, uids: Sequence[int], values: Sequence[int], version_key: int
    ) -> Receipt:
        """Set the validator's weights (u16, largest 65,535); raises :class:`SendRefusedError`."""
        ...

    def buy_and_burn(
        self, netuid: int, amount_rao: int, max_price_rao: int, *, nonce: int
    ) -> Receipt:
        """Buy alpha for ``amount_rao`` and burn it in one extrinsic (``add_stake_burn``).

        ``max_price_rao`` is rao per whole alpha. Signed with exactly ``nonce``, so that sending it
        again can never buy again. Raises :class:`SendRefusedError` above the price, or where the
        nonce is used.
        """
        ...


class Chain(ChainReader, ChainWriter, Protocol):
    """Both halves."""
