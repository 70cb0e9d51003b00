"""A quote is what the chain and the rules will say of the commit itself."""

from __future__ import annotations

import bittensor_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.policy import FeePolicy
from ledger.rules.payload import CommitPayload, parse_payload
from ledger.rules.quote import (
    MAX_BIG_RAW_BYTES,
    MAX_EPOCH_BYTES,
    TIMELOCK_OVERHEAD_BYTES,
    payload_bytes,
    quote,
)

FEE = FeePolicy(treasury_ss58="5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo")
DIGEST = "sha256:" + "ab" * 32
TX, BLOCK = "0x" + "1f" * 32, "0x" + "2e" * 32


@given(st.text(max_size=300), st.text(max_size=80) | st.just(DIGEST))
def test_a_quote_passes_just_what_the_real_commit_would(image: str, digest: str) -> None:
    data = payload_bytes(image, digest, TX, BLOCK)
    found = quote(FEE, image=image, digest=digest)
    assert found.payload_bytes == len(data)
    read = parse_payload(data)
    real = isinstance(read, CommitPayload) and (read.image, read.digest) == (image, digest)
    assert (found.detail is None) == real
    assert found.passes == (real and len(data) <= MAX_BIG_RAW_BYTES)


@pytest.mark.parametrize("size", [1, 40, 200, 400])
def test_sealing_adds_what_the_quote_says(size: int) -> None:
    image = "a" * size
    found = quote(FEE, image=image, digest=DIGEST)
    text = payload_bytes(image, DIGEST, TX, BLOCK).decode()
    sealed, _ = bittensor_core.get_encrypted_commitment(text, 360, 12.0)
    assert found.timelocked_bytes == len(text) + TIMELOCK_OVERHEAD_BYTES == len(sealed)


def test_the_limits_of_the_chain_are_named() -> None:
    small, large = (quote(FEE, image="a" * size, digest=DIGEST) for size in (10, 300))
    assert (small.raw_fields, small.fits_big_raw, small.fits_timelocked) == (3, True, True)
    assert (large.raw_fields, large.fits_big_raw, large.fits_timelocked) == (None, False, True)
    assert small.commits_an_epoch == MAX_EPOCH_BYTES // small.payload_bytes
    huge = quote(FEE, image="a" * 600, digest=DIGEST)
    assert not huge.fits_timelocked
    assert not huge.passes


def test_a_remark_names_the_hotkey() -> None:
    named = quote(FEE, image="a", digest=DIGEST, hotkey="5Hot")
    assert named.remark == f"cacheon:5Hot:{DIGEST}"
    assert quote(FEE, image="a", digest=DIGEST).remark == f"cacheon:<hotkey>:{DIGEST}"
