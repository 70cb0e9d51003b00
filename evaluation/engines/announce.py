"""Run as a program: say where the server will listen, then become it.

The process runner reads the line; engines of others do not write it.
"""

import os
import sys


def main(arguments: list[str]) -> None:
    """``PORT PROGRAM ARGUMENT…``; the program is an absolute path."""
    port, *command = arguments
    sys.stdout.write(f"listening on 127.0.0.1:{int(port)}\n")
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - the command is the launch profile's own


if __name__ == "__main__":
    main(sys.argv[1:])
