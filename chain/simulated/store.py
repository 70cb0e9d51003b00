"""The simulated node's own database: every block, and every storage value with the block it is of.

One SQLite file in WAL mode. A block and all it changes are one transaction; nothing is rewritten,
so the state of every past block stays readable.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from chain.port import Block, BlockRef, UnknownBlockError
from chain.simulated.genesis import ScriptError
from chain.simulated.producer import Produced
from chain.simulated.script import Landed
from chain.simulated.storage import Item

_SCHEMA = """
CREATE TABLE IF NOT EXISTS chain (fingerprint TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS blocks (
    number INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS state (
    item TEXT NOT NULL, key TEXT NOT NULL, block INTEGER NOT NULL, value TEXT,
    PRIMARY KEY (item, key, block)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
    label TEXT PRIMARY KEY, extrinsic_hash TEXT NOT NULL, block_hash TEXT NOT NULL
);
"""
_AFTER_EVERY_KEY = "\U0010ffff"
_BUSY_TIMEOUT_S = 30.0


class BlockStore:
    """The file. One connection, used by one thread at a time; other processes may have it open."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            # FULL: a finalized block is never taken back, not even by a power failure.
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            msg = f"the simulated chain's file {path} cannot be used: {error}; give another folder"
            raise ScriptError(msg) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the file for writing; everything inside is kept, or nothing if it raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk makes SQLite roll back by itself; a second time would hide the cause.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def claim(self, fingerprint: str) -> bool:
        """Tie an empty file to a genesis and say True; False if it is tied to this one already.

        Raises :class:`ScriptError` if the file holds another chain. Call inside a transaction.
        """
        rows = self._rows("SELECT fingerprint FROM chain")
        if not rows:
            self._connection.execute("INSERT INTO chain VALUES (?)", (fingerprint,))
            return True
        if rows[0][0] != fingerprint:
            msg = "the chain's file was begun under another genesis; use a new file for this one"
            raise ScriptError(msg)
        return False

    def add(self, produced: Produced) -> None:
        """Write a block; call inside a transaction."""
        block = produced.block
        self._connection.executemany(
            "INSERT INTO state VALUES (?, ?, ?, ?)",
            [
                (item.value, key, block.number, value)
                for (item, key), value in produced.writes.items()
            ],
        )
        for label, landed in produced.labels:
            if self._rows("SELECT 1 FROM labels WHERE label = ?", label):
                msg = f"two extrinsics are labelled '{label}'; give each its own label"
                raise ScriptError(msg)
            self._connection.execute("INSERT INTO labels VALUES (?, ?, ?)", (label, *landed))
        self._connection.execute(
            "INSERT INTO blocks VALUES (?, ?, ?)",
            (block.number, block.hash, msgspec.json.encode(block)),
        )

    def head(self) -> BlockRef:
        """The newest block."""
        rows = self._rows("SELECT number, hash FROM blocks ORDER BY number DESC LIMIT 1")
        return _ref(rows[0])

    def block(self, number: int) -> Block:
        """The block of that number; raises :class:`UnknownBlockError`."""
        rows = self._rows("SELECT body FROM blocks WHERE number = ?", number)
        if not rows:
            msg = f"the simulated chain has no block {number}"
            raise UnknownBlockError(msg)
        return msgspec.json.decode(rows[0][0], type=Block)

    def block_ref(self, block_hash: str) -> BlockRef:
        """The block of that hash; raises :class:`UnknownBlockError`."""
        rows = self._rows("SELECT number, hash FROM blocks WHERE hash = ?", block_hash)
        if not rows:
            msg = f"the simulated chain has no block {block_hash}"
            raise UnknownBlockError(msg)
        return _ref(rows[0])

    def labels(self) -> dict[str, Landed]:
        """Where every labelled extrinsic landed."""
        rows = self._rows("SELECT label, extrinsic_hash, block_hash FROM labels ORDER BY label")
        return {label: Landed(*landed) for label, *landed in rows}

    def state_at(self, number: int) -> StateAt:
        """Storage as it was after block ``number``."""
        return StateAt(self, number)

    def _rows(self, sql: str, *values: object) -> list[tuple[str, ...]]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()


def _ref(row: Sequence[str]) -> BlockRef:
    number, block_hash = row
    return BlockRef(int(number), block_hash)


class StateAt:
    """Storage as of one block: of every key the newest value that is not newer than it."""

    def __init__(self, store: BlockStore, number: int) -> None:
        self._store = store
        self._number = number

    def value(self, item: Item, key: str) -> str | None:
        """The value under a key, None if there is none."""
        rows = self._store._rows(
            "SELECT value FROM state WHERE item = ? AND key = ? AND block <= ?"
            " ORDER BY block DESC LIMIT 1",
            item.value,
            key,
            self._number,
        )
        return rows[0][0] if rows else None

    def entries(self, item: Item, prefix: str = "") -> dict[str, str]:
        """All keys that start with ``prefix`` and their values, by key."""
        # With max(), SQLite takes the other columns from the row that holds the maximum.
        rows = self._store._rows(
            "SELECT key, value, max(block) FROM state"
            " WHERE item = ? AND key >= ? AND key < ? AND block <= ? GROUP BY key ORDER BY key",
            item.value,
            prefix,
            prefix + _AFTER_EVERY_KEY,
            self._number,
        )
        return {key: value for key, value, _ in rows if value is not None}
