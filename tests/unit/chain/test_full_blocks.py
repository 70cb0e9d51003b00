"""What a block's events are looked through for does not grow with its extrinsics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chain.commits import plain_commits, sealed_commits, unshown_commits
from chain.node_decode import events_from, extrinsics_from
from chain.port import Block, ChainEvent

COUNT = 200
NETUID = 2


class Counted(tuple[ChainEvent, ...]):
    """Events that count how often somebody began to look through all of them."""

    looks = 0

    def __iter__(self) -> Iterator[ChainEvent]:
        self.looks += 1
        return super().__iter__()


def no_such_error(module: int, error: int) -> str:
    raise AssertionError((module, error))


def record(index: int, module: str, name: str, **attributes: Any) -> dict[str, Any]:
    event = {"module_id": module, "event_id": name, "attributes": attributes}
    return {"phase": "ApplyExtrinsic", "extrinsic_idx": index, "event": event}


def commitment(index: int) -> dict[str, Any]:
    args = {"netuid": NETUID, "info": {"fields": [{"BigRaw": f"commit {index}"}]}}
    return {
        "extrinsic_hash": f"0x{index:064x}",
        "address": f"5Hot{index}",
        "nonce": 1,
        "call": {
            "call_module": "Commitments",
            "call_function": "set_commitment",
            "call_args": [{"name": name, "value": value} for name, value in args.items()],
        },
    }


@pytest.fixture
def block() -> Block:
    """A block in which everybody commits."""
    records = []
    for index in range(COUNT):
        records += [
            record(index, "Commitments", "Commitment", netuid=NETUID, who=f"5Hot{index}"),
            record(index, "System", "ExtrinsicSuccess", dispatch_info={}),
        ]
    events = Counted(events_from(records))
    extrinsics = extrinsics_from([commitment(n) for n in range(COUNT)], events, no_such_error)
    assert events.looks == 1
    assert all(extrinsic.success for extrinsic in extrinsics)
    return Block(9, "0xaa", "0xbb", None, 300, extrinsics, events)


@pytest.mark.parametrize(
    ("find", "found"), [(plain_commits, COUNT), (sealed_commits, 0), (unshown_commits, 0)]
)
def test_commitments_are_found_in_one_look_at_the_events(
    block: Block, find: Callable[[Block, int], list[Any]], found: int
) -> None:
    assert isinstance(block.events, Counted)
    block.events.looks = 0
    assert len(find(block, NETUID)) == found
    assert block.events.looks == 1
