"""An event of an old version is read as its newest for ever; what is stored never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import select

from ledger.facts import ENVELOPE, FACTS, UPCASTERS, Fact, fact, upcast
from ledger.store import codec
from ledger.store.codec import FactMapper, StoredFact, decode, encode, read_as
from ledger.store.conflicts import FactConflictError
from ledger.store.logs import read_log
from ledger.store.schema import events
from ledger.store.versions import EventVersionError, decoders_of, versions_up_to
from tests.contract.stores import quick_engine
from tests.golden.test_events import golden_fault
from tests.unit.ledger.scenes import ARENA, Scene


class FeeV1(Fact, frozen=True, kw_only=True):
    """A fee in whole TAO."""

    tao: int


class FeeV2(Fact, frozen=True, kw_only=True):
    """A fee in rao."""

    rao: int


class FeeV3(Fact, frozen=True, kw_only=True):
    """A fee in rao, and who paid it."""

    rao: int
    payer: str


def to_v2(old: FeeV1) -> FeeV2:
    return FeeV2(**_envelope(old), rao=old.tao * 10**9)


def to_v3(old: FeeV2) -> FeeV3:
    return FeeV3(**_envelope(old), rao=old.rao, payer="unknown")


def _envelope(old: Fact) -> dict[str, Any]:
    return {name: getattr(old, name) for name in ENVELOPE}


def seen(kind: type[Fact], **content: Any) -> Any:
    return kind(
        originator_id=UUID(int=14),
        originator_version=1,
        arena="0x" + "14" * 32 + "/14",
        fact_key="fee:1",
        effective_block=7,
        causation="block:7",
        **content,
    )


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Three versions of an event of these tests alone, registered as any other is."""
    known = dict(FACTS), dict(UPCASTERS)
    for number, kind in enumerate((FeeV1, FeeV2, FeeV3), start=1):
        fact(f"test.fee.v{number}")(kind)
    upcast("test.fee.v1")(to_v2)
    upcast("test.fee.v2")(to_v3)
    for topic, decoder in decoders_of(FACTS, UPCASTERS).items():
        monkeypatch.setitem(codec.DECODE, topic, decoder.decode)
    yield
    for registry, before in zip((FACTS, UPCASTERS), known, strict=True):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


def stored(recorded: Fact) -> StoredFact:
    return FactMapper().to_stored_event(recorded)  # type: ignore[arg-type]


def test_an_old_version_is_read_as_its_newest_by_all_steps_in_a_row() -> None:
    newest = seen(FeeV3, rao=2 * 10**9, payer="unknown")
    assert decode("test.fee.v1", encode(seen(FeeV1, tao=2))) == newest
    assert decode("test.fee.v2", encode(seen(FeeV2, rao=2 * 10**9))) == newest
    assert decode("test.fee.v3", encode(newest)) == newest


def test_reading_changes_neither_the_stored_bytes_nor_their_digest() -> None:
    before = stored(seen(FeeV1, tao=2))
    digest = hashlib.sha256(before.state).hexdigest()
    read = FactMapper().to_domain_event(before)
    assert isinstance(read, FeeV3)
    assert (before.topic, hashlib.sha256(before.state).hexdigest()) == ("test.fee.v1", digest)
    assert b"payer" not in before.state


def test_the_same_fact_in_a_newer_version_is_no_conflict(tmp_path: Path) -> None:
    """A program of today sees again what one of yesterday recorded."""
    scene = Scene(quick_engine(tmp_path))
    old = _of_scene(scene, FeeV1, tao=2)
    (position,) = record(scene, old)
    assert record(scene, _of_scene(scene, FeeV3, rao=2 * 10**9, payer="unknown")) == [position]
    with pytest.raises(FactConflictError, match="rao: 2000000000 is recorded, 3 was offered"):
        record(scene, _of_scene(scene, FeeV3, rao=3, payer="unknown"))
    with scene.ledger.engine.connect() as connection:
        rows = connection.execute(
            select(events.c.topic, events.c.state).where(events.c.fact_key == "fee:1")
        ).all()
    assert [(topic, bytes(state)) for topic, state in rows] == [("test.fee.v1", encode(old))]


