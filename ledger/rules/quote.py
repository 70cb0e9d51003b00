"""What a submission will cost and whether it would pass, before anybody pays (DOMAIN 1 and 2).

Pure. The payload's size does not depend on the payment, whose two fields have a fixed length.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from ledger.policy import FeePolicy
from ledger.rules.payload import CommitPayload, MalformedPayload, parse_payload
from ledger.rules.payments import expected_remark

MAX_RAW_BYTES: Final = 128
"""One ``Raw`` field."""
MAX_RAW_FIELDS: Final = 3
"""``Commitments.MaxFields`` of the recorded runtime."""
MAX_BIG_RAW_BYTES: Final = 512
MAX_TIMELOCKED_BYTES: Final = 1_024
TIMELOCK_OVERHEAD_BYTES: Final = 246
"""What sealing adds to a payload (measured with the SDK; a test holds it)."""
MAX_EPOCH_BYTES: Final = 3_100
"""A hotkey's commitments of one epoch on a subnet, together."""
MIN_CHARGED_BYTES: Final = 100
"""A commitment counts as at least so many."""

_ANY_HASH: Final = "0x" + "0" * 64


@dataclass(frozen=True, slots=True)
class Quote:
    """What a miner must pay, to whom, with which remark, and how the commit will look.

    ``detail`` says what R1 refuses, None where the image and the digest pass. ``payload`` carries
    hashes of zeros where the payment's will stand. ``remark`` names a hotkey only if one was given.
    """

    fee_rao: int
    treasury_ss58: str
    window_blocks: int
    remark: str
    payload: str
    payload_bytes: int
    detail: str | None
    raw_fields: int | None
    """How many ``Raw`` fields would hold it, None where more than there may be."""
    fits_big_raw: bool
    timelocked_bytes: int
    fits_timelocked: bool
    commits_an_epoch: int
    """How many plain commits of this size an epoch allows."""

    @property
    def passes(self) -> bool:
        """Whether R1 accepts it and a plain commit can carry it."""
        return self.detail is None and self.fits_big_raw


def payload_bytes(image: str, digest: str, payment_tx: str, payment_block: str) -> bytes:
    """The commit as it is written: compact JSON with the four fields of R1."""
    document = {
        "image": image,
        "digest": digest,
        "payment_tx": payment_tx,
        "payment_block": payment_block,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def quote(fee: FeePolicy, *, image: str, digest: str, hotkey: str | None = None) -> Quote:
    """The quote under a fee policy."""
    data = payload_bytes(image, digest, _ANY_HASH, _ANY_HASH)
    read = parse_payload(data)
    size = len(data)
    fields = -(-size // MAX_RAW_BYTES)
    sealed = size + TIMELOCK_OVERHEAD_BYTES
    return Quote(
        fee_rao=fee.fee_rao,
        treasury_ss58=fee.treasury_ss58,
        window_blocks=fee.payment_max_age_blocks,
        remark=expected_remark(hotkey or "<hotkey>", digest),
        payload=data.decode("utf-8", "replace"),
        payload_bytes=size,
        detail=read.detail if isinstance(read, MalformedPayload) else _altered(read, image, digest),
        raw_fields=fields if fields <= MAX_RAW_FIELDS else None,
        fits_big_raw=size <= MAX_BIG_RAW_BYTES,
        timelocked_bytes=sealed,
        fits_timelocked=sealed <= MAX_TIMELOCKED_BYTES,
        commits_an_epoch=MAX_EPOCH_BYTES // max(size, MIN_CHARGED_BYTES),
    )


def _altered(read: CommitPayload, image: str, digest: str) -> str | None:
    if (read.image, read.digest) != (image, digest):
        return "The payload would not be read as it was written."
    return None
