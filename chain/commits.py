"""Which commitments a block made: by the calls that carry them and by the events that prove them.

``Commitments.set_commitment`` commits for the account it is dispatched for, whatever wraps it: a
batch, a proxy or a multisig of the hotkey. The runtime then emits ``Commitment{netuid, who}``, or
``TimelockCommitment{netuid, who, reveal_round}`` where a field is timelocked. The call gives the
payload, the event says that it happened and for whom. A commitment whose call shows nowhere in the
block (one that a scheduler or another pallet dispatched) is known by its event alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from chain.encoding import bytes_as_shown, unwrap
from chain.port import Block, BlockRef, Call, ChainEvent, Commit, Extrinsic
from chain.runs import Run, UnreadableRunError, by_extrinsic, event_name, runs_of

SET_COMMITMENT: Final = "Commitments.set_commitment"

MAX_FAILED_COMMITS: Final = 100
"""So many failed commitments of a block are told of; any account may put thousands in a batch."""

_COMMITTED: Final = "Commitments.Commitment"
_SEALED: Final = "Commitments.TimelockCommitment"


@dataclass(frozen=True, slots=True)
class SealedCommit:
    """A commitment with a timelocked field: what it says becomes known at its reveal, if ever.

    ``index`` is the extrinsic's, -1 where the runtime itself dispatched it, and ``nth`` tells the
    commitments of one extrinsic apart. ``reveal_round`` is the drand round of its first timelocked
    field. ``succeeded`` is False for one that the runtime refused (R9).
    """

    hotkey: str
    block: BlockRef
    index: int
    nth: int
    reveal_round: int | None
    succeeded: bool
    extrinsic_hash: str | None


@dataclass(frozen=True, slots=True)
class UnshownCommit:
    """A plain commitment that only its event shows; the chain's state has what it says, unless a
    later one of the same hotkey in this block took its place (``overwritten``)."""

    hotkey: str
    block: BlockRef
    index: int
    nth: int
    extrinsic_hash: str | None
    overwritten: bool


@dataclass(frozen=True, slots=True)
class _Made:
    """One commitment of the subnet in a block; ``fields`` is None where no call shows them."""

    extrinsic: Extrinsic | None
    nth: int
    hotkey: str
    fields: Sequence[Any] | None
    event: ChainEvent | None


def plain_commits(block: Block, netuid: int) -> list[Commit]:
    """The plain commitments whose calls the block shows, the failed ones too, in their order.

    A failed one is told only of the account that tried: who merely names another one (a proxy that
    it is not) commits nothing for it.
    """
    commits = []
    for made in _made(block, netuid):
        payload = None if made.fields is None else committed_bytes(made.fields)
        if payload is not None and made.extrinsic is not None:
            commits.append(
                Commit(
                    hotkey=made.hotkey,
                    block=block.ref,
                    index=made.extrinsic.index,
                    form="plain",
                    payload=payload,
                    succeeded=made.event is not None,
                    extrinsic_hash=made.extrinsic.hash,
                    nth=made.nth,
                )
            )
    return commits


def sealed_commits(block: Block, netuid: int) -> list[SealedCommit]:
    """The commitments of a block with a timelocked field, the failed ones too, in their order."""
    sealed = []
    for made in _made(block, netuid):
        if made.fields is None:
            timelocked = made.event is not None and event_name(made.event) == _SEALED
            reveal_round = int(made.event.attributes["reveal_round"]) if made.event else None
        else:
            timelocked = committed_bytes(made.fields) is None
            reveal_round = _reveal_round(made.fields)
        if timelocked:
            sealed.append(
                SealedCommit(
                    hotkey=made.hotkey,
                    block=block.ref,
                    index=-1 if made.extrinsic is None else made.extrinsic.index,
                    nth=made.nth,
                    reveal_round=reveal_round,
                    succeeded=made.event is not None,
                    extrinsic_hash=None if made.extrinsic is None else made.extrinsic.hash,
                )
            )
    return sealed


def unshown_commits(block: Block, netuid: int) -> list[UnshownCommit]:
    """The plain commitments that happened and that no call in the block shows."""
    made = list(_made(block, netuid))
    happened = [one for one in made if one.event is not None]
    last = {one.hotkey: one for one in happened}
    return [
        UnshownCommit(
            hotkey=one.hotkey,
            block=block.ref,
            index=-1 if one.extrinsic is None else one.extrinsic.index,
            nth=one.nth,
            extrinsic_hash=None if one.extrinsic is None else one.extrinsic.hash,
            overwritten=last[one.hotkey] is not one,
        )
        for one in happened
        if one.fields is None and one.event is not None and event_name(one.event) == _COMMITTED
    ]


def committed_bytes(fields: Sequence[Any]) -> bytes | None:
    """``Raw0``..``Raw128`` and ``BigRaw`` fields joined in order and unwrapped (DOMAIN 1).

    None when a field is timelocked: the payload is then not known yet.
    """
    joined = b""
    for kind, value in _entries(fields):
        if kind == "TimelockEncrypted":
            return None
        if kind == "BigRaw" or kind.startswith("Raw"):
            joined += bytes_as_shown(value or b"")
    return unwrap(joined)


def _reveal_round(fields: Sequence[Any]) -> int | None:
    rounds = (
        int(value["reveal_round"])
        for kind, value in _entries(fields)
        if kind == "TimelockEncrypted" and isinstance(value, Mapping) and "reveal_round" in value
    )
    return min(rounds, default=None)


def _entries(fields: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for item in fields:
        # The runtime's vector of fields comes as dicts, in older codecs as one-tuples of dicts.
        entry = item[0] if isinstance(item, list | tuple) and len(item) == 1 else item
        if isinstance(entry, Mapping):  # else a field without content, e.g. "ResetBondsFlag"
            yield from entry.items()


def failed_left_out(block: Block, netuid: int) -> int:
    """How many failed commitments of a block are told of nowhere, for they are too many."""
    failed = sum(made.event is None for made in _all_made(block, netuid))
    return max(0, failed - MAX_FAILED_COMMITS)


def _made(block: Block, netuid: int) -> Iterator[_Made]:
    """All that happened, and of what failed no more than is told of."""
    failed = 0
    for made in _all_made(block, netuid):
        failed += made.event is None
        if made.event is not None or failed <= MAX_FAILED_COMMITS:
            yield made


def _all_made(block: Block, netuid: int) -> Iterator[_Made]:
    """By extrinsic, then what the runtime itself dispatched."""
    own = by_extrinsic(block.events)
    for extrinsic in block.extrinsics:
        yield from _made_by(extrinsic, own.get(extrinsic.index, ()), netuid)
    for nth, event in enumerate(_proofs(own.get(None, ()), netuid)):
        yield _Made(None, nth, str(event.attributes["who"]), None, event)


def _made_by(extrinsic: Extrinsic, events: Sequence[ChainEvent], netuid: int) -> Iterator[_Made]:
    """What an extrinsic committed, by its own events."""
    proofs = _proofs(events, netuid)
    if not proofs and not any(_commits_to(call, netuid) for call in _all_calls(extrinsic.call)):
        return
    found: list[tuple[str | None, Sequence[Any] | None, ChainEvent | None]]
    try:
        runs = runs_of(extrinsic, events)
    except UnreadableRunError:
        found = _paired(extrinsic, proofs, netuid)
    else:
        found = []
        proven: set[int] = set()
        for run in runs:
            own = _proofs(run.events, netuid)
            if _commits_to(run.call, netuid):
                proof = own[0] if run.done and own else None
                proven |= {proof.index} if proof else set()
                found.append((_whom(run, proof), run.call.args["info"]["fields"], proof))
                own = own[1:] if proof else own
            found += [(str(event.attributes["who"]), None, event) for event in own]
            proven |= {event.index for event in own}
        found += [
            (str(event.attributes["who"]), None, event)
            for event in proofs
            if event.index not in proven
        ]
    made = [entry for entry in found if entry[0] is not None]
    for nth, (hotkey, fields, proof) in enumerate(made):
        yield _Made(extrinsic, nth, str(hotkey), fields, proof)


def _whom(run: Run, proof: ChainEvent | None) -> str | None:
    return run.origin if proof is None else str(proof.attributes["who"])


def _paired(
    extrinsic: Extrinsic, proofs: Sequence[ChainEvent], netuid: int
) -> list[tuple[str | None, Sequence[Any] | None, ChainEvent | None]]:
    """Calls and proofs of an extrinsic whose events do not fit its calls: the last to the last.

    What is too many on either side was not carried out, or shows nowhere.
    """
    calls = [call for call in _all_calls(extrinsic.call) if _commits_to(call, netuid)]
    pairs: list[tuple[str | None, Sequence[Any] | None, ChainEvent | None]] = []
    for place in range(1, max(len(calls), len(proofs)) + 1):
        call = calls[-place] if place <= len(calls) else None
        proof = proofs[-place] if place <= len(proofs) else None
        hotkey = extrinsic.signer if proof is None else str(proof.attributes["who"])
        pairs.append((hotkey, call.args["info"]["fields"] if call else None, proof))
    return pairs[::-1]


def _all_calls(call: Call) -> Iterator[Call]:
    yield call
    inner = call.args.get("call")
    for child in (*call.children, *((inner,) if isinstance(inner, Call) else ())):
        yield from _all_calls(child)


def _commits_to(call: Call, netuid: int) -> bool:
    return call.name == SET_COMMITMENT and int(call.args["netuid"]) == netuid


def _proofs(events: Sequence[ChainEvent], netuid: int) -> list[ChainEvent]:
    return [
        event
        for event in events
        if event.module == "Commitments"
        and event_name(event) in {_COMMITTED, _SEALED}
        and int(event.attributes["netuid"]) == netuid
    ]
