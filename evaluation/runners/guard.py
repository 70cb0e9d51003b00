"""Run as a program: become ``argv[2:]``, and die with the process ``argv[1]`` that asked for it.

The kernel's parent-death signal survives the exec below, so that a server never outlives a contest
that was killed outright. A step of its own and not a hook between fork and exec, because Python
code there can deadlock in a process with threads. Where the kernel is not Linux, it only execs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Exec ``arguments[1:]``, or exit if the parent ``arguments[0]`` is gone already."""
    parent, *command = arguments
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            sys.exit(f"prctl(PR_SET_PDEATHSIG) failed with errno {ctypes.get_errno()}")
        # The parent may have died before the signal was asked for.
        if os.getppid() != int(parent):
            sys.exit("the contest that started this server is gone")
    os.execv(command[0], command)  # noqa: S606 - the command is the runner's own


if __name__ == "__main__":
    main(sys.argv[1:])
