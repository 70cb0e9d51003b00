"""Every event ever written stays readable: one golden file a topic, decoded and encoded again.

A golden file is never changed. A new event type gets a new file; a changed one gets a new version
of its topic and an upcaster for the old. What an old version is read as is pinned, too, in
``upcast/<old topic>.json``: its newest version, in canonical bytes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ledger.facts import ENVELOPE, FACTS, UPCASTERS, Fact
from ledger.store.codec import FactCodecError, decode, encode

GOLDEN = Path(__file__).parent / "events"
UPCAST = Path(__file__).parent / "upcast"
FILES = sorted(GOLDEN.glob("*.json"))


def newest(topic: str) -> str:
    """The newest version of an event, by any of its topics."""
    name = topic.rpartition(".v")[0]
    versions = [known for known in FACTS if known.rpartition(".v")[0] == name]
    return max(versions, key=lambda known: int(known.rpartition(".v")[2]))


def golden_fault(topic: str, written: bytes, fact: Fact, pinned: bytes | None) -> str | None:
    """What is wrong with how a golden event was read, or None."""
    if fact.topic != newest(topic):
        return f"it was read as a {fact.topic}, not as a {newest(topic)}"
    expected = written if fact.topic == topic else pinned
    if expected is None:
        return f"pin what it is read as in upcast/{topic}.json: {encode(fact).decode()}"
    if encode(fact) != expected:
        return f"it is read as {encode(fact).decode()}"
    envelope = msgspec.json.decode(written, type=_Envelope)
    changed = [name for name in ENVELOPE if getattr(envelope, name) != getattr(fact, name)]
    return f"its envelope changed in {', '.join(sorted(changed))}" if changed else None


class _Envelope(Fact, frozen=True, kw_only=True):
    """The envelope of any fact."""


def test_every_registered_topic_has_its_golden_file() -> None:
    assert {path.stem for path in FILES} == set(FACTS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_golden_event_is_read_as_its_newest_version_for_ever(path: Path) -> None:
    state = path.read_bytes().rstrip(b"\n")
    pinned = UPCAST / path.name
    reading = pinned.read_bytes().rstrip(b"\n") if pinned.exists() else None
    assert golden_fault(path.stem, state, decode(path.stem, state), reading) is None
    as_written = msgspec.json.Decoder(FACTS[path.stem]).decode(state)
    assert as_written.topic == path.stem
    assert encode(as_written) == state


def test_exactly_the_old_versions_have_a_pinned_reading() -> None:
    assert {path.stem for path in UPCAST.glob("*.json")} == set(UPCASTERS)
    assert {path.stem for path in FILES if newest(path.stem) != path.stem} == set(UPCASTERS)


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
