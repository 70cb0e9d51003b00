"""The state file of a commit: what was about to be sent, kept before it is sent.

JSON, written whole beside the old one, flushed to the disk and renamed, readable by its owner only.
It holds addresses, nonces and hashes: nothing that is secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from chain.commit import CommitRefusedError, Progress

MODE: Final = 0o600
MAX_STATE_BYTES: Final = 65_536
DIGEST_CHARS: Final = 12


class StateFile:
    """A :class:`~chain.commit.Memory` in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Progress | None:
        """What it holds; None where there is none. Never "started fresh" over one it cannot read:
        that would pay twice."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(data[:MAX_STATE_BYTES], type=Progress)
        except msgspec.DecodeError as error:
            msg = (
                f"the state file '{self.path}' cannot be read ({error}); look on chain whether the "
                "fee was paid before you remove it"
            )
            raise CommitRefusedError(msg) from error

    def save(self, progress: Progress) -> None:
        """Keep it, atomically and on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        data = msgspec.json.format(msgspec.json.encode(progress)) + b"\n"
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, MODE)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else works with this file meanwhile; raises :class:`CommitRefusedError`."""
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, MODE)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                msg = f"another process is at work with '{self.path}'; wait for it"
                raise CommitRefusedError(msg) from None
            yield
        finally:
            os.close(lock)


def default_path(genesis: str, netuid: int, hotkey: str, digest: str) -> Path:
    """One file for each commit, under the XDG state directory."""
    base = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    short = digest.removeprefix("sha256:")[:DIGEST_CHARS]
    name = f"commit-{genesis[2 : 2 + DIGEST_CHARS]}-{netuid}-{hotkey}-{short}.json"
    return folder / "cacheon-ledger" / name
