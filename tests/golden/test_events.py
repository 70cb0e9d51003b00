"""Every event ever written stays readable: one golden file a topic, decoded and encoded again.

A golden file is never changed. A new event type gets a new file; a changed one gets a new version
of its topic and an upcaster for the old.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger.facts import ENVELOPE, FACTS
from ledger.store.codec import FactCodecError, decode, encode

GOLDEN = Path(__file__).parent / "events"
FILES = sorted(GOLDEN.glob("*.json"))


def test_every_registered_topic_has_its_golden_file() -> None:
    assert {path.stem for path in FILES} == set(FACTS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_event_is_read_and_written_back_to_the_same_bytes(path: Path) -> None:
    state = path.read_bytes().rstrip(b"\n")
    fact = decode(path.stem, state)
    assert type(fact) is FACTS[path.stem]
    assert fact.topic == path.stem
    assert encode(fact) == state


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_event_holds_every_field_and_no_other(path: Path) -> None:
    written = msgspec.json.decode(path.read_bytes())
    assert list(written) == list(FACTS[path.stem].__struct_fields__)
    assert set(written) >= ENVELOPE


def test_a_topic_of_a_newer_program_is_refused_by_name() -> None:
    with pytest.raises(FactCodecError, match=r"'arena\.opened\.v9', which this program does not"):
        decode("arena.opened.v9", b"{}")


def test_bytes_that_are_no_such_event_are_refused_by_topic() -> None:
    for state in (b"", b"{}", b"[1]", b'{"switch":"lights"}'):
        with pytest.raises(FactCodecError, match=r"a stored 'arena\.paused\.v1' does not fit"):
            decode("arena.paused.v1", state)


def test_amounts_are_integers_in_the_bytes() -> None:
    path = GOLDEN / "payment.seen.v1.json"
    state = path.read_bytes().replace(b'"amount_rao":100000000', b'"amount_rao":100000000.5')
    with pytest.raises(FactCodecError, match="amount_rao"):
        decode("payment.seen.v1", state)
