"""Runs on the rented machine, as a program: keeps one contest, so that it never runs unseen.

``keep`` starts the contest in a folder of its own and ends it, with all that it started, when its
time is over, when it is told to, or when nobody has asked for it for so long that nobody will.
``follow`` shows its log as it grows and counts as asking for as long as bytes come to its stdin.
``state`` says how it stands, ``stop`` ends it. One folder runs one contest once, however often
``keep`` is called on it. Uses nothing but the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

STATE: Final = "state.json"
LOG: Final = "log"
REPORT: Final = "report.json"
BUNDLE: Final = "contest.zip"
_LOCK: Final = "lock"
_STOP: Final = "stop"
_ASKED: Final = "asked"
MAX_LOG_BYTES: Final = 8 * 2**20
"""What a contest says beyond that is dropped."""
GRACE_S: Final = 60.0
"""Between SIGINT, by which a contest clears its containers away, and SIGKILL."""
SWEEP_S: Final = 120.0
SILENCE_S: Final = 60.0
"""A follower to whom nobody speaks for so long ends."""
NOT_KEPT: Final = 3
"""The code of ``follow`` and ``stop`` where no keeper lives and none has come to its end."""
_POLL_S: Final = 0.2
_CHUNK: Final = 65_536
_PIPE_CHUNKS: Final = 64
_LOOK_S: Final = 5.0
"""Whoever looks whether a keeper lives holds its lock for a moment; a keeper waits that out."""
_PR_SET_CHILD_SUBREAPER: Final = 36
_GUARD: Final = Path(__file__).resolve().parents[1] / "runners/guard.py"


def keep(
    folder: Path,
    command: Sequence[str],
    *,
    limit_s: float,
    unasked_s: float,
    grace_s: float = GRACE_S,
    sweep: Sequence[str] = (),
) -> None:
    """Run ``command`` to its end, or to ours; a folder that has a keeper or a state is left alone.

    ``sweep`` is run after a contest that had to be killed, to remove what it could not.
    """
    with _locked(folder, _LOOK_S) as ours:
        if not ours or (folder / STATE).exists():
            return
        (folder / _ASKED).touch()
        _adopt_orphans()
        # Started in the background, we may ignore it; the contest must not.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        began_s = time.time()
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())]
        with (folder / REPORT).open("wb") as report, (folder / LOG).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - what we were told to run
                [*guard, *command],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=report,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            said = _Log(process.stderr, log)
            why = _watch(process, folder, said, limit_s, unasked_s)
            killed = process.poll() is None and _end(process, said, grace_s)
            _kill_descendants()
        if killed and sweep:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(  # noqa: S603
                    sweep, timeout=SWEEP_S, check=False, stdin=subprocess.DEVNULL
                )
        _write_state(
            folder,
            {
                "why": why,
                "code": process.returncode,
                "began_s": int(began_s),
                "ended_s": int(time.time()),
                "bundle": _stated(folder / BUNDLE),
            },
        )


class _Log:
    """What the contest writes to stderr, in a file that does not grow for ever."""

    def __init__(self, pipe: Any, file: Any) -> None:
        self._descriptor: int = pipe.fileno()
        self._file = file
        self._room = MAX_LOG_BYTES - file.tell()
        self._open = True
        os.set_blocking(self._descriptor, False)

    def wait(self, seconds: float) -> None:
        """For something to be written, so long at most, and take it."""
        if not self._open:
            time.sleep(seconds)
        elif select.select([self._descriptor], [], [], seconds)[0]:
            self._take()

    def drain(self) -> None:
        """Take what was written already, as much of it as a pipe can hold."""
        for _ in range(_PIPE_CHUNKS):
            if not self._open or not select.select([self._descriptor], [], [], 0)[0]:
                return
            self._take()

    def _take(self) -> None:
        data = os.read(self._descriptor, _CHUNK)
        self._open = bool(data)
        self._file.write(data[: self._room])
        self._file.flush()
        self._room -= len(data[: self._room])


def _watch(
    process: subprocess.Popen[bytes], folder: Path, log: _Log, limit_s: float, unasked_s: float
) -> str:
    """Until the contest ends or must: why."""
    deadline_s = time.monotonic() + limit_s
    asked: float | None = None
    asked_s = time.monotonic()  # by a clock that nobody sets
    while True:
        log.wait(_POLL_S)
        now_s = time.monotonic()
        try:
            touched = (folder / _ASKED).stat().st_mtime
        except FileNotFoundError:  # somebody took the folder away
            return "stopped"
        if touched != asked:
            asked, asked_s = touched, now_s
        if process.poll() is not None:
            log.drain()
            return "exited"
        if now_s > deadline_s:
            return "limit"
        if (folder / _STOP).exists():
            return "stopped"
        if now_s - asked_s > unasked_s:
            return "unasked"


def _end(process: subprocess.Popen[bytes], log: _Log, grace_s: float) -> bool:
    """Interrupt it, then kill it; whether it had to be killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    until_s = time.monotonic() + grace_s
    while process.poll() is None and time.monotonic() < until_s:
        log.wait(_POLL_S)
    log.drain()
    if process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def _adopt_orphans() -> None:
    """Whatever a contest starts becomes our child when its own parent ends, so that we see it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _kill_descendants() -> None:
    while children := _children():
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children() -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def follow(folder: Path, offset: int) -> int:
    """Copy the log from ``offset`` on to stdout until the contest has ended."""
    os.set_blocking(0, False)
    heard_s = time.monotonic()
    while time.monotonic() - heard_s < SILENCE_S:
        with contextlib.suppress(BlockingIOError):
            if not os.read(0, _CHUNK):
                return 0  # whoever asked is gone
            heard_s = time.monotonic()
            (folder / _ASKED).touch()
        ended, kept = (folder / STATE).exists(), _is_kept(folder)
        offset = _copy(folder / LOG, offset)
        if ended or not kept:
            _copy(folder / LOG, offset)
            return 0 if (folder / STATE).exists() else NOT_KEPT
        time.sleep(_POLL_S)
    return 0


def _copy(log: Path, offset: int) -> int:
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(offset)
        while data := file.read(_CHUNK):
            _write_all(data)
            offset += len(data)
    return offset


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def stop(folder: Path, wait_s: float) -> int:
    """End it, and wait until it has ended."""
    if not folder.is_dir():
        return NOT_KEPT
    (folder / _STOP).touch()
    until_s = time.monotonic() + wait_s
    while _is_kept(folder):
        if time.monotonic() > until_s:
            sys.stderr.write("the contest has not ended\n")
            return 1
        time.sleep(_POLL_S)
    return 0 if (folder / STATE).exists() else NOT_KEPT


def state(folder: Path) -> dict[str, Any]:
    """``begun``: whether a contest was begun here; ``kept``: whether a keeper lives; ``ended``:
    what it wrote at its end, None before.

    Asked in this order: a log comes after its keeper's lock, and its state before the lock goes. So
    one that is begun, not kept and not ended is dead.
    """
    if not folder.is_dir():
        return {"begun": False, "kept": False, "ended": None}
    begun = (folder / LOG).exists()
    kept = _is_kept(folder)
    try:
        ended = json.loads((folder / STATE).read_text())
    except FileNotFoundError:
        ended = None
    return {"begun": begun, "kept": kept, "ended": ended}


def _write_state(folder: Path, content: dict[str, Any]) -> None:
    part = folder / (STATE + ".part")
    with part.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(folder / STATE)


def _stated(bundle: Path) -> dict[str, Any] | None:
    """Its size and digest; only of a plain file: a link or a pipe is no bundle."""
    try:
        descriptor = os.open(bundle, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with os.fdopen(descriptor, "rb") as file:
        hashed = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": hashed}


@contextlib.contextmanager
def _locked(folder: Path, wait_s: float = 0.0, how: int = fcntl.LOCK_EX) -> Iterator[bool]:
    """Hold the folder if nobody does. The lock is not the contest's: it ends with this process."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until_s = time.monotonic() + wait_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until_s:
                    yield False
                    return
                time.sleep(_POLL_S / 4)
            else:
                yield True
                return
    finally:
        os.close(descriptor)


