"""What substrate-interface decodes becomes the port's words, with nothing taken for executed that
the events do not show."""

from typing import Any

import pytest

from chain.beside import Beside, held_weights, touched_locks
from chain.node_decode import (
    NO_ACCOUNT,
    account,
    call_from,
    events_from,
    extrinsic_from,
    timestamp_ms,
)
from chain.port import Block, ChainUnavailableError

HOTKEY = "5Hotkey"


def raw_call(module: str, function: str, **args: Any) -> dict[str, Any]:
    return {
        "call_module": module,
        "call_function": function,
        "call_args": [{"name": name, "type": "?", "value": value} for name, value in args.items()],
    }


def record(module: str, name: str, index: int | None = 0, attributes: Any = None) -> dict[str, Any]:
    event = {"module_id": module, "event_id": name, "attributes": attributes}
    return {"phase": "ApplyExtrinsic", "extrinsic_idx": index, "event": event}


def no_such_error(module: int, error: int) -> str:
    raise AssertionError((module, error))


def test_children_of_a_batch_are_calls_and_leave_its_arguments() -> None:
    inner = raw_call("System", "remark", remark="hi")
    call = call_from(
        raw_call("Utility", "batch_all", calls=[inner, raw_call("Utility", "batch", calls=[inner])])
    )
    assert call.name == "Utility.batch_all"
    assert call.args == {}
    assert [child.name for child in call.children] == ["System.remark", "Utility.batch"]
    assert call.children[1].children[0].args == {"remark": "hi"}


def test_a_call_that_another_one_wraps_is_a_call() -> None:
    inner = raw_call("Utility", "batch", calls=[raw_call("System", "remark", remark="hi")])
    proxied = call_from(raw_call("Proxy", "proxy", real="5Real", force_proxy_type=None, call=inner))
    assert proxied.children == ()
    assert proxied.args["call"].children[0].args == {"remark": "hi"}


def test_an_address_is_plain_whether_shown_as_an_id_or_not() -> None:
    for shown in ("5Dest", {"Id": "5Dest"}):
        assert call_from(raw_call("Balances", "transfer", dest=shown)).args["dest"] == "5Dest"


def test_an_event_or_a_call_of_an_unknown_shape_is_an_error_of_the_chain() -> None:
    """A runtime may rename a field; the process must not end, and says what it cannot read."""
    shown = {"who": "5Cold", "amount": 1}
    for name in ("StakeLocked", "WeightsSet", "PerpetualLockUpdated"):
        events = events_from([record("SubtensorModule", name, attributes=shown)])
        block = Block(9, "0xaa", "0xbb", None, 500, (), events)
        with pytest.raises(ChainUnavailableError, match=rf"SubtensorModule\.{name} without"):
            touched_locks(None, 2, block, Beside())  # type: ignore[arg-type]
            held_weights(None, 2, block, {}, Beside(), all_of_them=False)  # type: ignore[arg-type]
    with pytest.raises(ChainUnavailableError, match=r"call System\.remark without 'remark'"):
        call_from(raw_call("System", "remark", data="hi")).args["remark"]


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


def test_an_empty_account_entry_is_nobody() -> None:
    assert account(NO_ACCOUNT) is None
    assert account(None) is None
    assert account("5Somebody") == "5Somebody"
