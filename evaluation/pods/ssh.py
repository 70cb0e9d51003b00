"""Commands on another machine through the system's ``ssh``: bounded in time, in size and in trust.

Each command is a connection of its own. Nothing of the user's own configuration, agent or known
hosts is read, nothing is forwarded but what is asked for, and a key is only ever named by its file.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import evaluation.runners
from evaluation.pods.address import checked_address
from evaluation.pods.faults import (
    CommandFailedError,
    ConnectionLostError,
    HostError,
    HostKeyChangedError,
    KeyFileError,
    KeyRefusedError,
    TooMuchError,
    TooSlowError,
    UnreachableError,
    said,
)
from evaluation.pods.host_keys import ALIAS, Pin
from evaluation.pods.port import Address

CONNECT_TIMEOUT_S: Final = 20
"""For a connection and the greeting of the other side."""
KEEPALIVE_S: Final = 10
KEEPALIVES: Final = 3
"""So many unanswered keepalives, so far apart, are a lost connection."""
COMMAND_TIMEOUT_S: Final = 60.0
MAX_OUTPUT_BYTES: Final = 2**20
MAX_ERRORS_BYTES: Final = 64 * 1024
"""Of stderr; only its end is kept."""
_CHUNK: Final = 65_536
_BEAT_EVERY_S: Final = 5.0
_SSH_FAILED: Final = 255
_GUARD: Final = Path(evaluation.runners.__path__[0]) / "guard.py"

_CHANGED: Final = ("HOST IDENTIFICATION HAS CHANGED", "Host key verification failed")
_REFUSED: Final = ("Permission denied", "Too many authentication failures")
_UNREACHABLE: Final = (
    *("Connection refused", "Connection timed out", "No route to host", "Network is unreachable"),
    *("Could not resolve hostname", "kex_exchange_identification", "Connection reset by"),
    *("banner exchange", "Connection closed by", "Operation timed out", "Host is down"),
)


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended with code 0. ``errors`` is the end of what it wrote to stderr."""

    output: bytes
    errors: bytes


