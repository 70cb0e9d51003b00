"""What a contest needs of whatever runs images, in the field's words.

An image is known by its digest alone; the runner says where it comes from. The errors tell a fault
of ours (:class:`InfrastructureFaultError`) from the server's own (:class:`ServerStartError`,
:class:`ImageRefusedError`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import msgspec

from evaluation.images import ImageRef
from ledger.codes import DisqualificationCode, InfrastructureCause
from ledger.contest_policy import ServerLimits

LOG_TAIL_LINES: Final = 50
LOG_TAIL_BYTES: Final = 8_192


class InfrastructureFaultError(Exception):
    """The image could not be run for a reason that is not its own; ``cause`` says which."""

    def __init__(self, cause: InfrastructureCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


class EngineMissingError(InfrastructureFaultError):
    """The engine that a launch profile starts is not on this machine; ``pull_failed`` in a contest.

    Told apart because nothing is to be pulled: only whoever keeps the machine can mend it.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(InfrastructureCause.PULL_FAILED, detail)


class ImageRefusedError(Exception):
    """The image itself breaks the container contract, before anything of it ran."""

    def __init__(self, code: DisqualificationCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class ServerStartError(Exception):
    """The server ran and did not become ready by its own doing; ``log_tail`` is its own words."""

    code: DisqualificationCode

    def __init__(self, detail: str, *, log_tail: str, exit_code: int | None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.log_tail = log_tail
        self.exit_code = exit_code


class ExitedAtStartError(ServerStartError):
    """It ended before it was ever healthy."""

    code = DisqualificationCode.EXITED_AT_START


class OutOfMemoryError(ServerStartError):
    """The kernel ended it at its own memory limit, before it was ever healthy."""

    code = DisqualificationCode.OUT_OF_MEMORY


class NeverHealthyError(ServerStartError):
    """It was still running, and not healthy, when the policy's start-up time was over."""

    code = DisqualificationCode.NEVER_HEALTHY


class CalledOffError(Exception):
    """Nobody waits for the server any more: what it was started for has ended."""


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an image that is ready to start.

    ``fingerprint`` is ``sha256:<hex>`` over its content, by which copies are found (DOMAIN 1);
    ``bytes`` its size unpacked, None where the runner cannot tell.
    """

    image: str
    fingerprint: str
    bytes: int | None = None


class RunningServer(Protocol):
    """One started server. Whoever launched it calls :meth:`stop`, whatever happened in between."""

    @property
    def base_url(self) -> str:
        """``http://host:port``; raises ``RuntimeError`` before :meth:`wait_healthy` returned."""
        ...

    @property
    def pid(self) -> int | None:
        """The process id on this host, or None where the server is not a process of this host."""
        ...

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it.

        Raises :class:`InfrastructureFaultError` where it did not end by itself before
        :meth:`stop`, as far as the runner can tell.
        """
        ...

    @property
    def out_of_memory(self) -> bool:
        """Whether the kernel ended it, or a process of it, at its own memory limit."""
        ...

    def wait_healthy(
        self, timeout_s: float, called_off: Callable[[], bool] = lambda: False
    ) -> None:
        """Return once ``GET /health`` answers 200; raises :class:`ServerStartError` otherwise.

        May run in a thread of its own, while nothing else is asked of this server.
        ``called_off`` is looked at between two looks at the server, each of a few seconds at most;
        :class:`CalledOffError` where it says so.
        """
        ...

    def pause(self) -> None:
        """Freeze it with everything it started, so that it takes no time from another server."""
        ...

    def resume(self) -> None:
        """Let it go on after :meth:`pause`; on one that is not frozen it does nothing."""
        ...

    def log_tail(self, lines: int = LOG_TAIL_LINES, max_bytes: int = LOG_TAIL_BYTES) -> str:
        """The newest whole lines of its output that fit both bounds; also after :meth:`stop`."""
        ...

    def stop(self) -> None:
        """End it and everything it started; calling it again does nothing.

        Raises :class:`InfrastructureFaultError` where it cannot be ended.
        """
        ...


class Stage(Protocol):
    """One contest's place on the machine: its images, its servers, whatever isolates them."""

    def prepare(self, image: ImageRef, timeout_s: float) -> ImageFacts:
        """Have the image ready to start, e.g. pulled.

        Raises :class:`InfrastructureFaultError` (`pull_failed`) where it cannot be had, its content
        is not what the digest says, or the time is over; :class:`ImageRefusedError` where it is
        larger than the limits allow.
        """
        ...

    def launch(self, image: ImageRef, role: str) -> RunningServer:
        """Start a prepared image; ``role`` (e.g. ``king``) only names it to an operator.

        Returns before the server is ready. Raises :class:`InfrastructureFaultError`: `pull_failed`
        where the image is not here, `host_failed` where this machine cannot start it;
        :class:`ExitedAtStartError` where the image itself cannot be started (no such program).
        """
        ...


class Runner(Protocol):
    """A machine that runs images. All calls block."""

    def stage(
        self, contest_id: str, limits: ServerLimits, servers: int = 1
    ) -> AbstractContextManager[Stage]:
        """A place for one contest, where up to ``servers`` live at once and share the machine's
        memory. Leaving it ends and removes all that was made in it.

        Entering and leaving raise :class:`InfrastructureFaultError` (`host_failed`).
        """
        ...

    def sweep(self) -> Sequence[str]:
        """Remove what an earlier, dead process of this runner's name left; one sentence each."""
        ...

    def facts(self) -> Mapping[str, str]:
        """What evidence says of the runner: its kind, the engine's version."""
        ...
