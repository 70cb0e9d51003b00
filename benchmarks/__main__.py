"""``python -m benchmarks [--only NAME …] [--docs]``: measure, record, and write the page.

``--events`` and ``--rounds`` give a quick look at the long ones: their figures are told, and not
recorded.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import benchmarks.appending
import benchmarks.arithmetic
import benchmarks.concurrent
import benchmarks.crowns
import benchmarks.growth
import benchmarks.ingesting
import benchmarks.journals
import benchmarks.judging.figures
import benchmarks.projecting
import benchmarks.rebuilding
import benchmarks.recovering
import benchmarks.replaying
import benchmarks.streaming  # noqa: F401  modules register their benchmarks by being imported
from benchmarks.growth import SHORTER
from benchmarks.measuring import RUN, CannotMeasureError, Run, tell
from benchmarks.registry import REGISTRY, Result
from benchmarks.results import PAGE, page_of, read_results, record_results
from benchmarks.year import FEWEST_EVENTS


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 if a name is unknown or something could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="run these alone, in this order",
    )
    parser.add_argument("--events", metavar="N", type=int, default=RUN.events)
    parser.add_argument("--rounds", metavar="K", type=int, default=RUN.rounds)
    parser.add_argument(
        "--docs", action="store_true", help="measure nothing; write docs/benchmarks.md anew"
    )
    asked = parser.parse_args(words)
    unknown = [name for name in asked.only if name not in REGISTRY]
    if unknown:
        sys.stderr.write(
            f"there is no benchmark '{unknown[0]}'; there are: {', '.join(sorted(REGISTRY))}\n"
        )
        return 1
    if asked.events < FEWEST_EVENTS * SHORTER:
        parser.error(f"--events must be at least {FEWEST_EVENTS * SHORTER}")
    RUN.events, RUN.rounds = asked.events, asked.rounds
    done = True
    if not asked.docs:
        for name in asked.only or sorted(REGISTRY):
            done &= measured(name)
    PAGE.write_text(page_of(read_results()), encoding="utf-8")
    return 0 if done else 1


def measured(name: str) -> bool:
    """Measure one and tell it; whether it could be measured."""
    tell(f"{name} …")
    try:
        result = REGISTRY[name].run()
    except CannotMeasureError as error:
        sys.stderr.write(f"{name} is not measured: {error}\n")
        return False
    if Run() == RUN:
        record_results([result])
    sys.stdout.write(line_of(result) + "\n")
    sys.stdout.flush()
    return True


def line_of(result: Result) -> str:
    """One line of a result, and what belongs below it."""
    below = f"\n{result.details}" if result.details else ""
    if result.goal is None:
        return f"{result.name}: {result.value:g}; {result.note}{below}"
    sign = "at least" if result.better == "higher" else "at most"
    verdict = "reached" if result.reached else "not reached"
    return (
        f"{result.name}: {result.value:g} (goal {sign} {result.goal:g}: {verdict}); {result.note}"
        + below
    )


if __name__ == "__main__":
    sys.exit(main())
