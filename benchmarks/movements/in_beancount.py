"""``python -m benchmarks.movements.in_beancount FILE``: beancount's balances of a journal, as JSON.

By the library's own loader and its own sum by account; with ``BEANCOUNT_DISABLE_LOAD_CACHE`` set,
for a cached journal is not read.
"""

from __future__ import annotations

import json
import sys

from beancount.loader import load_file
from beancount.ops.summarize import balance_by_account


def main(path: str) -> None:
    """Load, sum, print: account, commodity and quantity, decimal."""
    entries, errors, _ = load_file(path)
    if errors:
        msg = f"beancount finds {len(errors)} errors, the first is {errors[0].message}"
        raise ValueError(msg)
    balances, _ = balance_by_account(entries)
    held = [
        (account, position.units.currency, str(position.units.number))
        for account, inventory in balances.items()
        for position in inventory
    ]
    sys.stdout.write(json.dumps(held))


if __name__ == "__main__":
    main(sys.argv[1])
