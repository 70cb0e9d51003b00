"""Places that fall vacant: kings and runners-up whose hotkey left the subnet (DOMAIN 5)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ledger.application import Ledger, Unit
from ledger.codes import DepositionCause
from ledger.commands.causes import after_block


def vacate(unit: Unit, gone: Callable[[str], bool]) -> None:
    """Take their places from hotkeys that are gone; a runner-up goes before it could succeed."""
    arena = unit.arena
    for track, runner_up in list(arena.runners_up.items()):
        if gone(runner_up.hotkey):
            arena.name_runner_up(unit.context, track, None)
    for track, king in list(arena.kings.items()):
        if gone(king.hotkey):
            detail = f"{king.hotkey} is not registered at block {unit.block}"
            arena.succeed(unit.context, track, DepositionCause.DEREGISTERED, detail)


def vacate_departed(ledger: Ledger, registered: Collection[str]) -> None:
    """The same for who left unnoticed: ``registered`` is who is, at the newest block.

    A hotkey can leave while its contest runs and be crowned afterwards, and blocks tell of its
    leaving only once.
    """

    def work(unit: Unit) -> None:
        unit.context = after_block(unit)
        vacate(unit, lambda hotkey: hotkey not in registered)

    ledger.decide(work)
