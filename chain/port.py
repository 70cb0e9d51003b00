"""What the ledger needs of a chain, in the field's words.

Two adapters stand behind it: :mod:`chain.node` (a real node, through substrate-interface and
bittensor) and :mod:`chain.simulated` (the demo's chain). Every read names the block it is about, by
hash, so that a later state never leaks into an earlier answer.

Errors: :class:`ChainUnavailableError` when the node cannot answer now (the caller defers, it never
refuses), :class:`PrunedStateError` when it never will because it no longer holds what was asked,
:class:`UnknownBlockError` when the chain says that there is no such finalized block,
:class:`OtherChainError` when it is another chain.

Everything that is sent goes the same way: a :class:`Sending` (signer, nonce, the finalized block it
is sent after) is recorded, then :meth:`ChainWriter.prepare` signs it and :meth:`ChainWriter.send`
sends it and waits until it is final. When the answer is lost
(:class:`OutcomeUnknownError`), :func:`chain.lookup.look_up` finds out from the finalized blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

if TYPE_CHECKING:
    from chain.orders import Order


class ChainError(Exception):
    """Something about the chain went wrong; the message is one sentence for the operator."""


class ChainUnavailableError(ChainError):
    """The node did not answer, or not in time. Nothing follows from it but to ask again."""


class PrunedStateError(ChainUnavailableError):
    """Who was asked has thrown the block's body or state away: only an archive node has it still.

    Raised only where nobody who can be asked holds it; a node that merely fails to answer is plain
    :class:`ChainUnavailableError`, so that nothing is given up which may still be had.
    """


class OutcomeUnknownError(ChainUnavailableError):
    """Something was sent, or may have been, and no answer came: look it up before sending again."""


class OtherChainError(ChainError):
    """The node serves another chain than the one it should; nothing it says is used."""


class UnknownBlockError(ChainError):
    """The chain has no finalized block of that hash or number."""


class SendRefusedError(ChainError):
    """The chain refused what was sent, or would; the message carries its reason. It never lands."""


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
    """A decoded extrinsic. ``signer`` is None for inherents; ``hash`` is blake2b-256 in hex.

    ``nonce`` is None for inherents. A signer and its nonce identify one extrinsic of a chain.
    """

    index: int
    hash: str
    signer: str | None
    call: Call
    success: bool
    error: str | None = None
    nonce: int | None = None


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
    """An epoch that ran in ``block``. Observed, never computed (DOMAIN, Words).

    ``rows`` hold every UID there was when it ran, and who held it. ``previous_block`` is the block
    of the epoch before this one; 0 where there was none, None where the chain does not say.
    """

    block: BlockRef
    rows: tuple[EpochRow, ...]
    previous_block: int | None = None


@dataclass(frozen=True, slots=True)
class ValidatorWeights:
    """The weights one validator holds on chain, u16 by UID, zero entries left out.

    ``last_update`` is the block that the chain says they are of, None where it does not say.
    """

    uid: int
    hotkey: str
    weights: tuple[tuple[int, int], ...]
    last_update: int | None = None


@dataclass(frozen=True, slots=True)
class Reserves:
    """A subnet's pool in the state of one block: rao, and alpha in 10^-9.

    ``alpha_out`` is all alpha outside the pool. ``price_rao`` is rao per whole alpha, rounded down,
    as the runtime states it; None where it states none.
    """

    tao_rao: int
    alpha_in: int
    alpha_out: int
    price_rao: int | None


@dataclass(frozen=True, slots=True)
class StakeLock:
    """A coldkey's conviction lock on a subnet, as the chain keeps it since its last touch.

    Amounts in 10^-9 alpha, ``conviction_alpha`` rounded down; ``last_update`` is the block of the
    touch. A lock that is gone locks 0. The rates are the blocks in which mass decays and
    conviction matures by a factor of e (DOMAIN 6).
    """

    coldkey: str
    hotkey: str
    locked_alpha: int
    conviction_alpha: int
    last_update: int
    perpetual: bool
    unlock_blocks: int
    maturity_blocks: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of something sent: where it landed and the events it caused."""

    extrinsic_hash: str
    block: BlockRef
    extrinsic_index: int
    success: bool
    error: str | None = None
    events: tuple[ChainEvent, ...] = field(default=())


