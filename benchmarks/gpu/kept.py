"""``python -m benchmarks.gpu.kept [--into PATH] BUNDLE…``: put bundles into ``tests/data``, whole.

``tests/unit/evaluation/test_real_bundles.py`` reads every one of them, which judges it again, and
holds what comes out against ``NAME.verdicts.json``, written here beside it. Evidence is never cut:
a bundle that is too large stays outside, and a contest with fewer or shorter prompts is run for it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from evaluation.bundle import Bundle, BundleError, open_bundle
from evaluation.conditions import Conditions
from evaluation.judge import EntrantVerdict
from evaluation.throne import Throne

KEPT: Final = Path(__file__).resolve().parents[2] / "tests" / "data"
MAX_KEPT_BYTES: Final = 2 * 2**20
"""One bundle; the repository is cloned whole by everybody."""
MAX_ALL_KEPT_BYTES: Final = 6 * 2**20
VERDICTS: Final = ".verdicts.json"


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle came to when it was put here, without the logs of servers."""

    manifest_digest: str
    conditions: Conditions
    verdicts: tuple[EntrantVerdict, ...]
    throne: Throne


def recorded_of(bundle: Bundle) -> Recorded:
    """What is held against the bundle later."""
    return Recorded(
        manifest_digest=bundle.manifest_digest,
        conditions=bundle.rejudged.conditions,
        verdicts=tuple(
            msgspec.structs.replace(one, log_tail="") for one in bundle.rejudged.verdicts
        ),
        throne=bundle.rejudged.throne,
    )


def read_recorded(path: Path) -> Recorded:
    """What was recorded of the bundle at ``path``."""
    beside = path.with_name(path.stem + VERDICTS)
    return msgspec.json.decode(beside.read_bytes(), type=Recorded)


def bundles_in(root: Path = KEPT) -> list[Path]:
    """Every bundle that is kept, also in folders of their own."""
    return sorted(root.rglob("*.zip"))


def keep(path: Path, into: str = "", root: Path = KEPT) -> Path:
    """Copy a bundle that is whole and true, and write down what it comes to; where it lies now.

    ``into`` is a path below ``root``, such as ``gpu/h100``. Raises ``ValueError`` for one that is
    too large, or too much with all that is kept already, and
    :class:`~evaluation.bundle.BundleError` for one that is not true.
    """
    data = path.read_bytes()
    kept = root / into / path.name
    others = sum(one.stat().st_size for one in bundles_in(root) if one != kept)
    for size, most, what in (
        (len(data), MAX_KEPT_BYTES, path.name),
        (len(data) + others, MAX_ALL_KEPT_BYTES, f"{path.name} with all others"),
    ):
        if size > most:
            msg = f"{what} has {size} bytes, at most {most} are kept; run a smaller contest for it"
            raise ValueError(msg)
    recorded = recorded_of(open_bundle(data))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(data)
    text = msgspec.json.format(msgspec.json.encode(recorded), indent=1)
    kept.with_name(kept.stem + VERDICTS).write_bytes(text + b"\n")
    return kept


def main(words: Sequence[str] | None = None) -> int:
    """Keep the bundles that were named; 1 where one cannot be kept."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.kept",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", type=Path)
    parser.add_argument("--into", metavar="PATH", default="", help="a folder in tests/data")
    asked = parser.parse_args(words)
    for path in asked.bundles:
        try:
            keep(path, asked.into)
        except (OSError, ValueError, BundleError) as error:
            sys.stderr.write(f"{path.name} is not kept: {error}\n")
            return 1
        sys.stdout.write(f"{path.name} is kept\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
