"""The thrones' history."""

from __future__ import annotations

from typing import Any

from ledger.projections.reigns import reigns as view
from ledger.queries.scope import Scope, plain


def reigns(scope: Scope) -> list[dict[str, Any]]:
    """Every reign so far by track and number; ``ended_at_block`` is None for a running one."""
    return [plain(row) for row in scope.rows(view)]
