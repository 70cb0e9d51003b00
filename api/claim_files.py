"""A signed claim as a file: what `miner claim` prints and `treasury claims import` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from api.errors import InputFileError, read_text_file
from ledger.keys import ArenaKey
from ledger.rules.claims import SignedClaim, Wants

MAX_CLAIMS_BYTES: Final = 1_048_576
"""How large a file of claims may be."""


class ClaimDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signed claim. ``arena`` is genesis and subnet, ``payment`` its extrinsic's hash."""

    arena: str
    payment: str
    wants: Wants
    hotkey: str | None
    claimant: str
    signature: str


def document_of(signed: SignedClaim) -> ClaimDocument:
    """The claim as it is handed in."""
    return ClaimDocument(
        arena=str(signed.arena),
        payment=signed.payment,
        wants=signed.wants,
        hotkey=signed.hotkey,
        claimant=signed.claimant,
        signature=signed.signature,
    )


def read_claims(file: Path) -> list[SignedClaim]:
    """The claims of a file, one or a list of any length; ``InputFileError`` for anything else."""
    text = read_text_file(file, max_bytes=MAX_CLAIMS_BYTES)
    if len(text.encode()) > MAX_CLAIMS_BYTES:
        msg = f"the file '{file}' is larger than {MAX_CLAIMS_BYTES} bytes; split it"
        raise InputFileError(msg)
    try:
        found = msgspec.json.decode(text, type=ClaimDocument | list[ClaimDocument])
        several = found if isinstance(found, list) else [found]
        return [_claim(one) for one in several]
    except (msgspec.MsgspecError, ValueError) as error:
        msg = f"the file '{file}' holds no claims as 'miner claim' prints them: {error}"
        raise InputFileError(msg) from error


def _claim(one: ClaimDocument) -> SignedClaim:
    return SignedClaim(
        ArenaKey.parse(one.arena),
        one.payment,
        one.wants,
        one.hotkey,
        one.claimant,
        one.signature,
    )
