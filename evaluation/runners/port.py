"""What a contest needs of whatever runs images, in the field's words.

An image is known by its digest alone; the runner says where it comes from. The errors tell a fault
of ours (:class:`InfrastructureFaultError`) from the server's own (:class:`ServerStartError`).
"""

from __future__ import annotations

from typing import Final, Protocol

from ledger.codes import DisqualificationCode, InfrastructureCause

LOG_TAIL_LINES: Final = 50
LOG_TAIL_BYTES: Final = 8_192


class InfrastructureFaultError(Exception):
    """The image could not be run for a reason that is not its own; ``cause`` says which."""

    def __init__(self, cause: InfrastructureCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
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


class NeverHealthyError(ServerStartError):
    """It was still running, and not healthy, when the policy's start-up time was over."""

    code = DisqualificationCode.NEVER_HEALTHY


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
        """None while it runs; negative for the signal that ended it."""
        ...

    def wait_healthy(self, timeout_s: float) -> None:
        """Return once ``GET /health`` answers 200; raises :class:`ServerStartError` otherwise."""
        ...

    def log_tail(self, lines: int = LOG_TAIL_LINES, max_bytes: int = LOG_TAIL_BYTES) -> str:
        """The newest whole lines of its output that fit both bounds; also after :meth:`stop`."""
        ...

    def stop(self) -> None:
        """End it and everything it started; calling it again does nothing."""
        ...


class Runner(Protocol):
    """Starts images by digest. Its calls block; ``launch`` returns before the server is ready."""

    def launch(self, image_digest: str, role: str) -> RunningServer:
        """Start the image; ``role`` (e.g. ``king``) only names it to an operator.

        Raises :class:`InfrastructureFaultError`: `pull_failed` where the digest is unknown or its
        content is not what the digest says, `host_failed` where this machine cannot start it.
        """
        ...

    def fingerprint(self, image_digest: str) -> str:
        """The content fingerprint by which copies are found (DOMAIN 1); raises as ``launch``."""
        ...
