"""Green, yellow or red: how an account stands, and how fresh what is known of it is."""

from __future__ import annotations

from typing import Final, Literal

Light = Literal["green", "yellow", "red", "unresolved"]

STALE_AFTER_BLOCKS: Final = 7_200
"""A balance that was last observed longer ago (a day at 12 s a block) is stale."""

_WORST_FIRST: Final[tuple[Light, ...]] = ("red", "unresolved", "yellow", "green")


def light_of(
    *,
    residual: int | None,
    parts: tuple[int, ...],
    breaks: int,
    behind_blocks: int | None,
    steps_by_block: bool,
) -> Light:
    """The light of one account.

    ``parts`` are the unexplained amounts by where they arose, ``breaks`` counts the named ones, and
    ``behind_blocks`` says how long ago the balance was observed. Red is a finding that nothing
    explains, also where the balance at an end of the stretch is unknown: two unexplained amounts
    that cancel each other are two findings on chain, where money moves in the block it is booked
    for, and none at a provider, which deducts when it pleases.
    """
    if sum(parts) or (parts and steps_by_block):
        return "red"
    if residual is None or behind_blocks is None:
        return "unresolved"
    if parts or breaks or behind_blocks > STALE_AFTER_BLOCKS:
        return "yellow"
    return "green"


def worst(lights: list[Light]) -> Light:
    """The light of several; of none, ``unresolved``: nothing known is not all well."""
    return next((light for light in _WORST_FIRST if light in lights), "unresolved")
