"""A provider's invoice as a file: CSV or JSON in, lines in the ledger's units out.

CSV has a heading line; JSON is a list of objects, or an object with such a list under ``lines``.
The names are those of :data:`FIELDS`; others are passed over. Amounts are exact decimals of
dollars, times Unix seconds or ISO 8601 with a time zone. A file is read whole or refused.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal
from uuid import UUID

from evaluation.pods.port import TAG_PREFIX, request_of
from ledger.commands.invoices import MAX_INSTANCE_CHARS, MAX_LINES, MAX_WORD_CHARS, InvoiceLine
from ledger.rental_policy import MAX_USD_MICROS
from ledger.texts import is_one_line

FileFormat = Literal["csv", "json"]

FIELDS: Final = ("invoice", "line", "instance", "tag", "seconds", "from", "to", "amount_usd")
"""``invoice``, ``line``, ``instance`` and ``amount_usd`` must be there; the rest may be empty."""

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_SECONDS: Final = 366 * 86_400
MAX_TIME_S: Final = 2**33
MAX_NAMED: Final = 5
"""So many bad lines of a file are named."""
_MICROS: Final = 1_000_000


class InvoiceFileError(ValueError):
    """A file that is no invoice; the message names its bad lines."""


def read_invoice(text: str, file_format: FileFormat) -> list[InvoiceLine]:
    """The lines of an invoice; raises :class:`InvoiceFileError` if any of it cannot be read."""
    rows = _csv_rows(text) if file_format == "csv" else _json_rows(text)
    if not rows:
        msg = "the invoice has no lines; name a file that has some"
        raise InvoiceFileError(msg)
    if len(rows) > MAX_LINES:
        msg = f"the invoice has more than {MAX_LINES} lines; split the file"
        raise InvoiceFileError(msg)
    lines: list[InvoiceLine] = []
    faults: list[str] = []
    seen: set[tuple[str, str]] = set()
    for number, row in rows:
        try:
            line = _line(row)
            if (line.invoice, line.line) in seen:
                msg = f"line '{line.line}' of invoice '{line.invoice}' stands there twice"
                raise ValueError(msg)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
        else:
            seen.add((line.invoice, line.line))
            lines.append(line)
    if faults:
        more = f", and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        msg = f"nothing of the invoice was recorded: {'; '.join(faults[:MAX_NAMED])}{more}"
        raise InvoiceFileError(msg)
    return lines


def _csv_rows(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    found: list[tuple[int, Mapping[str, Any]]] = []
    try:
        _must_name(reader.fieldnames or ())
        for row in reader:
            found.append((reader.line_num, row))
            if len(found) > MAX_LINES:
                break
    except csv.Error as error:
        msg = f"line {reader.line_num} of the invoice is no CSV: {error}; mend the file"
        raise InvoiceFileError(msg) from error
    return found


def _json_rows(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        content = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        msg = f"the invoice is no JSON: {error}; mend the file"
        raise InvoiceFileError(msg) from error
    rows = content.get("lines") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        msg = "an invoice in JSON is a list of objects, or has one under 'lines'"
        raise InvoiceFileError(msg)
    return list(enumerate(rows, 1))


def _no_constant(word: str) -> Any:
    msg = f"{word} is no number"
    raise ValueError(msg)


def _must_name(names: Sequence[str]) -> None:
    twice = sorted({name for name in FIELDS if list(names).count(name) > 1})
    if twice:
        msg = f"the invoice's heading names {', '.join(twice)} more than once; name each once"
        raise InvoiceFileError(msg)
    lacking = [name for name in ("invoice", "line", "instance", "amount_usd") if name not in names]
    if lacking:
        msg = f"the invoice's heading lacks {', '.join(lacking)}; it may name: {', '.join(FIELDS)}"
        raise InvoiceFileError(msg)


def _line(row: Mapping[str, Any]) -> InvoiceLine:
    """Raises ``ValueError`` with what is wrong with it."""
    # Where the CSV reader puts what a row has beyond its heading.
    if any(part.strip() for part in row.get(None, ())):  # type: ignore[call-overload]
        msg = (
            "it has more fields than the heading; write amounts without a comma, and quote a text "
            "that has one"
        )
        raise ValueError(msg)
    from_s, to_s = _time(row, "from"), _time(row, "to")
    if from_s is not None and to_s is not None and to_s < from_s:
        msg = "it ends before it begins"
        raise ValueError(msg)
    seconds = _whole(row, "seconds", MAX_SECONDS)
    return InvoiceLine(
        invoice=_invoice(row),
        line=_word(row, "line", MAX_WORD_CHARS),
        instance=_word(row, "instance", MAX_INSTANCE_CHARS),
        tag=_tag(row),
        seconds=seconds,
        from_s=from_s,
        to_s=to_s,
        billed_usd_micros=_micros(row),
    )


def _given(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    return None if isinstance(value, str) and not value.strip() else value


def _invoice(row: Mapping[str, Any]) -> str:
    """Its number, which ends at a colon in the key of the line's fact."""
    found = _word(row, "invoice", MAX_WORD_CHARS)
    if ":" in found:
        msg = "'invoice' must have no colon"
        raise ValueError(msg)
    return found


def _word(row: Mapping[str, Any], name: str, most: int) -> str:
    value = _given(row, name)
    text = str(value) if type(value) in (str, int) else ""
    if not is_one_line(text, most):
        msg = f"'{name}' must be 1 to {most} printable characters"
        raise ValueError(msg)
    return text.strip()


def _tag(row: Mapping[str, Any]) -> str | None:
    """Our request, whether written as the machine's name or as its UUID; another tag is none."""
    value = _given(row, "tag")
    if value is None:
        return None
    text = _word(row, "tag", MAX_INSTANCE_CHARS)
    found: UUID | None = request_of(text if text.startswith(TAG_PREFIX) else TAG_PREFIX + text)
    return None if found is None else str(found)


def _whole(row: Mapping[str, Any], name: str, most: int) -> int | None:
    value = _given(row, name)
    if value is None:
        return None
    text = str(value) if type(value) in (str, int) else ""
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > most:
        msg = f"'{name}' must be a whole number of 0 to {most}"
        raise ValueError(msg)
    return int(text)


def _time(row: Mapping[str, Any], name: str) -> int | None:
    value = _given(row, name)
    if value is None or type(value) is int or (isinstance(value, str) and value.isdigit()):
        return _whole(row, name, MAX_TIME_S)
    try:
        found = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        msg = f"'{name}' must be Unix seconds or a time such as 2026-06-01T12:00:00Z"
        raise ValueError(msg)
    return int(found.timestamp())


def _micros(row: Mapping[str, Any]) -> int:
    """Dollars, exactly; less than a millionth is refused rather than rounded."""
    value = _given(row, "amount_usd")
    try:
        amount = Decimal(str(value).strip()) if type(value) in (str, int, Decimal) else Decimal("n")
        exact = amount * _MICROS
        fits = amount.is_finite() and abs(amount) <= MAX_USD_MICROS // _MICROS
        if fits and exact == exact.to_integral_value():
            return int(exact)
    except (InvalidOperation, ValueError):
        pass
    msg = "'amount_usd' must be dollars such as 12.345678, with at most six decimals"
    raise ValueError(msg)
