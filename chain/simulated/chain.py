"""The simulated chain behind :class:`chain.port.Chain`: the demo's outside world.

It keeps its blocks and state in a file of its own, so that it outlives the ledger's process as a
node does. Its rules are a small part of a real runtime's; what is simplified says so where it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from chain.port import (
    Block,
    BlockRef,
    Chain,
    ChainError,
    ChainUnavailableError,
    Commit,
    Epoch,
    Neuron,
    Receipt,
    Reserves,
    SendRefusedError,
    StakeLock,
    ValidatorWeights,
)
from chain.simulated.commits import commits_of
from chain.simulated.compose import Submission, compose, timestamp
from chain.simulated.execution import DispatchError, Execution
from chain.simulated.faults import Faults
from chain.simulated.genesis import Genesis
from chain.simulated.producer import first_block, next_block
from chain.simulated.runtime import WITHOUT_FEE, dispatch
from chain.simulated.script import BuyAndBurn, Landed, ScriptedExtrinsic, SetWeights
from chain.simulated.storage import Layer
from chain.simulated.store import BlockStore
from chain.simulated.world import Pool, Supply, World, WorldView
from ledger.units import ALPHA_UNITS_PER_ALPHA


class SimulatedChain:
    """One subnet's chain in the file ``path``; finalized is always head, and there are no forks.

    ``script`` maps a block's number to its extrinsics. The same genesis, script and extra
    extrinsics give the same hashes and state, whatever was interrupted in between. Reopening a file
    continues it; the script given then must be the same for the blocks to come.

    ``validator_hotkey`` signs :meth:`set_weights`, ``treasury_coldkey`` signs :meth:`buy_and_burn`.
    Raises :class:`chain.simulated.genesis.ScriptError` when the file holds another chain.
    """

    def __init__(
        self,
        path: Path,
        genesis: Genesis,
        script: Mapping[int, Sequence[ScriptedExtrinsic]],
        *,
        validator_hotkey: str,
        treasury_coldkey: str,
    ) -> None:
        self._genesis = genesis
        self._script = script
        self._validator_hotkey = validator_hotkey
        self._treasury_coldkey = treasury_coldkey
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
        with self._store.transaction():
            head = self._store.head()
            number = head.number + 1
            acts = [*self._script.get(number, ()), *extra]
            labels = self._store.labels()
            composed = [compose(self._genesis, act, labels) for act in acts]
            submissions = [timestamp(self._genesis, number), *composed]
            produced = next_block(
                self._genesis, head, self._store.state_at(head.number), submissions
            )
            self._store.add(produced)
        return self._store.block(number)

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

    def set_weights(
        self, netuid: int, uids: Sequence[int], values: Sequence[int], version_key: int
    ) -> Receipt:
        """The validator's weights, in the next block.

        Raises :class:`SendRefusedError` with the runtime's error. What the next block's scripted
        extrinsics change first can still fail it there: then the receipt says so.
        """
        with self._answering("set_weights"):
            return self._send(
                SetWeights(
                    hotkey=self._validator_hotkey,
                    netuid=netuid,
                    uids=tuple(uids),
                    values=tuple(values),
                    version_key=version_key,
                )
            )

    def next_nonce(self, address: str) -> int:
        """How many extrinsics the address has signed so far."""
        with self._answering("next_nonce"):
            return self._at(self._store.head().hash).nonce(address)

    def buy_and_burn(
        self, netuid: int, amount_rao: int, max_price_rao: int, *, nonce: int
    ) -> Receipt:
        """Buy alpha for ``amount_rao`` and burn it, in the next block, by the treasury coldkey.

        ``max_price_rao`` (rao per whole alpha) bounds the pool's price after the purchase. Raises
        :class:`SendRefusedError` above it, when TAO is short, or for a used nonce; see also
        :meth:`set_weights`.
        """
        with self._answering("buy_and_burn"):
            due = self._at(self._store.head().hash).nonce(self._treasury_coldkey)
            if nonce != due:
                msg = f"the extrinsic is outdated: nonce {nonce} was given, {due} is due"
                raise SendRefusedError(msg)
            return self._send(
                BuyAndBurn(
                    coldkey=self._treasury_coldkey,
                    hotkey=self._validator_hotkey,
                    netuid=netuid,
                    amount_rao=amount_rao,
                    max_price_rao=max_price_rao,
                )
            )

    def _send(self, act: ScriptedExtrinsic) -> Receipt:
        self._refuse_what_would_fail(compose(self._genesis, act, {}))
        block = self.advance([act])
        extrinsic = block.extrinsics[-1]
        return Receipt(
            extrinsic_hash=extrinsic.hash,
            block=block.ref,
            extrinsic_index=extrinsic.index,
            success=extrinsic.success,
            error=extrinsic.error,
            events=tuple(
                event for event in block.events if event.extrinsic_index == extrinsic.index
            ),
        )

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
