"""Every commitment of a block is found with whom it was made for, whatever wraps its call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from chain.commits import (
    MAX_FAILED_COMMITS,
    committed_bytes,
    failed_left_out,
    plain_commits,
    sealed_commits,
    unshown_commits,
)
from chain.node_decode import events_from, extrinsic_from
from chain.port import Block, ChainEvent

HOTKEY, REAL, MULTISIG = "5Hotkey", "5Real", "5Multisig"
OK_RESULT: dict[str, Any] = {"Ok": []}
BAD_RESULT: dict[str, Any] = {"Err": "BadOrigin"}


def raw_call(module: str, function: str, **args: Any) -> dict[str, Any]:
    return {
        "call_module": module,
        "call_function": function,
        "call_args": [{"name": name, "type": "?", "value": value} for name, value in args.items()],
    }


def commitment(text: str, netuid: int = 2) -> dict[str, Any]:
    return raw_call(
        "Commitments", "set_commitment", netuid=netuid, info={"fields": [{"BigRaw": text}]}
    )


def timelocked(reveal_round: int = 1_000) -> dict[str, Any]:
    field = {"TimelockEncrypted": {"encrypted": "0x00", "reveal_round": reveal_round}}
    return raw_call("Commitments", "set_commitment", netuid=2, info={"fields": [field]})


def batch(function: str, *calls: dict[str, Any]) -> dict[str, Any]:
    return raw_call("Utility", function, calls=list(calls))


def proxy(call: dict[str, Any], real: str = REAL) -> dict[str, Any]:
    return raw_call("Proxy", "proxy", real={"Id": real}, force_proxy_type=None, call=call)


def as_multi(call: dict[str, Any]) -> dict[str, Any]:
    return raw_call("Multisig", "as_multi", threshold=2, other_signatories=["5Other"], call=call)


def record(module: str, name: str, extrinsic: int | None = 0, **attributes: Any) -> dict[str, Any]:
    event = {"module_id": module, "event_id": name, "attributes": attributes or None}
    return {"phase": "ApplyExtrinsic", "extrinsic_idx": extrinsic, "event": event}


def made(who: str = HOTKEY, index: int | None = 0) -> dict[str, Any]:
    return record("Commitments", "Commitment", index, netuid=2, who=who)


def sealed(who: str = HOTKEY) -> dict[str, Any]:
    return record("Commitments", "TimelockCommitment", netuid=2, who=who, reveal_round=1_000)


def block_of(call: dict[str, Any], *events: dict[str, Any]) -> Block:
    decoded = events_from(events)
    value = {"extrinsic_hash": "0xAB", "address": HOTKEY, "call": call}
    extrinsic = extrinsic_from(0, value, decoded, lambda module, error: f"{module}/{error}")
    return Block(7, "0x07", "0x06", None, 293, (extrinsic,), decoded)


def found(call: dict[str, Any], *events: dict[str, Any]) -> list[tuple[str, bytes, bool, int]]:
    commits = plain_commits(block_of(call, *events), 2)
    return [(one.hotkey, one.payload, one.succeeded, one.nth) for one in commits]


OK = record("System", "ExtrinsicSuccess")
FAILED = record("System", "ExtrinsicFailed", dispatch_error="BadOrigin")
DONE, NOT_DONE = record("Utility", "ItemCompleted"), record("Utility", "ItemFailed", error="e")
ALL, SOME = record("Utility", "BatchCompleted"), record("Utility", "BatchCompletedWithErrors")
PROXIED = record("Proxy", "ProxyExecuted", result=OK_RESULT)
PROXIED_IN_VAIN = record("Proxy", "ProxyExecuted", result=BAD_RESULT)


def cut(index: int) -> dict[str, Any]:
    return record("Utility", "BatchInterrupted", index=index, error="e")


def multisig(result: Any) -> dict[str, Any]:
    return record("Multisig", "MultisigExecuted", multisig=MULTISIG, result=result)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([{"BigRaw": '{"a":1}'}], b'{"a":1}'),
        ([{"Raw4": "0x7b226122"}, {"Raw3": "0x3a317d"}], b'{"a":1}'),
        ([[{"Raw2": "0x7b7d"}]], b"{}"),
        ([{"Raw0": None}, "ResetBondsFlag"], b""),
        ([{"BigRaw": "0x" + b'{"a":1}'.hex()}], b'{"a":1}'),
        ([{"TimelockEncrypted": {"encrypted": "0x00", "reveal_round": 1}}], None),
        ([{"Raw2": "0x7b7d"}, {"TimelockEncrypted": {"encrypted": "0x00"}}], None),
    ],
)
def test_fields_are_joined_in_order_and_timelocked_ones_wait(
    fields: list[Any], expected: bytes | None
) -> None:
    assert committed_bytes(fields) == expected


@pytest.mark.parametrize(
    ("function", "events", "executed"),
    [
        ("batch_all", (made(), DONE, made(), DONE, ALL, OK), [True, True]),
        ("batch_all", (FAILED,), [False, False]),
        ("batch", (made(), DONE, cut(1), OK), [True, False]),
        ("batch", (cut(0), OK), [False, False]),
        ("force_batch", (NOT_DONE, made(), DONE, SOME, OK), [False, True]),
        ("force_batch", (made(), DONE, NOT_DONE, SOME, OK), [True, False]),
    ],
)
def test_a_commit_in_a_batch_succeeded_only_if_its_own_item_did(
    function: str, events: tuple[dict[str, Any], ...], executed: list[bool]
) -> None:
    call = batch(function, commitment("{}"), commitment('{"b":1}'))
    first, second = executed
    assert found(call, *events) == [(HOTKEY, b"{}", first, 0), (HOTKEY, b'{"b":1}', second, 1)]


def test_a_failed_commit_is_told_and_not_hidden() -> None:
    assert found(commitment("{}"), FAILED) == [(HOTKEY, b"{}", False, 0)]


def test_a_success_that_no_event_proves_is_none() -> None:
    assert found(commitment("{}"), OK) == [(HOTKEY, b"{}", False, 0)]


def test_commits_of_another_subnet_are_not_ours() -> None:
    assert found(commitment("{}", netuid=3), made(), OK) == []


def test_a_proxy_commits_for_the_account_it_acts_for() -> None:
    assert found(proxy(commitment("{}")), made(REAL), PROXIED, OK) == [(REAL, b"{}", True, 0)]
    assert found(proxy(commitment("{}")), PROXIED_IN_VAIN, OK) == [(REAL, b"{}", False, 0)]


def test_who_is_no_proxy_of_an_account_puts_no_failed_commit_in_its_name() -> None:
    assert found(proxy(commitment("{}")), FAILED) == []
    call = batch("batch", commitment("{}", netuid=2), proxy(commitment("{}")))
    assert found(call, made(), DONE, cut(1), OK) == [(HOTKEY, b"{}", True, 0)]


def test_a_multisig_commits_at_its_last_approval_and_not_before() -> None:
    call = as_multi(commitment("{}"))
    approved = record("Multisig", "MultisigApproval", multisig=MULTISIG)
    assert found(call, made(MULTISIG), multisig(OK_RESULT), OK) == [(MULTISIG, b"{}", True, 0)]
    assert found(call, multisig(BAD_RESULT), OK) == [(MULTISIG, b"{}", False, 0)]
    assert found(call, approved, OK) == []


def test_an_account_that_no_argument_names_is_named_by_the_event() -> None:
    call = raw_call("Utility", "as_derivative", index=0, call=commitment("{}"))
    assert found(call, made("5Derived"), OK) == [("5Derived", b"{}", True, 0)]


@pytest.mark.parametrize("newer", [False, True], ids=["recorded runtime", "newer runtime"])
def test_a_multisig_of_one_is_named_by_the_event(newer: bool) -> None:
    call = raw_call("Multisig", "as_multi_threshold_1", other_signatories=[], call=commitment("{}"))
    events = (made(MULTISIG), *((multisig(OK_RESULT),) if newer else ()), OK)
    assert found(call, *events) == [(MULTISIG, b"{}", True, 0)]


def test_batches_within_batches_are_told_apart_item_by_item() -> None:
    inner = batch("force_batch", commitment("{}"), commitment('{"b":1}'))
    call = batch("batch_all", proxy(inner), commitment('{"c":1}'))
    events = (NOT_DONE, made(REAL), DONE, SOME, PROXIED, DONE, made(), DONE, ALL, OK)
    assert found(call, *events) == [
        (REAL, b"{}", False, 0),
        (REAL, b'{"b":1}', True, 1),
        (HOTKEY, b'{"c":1}', True, 2),
    ]


def test_a_failed_proxy_takes_the_commits_of_its_batch_back() -> None:
    call = batch("force_batch", proxy(batch("batch_all", commitment("{}"))), commitment("{}"))
    events = (PROXIED_IN_VAIN, DONE, made(), DONE, ALL, OK)
    assert found(call, *events) == [(REAL, b"{}", False, 0), (HOTKEY, b"{}", True, 1)]


def test_a_commit_that_no_call_shows_is_known_by_its_event() -> None:
    scheduled = block_of(raw_call("Timestamp", "set", now=1), made(REAL, None), OK)
    (unshown,) = unshown_commits(scheduled, 2)
    assert (unshown.hotkey, unshown.index, unshown.overwritten) == (REAL, -1, False)
    stored = raw_call("Crowdloan", "finalize", crowdloan_id=1)
    call = batch("batch_all", stored, commitment("{}"))
    dispatched = block_of(call, made(), DONE, ALL, DONE, made(), DONE, ALL, OK)
    assert [one.payload for one in plain_commits(dispatched, 2)] == [b"{}"]
    (unshown,) = unshown_commits(dispatched, 2)
    assert (unshown.hotkey, unshown.index, unshown.nth, unshown.overwritten) == (HOTKEY, 0, 0, True)


def test_a_timelocked_commit_is_sealed_and_not_plain() -> None:
    call = batch("force_batch", timelocked(), commitment("{}"), timelocked(2_000))
    block = block_of(call, sealed(), DONE, made(), DONE, NOT_DONE, SOME, OK)
    assert [(one.hotkey, one.nth) for one in plain_commits(block, 2)] == [(HOTKEY, 1)]
    assert [
        (one.hotkey, one.nth, one.reveal_round, one.succeeded) for one in sealed_commits(block, 2)
    ] == [(HOTKEY, 0, 1_000, True), (HOTKEY, 2, 2_000, False)]


def test_of_failed_commits_no_more_than_so_many_are_told_of_and_the_rest_is_counted() -> None:
    calls = [commitment("{}") for _ in range(MAX_FAILED_COMMITS + 7)]
    events = [*[NOT_DONE] * len(calls), made(), DONE, SOME, OK]
    block = block_of(batch("force_batch", *calls, commitment("{}")), *events)
    commits = plain_commits(block, 2)
    assert [one.succeeded for one in commits] == [False] * MAX_FAILED_COMMITS + [True]
    assert [one.nth for one in commits] == [*range(MAX_FAILED_COMMITS), len(calls)]
    assert failed_left_out(block, 2) == 7
    assert failed_left_out(block_of(batch("force_batch", *calls[:3]), *[NOT_DONE] * 3, OK), 2) == 0


def test_the_events_of_a_block_are_gone_through_once_and_not_for_each_extrinsic() -> None:
    class Counted(tuple[ChainEvent, ...]):
        turns = 0

        def __iter__(self) -> Iterator[ChainEvent]:
            Counted.turns += 1
            return super().__iter__()

    one = block_of(commitment("{}"), made(), OK)
    many = tuple(replace(one.extrinsics[0], index=number) for number in range(20))
    block = replace(one, extrinsics=many, events=Counted(one.events))
    assert [commit.succeeded for commit in plain_commits(block, 2)] == [True] + [False] * 19
    assert Counted.turns == 1
