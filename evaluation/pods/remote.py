"""A planned contest on a rented machine: started there once, watched, brought home, cleared away.

The contest runs on the machine itself, under a keeper (:mod:`evaluation.pods.keeper`) that ends it
when nobody asks for it any more. So a broken connection costs nothing, and a caller who was killed
finds the contest again under its id, running or finished.
"""

from __future__ import annotations

import posixpath
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Never

import msgspec

from evaluation.client import printable
from evaluation.pods import keeper
from evaluation.pods.faults import (
    CommandFailedError,
    ConnectionLostError,
    HostError,
    RemoteContestError,
    UnreachableError,
)
from evaluation.pods.host import PodHost
from evaluation.pods.installing import Installed

if TYPE_CHECKING:
    from evaluation.bundle import Bundle, Signer
    from evaluation.plan import ContestPlan

LIMIT_S: Final = 6 * 3_600
"""How long a contest may take there."""
UNASKED_S: Final = 900
"""It ends when nobody has asked for it for so long: its caller is dead, or the way to it is."""
RECONNECT_S: Final = 5.0
STARTED_S: Final = 30.0
TAIL_LINES: Final = 20
MAX_LINE_CHARS: Final = 1_000
_STATE_BYTES: Final = 65_536
_REPORT_BYTES: Final = 4 * 2**20
_VOID: Final = 24
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_WHY: Final = {
    "limit": "its time was over",
    "unasked": "nobody had asked for it for too long",
    "stopped": "it was stopped",
}

# In a session of its own, so that it outlives the connection; its keeper ends it, not we.
_START: Final = """
cd "$1" && shift && exec setsid nohup "$@" </dev/null >keeper.log 2>&1 &
"""


class _Stated(msgspec.Struct, frozen=True):
    bytes: int
    sha256: str


class _Ended(msgspec.Struct, frozen=True):
    why: Literal["exited", "limit", "unasked", "stopped"]
    code: int
    began_s: int
    ended_s: int
    bundle: _Stated | None


class _State(msgspec.Struct, frozen=True):
    begun: bool
    kept: bool
    ended: _Ended | None

    @property
    def is_there(self) -> bool:
        """Whether it runs, or has run and waits to be taken."""
        return self.kept or self.ended is not None


class _Report(msgspec.Struct, frozen=True):
    """What is read of a report whose contest left no bundle."""

    void_cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Order:
    """What runs there. ``model``, ``images`` and the like in ``more`` are paths of that machine."""

    plan: ContestPlan
    model: str
    more: tuple[str, ...] = ()
    limit_s: int = LIMIT_S
    unasked_s: int = UNASKED_S
    grace_s: float = keeper.GRACE_S
    confined: bool = True
    """Whether servers are containers, which outlive a contest that was killed."""


