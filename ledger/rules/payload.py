"""R1: what a commit must say (DOMAIN 1 and 2).

A commit's payload is one flat JSON object with exactly the four text fields ``image``, ``digest``,
``payment_tx`` and ``payment_block``. :func:`parse_payload` is pure and total: any bytes give either
a :class:`CommitPayload` or a :class:`MalformedPayload` whose detail is one sentence for the miner.
The detail never repeats what the miner wrote, so that a log or a page cannot be made to carry it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final, NoReturn

MAX_PAYLOAD_BYTES: Final = 1_024
"""The largest chain form, ``TimelockEncrypted``, holds at most 1,024 bytes (DOMAIN 1)."""

FIELDS: Final = ("image", "digest", "payment_tx", "payment_block")

_IMAGE: Final = re.compile(r"[a-z0-9][a-z0-9._/:-]*")
_TAG: Final = re.compile(r"[a-zA-Z0-9._-]+")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HASH: Final = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CommitPayload:
    """A well-formed payload. ``payment_tx`` and ``payment_block`` are lower-cased, the other two
    fields are exactly as the miner wrote them (the remark repeats the digest byte for byte)."""

    image: str
    digest: str
    payment_tx: str
    payment_block: str


@dataclass(frozen=True, slots=True)
class MalformedPayload:
    """A payload that breaks R1, with one sentence saying how."""

    detail: str


class _RefusedError(ValueError):
    """Carries the sentence out of the JSON reader."""


def parse_payload(data: bytes) -> CommitPayload | MalformedPayload:
    """Read the unwrapped bytes of a commit (see :func:`chain.encoding.unwrap`); never raises."""
    try:
        fields = _flat_object(data)
        return _checked(fields)
    except _RefusedError as refused:
        return MalformedPayload(str(refused))


def _flat_object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_PAYLOAD_BYTES:
        msg = f"The payload has {len(data)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed."
        raise _RefusedError(msg)
    # No allowed value contains a bracket, so a second one already decides, before any recursion.
    if data.count(b"{") > 1 or b"[" in data:
        msg = "The payload is not one flat JSON object of text fields."
        raise _RefusedError(msg)
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        msg = "The payload is not UTF-8 text."
        raise _RefusedError(msg) from None
    except json.JSONDecodeError as error:
        msg = f"The payload is not JSON: {error.msg} at character {error.pos}."
        raise _RefusedError(msg) from None
    if not isinstance(value, dict):
        msg = "The payload is JSON but not an object."
        raise _RefusedError(msg)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        msg = "The payload names a field twice."
        raise _RefusedError(msg)
    return fields


def _no_constant(_name: str) -> NoReturn:
    msg = "The payload holds a number that JSON does not have."
    raise _RefusedError(msg)


def _checked(fields: dict[str, Any]) -> CommitPayload:
    if set(fields) != set(FIELDS):
        missing = [name for name in FIELDS if name not in fields]
        what = f"lacks {' and '.join(missing)}" if missing else "has further fields"
        msg = f"The payload must have exactly the fields {', '.join(FIELDS)}; it {what}."
        raise _RefusedError(msg)
    for name in FIELDS:
        if not isinstance(fields[name], str):
            msg = f"The payload's {name} must be text."
            raise _RefusedError(msg)
    _check_image(fields["image"])
    if not _DIGEST.fullmatch(fields["digest"]):
        msg = "The payload's digest must be 'sha256:' and 64 lower-case hex digits."
        raise _RefusedError(msg)
    payment = {name: fields[name].lower() for name in ("payment_tx", "payment_block")}
    for name, value in payment.items():
        if not _HASH.fullmatch(value):
            msg = f"The payload's {name} must be '0x' and 64 hex digits."
            raise _RefusedError(msg)
    return CommitPayload(image=fields["image"], digest=fields["digest"], **payment)


def _check_image(image: str) -> None:
    """The part behind the last colon of the last path segment is the tag and may be upper-case."""
    folder, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    if not _IMAGE.fullmatch(folder + slash + name):
        msg = "The payload's image must be a lower-case image name such as ghcr.io/you/engine:v1."
        raise _RefusedError(msg)
    if colon and not _TAG.fullmatch(tag):
        msg = "The payload's image has a tag with characters other than letters, digits and '._-'."
        raise _RefusedError(msg)
