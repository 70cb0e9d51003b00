"""A server's output never takes more than its bound, and its first and last words are kept."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evaluation.runners.log import BoundedLog


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_the_first_and_the_newest_half_are_kept(writes: list[bytes]) -> None:
    log = BoundedLog(max_bytes=64)
    for data in writes:
        log.write(data)
    whole = b"".join(writes)
    if len(whole) <= 64:
        assert log.content() == whole
    else:
        note = f"\n[... {len(whole) - 64} bytes not kept ...]\n".encode()
        assert log.content() == whole[:32] + note + whole[-32:]


@given(st.binary(max_size=400), st.integers(1, 10), st.integers(1, 60))
def test_the_tail_keeps_both_bounds_and_nothing_a_terminal_obeys(
    data: bytes, lines: int, max_bytes: int
) -> None:
    log = BoundedLog()
    log.write(data)
    tail = log.tail(lines, max_bytes)
    assert len(tail.encode()) <= max_bytes
    assert len(tail.split("\n")) <= lines
    assert all(character.isprintable() or character in "\n\t" for character in tail)


def test_the_tail_is_the_newest_whole_lines() -> None:
    log = BoundedLog()
    log.write(b"".join(b"line %d\n" % at for at in range(100)))
    assert log.tail(2, 8_192) == "line 98\nline 99"
    assert log.tail(50, 20) == "line 98\nline 99"
    assert log.tail(50, 4) == "e 99"
