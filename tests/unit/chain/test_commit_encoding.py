"""Committed bytes come back as the miner wrote them, in whatever wrapping a library shows them."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from chain.encoding import bytes_as_shown, unwrap, without_compact_length


def compact(data: bytes) -> bytes:
    """A SCALE-compact length before the data, written from the specification for this test."""
    size = len(data)
    if size < 2**6:
        return bytes([size << 2]) + data
    if size < 2**14:
        return (size << 2 | 1).to_bytes(2, "little") + data
    return (size << 2 | 2).to_bytes(4, "little") + data


def hexed(data: bytes) -> bytes:
    return b"0x" + data.hex().encode()


def shown(data: bytes) -> str:
    """What substrate-interface shows for a byte string."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "0x" + data.hex()


TEXT = st.text(alphabet='a0xZ:/{}"\\\n\0é🜁', max_size=100)
payloads = st.dictionaries(TEXT, TEXT, max_size=4).map(
    lambda fields: json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
)


@given(payloads)
@example(b"{}")
@example(b"{" + b" " * 20_000 + b"}")
def test_every_wrapping_comes_off(payload: bytes) -> None:
    assert unwrap(payload) == payload
    assert unwrap(hexed(payload)) == payload
    assert unwrap(payload.hex()) == payload
    assert unwrap(compact(payload)) == payload
    assert unwrap(hexed(hexed(payload))) == payload
    assert unwrap(hexed(compact(payload))) == payload
    assert unwrap(compact(hexed(payload))) == payload
    assert unwrap(hexed(hexed(compact(payload)))) == payload


@given(payloads)
def test_what_substrate_interface_shows_of_plain_and_revealed_bytes_comes_back(
    payload: bytes,
) -> None:
    assert unwrap(bytes_as_shown(shown(payload))) == payload
    assert unwrap(bytes_as_shown(shown(compact(payload)))) == payload


@given(st.binary(max_size=64))
def test_bytes_that_are_no_object_end_somewhere_without_an_exception(data: bytes) -> None:
    assert len(unwrap(data)) <= len(data)


@given(st.binary(max_size=300))
def test_a_length_comes_off_only_if_it_counts_exactly_the_bytes_behind_it(data: bytes) -> None:
    assert without_compact_length(compact(data)) == data
    assert without_compact_length(compact(data) + b"x") is None
    assert without_compact_length(b"") is None


def test_text_that_is_no_hex_is_its_own_bytes() -> None:
    assert bytes_as_shown("0xzz") == b"0xzz"
    assert bytes_as_shown("0x") == b"0x"
    assert bytes_as_shown("0x00ff") == b"\x00\xff"
    assert bytes_as_shown(b"\xff") == b"\xff"
