"""Asking one question of an arena at a block, and showing the answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from api.cli.options import OutputFormat
from api.cli.output import Layout, show
from api.cli.session import opened, settings_of

if TYPE_CHECKING:
    from ledger.queries.scope import Scope


def ask(
    query: Callable[[Scope], Any],
    layout: Layout,
    at_block: int | None,
    output_format: OutputFormat,
    network: str | None,
    netuid: int | None,
    database: str | None,
) -> None:
    """Show what ``query`` answers, and say on stderr what a limit cut."""
    settings = settings_of(database, network, netuid)
    with (
        opened(settings) as services,
        services.at(settings.network, settings.netuid, at_block) as scope,
    ):
        found = query(scope)
    show(found, layout, output_format)
    for shown, total in _cut(found):
        sys.stderr.write(f"{shown} of {total} items shown; see --limit and --offset for the rest\n")


def _cut(answer: Any) -> Iterator[tuple[int, int]]:
    """(shown, total) of every list in an answer that a limit or offset cut."""
    for part in (answer, *(getattr(answer, name, None) for name in answer.__struct_fields__)):
        lists = (getattr(part, name, None) for name in ("items", "periods", "lines"))
        items = next((one for one in lists if one is not None), None)
        total = getattr(part, "total", None)
        if total is not None and items is not None and len(items) < total:
            yield len(items), total
