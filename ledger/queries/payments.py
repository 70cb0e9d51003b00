"""Payments to the treasury: those of a view, one by its name, claims, and a hotkey's credits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, RowMapping, or_, select

from ledger.decisions.base import DecisionRefusedError
from ledger.projections.payments import UNCLAIMED
from ledger.projections.payments import payments as table
from ledger.queries.scope import Scope, plain

MAX_NAME_CHARS: Final = 100
_PLACE: Final = re.compile(r"([0-9]{1,18})-(-?[0-9]{1,9})", re.ASCII)
_HASH: Final = re.compile(r"0x[0-9a-f]{64}", re.ASCII)


def payments(scope: Scope, *, unclaimed_only: bool = False) -> list[dict[str, Any]]:
    """Payments to the treasury in the order of the chain; those nobody claimed stay visible."""
    rows = sorted(scope.rows(table), key=_place)
    return [_line(row) for row in rows if not unclaimed_only or row["status"] in UNCLAIMED]


def claims(scope: Scope, *, open_only: bool = False) -> list[dict[str, Any]]:
    """The payments that were claimed, each with its newest claim, in the order of the chain."""
    rows = sorted(scope.rows(table), key=_place)
    return [
        _line(row)
        for row in rows
        if row["claim_state"] == "open" or (row["claim_state"] is not None and not open_only)
    ]


def payment_named(scope: Scope, name: str) -> dict[str, Any]:
    """The payment of an extrinsic's hash, of a place as ``<block>-<index>``, or of an id.

    Raises ``DecisionRefusedError`` where there is none such, or several.
    """
    wanted, place = name.strip().lower(), _PLACE.fullmatch(name.strip())
    condition: ColumnElement[bool]
    if place is not None:
        condition = (table.c.block == int(place[1])) & (table.c.extrinsic_index == int(place[2]))
    elif _HASH.fullmatch(wanted):
        condition = table.c.extrinsic_hash == wanted
    else:
        condition = table.c.payment_id == wanted[:MAX_NAME_CHARS]
    found = _current(scope, condition)
    if len(found) == 1:
        return _line(found[0])
    shown = name[:MAX_NAME_CHARS]
    if not found:
        msg = (
            f"no payment to the treasury is named '{shown}'; name it by its extrinsic's hash, or "
            "by block and index, as 123-4"
        )
        raise DecisionRefusedError(msg)
    places = ", ".join(f"{row['block']}-{row['extrinsic_index']}" for row in found)
    msg = f"several payments are named '{shown}'; name one of {places}"
    raise DecisionRefusedError(msg)


def identity_of(line: Mapping[str, Any]) -> UUID:
    """The identity of a payment's line."""
    return UUID(line["payment_id"])


def unused_credits(scope: Scope, hotkey: str) -> list[dict[str, Any]]:
    """The payments that a hotkey may use once more, or once at all, instead of paying."""
    return [_line(row) for row in sorted(_current(scope, table.c.credit_of == hotkey), key=_place)]


def _current(scope: Scope, condition: ColumnElement[bool]) -> list[RowMapping]:
    """The rows of the scope's position that hold a condition."""
    query = select(table).where(
        table.c.log_id == scope.head.log_id,
        condition,
        table.c.since <= scope.position,
        or_(table.c.until.is_(None), table.c.until > scope.position),
    )
    return list(scope.connection.execute(query).mappings())


def _place(row: RowMapping) -> tuple[int, int]:
    return row["block"], row["extrinsic_index"]


def _line(row: RowMapping) -> dict[str, Any]:
    return {**plain(row), "remarks": msgspec.json.decode(row["remarks"], type=list[str])}
