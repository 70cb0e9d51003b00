"""What the chain shows about payments: the evidence behind one commit, and the treasury's flows.

Names of call arguments and event attributes are the runtime's: ``Balances.transfer_keep_alive``
(``dest``, ``value``), ``System.remark`` (``remark``), event ``Balances.Transfer`` (``from``,
``to``, ``amount``), event ``TransactionPayment.TransactionFeePaid`` (``who``, ``actual_fee``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from chain.port import (
    Block,
    Call,
    ChainEvent,
    ChainReader,
    ChainUnavailableError,
    Extrinsic,
    PrunedStateError,
    UnknownBlockError,
)
from chain.runs import UnreadableRunError, runs_of
from ledger.rules.payload import CommitPayload
from ledger.rules.payments import PaymentEvidence, PaymentExtrinsic, TransferSeen

TRANSFER_CALL: Final = "Balances.transfer_keep_alive"
REMARK_CALL: Final = "System.remark"


@dataclass(frozen=True, slots=True)
class TreasuryDeposit:
    """TAO that reached the treasury, whether or not a commit ever claims it (DOMAIN 2).

    One for each extrinsic and sender, so that (block, ``extrinsic_index``) is the payment's key;
    ``amount_rao`` is the sum over ``event_indices``. The extrinsic's fields are None for money that
    the runtime itself moved. ``remarks`` are those of its direct children.
    """

    extrinsic_index: int | None
    extrinsic_hash: str | None
    event_indices: tuple[int, ...]
    sender: str
    amount_rao: int
    remarks: tuple[str, ...]
    outer_call: str | None


@dataclass(frozen=True, slots=True)
class TreasuryWithdrawal:
    """TAO that left the treasury for ``destination``, one for each extrinsic and destination."""

    extrinsic_index: int | None
    extrinsic_hash: str | None
    event_indices: tuple[int, ...]
    destination: str
    amount_rao: int
    outer_call: str | None


@dataclass(frozen=True, slots=True)
class TreasuryNetworkFee:
    """What the treasury paid the network for an extrinsic, tip included."""

    extrinsic_index: int | None
    event_index: int
    fee_rao: int


def gather_payment(
    reader: ChainReader, *, hotkey: str, payload: CommitPayload, commit_block_number: int
) -> PaymentEvidence:
    """Look up a commit's payment: its block, the extrinsic in it, the hotkey's owner at that block.

    A block the chain does not have, or one after the commit's, gives evidence without an extrinsic
    (R2). :class:`~chain.port.ChainUnavailableError` propagates: a node that cannot answer defers,
    it never refuses; nor does one that has not come as far as the commit. Where all threw away what
    the block held, the evidence says so and has its number: that alone may be too old (R10). Who
    consumed the payment is the ledger's to add
    (:meth:`~ledger.rules.payments.PaymentEvidence.consumed`).
    """
    try:
        ref = reader.block_ref(payload.payment_block)
    except UnknownBlockError:
        head = reader.finalized_head().number
        if head < commit_block_number:
            msg = (
                f"the node does not know block {payload.payment_block} and is itself at block "
                f"{head}, before the commit's block {commit_block_number}; ask again later"
            )
            raise ChainUnavailableError(msg) from None
        return PaymentEvidence()
    if ref.number > commit_block_number:
        return PaymentEvidence(block_number=ref.number)
    try:
        block = reader.block(ref.number)
        owner = reader.owner(hotkey, ref.hash)
    except PrunedStateError as error:
        return PaymentEvidence(ref.number, unread=str(error))
    if block.hash != ref.hash:
        msg = (
            f"the node gave block {block.hash} for number {ref.number} after naming {ref.hash}; "
            "ask again"
        )
        raise ChainUnavailableError(msg)
    for extrinsic in block.extrinsics:
        if extrinsic.hash.lower() == payload.payment_tx:
            return PaymentEvidence(ref.number, payment_extrinsic(block, extrinsic), owner)
    return PaymentEvidence(ref.number, None, owner)


def payment_extrinsic(block: Block, extrinsic: Extrinsic) -> PaymentExtrinsic:
    """The facts of one extrinsic that the payment rules read.

    A transfer counts as executed where the block holds its own ``Balances.Transfer`` event, with
    sender, destination and amount as the call has them; an event vouches for one call only.
    """
    received: dict[str, int] = {}
    for event in _transfers(block):
        source, destination, amount_rao = _moved(event)
        if event.extrinsic_index == extrinsic.index and source != destination:
            received[destination] = received.get(destination, 0) + amount_rao
    return PaymentExtrinsic(
        index=extrinsic.index,
        outer_call=extrinsic.call.name,
        success=extrinsic.success,
        signer=extrinsic.signer,
        transfers=_direct_transfers(block, extrinsic),
        remarks=_remarks(extrinsic.call),
        received=tuple(received.items()),
    )


def _direct_transfers(block: Block, extrinsic: Extrinsic) -> tuple[TransferSeen, ...]:
    """The direct children of that kind, each held against the events that are its own."""
    depth = 1 if extrinsic.call.children else 0
    try:
        seen = [
            (run.call, Counter(_moved(event) for event in _transfer_events(run.events)))
            for run in runs_of(extrinsic, block.events)
            if run.depth == depth
        ]
    except UnreadableRunError:  # then any event of the extrinsic may be the call's own
        mine = [event for event in block.events if event.extrinsic_index == extrinsic.index]
        shared = Counter(_moved(event) for event in _transfer_events(mine))
        seen = [(call, shared) for call in _direct_calls(extrinsic.call)]
    transfers: list[TransferSeen] = []
    for call, events in seen:
        if call.name != TRANSFER_CALL:
            continue
        destination, amount_rao = str(call.args["dest"]), int(call.args["value"])
        key = (str(extrinsic.signer), destination, amount_rao)
        executed = events[key] > 0
        events[key] -= executed
        transfers.append(TransferSeen(destination, amount_rao, executed))
    return tuple(transfers)


def treasury_deposits(block: Block, treasury_ss58: str) -> list[TreasuryDeposit]:
    """Every executed transfer to the treasury in a block, in the order of its events."""
    return [
        TreasuryDeposit(
            extrinsic_index=extrinsic.index if extrinsic else None,
            extrinsic_hash=extrinsic.hash if extrinsic else None,
            event_indices=tuple(event.index for event in events),
            sender=sender,
            amount_rao=sum(int(event.attributes["amount"]) for event in events),
            remarks=_remarks(extrinsic.call) if extrinsic else (),
            outer_call=extrinsic.call.name if extrinsic else None,
        )
        for extrinsic, sender, events in _grouped(block, mine="to", other="from", who=treasury_ss58)
    ]


def treasury_withdrawals(block: Block, treasury_ss58: str) -> list[TreasuryWithdrawal]:
    """Every executed transfer out of the treasury in a block, in the order of its events."""
    return [
        TreasuryWithdrawal(
            extrinsic_index=extrinsic.index if extrinsic else None,
            extrinsic_hash=extrinsic.hash if extrinsic else None,
            event_indices=tuple(event.index for event in events),
            destination=destination,
            amount_rao=sum(int(event.attributes["amount"]) for event in events),
            outer_call=extrinsic.call.name if extrinsic else None,
        )
        for extrinsic, destination, events in _grouped(
            block, mine="from", other="to", who=treasury_ss58
        )
    ]


def treasury_network_fees(block: Block, treasury_ss58: str) -> list[TreasuryNetworkFee]:
    """Network fees the treasury paid in a block (``actual_fee`` includes the tip)."""
    return [
        TreasuryNetworkFee(event.extrinsic_index, event.index, int(event.attributes["actual_fee"]))
        for event in block.events
        if (event.module, event.name) == ("TransactionPayment", "TransactionFeePaid")
        and event.attributes["who"] == treasury_ss58
        and int(event.attributes["actual_fee"]) > 0
    ]


def _direct_calls(call: Call) -> tuple[Call, ...]:
    return call.children or (call,)


def _remarks(call: Call) -> tuple[str, ...]:
    return tuple(
        str(child.args["remark"]) for child in _direct_calls(call) if child.name == REMARK_CALL
    )


def _transfers(block: Block) -> Iterator[ChainEvent]:
    return _transfer_events(block.events)


def _transfer_events(events: Iterable[ChainEvent]) -> Iterator[ChainEvent]:
    return (event for event in events if (event.module, event.name) == ("Balances", "Transfer"))


def _moved(event: ChainEvent) -> tuple[str, str, int]:
    """Sender, destination and rao of a ``Balances.Transfer``."""
    attributes = event.attributes
    return str(attributes["from"]), str(attributes["to"]), int(attributes["amount"])


def _grouped(
    block: Block, *, mine: str, other: str, who: str
) -> list[tuple[Extrinsic | None, str, list[ChainEvent]]]:
    """Transfer events with ``who`` on one side, by extrinsic and the other side's address.

    A transfer to oneself moves nothing and is left out.
    """
    extrinsics = {extrinsic.index: extrinsic for extrinsic in block.extrinsics}
    groups: dict[tuple[int | None, str], list[ChainEvent]] = {}
    for event in _transfers(block):
        counterpart = str(event.attributes[other])
        if event.attributes[mine] == who and counterpart != who:
            groups.setdefault((event.extrinsic_index, counterpart), []).append(event)
    return [
        (None if index is None else extrinsics.get(index), counterpart, events)
        for (index, counterpart), events in groups.items()
    ]