class RemoteContest:
    """One contest on one machine, under its id."""

    def __init__(self, host: PodHost, installed: Installed, order: Order) -> None:
        """Starts nothing. Raises :class:`RemoteContestError` for an id that names no folder."""
        if not _NAME.fullmatch(order.plan.contest_id):
            msg = f"{order.plan.contest_id[:100]!r} is no contest's id; plan the contest again"
            raise RemoteContestError(msg)
        self._host = host
        self._installed = installed
        self._order = order
        self._folder = posixpath.join(host.folder, "runs", order.plan.contest_id)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def is_there(self) -> bool:
        """Whether it runs there, or has run and waits to be taken."""
        return self._state().is_there

    def start(self) -> bool:
        """Have it run there; False where it runs already, or did.

        Raises :class:`RemoteContestError` where it began before and its keeper is gone, as after a
        restart of the machine; what it left is cleared away, so that a next call begins anew.
        """
        state = self._state()
        if state.is_there:
            return False
        if state.begun:
            self._fail("did not come to its end: its machine was started anew, or it was killed")
        self._must_have_model()
        plan = msgspec.json.encode(msgspec.structs.replace(self._order.plan, model_dir=""))
        self._host.put(plan, posixpath.join(self._folder, "plan.json"))
        order = self._order
        limits = {
            "--limit-s": order.limit_s,
            "--unasked-s": order.unasked_s,
            "--grace-s": order.grace_s,
        }
        words = [word for name, value in limits.items() for word in (name, str(value))]
        words += ["--sweep"] if order.confined else []
        contest = (
            *("contest", "run", "--plan", "plan.json", "--model", order.model),
            *("--out", keeper.BUNDLE, "--format", "json", *order.more),
        )
        keeping = [*self._keeper("keep"), *words, "--", self._installed.command, *contest]
        self._host.shell(_START, self._folder, *keeping)
        until_s = time.monotonic() + STARTED_S
        while not self.is_there():
            if time.monotonic() > until_s:
                told = self._read("keeper.log", _STATE_BYTES)
                self._fail(f"could not be started: {printable(told)[-500:] or 'no word'}")
            time.sleep(0.2)
        return True

    def follow(
        self,
        on_line: Callable[[str], None],
        *,
        say: Callable[[str], None] = lambda _: None,
        reconnect_s: float = RECONNECT_S,
    ) -> None:
        """Hand on each line of its log until it has ended, over broken connections too.

        Raises :class:`ConnectionLostError` or :class:`UnreachableError` where the machine could not
        be reached for as long as the contest waits for us, :class:`TooSlowError` when it should
        have ended by itself long ago, :class:`RemoteContestError` where its keeper is gone.
        """
        order, offset, line = self._order, 0, bytearray()
        deadline_s = time.monotonic() + order.limit_s + order.grace_s + keeper.SWEEP_S + STARTED_S

        def take(data: bytes) -> None:
            nonlocal offset
            offset += len(data)
            line.extend(data)
            *whole, rest = line.split(b"\n")
            line[:] = rest[-4 * MAX_LINE_CHARS :]
            for one in whole:
                shown = printable(bytes(one).decode(errors="replace"))[:MAX_LINE_CHARS]
                self._tail.append(shown)
                on_line(shown)

        lost_s: float | None = None
        while True:
            before = offset
            try:
                self._host.ssh.run(
                    [*self._keeper("follow"), "--offset", str(offset)],
                    timeout_s=max(0.001, deadline_s - time.monotonic()),
                    max_bytes=max(1, keeper.MAX_LOG_BYTES - offset),
                    to=take,
                    beats=True,
                )
            except (ConnectionLostError, UnreachableError) as error:
                now_s = time.monotonic()
                lost_s = now_s if lost_s is None or offset > before else lost_s
                if now_s - lost_s > order.unasked_s:
                    raise
                say(f"{error}; the contest goes on there, trying again")
                time.sleep(reconnect_s)
            except CommandFailedError as error:
                if error.code != keeper.NOT_KEPT:
                    raise
                self._fail("did not come to its end: its machine was started anew, or its keeper")
            else:
                if not self._state().kept:
                    if line:
                        take(b"\n")
                    return

    def stop(self) -> None:
        """End it there with all that it started, and clear its folder away."""
        wait_s = self._order.grace_s + keeper.SWEEP_S + STARTED_S
        words = [*self._keeper("stop"), "--wait-s", str(wait_s)]
        try:
            self._host.ssh.run(words, timeout_s=wait_s + STARTED_S)
        except CommandFailedError as error:
            if error.code != keeper.NOT_KEPT:
                raise
        self.clear()

    def take(self, out: Path, sign: Signer | None = None) -> Bundle:
        """Bring its bundle home into ``out``, checked, and clear its folder away there.

        ``sign`` seals it anew with a key of ours. Raises :class:`RemoteContestError` where it came
        to no end of its own, left no evidence, or its bundle is not one of this contest;
        :class:`HostError` where it could not be fetched, and then it stays there.
        """
        ended = self._state().ended
        if ended is None:
            self._fail("has not come to its end")
        if ended.why != "exited":
            self._fail(f"was ended there because {_WHY[ended.why]}")
        if ended.code not in (0, _VOID):
            self._fail(f"failed there with code {ended.code}")
        if ended.bundle is None:
            if ended.code != _VOID:
                self._fail("left no bundle")
            self._fail(f"is void: {self._void()}")
        with tempfile.TemporaryDirectory(prefix=".bundle-", dir=out.parent) as folder:
            bundle = self._fetched(Path(folder) / "fetched.zip", ended.bundle, sign)
            (Path(folder) / "fetched.zip").replace(out)
        self.clear()
        return bundle

    def clear(self) -> None:
        """Delete its folder there."""
        self._host.remove(self._folder)

    # -- inside -----------------------------------------------------------------------------

    def _fetched(self, file: Path, stated: _Stated, sign: Signer | None) -> Bundle:
        from evaluation.bundle import MAX_BUNDLE_BYTES, BundleError, read_bundle, write_bundle

        self._host.get(
            posixpath.join(self._folder, keeper.BUNDLE),
            file,
            size=stated.bytes,
            sha256=stated.sha256,
            max_bytes=MAX_BUNDLE_BYTES,
        )
        try:
            bundle = read_bundle(file)
        except BundleError as error:
            self._fail(f"came with a bundle that is refused: {error}")
        if not is_of(bundle, self._order.plan):
            self._fail("came with the bundle of another plan")
        if sign is not None:
            write_bundle(file, _Whole(bundle), bundle.manifest_digest, sign=sign)
        return bundle

    def _keeper(self, task: str) -> list[str]:
        return [self._installed.python, "-m", "evaluation.pods.keeper", task, self._folder]

    def _state(self) -> _State:
        answer = self._host.ssh.run(self._keeper("state"), max_bytes=_STATE_BYTES).output
        try:
            return msgspec.json.decode(answer, type=_State)
        except msgspec.MsgspecError as error:
            msg = f"{self._host.ssh.address} does not say how the contest stands: {error}"
            raise HostError(msg) from error

    def _must_have_model(self) -> None:
        done = self._host.shell('[ -d "$1" ] && echo yes || echo no', self._order.model)
        if done.output.strip() != b"yes":
            msg = (
                f"there is no folder {self._order.model} on {self._host.ssh.address}; put the "
                "model there, and name its folder on that machine"
            )
            raise RemoteContestError(msg)

    def _read(self, name: str, max_bytes: int) -> str:
        path = posixpath.join(self._folder, name)
        try:
            done = self._host.ssh.run(["tail", "-c", str(max_bytes), "--", path])
        except CommandFailedError:
            return ""
        return done.output.decode(errors="replace")

    def _void(self) -> str:
        try:
            report = msgspec.json.decode(self._read(keeper.REPORT, _REPORT_BYTES), type=_Report)
        except msgspec.MsgspecError:
            return "it does not say why"
        return printable(f"{report.void_cause}: {report.detail}")[:500]

    def _fail(self, what: str) -> Never:
        """Clear its folder away, and raise with the end of its log."""
        if not self._tail:
            lines = self._read(keeper.LOG, _STATE_BYTES).splitlines()[-TAIL_LINES:]
            self._tail.extend(printable(line)[:MAX_LINE_CHARS] for line in lines)
        tail = "; ".join(list(self._tail)[-3:])
        contest, address = self._order.plan.contest_id, self._host.ssh.address
        self.clear()
        msg = f"the contest {contest} on {address} {what}" + (
            f"; its log ends: {tail}" if tail else ""
        )
        raise RemoteContestError(msg)


def is_of(bundle: Bundle, plan: ContestPlan) -> bool:
    """Whether a bundle is one of this very plan."""
    own = msgspec.structs.replace(bundle.manifest.plan, model_dir="")
    return own == msgspec.structs.replace(plan, model_dir="")


class _Whole:
    """A bundle that was read as the store that it is written anew from."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle

    def put(self, data: bytes) -> str:
        """Nothing is added."""
        msg = f"nothing is added to a bundle, not {len(data)} bytes either"
        raise TypeError(msg)

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, the manifest's among them."""
        if digest == self._bundle.manifest_digest:
            return self._bundle.manifest_bytes
        return self._bundle.get(digest)
