"""``python -m benchmarks [--only NAME] [--docs]``: measure, record, and write the page."""

from __future__ import annotations

import argparse
import sys

import benchmarks.appending
import benchmarks.arithmetic
import benchmarks.concurrent  # noqa: F401  modules register their benchmarks by being imported
from benchmarks.registry import REGISTRY, Result
from benchmarks.results import PAGE, page_of, read_results, record_results


def main() -> int:
    """Run what was asked for; 1 if a name is unknown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="run this one alone")
    parser.add_argument(
        "--docs", action="store_true", help="measure nothing; write docs/benchmarks.md anew"
    )
    asked = parser.parse_args()
    if asked.only is not None and asked.only not in REGISTRY:
        sys.stderr.write(
            f"there is no benchmark '{asked.only}'; there are: {', '.join(sorted(REGISTRY))}\n"
        )
        return 1
    if not asked.docs:
        for name in [asked.only] if asked.only else sorted(REGISTRY):
            result = REGISTRY[name].run()
            record_results([result])
            sys.stdout.write(line_of(result) + "\n")
            sys.stdout.flush()
    PAGE.write_text(page_of(read_results()), encoding="utf-8")
    return 0


def line_of(result: Result) -> str:
    """One line of a result."""
    sign = "at least" if result.better == "higher" else "at most"
    verdict = "reached" if result.reached else "not reached"
    return (
        f"{result.name}: {result.value:g} (goal {sign} {result.goal:g}: {verdict}); {result.note}"
    )


if __name__ == "__main__":
    sys.exit(main())
