"""A process that dies at a chosen point: before or after any call that leaves it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any


class Died(BaseException):
    """The process is gone. No ``except Exception`` of the program may see it."""


class Life:
    """Counts the points at which a process can die, and ends it at the one of ``dies_at``.

    Every watched call is two points: before it did anything, and after it did all.
    """

    def __init__(self, dies_at: int | None = None) -> None:
        self.points = 0
        self.dies_at = dies_at

    def watch(self, thing: Any, methods: Collection[str]) -> Any:
        """``thing`` with these methods watched."""
        return _Watched(thing, frozenset(methods), self)

    def pass_point(self) -> None:
        """One more point; the process may end here."""
        here = self.points
        self.points += 1
        if here == self.dies_at:
            raise Died


class _Watched:
    def __init__(self, thing: Any, methods: frozenset[str], life: Life) -> None:
        self._thing, self._methods, self._life = thing, methods, life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._thing, name)
        if name not in self._methods:
            return found
        return self._watched(found)

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._life.pass_point()
            result = call(*args, **kwargs)
            self._life.pass_point()
            return result

        return watched
