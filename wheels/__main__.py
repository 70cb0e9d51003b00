"""``make wheels``: fill a folder with what a contest needs on a machine without a package index."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from wheels.folder import INSTALL, WheelsError, fill
from wheels.pins import ROOT, PinsError
from wheels.target import Target, TargetError, this_python


def main() -> int:
    """Ends with 2 for words that name no machine, and with 1 where the wheels cannot be had."""
    parser = argparse.ArgumentParser(prog="wheels", description=__doc__)
    parser.add_argument("--python", default=this_python(), help="as 3.12 (default: this one)")
    parser.add_argument("--platform", help="as manylinux_2_28_x86_64 (default: this machine's)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "contest")
    asked = parser.parse_args()
    try:
        wheels = fill(asked.out.resolve(), Target(asked.python, asked.platform))
    except TargetError as error:
        parser.error(str(error))
    except (PinsError, WheelsError) as error:
        sys.stderr.write(f"wheels: {error}\n")
        return 1
    size = sum(wheel.stat().st_size for wheel in wheels)
    sys.stdout.write(
        f"{len(wheels)} wheels of {size / 2**20:.1f} MiB in {asked.out}; "
        f"{INSTALL} there says how to install them\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
