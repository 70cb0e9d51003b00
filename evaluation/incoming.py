"""Evidence on its way into a folder, for a contest that may still be refused: all of it, or none.

What is added is noted in the folder before its first byte, and taken back where the contest is
refused. An import that was killed leaves its note, and the next one by the same ledger takes back
what the ledger did not record. Only what was added is ever taken back, and nothing that a recorded
contest names. One import at a time brings evidence into a folder; evaluators put theirs as before.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

from evaluation.evidence import EvidenceError, EvidenceStore
from ledger.application import ContentionError
from ledger.decisions.base import DecisionRefusedError
from ledger.store.conflicts import FactConflictError

WAIT_S: Final = 120.0
"""How long an import waits for another one into the same folder, which takes seconds."""
_LOOK_EVERY_S: Final = 0.05
_LOCK: Final = ".importing"

_NOT_RECORDED: Final = (
    DecisionRefusedError,
    FactConflictError,
    ContentionError,
    EvidenceError,
    OSError,
)
"""What ends an import of which nothing is in the ledger. After a database's own error that is not
known."""

KeptBy = Callable[[UUID], Collection[str]]
"""The digests that the ledger's record of a contest names; none where it recorded none."""


class _Note(msgspec.Struct, frozen=True):
    """What an import adds to the folder."""

    contest_id: UUID
    added: tuple[str, ...]


class Incoming:
    """What one ledger brings into a folder; ``ledger_name`` is 64 hex digits of its own."""

    def __init__(
        self,
        store: EvidenceStore,
        ledger_name: str,
        kept_by: KeptBy,
        *,
        wait_s: float = WAIT_S,
    ) -> None:
        self._store = store
        self._path = store.root / f"{_LOCK}-{ledger_name}"
        self._kept_by = kept_by
        self._wait_s = wait_s

    def settle(self) -> None:
        """Take back what a killed import left and the ledger did not record."""
        if self._path.exists():
            with self._alone():
                self._take_back()

    @contextmanager
    def bring(self, contest: UUID, blobs: Mapping[str, bytes]) -> Iterator[None]:
        """Store the blobs, by digest, for what the block records; taken back where it is refused.

        Where it is not known whether something was recorded, because the database failed, they
        stay until the next import can look. Raises :class:`EvidenceError` where they cannot be
        stored, or another import does not end.
        """
        self._store.root.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._take_back()
            self._take_over(blobs)
            added = tuple(digest for digest in blobs if not self._store.has(digest))
            self._write(self._path, _Note(contest, added))
            try:
                for blob in blobs.values():
                    self._store.put(blob)
                yield
            except _NOT_RECORDED:
                self._take_back()
                raise
            self._path.unlink()

    def _take_back(self) -> None:
        """Of what is noted, all that the ledger does not name; then the note."""
        if not self._path.exists():
            return
        note = _read(self._path)
        kept = set(self._kept_by(note.contest_id))
        for digest in note.added:
            if digest not in kept:
                self._store.remove(digest)
        self._path.unlink()

    def _take_over(self, blobs: Collection[str]) -> None:
        """What a killed import of another ledger added is not for that one to remove any more."""
        for path in self._store.root.glob(f"{_LOCK}-*"):
            note = _read(path)
            added = tuple(digest for digest in note.added if digest not in blobs)
            if added != note.added:
                self._write(path, _Note(note.contest_id, added))

    def _write(self, path: Path, note: _Note) -> None:
        """Whole and durable, or not at all."""
        descriptor, name = tempfile.mkstemp(dir=self._store.root, prefix=".incoming-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(note))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self._store.sync()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, which the system lets go of when a process ends."""
        until = time.monotonic() + self._wait_s
        with (self._store.root / _LOCK).open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() >= until:
                        msg = (
                            f"another import into '{self._store.root}' has not ended after "
                            f"{self._wait_s:g} s; wait for it, or end it, and import again"
                        )
                        raise EvidenceError(msg) from error
                time.sleep(_LOOK_EVERY_S)
            yield


def _read(path: Path) -> _Note:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"'{path}' is no note of an import; look what wrote it, and remove it"
        raise EvidenceError(msg) from error
