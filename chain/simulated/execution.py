"""What a call works on while a block is made, and how it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chain.simulated.genesis import Genesis
from chain.simulated.storage import Layer
from chain.simulated.world import World


class DispatchError(Exception):
    """A call failed; ``str(error)`` is ``Module.Name``, as the runtime words it."""


class Emitted(NamedTuple):
    """An event before it has a place in the block."""

    module: str
    name: str
    attributes: dict[str, Any]


@dataclass
class Execution:
    """One block in the making: its number, the rules, the state so far and the events so far.

    Events that the real runtime declares with named fields carry those names; those it declares as
    a tuple carry ``"0"``, ``"1"``, ... in its order.
    """

    genesis: Genesis
    number: int
    world: World
    events: list[Emitted] = field(default_factory=list)

    def emit(self, module: str, name: str, **attributes: Any) -> None:
        """An event with named fields."""
        self.events.append(Emitted(module, name, attributes))

    def emit_tuple(self, module: str, name: str, *values: Any) -> None:
        """An event whose fields the runtime does not name."""
        attributes = {str(place): value for place, value in enumerate(values)}
        self.events.append(Emitted(module, name, attributes))

    @contextmanager
    def transaction(self) -> Iterator[Execution]:
        """An inner execution whose writes and events count only if it does not raise."""
        layer = Layer(self.world.layer)
        inner = Execution(self.genesis, self.number, World(layer))
        yield inner
        layer.merge_into(self.world.layer)
        self.events.extend(inner.events)
