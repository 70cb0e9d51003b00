"""Making the next block from the last one: no file, no clock, no chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from chain.port import Block, BlockRef, Call, ChainEvent, Extrinsic, SendRefusedError
from chain.simulated.accounts import hex_hash
from chain.simulated.compose import Submission
from chain.simulated.execution import DispatchError, Emitted, Execution
from chain.simulated.genesis import Genesis
from chain.simulated.pallets.commitments import reveal_due
from chain.simulated.pallets.epoch import run_epoch
from chain.simulated.runtime import WITHOUT_FEE, dispatch, error_parts
from chain.simulated.script import Landed
from chain.simulated.storage import Item, Layer, Reads
from chain.simulated.world import Pool, Total, World

SPEC_VERSION = 1
"""The version of the simulated rules; no real runtime has it."""


@dataclass(frozen=True, slots=True)
class Produced:
    """A block, what it changed in storage (None: removed) and its labelled extrinsics."""

    block: Block
    writes: dict[tuple[Item, str], str | None]
    labels: tuple[tuple[str, Landed], ...]


class _BlockInTheMaking:
    """Collects extrinsics and events in the order they happen."""

    def __init__(self, run: Execution) -> None:
        self.run = run
        self.extrinsics: list[Extrinsic] = []
        self.events: list[ChainEvent] = []
        self.signed: list[object] = []

    def take_events(self, extrinsic_index: int | None) -> None:
        """Number the events emitted since the last call."""
        for event in self.run.events:
            self.events.append(_placed(event, len(self.events), extrinsic_index))
        self.run.events.clear()

    def apply(self, submission: Submission) -> Extrinsic:
        """Include one extrinsic: fee, call, outcome.

        Raises :class:`SendRefusedError` when its signer cannot pay the fee: no block takes it.
        """
        signer, call = submission.signer, submission.call
        nonce = 0 if signer is None else self.run.world.nonce(signer)
        signed = _signed(signer, nonce, call)
        if signer is not None:
            self.run.world.count_nonce(signer)
        fee_rao = 0 if signer is None or call.name in WITHOUT_FEE else self.run.genesis.fee_rao
        if signer is not None and fee_rao:
            _withdraw_fee(self.run, signer, fee_rao, call)
        error = None
        try:
            with self.run.transaction() as inner:
                dispatch(inner, signer, call)
        except DispatchError as failure:
            error = failure
        if fee_rao:
            self.run.emit(
                "TransactionPayment", "TransactionFeePaid", who=signer, actual_fee=fee_rao, tip=0
            )
        if error is None:
            self.run.emit("System", "ExtrinsicSuccess")
        else:
            self.run.emit("System", "ExtrinsicFailed", dispatch_error=error_parts(error))
        extrinsic = Extrinsic(
            index=len(self.extrinsics),
            hash=extrinsic_hash(signer, nonce, call),
            signer=signer,
            call=call,
            success=error is None,
            error=None if error is None else str(error),
            nonce=None if signer is None else nonce,
        )
        self.signed.append(signed)
        self.extrinsics.append(extrinsic)
        self.take_events(extrinsic.index)
        return extrinsic


def first_block(genesis: Genesis, reads: Reads) -> Produced:
    """The block of ``genesis.start_block`` with the opening state.

    At number 0 its hash is the genesis hash; later it is the hash of an empty block whose parent
    the genesis is.
    """
    world = World(Layer(reads))
    for address, rao in genesis.balances_rao.items():
        world.change_balance(address, rao)
    world.set_owner(genesis.owner_hotkey, genesis.owner_coldkey)
    for uid, neuron in enumerate(genesis.neurons):
        world.set_owner(neuron.hotkey, neuron.coldkey)
        world.set_neuron(uid, neuron.hotkey)
        if neuron.validator_permit:
            world.give_permit(uid)
    world.set_subnet_owner(genesis.owner_hotkey, genesis.owner_coldkey)
    world.set_pool(Pool(genesis.pool_tao_rao, genesis.pool_alpha))
    number = genesis.start_block
    parent = "0x" + "00" * 32 if number == 0 else genesis.hash
    block = Block(
        number=number,
        hash=genesis.hash if number == 0 else _block_hash(parent, number, []),
        parent_hash=parent,
        timestamp_ms=genesis.timestamp_ms(number),
        spec_version=SPEC_VERSION,
        extrinsics=(),
        events=(),
    )
    return Produced(block, world.layer.writes, ())


def next_block(
    genesis: Genesis, parent: BlockRef, reads: Reads, submissions: Sequence[Submission]
) -> Produced:
    """The block after ``parent``: epoch, reveals, then the extrinsics in their order.

    Raises :class:`SendRefusedError` when a signer cannot pay its fee; then there is no block.
    """
    number = parent.number + 1
    layer = Layer(reads)
    making = _BlockInTheMaking(Execution(genesis, number, World(layer)))
    run_epoch(making.run)
    reveal_due(making.run)
    making.take_events(None)
    labelled = [(making.apply(one).hash, one.label) for one in submissions]
    block = Block(
        number=number,
        hash=_block_hash(parent.hash, number, making.signed),
        parent_hash=parent.hash,
        timestamp_ms=genesis.timestamp_ms(number),
        spec_version=SPEC_VERSION,
        extrinsics=tuple(making.extrinsics),
        events=tuple(making.events),
    )
    landed = ((label, Landed(hash_, block.hash)) for hash_, label in labelled if label is not None)
    return Produced(block, layer.writes, tuple(landed))


def extrinsic_hash(signer: str | None, nonce: int, call: Call) -> str:
    """The hash of an extrinsic, which needs no block to be known."""
    return hex_hash(_canonical(_signed(signer, nonce, call)))


def _signed(signer: str | None, nonce: int, call: Call) -> object:
    return {"signer": signer, "nonce": nonce, "call": call}


def _withdraw_fee(run: Execution, signer: str, fee_rao: int, call: Call) -> None:
    if run.world.balance_rao(signer) < fee_rao:
        msg = (
            f"{signer} cannot pay the fee of {fee_rao} rao for {call.name} at block {run.number}; "
            "give it TAO first"
        )
        raise SendRefusedError(msg)
    run.world.change_balance(signer, -fee_rao)
    run.world.add_total(Total.FEES_RAO, fee_rao)
    run.emit("Balances", "Withdraw", who=signer, amount=fee_rao)


def _block_hash(parent_hash: str, number: int, signed: Sequence[object]) -> str:
    """blake2b-256 over the parent's hash, the number (8 bytes, little-endian), the extrinsics."""
    head = bytes.fromhex(parent_hash.removeprefix("0x")) + number.to_bytes(8, "little")
    return hex_hash(head + _canonical(signed))


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _placed(event: Emitted, index: int, extrinsic_index: int | None) -> ChainEvent:
    return ChainEvent(index, extrinsic_index, event.module, event.name, event.attributes)