def test_asking_for_the_newest_version_finds_the_old_ones(tmp_path: Path) -> None:
    scene = Scene(quick_engine(tmp_path))
    record(scene, _of_scene(scene, FeeV1, tao=2))
    found = scene.ledger.newest(FeeV3)
    assert found is not None
    assert (found.rao, found.payer) == (2 * 10**9, "unknown")
    with scene.ledger.engine.connect() as connection:
        log_id = scene.ledger.head().log_id
        page = read_log(connection, log_id, after=0, limit=10, topics=[FeeV3.topic])
    assert [logged.fact for logged in page] == [found]
    assert read_as("test.fee.v3") == ("test.fee.v1", "test.fee.v2", "test.fee.v3")


def _of_scene(scene: Scene, kind: type[Fact], **content: Any) -> Fact:
    block = scene.ledger.head().effective_block
    made = seen(kind, **content)
    return msgspec.structs.replace(made, arena=str(ARENA), effective_block=block)


def record(scene: Scene, recorded: Fact) -> list[int]:
    return list(scene.ledger.recorder.insert_events([stored(recorded)]) or [])


# -- what a program is refused for before it reads anything -----------------------------------

Steps = dict[str, Callable[[Any], Fact]]
THREE = {"test.fee.v1": FeeV1, "test.fee.v2": FeeV2, "test.fee.v3": FeeV3}


def test_a_missing_step_is_named_when_the_program_starts() -> None:
    for steps, missing in (
        ({"test.fee.v2": to_v3}, r"'test\.fee\.v1', and nothing makes a 'test\.fee\.v2' of it"),
        ({"test.fee.v1": to_v2}, r"'test\.fee\.v2', and nothing makes a 'test\.fee\.v3' of it"),
    ):
        with pytest.raises(EventVersionError, match=missing):
            decoders_of(THREE, steps)


def test_a_step_without_an_end_is_named() -> None:
    steps: Steps = {"test.fee.v1": to_v2, "test.fee.v2": to_v3, "test.fee.v3": to_v3}
    with pytest.raises(EventVersionError, match=r"'test\.fee\.v3' leads to no version"):
        decoders_of(THREE, steps)


def test_a_topic_without_a_version_is_named() -> None:
    with pytest.raises(EventVersionError, match=r"'test\.fee' names no version"):
        decoders_of({"test.fee": FeeV1}, {})


def test_versions_are_counted_and_not_spelled() -> None:
    topics = {f"test.fee.v{number}": FeeV1 for number in (2, 10, 9)}
    assert versions_up_to(topics, "test.fee.v10") == ("test.fee.v2", "test.fee.v9", "test.fee.v10")


def test_a_step_that_makes_something_else_is_named() -> None:
    steps: Steps = {"test.fee.v1": lambda old: old, "test.fee.v2": to_v3}
    decoder = decoders_of(THREE, steps)["test.fee.v1"]
    with pytest.raises(EventVersionError, match=r"'test\.fee\.v1' made a 'FeeV1', not a"):
        decoder.decode(encode(seen(FeeV1, tao=2)))


def test_two_steps_from_one_version_are_refused() -> None:
    with pytest.raises(ValueError, match=r"two upcasters claim the topic 'test\.fee\.v1'"):
        upcast("test.fee.v1")(to_v2)


def test_a_topic_without_newer_versions_has_the_plain_decoder() -> None:
    decoders = decoders_of(FACTS, UPCASTERS)
    assert isinstance(decoders["arena.paused.v1"], msgspec.json.Decoder)
    assert isinstance(decoders["test.fee.v3"], msgspec.json.Decoder)
    assert not isinstance(decoders["test.fee.v1"], msgspec.json.Decoder)


# -- the golden files' own check --------------------------------------------------------------


def test_a_golden_file_of_an_old_version_is_held_to_its_pinned_reading() -> None:
    old = encode(seen(FeeV1, tao=2))
    right = encode(seen(FeeV3, rao=2 * 10**9, payer="unknown"))
    read = decode("test.fee.v1", old)
    assert golden_fault("test.fee.v1", old, read, right) is None
    assert "pin what it is read as" in str(golden_fault("test.fee.v1", old, read, None))
    wrong = right.replace(b"unknown", b"someone")
    assert "it is read as" in str(golden_fault("test.fee.v1", old, read, wrong))
    as_written = FeeV1(**{**_envelope(read), "tao": 2})
    assert "not as a test.fee.v3" in str(golden_fault("test.fee.v1", old, as_written, right))
    moved = msgspec.structs.replace(read, effective_block=8)
    assert "effective_block" in str(golden_fault("test.fee.v1", old, moved, encode(moved)))
