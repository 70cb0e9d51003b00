"""An address is one of the chain, down to its checksum; the libraries' own codec agrees."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scalecodec.utils.ss58 import is_valid_ss58_address, ss58_encode

from ledger.addresses import MAX_ADDRESS_CHARS, AddressFormError, is_ss58, require_ss58

GOOD = "5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo"
LETTERS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


@given(st.binary(min_size=32, max_size=32))
@example(bytes(32))
@example(b"\xff" * 32)
def test_every_key_has_an_address(key: bytes) -> None:
    assert is_ss58(ss58_encode(key, 42))


@given(st.binary(min_size=32, max_size=32), st.integers(0, 16_383).filter(lambda it: it != 42))
@example(bytes(32), 0)
def test_an_address_of_another_format_is_none_of_this_chain(key: bytes, other: int) -> None:
    if other not in {46, 47}:  # reserved: the codec writes no such address
        assert not is_ss58(ss58_encode(key, other))


@given(st.integers(0, len(GOOD) - 1), st.sampled_from(LETTERS))
def test_one_mistyped_letter_is_noticed(place: int, letter: str) -> None:
    typed = GOOD[:place] + letter + GOOD[place + 1 :]
    assert is_ss58(typed) == (typed == GOOD) == is_valid_ss58_address(typed, 42)


@given(st.text(alphabet=LETTERS + "0OIl é", max_size=60))
@example("")
@example("1" * 48)
@example("1" + GOOD)
@example(GOOD[:-1])
@example("0x" + "11" * 32)
def test_other_texts_are_none(text: str) -> None:
    assert not is_ss58(text)


@pytest.mark.parametrize("text", ["UNKNOWN", "", GOOD + "1", "5" * (MAX_ADDRESS_CHARS + 1)])
def test_what_is_no_address_is_said_in_one_short_sentence(text: str) -> None:
    require_ss58(GOOD)
    with pytest.raises(AddressFormError, match="is no SS58 address of format 42") as refused:
        require_ss58(text)
    assert len(str(refused.value)) < 150
