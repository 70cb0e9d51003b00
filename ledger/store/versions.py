"""Old versions of events, read as their newest for ever.

An event's versions are ``<room>.<event>.v1``, ``.v2`` and so on. From each but the newest one a
step leads to the next (:func:`ledger.facts.upcast`); reading takes all of them in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from ledger.facts import Fact

_VERSION_MARK: Final = ".v"


class EventVersionError(Exception):
    """The program's event types do not fit together; the message names the one at fault."""


class FactDecoder(Protocol):
    """Stored bytes of one topic to a fact; raises ``msgspec.DecodeError``."""

    def decode(self, buf: bytes, /) -> Fact:
        """The fact in these bytes, in its newest version."""
        ...


@dataclass(frozen=True, slots=True)
class _Upcasting:
    """Decodes an old version and takes it up to the newest one, step by step."""

    decoder: FactDecoder
    steps: tuple[tuple[Callable[[Any], Fact], type[Fact]], ...]

    def decode(self, buf: bytes, /) -> Fact:
        fact = self.decoder.decode(buf)
        for step, expected in self.steps:
            old, fact = fact, step(fact)
            if type(fact) is not expected:
                msg = (
                    f"the upcaster of '{old.topic}' made a '{type(fact).__name__}', "
                    f"not a '{expected.topic}'"
                )
                raise EventVersionError(msg)
        return fact


def decoders_of(
    facts: Mapping[str, type[Fact]], upcasters: Mapping[str, Callable[[Any], Fact]]
) -> dict[str, FactDecoder]:
    """A decoder by topic; raises :class:`EventVersionError` where a version leads nowhere.

    A topic without a newer version gets the plain decoder: reading it costs nothing more.
    """
    decoders: dict[str, FactDecoder] = {}
    used: set[str] = set()
    for versions in _families(facts):
        newer: list[tuple[Callable[[Any], Fact], type[Fact]]] = []
        for topic, following in zip(reversed(versions), [None, *reversed(versions)], strict=False):
            decoder = msgspec.json.Decoder(facts[topic])
            if following is None:
                decoders[topic] = decoder
                continue
            step = upcasters.get(topic)
            if step is None:
                msg = (
                    f"a log may hold a '{topic}', and nothing makes a '{following}' of it; "
                    f"write its @upcast('{topic}')"
                )
                raise EventVersionError(msg)
            used.add(topic)
            newer.insert(0, (step, facts[following]))
            decoders[topic] = _Upcasting(decoder, tuple(newer))
    idle = sorted(set(upcasters) - used)
    if idle:
        msg = f"the upcaster of '{idle[0]}' leads to no version; register the newer event, too"
        raise EventVersionError(msg)
    return decoders


def versions_up_to(topics: Mapping[str, Any], topic: str) -> tuple[str, ...]:
    """This topic and the older versions of it: whatever is read as this one while it is newest."""
    name, number = _parted(topic)
    # Asked of every topic at every refresh: no walk through all of them for each.
    older = (f"{name}{_VERSION_MARK}{earlier}" for earlier in range(number))
    return (*(known for known in older if known in topics), topic)


def _families(facts: Mapping[str, type[Fact]]) -> list[list[str]]:
    """The versions of each event, the oldest first."""
    families: dict[str, list[str]] = {}
    for topic in sorted(facts, key=_parted):
        families.setdefault(_parted(topic)[0], []).append(topic)
    return list(families.values())


def _parted(topic: str) -> tuple[str, int]:
    name, mark, number = topic.rpartition(_VERSION_MARK)
    if not mark or not number.isdecimal():
        msg = f"the topic '{topic}' names no version; end it in '.v1'"
        raise EventVersionError(msg)
    return name, int(number)