MORTAL_BLOCKS: Final = 64
"""What is sent can land in this many blocks from the one it is sent after, and never later.

A power of two (the form of a mortal era), about 13 minutes, and well within the 256 blocks whose
state a node without an archive keeps.
"""


@dataclass(frozen=True, slots=True)
class Sending:
    """The name of one extrinsic before it exists: recorded before it is sent, looked up after.

    ``after_block`` was the newest finalized block when the nonce was asked. However often this
    sending is signed and sent again, at most one extrinsic of it lands, and none after
    :attr:`last_block`.
    """

    signer: str
    nonce: int
    after_block: int

    @property
    def last_block(self) -> int:
        """The last block that can hold it."""
        return self.after_block + MORTAL_BLOCKS - 1


@dataclass(frozen=True, slots=True)
class Prepared:
    """A signed extrinsic before it is sent. Its hash is known, nothing has left the process.

    ``body`` is the adapter's own. Signing the same sending again may give another hash. ``sealed``
    weights cannot be looked into when they have landed: only the hash tells what they are.
    """

    order: Order
    sending: Sending
    hash: str
    body: Any = field(repr=False)
    sealed: bool = False


@dataclass(frozen=True, slots=True)
class WeightsTerms:
    """What the chain asks of a validator's weights, in the state of ``block``.

    ``uid`` is None for a hotkey that is not registered. ``last_update`` is the block of the weights
    (or of the commit to them) that the rate limit counts from, None if there was none.
    """

    block: BlockRef
    uid: int | None
    permit: bool
    version_key: int
    rate_limit_blocks: int
    last_update: int | None
    commit_reveal: bool
    reveal_blocks: int | None = None
    """With commit-reveal: within how many blocks sealed weights are revealed, at the latest."""

    @property
    def allowed_from(self) -> int:
        """The first block that may hold new weights by the chain's rate limit."""
        return 0 if self.last_update is None else self.last_update + self.rate_limit_blocks


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

    def owner_cut(self, block: Block, netuid: int) -> int | None:
        """What the epoch that ran in ``block`` paid to the subnet's owner as stake, in 10^-9 alpha.

        To whoever owned the subnet in the parent's state. None where the chain does not tell.
        """
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

    def validator_weights(
        self, netuid: int, block_hash: str, uids: Collection[int] | None = None
    ) -> Sequence[ValidatorWeights]:
        """The weights validators hold in the state of that block, by UID.

        All that hold any; with ``uids`` those, also if they hold none (any more).
        """
        ...

    def reserves(self, netuid: int, block_hash: str) -> Reserves | None:
        """The pool and its price in the state of that block; None for a subnet that is not."""
        ...

    def stake_locks(
        self, netuid: int, coldkeys: Collection[str], block_hash: str
    ) -> Sequence[StakeLock]:
        """The conviction locks of these coldkeys on a subnet; none where the runtime has none."""
        ...


class ChainWriter(Protocol):
    """The writing half: one way for everything that is sent."""

    def offers(self, order: type[Order]) -> bool:
        """Whether the runtime of the finalized head has the call that such an order needs."""
        ...

    def weights_terms(self, netuid: int, hotkey: str) -> WeightsTerms:
        """What the chain asks of the weights of ``hotkey``, in the state of the finalized head."""
        ...

    def prepare(self, order: Order, sending: Sending) -> Prepared:
        """Compose and sign. Nothing is sent.

        Raises :class:`SendRefusedError` where the runtime has no such call, where this writer
        does not hold the signer's key, or where the call would not be byte for byte what the order
        says; :class:`ChainUnavailableError` when the node does not answer.
        """
        ...

    def send(self, prepared: Prepared) -> Receipt:
        """Send, and wait until it is in a finalized block.

        The receipt tells what became of it there, ``success`` or not. Raises
        :class:`SendRefusedError` when the chain did not take it and it cannot land,
        :class:`OutcomeUnknownError` when the answer is lost or nothing was seen of it in time.
        """
        ...


class Chain(ChainReader, ChainWriter, Protocol):
    """Both halves."""