class Ssh:
    """The way to one machine."""

    def __init__(self, address: Address, key_file: Path, pin: Pin) -> None:
        """Connects to nothing. Raises :class:`KeyFileError`, and :class:`HostError` without an
        ``ssh`` here."""
        self.address = checked_address(address)
        self.key_file = key_file
        self.pin = pin
        _check_key(key_file)
        program = shutil.which("ssh")
        if program is None:
            msg = "there is no ssh on this machine; install it (on Debian 'openssh-client')"
            raise HostError(msg)
        self._program = program

    def meet(self, expected: str | None = None) -> str:
        """Connect once, and pin the machine's key where none is pinned; gives its fingerprint.

        Raises the errors of :mod:`evaluation.pods.faults`.
        """
        if self.pin.is_set:
            known = self.pin.fingerprint
            if expected is not None and known != expected:
                msg = f"the pinned key of {self.address} is {known}, not {expected}"
                raise HostKeyChangedError(msg)
            self.run(["true"], timeout_s=2 * CONNECT_TIMEOUT_S)
            return known
        with self.pin.first(expected) as seen:
            self._converse(["true"], seen, timeout_s=2 * CONNECT_TIMEOUT_S)
        return self.pin.fingerprint

    def run(
        self,
        words: Sequence[str],
        *,
        data: bytes | None = None,
        timeout_s: float = COMMAND_TIMEOUT_S,
        max_bytes: int = MAX_OUTPUT_BYTES,
        to: Callable[[bytes], None] | None = None,
        beats: bool = False,
    ) -> Done:
        """Run one command there, with ``data`` on its stdin.

        Its output is kept, or handed ``to`` the caller as it comes; more than ``max_bytes`` of it
        ends the connection. With ``beats`` a byte goes to its stdin every few seconds for as long
        as this process lives. Raises :class:`CommandFailedError` for another code than 0, and the
        other errors of :mod:`evaluation.pods.faults`.
        """
        return self._converse(
            words,
            self._pinned(),
            data=data,
            timeout_s=timeout_s,
            max_bytes=max_bytes,
            to=to,
            beats=beats,
        )

    def forward(self, local: Path, remote: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Forward the socket ``local``, which ssh makes, to ``remote`` there; ends with us.

        What ssh itself says goes to ``log``.
        """
        options = ("-N", "-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0177")
        return subprocess.Popen(  # noqa: S603 - our own words; the address was checked
            [*self._words(self._pinned(), None), *options, "-L", f"{local}:{remote}", *self._to()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=_environment(),
            start_new_session=True,
        )

    # -- inside -----------------------------------------------------------------------------

    def _pinned(self) -> Path:
        if not self.pin.is_set:
            msg = f"{self.address} was not met yet, so its key is not known"
            raise HostError(msg)
        return self.pin.file

    def _words(self, known_hosts: Path, log: Path | None) -> list[str]:
        """The program and its options; it dies with this process, as servers of a contest do."""
        # A key of another kind than the pinned one would be new, so only the first is accepted.
        checking = "yes" if known_hosts == self.pin.file else "accept-new"
        options = {
            "UserKnownHostsFile": f'"{_literal(known_hosts)}"',
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": checking,
            "HostKeyAlias": ALIAS,
            "HashKnownHosts": "no",
            "UpdateHostKeys": "no",
            "CheckHostIP": "no",
            "BatchMode": "yes",
            "PreferredAuthentications": "publickey",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "AddKeysToAgent": "no",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "CanonicalizeHostname": "no",
            "ControlMaster": "no",
            "ControlPath": "none",
            "RequestTTY": "no",
            "EscapeChar": "none",
            "ConnectTimeout": str(CONNECT_TIMEOUT_S),
            "ConnectionAttempts": "1",
            "ServerAliveInterval": str(KEEPALIVE_S),
            "ServerAliveCountMax": str(KEEPALIVES),
            "LogLevel": "INFO",
        }
        guard = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid())]
        words = [*guard, self._program, "-F", "none", "-i", _literal(self.key_file)]
        for name, value in options.items():
            words += ["-o", f"{name}={value}"]
        return words if log is None else [*words, "-E", str(log)]

    def _to(self) -> list[str]:
        return ["-l", self.address.user, "-p", str(self.address.port), "--", self.address.host]

    def _converse(
        self,
        words: Sequence[str],
        known_hosts: Path,
        *,
        data: bytes | None = None,
        timeout_s: float,
        max_bytes: int = MAX_OUTPUT_BYTES,
        to: Callable[[bytes], None] | None = None,
        beats: bool = False,
    ) -> Done:
        _check_key(self.key_file)
        with tempfile.TemporaryDirectory(prefix="ssh-") as folder:
            log = Path(folder) / "log"
            process = subprocess.Popen(  # noqa: S603 - our own words; the address was checked
                [*self._words(known_hosts, log), *self._to(), shlex.join(words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                # An interrupt of the terminal is ours to handle, with this connection still there.
                start_new_session=True,
            )
            talk = _Talk(process, data=data, max_bytes=max_bytes, to=to, beats=beats)
            try:
                talk.until(time.monotonic() + timeout_s)
            except TimeoutError:
                msg = f"{self.address} took longer than {timeout_s:g} s over '{words[0]}'"
                raise TooSlowError(msg) from None
            except OverflowError:
                msg = (
                    f"{self.address} sent more than {max_bytes} bytes in answer to '{words[0]}'; "
                    "the connection was closed"
                )
                raise TooMuchError(msg) from None
            finally:
                _end(process)
            own = log.read_bytes() if log.exists() else b""
        code = process.returncode
        if code == _SSH_FAILED or code < 0:
            raise self._fault(own)
        if code:
            told = said(bytes(talk.errors) or bytes(talk.output))
            msg = f"'{words[0]}' failed on {self.address} with code {code}: {told or 'no word'}"
            raise CommandFailedError(msg, code, told)
        return Done(bytes(talk.output), bytes(talk.errors))

    def _fault(self, own: bytes) -> HostError:
        """What ssh's own log says, as one of our errors."""
        log = own.decode(errors="replace")
        told = said(own)
        if any(word in log for word in _CHANGED):
            return HostKeyChangedError(
                f"{self.address} does not show the key that was pinned when it was first seen "
                f"({self.pin.fingerprint}): another machine answers there; end this rental, "
                f"or delete '{self.pin.file}' if you know that it is another one"
            )
        if any(word in log for word in _REFUSED):
            return KeyRefusedError(
                f"{self.address} refuses the key '{self.key_file}'; give its provider the public "
                "half, and use a key without a passphrase"
            )
        if any(word in log for word in _UNREACHABLE):
            return UnreachableError(f"no SSH answers at {self.address}: {told}")
        return ConnectionLostError(f"the connection to {self.address} broke: {told or 'no word'}")


class _Talk:
    """What goes to and comes from one ssh."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        data: bytes | None,
        max_bytes: int,
        to: Callable[[bytes], None] | None,
        beats: bool,
    ) -> None:
        self.output = bytearray()
        self.errors = bytearray()
        self._process = process
        self._left = memoryview(data or b"")
        self._max_bytes = max_bytes
        self._seen = 0
        self._to = to
        self._beats = beats

    def until(self, deadline_s: float) -> None:
        """Until ssh has ended; raises ``TimeoutError`` and ``OverflowError``."""
        process = self._process
        if process.stdin is None or process.stdout is None or process.stderr is None:
            msg = "ssh was started without pipes"
            raise RuntimeError(msg)
        next_beat_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for stream in (process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            os.set_blocking(process.stdin.fileno(), False)
            if self._left:
                selector.register(process.stdin, selectors.EVENT_WRITE)
            elif not self._beats:
                process.stdin.close()
            while any(key.fileobj is not process.stdin for key in selector.get_map().values()):
                now_s = time.monotonic()
                if now_s >= deadline_s:
                    raise TimeoutError
                if self._beats and now_s >= next_beat_s:
                    next_beat_s = now_s + _BEAT_EVERY_S
                    with contextlib.suppress(BrokenPipeError, BlockingIOError):
                        os.write(process.stdin.fileno(), b".")
                for key, _ in selector.select(min(deadline_s - now_s, 1.0)):
                    if key.fileobj is process.stdin:
                        self._write(selector, process.stdin)
                    else:
                        self._read(selector, key.fd, key.fileobj)
        try:
            process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError from None

    def _write(self, selector: selectors.BaseSelector, stdin: IO[bytes]) -> None:
        try:
            self._left = self._left[os.write(stdin.fileno(), self._left[:_CHUNK]) :]
        except BrokenPipeError:  # the other side reads no further; its code says why
            self._left = memoryview(b"")
        if not self._left:
            selector.unregister(stdin)
            with contextlib.suppress(BrokenPipeError):
                stdin.close()

    def _read(self, selector: selectors.BaseSelector, descriptor: int, stream: object) -> None:
        data = os.read(descriptor, _CHUNK)
        if not data:
            selector.unregister(descriptor)
        elif stream is self._process.stdout:
            self._seen += len(data)
            if self._seen > self._max_bytes:
                raise OverflowError
            if self._to is None:
                self.output += data
            else:
                self._to(data)
        else:
            self.errors += data
            del self.errors[:-MAX_ERRORS_BYTES]


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _literal(path: Path) -> str:
    """A path in which ssh finds no token of its own to expand."""
    return str(path).replace("%", "%%")


def _environment() -> dict[str, str]:
    """Nothing of ours travels, and no agent is found; its messages are the ones we know."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _check_key(file: Path) -> None:
    """Before ssh, which says of each of these that permission was denied."""
    try:
        status = file.stat()
        with file.open("rb"):
            pass
    except OSError as error:
        msg = f"the SSH key '{file}' cannot be read: {error.strerror}; name a private key's file"
        raise KeyFileError(msg) from error
    if not stat.S_ISREG(status.st_mode):
        msg = f"the SSH key '{file}' is no file; name a private key's file"
        raise KeyFileError(msg)
    if stat.S_IMODE(status.st_mode) & 0o077:
        msg = f"others may read the SSH key '{file}'; run 'chmod 600' on it"
        raise KeyFileError(msg)
