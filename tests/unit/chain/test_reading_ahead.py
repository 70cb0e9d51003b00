"""Blocks are read ahead, a bounded number of them, and handed out in order."""

from __future__ import annotations

import threading

import pytest

from chain.ahead import read_ahead


class Reads:
    """Counts what is read, and notes who reads."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.begun: list[int] = []
        self.threads: set[str] = set()
        self.most_waiting = 0
        self.handed_out = 0
        self._fails_at = fails_at
        self._lock = threading.Lock()

    def __call__(self, number: int) -> str:
        with self._lock:
            self.begun.append(number)
            self.threads.add(threading.current_thread().name)
            self.most_waiting = max(self.most_waiting, len(self.begun) - self.handed_out)
        if number == self._fails_at:
            msg = f"block {number} is not there"
            raise LookupError(msg)
        return f"block {number}"


@pytest.mark.parametrize(("workers", "ahead"), [(1, 16), (4, 1), (2, 2), (4, 16), (3, 200)])
def test_blocks_come_in_order_whoever_reads_them(workers: int, ahead: int) -> None:
    reads = Reads()
    got = list(read_ahead(reads, 5, 104, workers=workers, ahead=ahead))
    assert got == [f"block {number}" for number in range(5, 105)]
    assert sorted(reads.begun) == list(range(5, 105))
    here = threading.current_thread().name
    assert (here in reads.threads) == (workers == 1 or ahead == 1)


@pytest.mark.parametrize("last", [4, 3, -1])
def test_nothing_is_read_where_there_is_nothing(last: int) -> None:
    reads = Reads()
    assert list(read_ahead(reads, 5, last)) == []
    assert reads.begun == []


def test_no_more_blocks_wait_than_the_limit_says() -> None:
    reads = Reads()
    for _ in read_ahead(reads, 0, 99, workers=4, ahead=6):
        reads.handed_out += 1
    # One more than the limit: the one that is being handed out while its successor is read.
    assert reads.most_waiting <= 7


def test_an_error_waits_for_its_turn() -> None:
    blocks = read_ahead(Reads(fails_at=8), 5, 99, workers=4, ahead=16)
    assert [next(blocks) for _ in range(3)] == ["block 5", "block 6", "block 7"]
    with pytest.raises(LookupError, match="block 8"):
        next(blocks)


@pytest.mark.parametrize("ends", ["closed", "failed"])
def test_the_threads_end_with_the_generator(ends: str) -> None:
    reads = Reads(fails_at=6 if ends == "failed" else None)
    blocks = read_ahead(reads, 5, 1_000_000, workers=3, ahead=9)
    next(blocks)
    if ends == "closed":
        blocks.close()
    else:
        with pytest.raises(LookupError):
            next(blocks)
    assert not [t for t in threading.enumerate() if t.name in reads.threads]
    assert len(reads.begun) <= 11
