"""The simulated chain behind :class:`chain.port.Chain`: the demo's outside world.

It keeps its blocks and state in a file of its own, so that it outlives the ledger's process as a
node does. Its rules are a small part of a real runtime's; what is simplified says so where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from chain.lookup import find_in
from chain.orders import Order
from chain.port import (
    Block,
    BlockRef,
    Chain,
    ChainError,
    ChainUnavailableError,
    Commit,
    Epoch,
    Neuron,
    Prepared,
    Receipt,
    Reserves,
    Sending,
    SendRefusedError,
    StakeLock,
    ValidatorWeights,
    WeightsTerms,
)
from chain.simulated.commits import commits_of
from chain.simulated.compose import Submission, compose, timestamp
from chain.simulated.execution import DispatchError, Execution
from chain.simulated.faults import Faults
from chain.simulated.genesis import Genesis
from chain.simulated.orders import CALLS, submission_of
from chain.simulated.producer import extrinsic_hash, first_block, next_block
from chain.simulated.runtime import WITHOUT_FEE, dispatch
from chain.simulated.script import Landed, ScriptedExtrinsic
from chain.simulated.storage import Layer
from chain.simulated.store import BlockStore
from chain.simulated.world import Pool, Supply, World, WorldView
from ledger.units import ALPHA_UNITS_PER_ALPHA


class SimulatedChain:
    """One subnet's chain in the file ``path``; finalized is always head, and there are no forks.

    ``script`` maps a block's number to its extrinsics. The same genesis, script and extra
    extrinsics give the same hashes and state, whatever was interrupted in between. Reopening a file
    continues it; the script given then must be the same for the blocks to come.

    ``lacks`` names the calls that its runtime does not have, as an older one's. It signs for
    anybody: its accounts have no keys (:func:`chain.simulated.account`). Raises
    :class:`chain.simulated.genesis.ScriptError` when the file holds another chain.
    """

    def __init__(
        self,
        path: Path,
        genesis: Genesis,
        script: Mapping[int, Sequence[ScriptedExtrinsic]],
        *,
        lacks: Collection[str] = (),
    ) -> None:
        self._genesis = genesis
        self._script = script
        self._lacks = frozenset(lacks)
        self._faults = Faults()
        self._dark_until_block: int | None = None
        self._store = BlockStore(path)
        try:
            with self._store.transaction():
                if self._store.claim(genesis.fingerprint()):
                    before = self._store.state_at(genesis.start_block - 1)
                    self._store.add(first_block(genesis, before))
        except BaseException:
            self._store.close()
            raise

    def close(self) -> None:
        """Close the file; the chain stays in it."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Making blocks

    def advance(self, extra: Sequence[ScriptedExtrinsic] = ()) -> Block:
        """Make exactly the next block: its time, the script's extrinsics, then ``extra``.

        Raises :class:`SendRefusedError` when a signer cannot pay its fee and ``ScriptError`` for
        what cannot be composed; there is no new block then.
        """
        labels = self._store.labels()
        return self._make([compose(self._genesis, act, labels) for act in extra])

    def _make(self, extra: Sequence[Submission]) -> Block:
        with self._store.transaction():
            head = self._store.head()
            number = head.number + 1
            submissions = [timestamp(self._genesis, number), *self._scripted(number), *extra]
            produced = next_block(
                self._genesis, head, self._store.state_at(head.number), submissions
            )
            self._store.add(produced)
        return self._store.block(number)

    def _scripted(self, number: int) -> list[Submission]:
        labels = self._store.labels()
        return [compose(self._genesis, act, labels) for act in self._script.get(number, ())]

    def advance_to(self, number: int) -> BlockRef:
        """Make blocks until the head is at ``number`` or beyond; returns the head."""
        while self._store.head().number < number:
            self.advance()
        return self._store.head()

    @property
    def labels(self) -> Mapping[str, Landed]:
        """Where every labelled extrinsic landed so far."""
        return self._store.labels()

    # Faults

    def fail_next(self, method: str, error: ChainError, *, after: bool = False) -> None:
        """Make the next call of a port's method raise ``error``.

        With ``after`` the call does its work first, as when a node accepts an extrinsic and the
        answer is lost. Faults queue up and are forgotten with the process.
        """
        if not hasattr(Chain, method):
            msg = f"the chain port has no method '{method}'"
            raise ValueError(msg)
        self._faults.fail_next(method, error, after=after)

    def outage(self, blocks: int) -> None:
        """Answer nothing (:class:`ChainUnavailableError`) until ``blocks`` more have been made."""
        self._dark_until_block = self._store.head().number + blocks

    @contextmanager
    def _answering(self, method: str) -> Iterator[None]:
        dark = self._dark_until_block
        if dark is not None and self._store.head().number < dark:
            msg = f"the simulated node does not answer {method} before block {dark}; ask again"
            raise ChainUnavailableError(msg)
        with self._faults.around(method):
            yield

    # chain.port.ChainReader

    def genesis_hash(self) -> str:
        """The hash that names the chain (see :class:`Genesis`)."""
        with self._answering("genesis_hash"):
            return self._genesis.hash

    def finalized_head(self) -> BlockRef:
        """The newest block."""
        with self._answering("finalized_head"):
            return self._store.head()

    def block(self, number: int) -> Block:
        """The block of that number; raises ``UnknownBlockError``, below the start block too."""
        with self._answering("block"):
            return self._store.block(number)

    def block_ref(self, block_hash: str) -> BlockRef:
        """The block of that hash; raises ``UnknownBlockError``."""
        with self._answering("block_ref"):
            return self._store.block_ref(block_hash)

    def commits(self, block: Block, netuid: int) -> Sequence[Commit]:
        """Reveals by public key of the hotkey, then plain commits by extrinsic."""
        with self._answering("commits"):
            return commits_of(block, netuid, self._at(block.hash))

    def neurons(self, netuid: int, block_hash: str) -> Sequence[Neuron]:
        """All UIDs and their holders, by UID; empty for a subnet that is not."""
        with self._answering("neurons"):
            world = self._at(block_hash)
            return world.neurons() if netuid == self._genesis.netuid else []

    def owner(self, hotkey: str, block_hash: str) -> str | None:
        """The coldkey owning ``hotkey``; it outlives the registration."""
        with self._answering("owner"):
            return self._at(block_hash).owner(hotkey)

    def subnet_owner(self, netuid: int, block_hash: str) -> tuple[str, str] | None:
        """(hotkey, coldkey) of the subnet's owner."""
        with self._answering("subnet_owner"):
            world = self._at(block_hash)
            return world.subnet_owner() if netuid == self._genesis.netuid else None

    def epoch(self, block: Block, netuid: int) -> Epoch | None:
        """What an epoch in ``block`` paid, a row for every UID, zeros included."""
        with self._answering("epoch"):
            latest = self._at(block.hash).latest_epoch()
            if latest is None or latest.block != block.number or netuid != self._genesis.netuid:
                return None
            parent = self._store.state_at(block.number - 1)
            before = WorldView(parent).latest_epoch()
            return Epoch(block.ref, latest.rows, before.block if before else 0)

    def owner_cut(self, block: Block, netuid: int) -> int | None:
        """What the epoch in ``block`` paid to the owner; None where its file does not say."""
        with self._answering("owner_cut"):
            latest = self._at(block.hash).latest_epoch()
            if latest is None or latest.block != block.number or netuid != self._genesis.netuid:
                return None
            return latest.owner_cut_alpha

    def balance_rao(self, address: str, block_hash: str) -> int:
        """Free TAO of an address, in rao."""
        with self._answering("balance_rao"):
            return self._at(block_hash).balance_rao(address)

    def stake_alpha(self, coldkey: str, netuid: int, block_hash: str) -> int:
        """Alpha a coldkey holds as stake, in 10^-9."""
        with self._answering("stake_alpha"):
            world = self._at(block_hash)
            return world.stake_alpha(coldkey) if netuid == self._genesis.netuid else 0

    def validator_weights(
        self, netuid: int, block_hash: str, uids: Collection[int] | None = None
    ) -> Sequence[ValidatorWeights]:
        """The weights validators hold, by UID; with ``uids`` theirs, empty ones too."""
        with self._answering("validator_weights"):
            world = self._at(block_hash)
            if netuid != self._genesis.netuid:
                return []
            rows = ((neuron, world.weights(neuron.uid)) for neuron in world.neurons())
            return [
                ValidatorWeights(
                    neuron.uid,
                    neuron.hotkey,
                    held.weights if held else (),
                    held.block if held else 0,
                )
                for neuron, held in rows
                if (held is not None if uids is None else neuron.uid in uids)
            ]

    def reserves(self, netuid: int, block_hash: str) -> Reserves | None:
        """The pool's reserves and its price, floored; all alpha outside it is ``alpha_out``."""
        with self._answering("reserves"):
            if netuid != self._genesis.netuid:
                return None
            world = self._at(block_hash)
            pool, supply = world.pool(), world.supply()
            price_rao = pool.tao_rao * ALPHA_UNITS_PER_ALPHA // pool.alpha
            return Reserves(pool.tao_rao, pool.alpha, supply.alpha - supply.pool_alpha, price_rao)

    def stake_locks(
        self, netuid: int, coldkeys: Collection[str], block_hash: str
    ) -> Sequence[StakeLock]:
        """The conviction locks of these coldkeys on the subnet."""
        with self._answering("stake_locks"):
            world = self._at(block_hash)
            if netuid != self._genesis.netuid:
                return []
            found = (world.stake_lock(coldkey) for coldkey in sorted(set(coldkeys)))
            return [lock for lock in found if lock is not None]

    # Not in the port yet

    def pool(self, netuid: int, block_hash: str) -> Pool | None:
        """The pool's reserves; None for a subnet that is not. Not in the port yet."""
        world = self._at(block_hash)
        return world.pool() if netuid == self._genesis.netuid else None

    def alpha_price_rao(self, netuid: int, block_hash: str) -> int | None:
        """Rao per whole alpha, floored; None for a subnet that is not. Not in the port yet."""
        pool = self.pool(netuid, block_hash)
        return None if pool is None else pool.tao_rao * ALPHA_UNITS_PER_ALPHA // pool.alpha

    def supply(self, block_hash: str) -> Supply:
        """Where all TAO and alpha are in the state of that block."""
        return self._at(block_hash).supply()

    # chain.port.ChainWriter

    def next_nonce(self, address: str) -> int:
        """How many extrinsics the address has signed so far."""
        with self._answering("next_nonce"):
            return self._at(self._store.head().hash).nonce(address)

    def offers(self, order: type[Order]) -> bool:
        """Every call there is but those of ``lacks``."""
        with self._answering("offers"):
            return CALLS[order] not in self._lacks

    def weights_terms(self, netuid: int, hotkey: str) -> WeightsTerms:
        """The genesis' rules; there is no commit-reveal here."""
        with self._answering("weights_terms"):
            head = self._store.head()
            world = self._at(head.hash)
            uid = world.uid_of(hotkey) if netuid == self._genesis.netuid else None
            held = None if uid is None else world.weights(uid)
            return WeightsTerms(
                block=head,
                uid=uid,
                permit=uid is not None and world.has_permit(uid),
                version_key=self._genesis.version_key,
                rate_limit_blocks=self._genesis.weights_rate_limit_blocks,
                last_update=None if held is None else held.block,
                commit_reveal=False,
            )

    def prepare(self, order: Order, sending: Sending) -> Prepared:
        """The call and its hash; here nobody signs."""
        with self._answering("prepare"):
            if CALLS[type(order)] in self._lacks:
                msg = f"the simulated runtime has no {CALLS[type(order)]}"
                raise SendRefusedError(msg)
            submission = submission_of(self._genesis, order, sending)
            hash_ = extrinsic_hash(sending.signer, sending.nonce, submission.call)
            return Prepared(order, sending, hash_, submission)

    def send(self, prepared: Prepared) -> Receipt:
        """Into the next block, which this makes.

        Raises :class:`SendRefusedError` with the runtime's error when it would fail on the head's
        state, or for a nonce that is not due. What the next block's scripted extrinsics change
        first can still fail it there: then the receipt says so.
        """
        with self._answering("send"):
            sending, submission = prepared.sending, prepared.body
            self._refuse_what_is_not_due(sending)
            self._refuse_what_would_fail(submission)
            landed = find_in(self._make([submission]), sending)
            if landed is None:
                msg = f"the extrinsic {prepared.hash} is not in the block that was made of it"
                raise AssertionError(msg)
            return landed.receipt

    def _refuse_what_is_not_due(self, sending: Sending) -> None:
        head = self._store.head()
        due = self._at(head.hash).nonce(sending.signer)
        due += sum(one.signer == sending.signer for one in self._scripted(head.number + 1))
        if sending.nonce != due:
            msg = f"the extrinsic is outdated: nonce {sending.nonce} was given, {due} is due"
            raise SendRefusedError(msg)
        if not sending.after_block <= head.number < sending.last_block:
            msg = (
                f"the extrinsic is outdated: it can land in the blocks after {sending.after_block} "
                f"up to {sending.last_block}, and the next one is {head.number + 1}"
            )
            raise SendRefusedError(msg)

    def _refuse_what_would_fail(self, submission: Submission) -> None:
        """Try the call on the head's state, as a node does before it takes a transaction."""
        head = self._store.head()
        world = World(Layer(self._store.state_at(head.number)))
        signer, call = submission.signer, submission.call
        if signer is not None and call.name not in WITHOUT_FEE:
            world.change_balance(signer, -self._genesis.fee_rao)
        try:
            dispatch(Execution(self._genesis, head.number + 1, world), signer, call)
        except DispatchError as error:
            msg = f"the chain refused {call.name} by {signer} after block {head.number}: {error}"
            raise SendRefusedError(msg) from error

    def _at(self, block_hash: str) -> WorldView:
        return WorldView(self._store.state_at(self._store.block_ref(block_hash).number))


if TYPE_CHECKING:
    _satisfies_the_port: type[Chain] = SimulatedChain
