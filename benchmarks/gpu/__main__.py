"""``python -m benchmarks.gpu``: see :mod:`benchmarks.gpu.campaign`."""

import sys

from benchmarks.gpu.campaign import main

if __name__ == "__main__":
    sys.exit(main())
