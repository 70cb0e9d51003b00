"""Run as a program: become ``argv[2:]``, and die with the process ``argv[1]`` that asked for it.

The kernel's parent-death signal survives the exec below, so that a server never outlives a contest
that was killed outright. What that server started gets no such signal, and an engine's child is
what holds the memory of a GPU: with ``--group`` before the command, which is then the leader of a
group, a watcher in a session of its own kills the whole group. A step of its own and not a hook
between fork and exec, because Python code there can deadlock in a process with threads. Where the
kernel is not Linux, it only execs.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_LOOK_MS = 1_000
"""How often a watcher looks whether anything is left of a group whose leader has ended."""


def main(arguments: list[str]) -> None:
    """Exec ``arguments[1:]``, or exit if the parent ``arguments[0]`` is gone already."""
    parent, *command = arguments
    whole_group = command[0] == "--group"
    command = command[whole_group:]
    if sys.platform == "linux":
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            sys.exit(f"prctl(PR_SET_PDEATHSIG) failed with errno {ctypes.get_errno()}")
        # The parent may have died before the signal was asked for.
        if os.getppid() != int(parent):
            sys.exit("the contest that started this server is gone")
        if whole_group:
            _have_watched(int(parent))
    os.execv(command[0], command)  # noqa: S606 - the command is the runner's own


def _have_watched(parent: int) -> None:
    """Leave a watcher of our group behind that is not our child, lest an engine wait for it."""
    group = os.getpid()
    try:
        contest, leader = os.pidfd_open(parent), os.pidfd_open(group)
    except OSError:
        return  # a kernel or a sandbox without them: the leader alone dies with the contest
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return
    try:
        os.setsid()
        if not os.fork():
            os.closerange(0, 3)  # the log ends with the server, not with us
            _watch(contest, leader, group)
    finally:
        os._exit(0)


def _watch(contest: int, leader: int, group: int) -> None:
    """Return when nothing is left of the group, which is killed if the contest ends before."""
    ends = select.poll()
    ends.register(contest, select.POLLIN)
    ends.register(leader, select.POLLIN)
    if contest not in dict(ends.poll()):
        # It was stopped, or went by itself and what it started goes on.
        ends.unregister(leader)
        while not ends.poll(_LOOK_MS):
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
