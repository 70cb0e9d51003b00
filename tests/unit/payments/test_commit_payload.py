"""R1: a payload is exactly four well-formed text fields, or it is refused with a sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.rules.payload import (
    MAX_PAYLOAD_BYTES,
    CommitPayload,
    MalformedPayload,
    parse_payload,
)

GOOD = {
    "image": "ghcr.io/miner/engine:v1",
    "digest": "sha256:" + "0a" * 32,
    "payment_tx": "0x" + "1b" * 32,
    "payment_block": "0x" + "2c" * 32,
}


def parsed(**changes: object) -> CommitPayload | MalformedPayload:
    return parse_payload(json.dumps({**GOOD, **changes}).encode())


def test_a_payload_in_form_is_read_field_by_field() -> None:
    assert parsed() == CommitPayload(**GOOD)


def test_payment_fields_are_lower_cased_before_they_are_matched() -> None:
    payload = parsed(payment_tx="0X" + "1B" * 32, payment_block="0x" + "2C" * 32)
    assert payload == CommitPayload(**GOOD)


@pytest.mark.parametrize(
    "image",
    ["engine", "host:5000/team/engine:V1.2_x-y", "ghcr.io/a/b", "9/engine:Latest"],
)
def test_images_and_upper_case_tags_are_allowed(image: str) -> None:
    assert isinstance(parsed(image=image), CommitPayload)


@pytest.mark.parametrize(
    "image",
    ["", "Engine:v1", "/engine", "engine:", "engine:v1\n", "a b", "engine:v1:", "engine@x", "é"],
)
def test_images_out_of_form_are_refused(image: str) -> None:
    assert isinstance(parsed(image=image), MalformedPayload)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "sha256:" + "0A" * 32},
        {"digest": "sha256:" + "0a" * 31},
        {"digest": "sha256:" + "0a" * 32 + "\n"},
        {"digest": "sha512:" + "0a" * 32},
        {"payment_tx": "1b" * 32},
        {"payment_tx": "0x" + "1b" * 33},
        {"payment_tx": "0x" + "1g" * 32},
        {"payment_block": 7},
        {"payment_block": None},
        {"image": True},
        {"note": "one field more"},
    ],
)
def test_a_field_out_of_form_is_refused(changes: dict[str, object]) -> None:
    assert isinstance(parsed(**changes), MalformedPayload)


@pytest.mark.parametrize("missing", GOOD)
def test_a_missing_field_is_refused_and_named(missing: str) -> None:
    data = json.dumps({key: value for key, value in GOOD.items() if key != missing}).encode()
    verdict = parse_payload(data)
    assert isinstance(verdict, MalformedPayload)
    assert f"lacks {missing}" in verdict.detail


def test_a_field_named_twice_is_refused_whichever_comes_last() -> None:
    text = json.dumps(GOOD)[:-1] + ', "image": "ghcr.io/other/engine:v1"}'
    assert parse_payload(text.encode()) == MalformedPayload("The payload names a field twice.")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b'"text"',
        b"{",
        b"\xff\xfe{}",
        b'{"image": NaN}',
        json.dumps([GOOD]).encode(),
        json.dumps({**GOOD, "image": GOOD}).encode(),
        b"[" * MAX_PAYLOAD_BYTES,
        b'{"a":' * 200,
        b"[" * 1_000_000,
        json.dumps(GOOD).encode() + b"x",
    ],
)
def test_anything_but_one_flat_object_is_refused(data: bytes) -> None:
    assert isinstance(parse_payload(data), MalformedPayload)


def test_the_size_limit_is_inclusive() -> None:
    room = MAX_PAYLOAD_BYTES - len(json.dumps({**GOOD, "image": ""}).encode())
    fits = json.dumps({**GOOD, "image": "a" * room}).encode()
    assert len(fits) == MAX_PAYLOAD_BYTES
    assert isinstance(parse_payload(fits), CommitPayload)
    assert isinstance(parse_payload(fits + b" "), MalformedPayload)


@given(st.binary(max_size=MAX_PAYLOAD_BYTES + 8))
def test_any_bytes_give_a_verdict_and_never_an_exception(data: bytes) -> None:
    assert isinstance(parse_payload(data), CommitPayload | MalformedPayload)


TEXT = st.text(alphabet='a0Z:/{}[]"\\\n\0é🜁', max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON_VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXT, SCALARS, max_size=2)


@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), JSON_VALUES))
def test_a_payload_is_read_only_if_it_has_exactly_the_four_fields(
    fields: dict[str, object],
) -> None:
    verdict = parse_payload(json.dumps({**GOOD, **fields}).encode())
    if isinstance(verdict, CommitPayload):
        assert "other" not in fields
        assert all(isinstance(value, str) for value in fields.values())
    else:
        assert fields


@given(TEXT)
def test_the_detail_never_repeats_what_the_miner_wrote(text: str) -> None:
    marked = f"<script>{text}</script>"
    verdict = parsed(image=marked)
    assert isinstance(verdict, MalformedPayload)
    assert marked not in verdict.detail
