"""From what substrate-interface decodes to the port's words. Pure; no socket is read here.

Shapes in: a call is ``{"call_module", "call_function", "call_args": [{"name", "value"}]}``, an
event record ``{"phase", "extrinsic_idx", "event": {"module_id", "event_id", "attributes"}}``. A
byte string is text where it is valid UTF-8 and ``0x`` hex otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from chain.encoding import bytes_as_shown, unwrap
from chain.port import Block, Call, ChainEvent, ChainUnavailableError, Extrinsic
from chain.runs import BATCH_CALLS, MAX_NESTING, by_extrinsic

NO_ACCOUNT: Final = "5C4hrfjw9DjXZTzV3MwzrrAr9P1MJhSrvWGWqi1eSuyUpnhM"
"""The address of 32 zero bytes: what an account map of the pallet answers where it has no entry."""

TOO_DEEP: Final = "a call wrapped too deep to be looked into"
"""What stands for the calls inside one that is :data:`~chain.runs.MAX_NESTING` levels deep."""

ErrorName = Callable[[int, int], str]
"""(pallet index, error index) → the error's name in the runtime's metadata."""


class Shown(dict[str, Any]):
    """What the chain shows of a call or an event, by name.

    One that a runtime does not show, or no longer under that name, is no answer to go on with: its
    lack is a :class:`~chain.port.ChainUnavailableError`, which stops the cursor and is told.
    """

    def __init__(self, of: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._of = of

    def __missing__(self, name: str) -> Any:
        msg = (
            f"the runtime shows {self._of} without {name!r} (but {', '.join(self) or 'nothing'}), "
            "which this program does not know to read; update it"
        )
        raise ChainUnavailableError(msg)


def call_from(value: Mapping[str, Any], depth: int = 0) -> Call:
    """A decoded call, with the calls it wraps: a batch's children, a proxy's or multisig's call.

    Calls more than :data:`~chain.runs.MAX_NESTING` levels deep are left out.
    """
    name = f"{value['call_module']}.{value['call_function']}"
    args = {str(arg["name"]): _plain(arg["value"]) for arg in value["call_args"]}
    children: tuple[Call, ...] = ()
    is_deepest = depth >= MAX_NESTING
    for key, held in args.items():
        if _is_call(held):
            args[key] = TOO_DEEP if is_deepest else call_from(held, depth + 1)
        elif key == "calls" and name in BATCH_CALLS:
            if is_deepest:
                args[key] = TOO_DEEP if held else held
            else:
                children = tuple(call_from(child, depth + 1) for child in held)
    if children:
        del args["calls"]
    return Call(
        module=str(value["call_module"]),
        function=str(value["call_function"]),
        args=Shown(f"the call {name}", args),
        children=children,
    )


def events_from(records: Sequence[Mapping[str, Any]]) -> tuple[ChainEvent, ...]:
    """Event records of one block, in order; ``index`` is the place in ``System.Events``."""
    return tuple(
        ChainEvent(
            index=index,
            extrinsic_index=record["extrinsic_idx"],
            module=str(record["event"]["module_id"]),
            name=str(record["event"]["event_id"]),
            attributes=Shown(
                f"the event {record['event']['module_id']}.{record['event']['event_id']}",
                _attributes(record["event"]["attributes"]),
            ),
        )
        for index, record in enumerate(records)
    )


def extrinsics_from(
    values: Sequence[Mapping[str, Any]], events: Sequence[ChainEvent], error_name: ErrorName
) -> tuple[Extrinsic, ...]:
    """All extrinsics of a block, whose events these are."""
    own = by_extrinsic(events)
    return tuple(
        extrinsic_from(index, value, own.get(index, ()), error_name)
        for index, value in enumerate(values)
    )


def extrinsic_from(
    index: int, value: Mapping[str, Any], events: Sequence[ChainEvent], error_name: ErrorName
) -> Extrinsic:
    """One extrinsic; success is its own ``System.ExtrinsicSuccess``, and nothing else is."""
    own = [event for event in events if event.extrinsic_index == index]
    system = [event for event in own if event.module == "System"]
    success = any(event.name == "ExtrinsicSuccess" for event in system)
    failed = [event for event in system if event.name == "ExtrinsicFailed"]
    return Extrinsic(
        index=index,
        hash=str(value["extrinsic_hash"]).lower(),
        signer=_address(value.get("address")),
        call=call_from(value["call"]),
        success=success,
        error=_dispatch_error(failed[0].attributes, error_name) if failed else None,
        nonce=_nonce(value),
    )


def timestamp_ms(extrinsics: Sequence[Extrinsic]) -> int | None:
    """The block's time from its ``Timestamp.set`` inherent; None where it has none (genesis)."""
    for extrinsic in extrinsics:
        if extrinsic.call.name == "Timestamp.set":
            return int(extrinsic.call.args["now"])
    return None


def revealed_hotkeys(block: Block, netuid: int) -> list[str]:
    """The hotkeys of the block's ``CommitmentRevealed`` events, in their order, with repeats."""
    return [
        str(event.attributes["who"])
        for event in block.events
        if (event.module, event.name) == ("Commitments", "CommitmentRevealed")
        and int(event.attributes["netuid"]) == netuid
    ]


def revealed_bytes(entry: str | bytes) -> bytes:
    """A revealed entry without its SCALE-compact length (README 2 of the recorded season)."""
    return unwrap(bytes_as_shown(entry))


def account(value: object) -> str | None:
    """An address from an account map, None where the map has no entry."""
    return None if value in (None, NO_ACCOUNT) else str(value)


def _attributes(value: object) -> Mapping[str, Any]:
    """An event's attributes by name; those of a tuple-like event by position."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    items = value if isinstance(value, list | tuple) else (value,)
    return {str(place): _plain(item) for place, item in enumerate(items)}


def _plain(value: Any) -> Any:
    """``MultiAddress`` as its address where substrate-interface leaves it as ``{"Id": …}``."""
    if isinstance(value, Mapping) and set(value) == {"Id"}:
        return value["Id"]
    return value


def _is_call(value: object) -> bool:
    return isinstance(value, Mapping) and {"call_module", "call_function", "call_args"} <= set(
        value
    )


def _address(value: object) -> str | None:
    plain = _plain(value)
    return None if plain is None else str(plain)


def _nonce(value: Mapping[str, Any]) -> int | None:
    """The nonce of a signed extrinsic; an inherent has none."""
    nonce = value.get("nonce")
    return None if value.get("address") is None or nonce is None else int(nonce)


def _dispatch_error(attributes: Mapping[str, Any], error_name: ErrorName) -> str:
    error = attributes.get("dispatch_error")
    if isinstance(error, Mapping) and isinstance(error.get("Module"), Mapping):
        module = error["Module"]
        code = module["error"]
        # Four bytes as hex since the error may nest; the pallet's own index is the first.
        index = bytes.fromhex(code.removeprefix("0x"))[0] if isinstance(code, str) else int(code)
        return error_name(int(module["index"]), index)
    return json.dumps(error, sort_keys=True, default=str)
