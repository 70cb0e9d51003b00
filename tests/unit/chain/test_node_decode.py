"""What substrate-interface decodes becomes the port's words, with nothing taken for executed that
the events do not show."""

from typing import Any

import pytest

from chain.node_decode import (
    NO_ACCOUNT,
    account,
    call_from,
    committed_bytes,
    events_from,
    extrinsic_from,
    plain_commits,
    timestamp_ms,
)
from chain.port import Block

HOTKEY = "5Hotkey"


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


def record(module: str, name: str, index: int | None = 0, attributes: Any = None) -> dict[str, Any]:
    event = {"module_id": module, "event_id": name, "attributes": attributes}
    return {"phase": "ApplyExtrinsic", "extrinsic_idx": index, "event": event}


def no_such_error(module: int, error: int) -> str:
    raise AssertionError((module, error))


def block_of(call: dict[str, Any], *events: dict[str, Any]) -> Block:
    decoded = events_from(events)
    value = {"extrinsic_hash": "0xAB", "address": HOTKEY, "call": call}
    extrinsic = extrinsic_from(0, value, decoded, no_such_error)
    return Block(7, "0x07", "0x06", None, 293, (extrinsic,), decoded)


def test_children_of_a_batch_are_calls_and_leave_its_arguments() -> None:
    inner = raw_call("System", "remark", remark="hi")
    call = call_from(
        raw_call("Utility", "batch_all", calls=[inner, raw_call("Utility", "batch", calls=[inner])])
    )
    assert call.name == "Utility.batch_all"
    assert call.args == {}
    assert [child.name for child in call.children] == ["System.remark", "Utility.batch"]
    assert call.children[1].children[0].args == {"remark": "hi"}


def test_an_address_is_plain_whether_shown_as_an_id_or_not() -> None:
    for shown in ("5Dest", {"Id": "5Dest"}):
        assert call_from(raw_call("Balances", "transfer", dest=shown)).args["dest"] == "5Dest"


def test_an_extrinsic_without_its_own_success_event_did_not_succeed() -> None:
    value = {"extrinsic_hash": "0xAB", "call": raw_call("Timestamp", "set", now=5)}
    events = events_from([record("System", "ExtrinsicSuccess", 1)])
    extrinsic = extrinsic_from(0, value, events, no_such_error)
    assert (extrinsic.success, extrinsic.signer, extrinsic.hash) == (False, None, "0xab")
    assert timestamp_ms([extrinsic]) == 5
    assert timestamp_ms([]) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"Module": {"index": 18, "error": "0x01000000"}}, "18/1"),
        ({"Module": {"index": 18, "error": 3}}, "18/3"),
        ({"Token": "FundsUnavailable"}, '{"Token": "FundsUnavailable"}'),
    ],
)
def test_a_failure_is_named(error: dict[str, Any], expected: str) -> None:
    failed = record("System", "ExtrinsicFailed", 0, {"dispatch_error": error})
    value = {"extrinsic_hash": "0xab", "address": HOTKEY, "call": raw_call("System", "remark")}
    extrinsic = extrinsic_from(0, value, events_from([failed]), lambda m, e: f"{m}/{e}")
    assert (extrinsic.success, extrinsic.error) == (False, expected)


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


OK = record("System", "ExtrinsicSuccess")
DONE, NOT_DONE = record("Utility", "ItemCompleted"), record("Utility", "ItemFailed")
CUT = record("Utility", "BatchInterrupted")


@pytest.mark.parametrize(
    ("function", "events", "executed"),
    [
        ("batch_all", (DONE, DONE, OK), [True, True]),
        ("batch_all", (record("System", "ExtrinsicFailed", 0, {}),), [False, False]),
        ("batch", (DONE, CUT, OK), [True, False]),
        ("batch", (CUT, OK), [False, False]),
        ("force_batch", (NOT_DONE, DONE, OK), [False, True]),
        ("force_batch", (DONE, NOT_DONE, OK), [True, False]),
    ],
)
def test_a_commit_in_a_batch_succeeded_only_if_its_own_item_did(
    function: str, events: tuple[dict[str, Any], ...], executed: list[bool]
) -> None:
    call = raw_call("Utility", function, calls=[commitment("{}"), commitment('{"b":1}')])
    commits = plain_commits(block_of(call, *events), 2)
    assert [commit.succeeded for commit in commits] == executed
    assert [commit.payload for commit in commits] == [b"{}", b'{"b":1}']


def test_a_failed_commit_is_told_and_not_hidden() -> None:
    failed = record("System", "ExtrinsicFailed", 0, {"dispatch_error": "BadOrigin"})
    (commit,) = plain_commits(block_of(commitment("{}"), failed), 2)
    assert (commit.hotkey, commit.succeeded, commit.form) == (HOTKEY, False, "plain")


def test_commits_of_another_subnet_are_not_ours() -> None:
    assert plain_commits(block_of(commitment("{}", netuid=3), OK), 2) == []


def test_an_empty_account_entry_is_nobody() -> None:
    assert account(NO_ACCOUNT) is None
    assert account(None) is None
    assert account("5Somebody") == "5Somebody"