def _is_kept(folder: Path) -> bool:
    with _locked(folder, how=fcntl.LOCK_SH) as free:  # who looks is in no other looker's way
        return not free


def _parted(words: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """What stands before the first ``--``, and what stands behind it: the contest's command."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def main(words: Sequence[str]) -> int:
    """The program's face; what it gives is the exit code."""
    parser = argparse.ArgumentParser(prog="keeper")
    parser.add_argument("task", choices=("keep", "follow", "stop", "state"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit-s", type=float, default=0.0)
    parser.add_argument("--unasked-s", type=float, default=0.0)
    parser.add_argument("--grace-s", type=float, default=GRACE_S)
    parser.add_argument("--wait-s", type=float, default=0.0)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--sweep", action="store_true")
    own, command = _parted(words)
    given = parser.parse_args(own)
    match given.task:
        case "keep":
            keep(
                given.folder,
                command,
                limit_s=given.limit_s,
                unasked_s=given.unasked_s,
                grace_s=given.grace_s,
                sweep=(sys.executable, "-m", "evaluation.pods.sweeping") if given.sweep else (),
            )
        case "follow":
            return follow(given.folder, given.offset)
        case "stop":
            return stop(given.folder, given.wait_s)
        case "state":
            json.dump(state(given.folder), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
