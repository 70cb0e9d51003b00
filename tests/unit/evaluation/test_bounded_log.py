"""A server's output never takes more than its bound, and its first and last words are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.runners.log import MAX_LOG_BYTES, BoundedLog, without_stacks


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


CORE = "(EngineCore pid=63) ERROR 11-26 15:01:38 [core.py:13] "
FRAMES = """Traceback (most recent call last):
  File "/site/vllm/v1/engine/core.py", line 1332, in run_engine_core
    engine_core = EngineCoreProc(*args)
                  ^^^^^^^^^^^^^^^^^^^^^
  File "uvloop/loop.pyx", line 1515, in uvloop.loop.Loop.run_until_complete
""".splitlines()
"""As vLLM prints them, each line behind what its process is."""


def prefixed(before: str, *lines: str) -> str:
    return "".join(f"{before}{line}\n" for line in lines)


def test_a_cause_above_long_stacks_is_still_in_the_tail() -> None:
    log = BoundedLog()
    log.write(prefixed("", "started").encode())
    log.write(prefixed(CORE, *FRAMES, "AssertionError: not enough nodes").encode())
    api = "(APIServer pid=19) "
    log.write(prefixed(api, *FRAMES * 12, "RuntimeError: see root cause above").encode())
    tail = log.tail(50, 8_192)
    assert tail.splitlines()[:4] == [
        "started",
        f"{CORE}Traceback (most recent call last):",
        f"{CORE}  [... 4 lines of a stack ...]",
        f"{CORE}AssertionError: not enough nodes",
    ]
    assert tail.splitlines()[-1] == f"{api}RuntimeError: see root cause above"
    assert "run_engine_core" not in tail


def test_the_stack_of_another_process_begins_a_note_of_its_own() -> None:
    lines = [f"{CORE}{FRAMES[1]}", f"{CORE}{FRAMES[2]}", f"a cause{FRAMES[1]}", *FRAMES[1:4]]
    assert list(without_stacks(lines)) == [
        f"{CORE}  [... 2 lines of a stack ...]",
        "a cause  [... 1 line of a stack ...]",
        "  [... 3 lines of a stack ...]",
    ]


def test_a_line_that_says_more_than_a_frame_stays() -> None:
    lines = ['  File "a.py", line 3, in CUDA out of memory', '  File "a.py", line 3: no such key']
    assert list(without_stacks([*FRAMES[1:4], *lines])) == [
        "  [... 3 lines of a stack ...]",
        *lines,
    ]


@pytest.mark.parametrize(
    "written",
    [
        '  File "' * 40_000,
        '  File "x", line 1' * 20_000,
        '  File "x", line ' + "1" * MAX_LOG_BYTES,
        '  File "' + "x" * MAX_LOG_BYTES,
        '  File "x", line 1, in ' * 20_000,
        '  File "x", line 1, in ' + "x" * MAX_LOG_BYTES + "!",
        " " * MAX_LOG_BYTES,
        '  File "x", line 1\n' * 20_000,
        'one  File "x", line 1\ntwo  File "x", line 1\n' * 8_000,
        "x" * 100_000 + '  File "x", line 1\n' + "\n" * 150_000,
        ("x" * 60_000 + '  File "x", line 1\n') * 4,
        "\n" * MAX_LOG_BYTES,
    ],
)
def test_whatever_a_server_writes_its_tail_is_bounded(written: str) -> None:
    log = BoundedLog()
    log.write(written.encode())
    log.write(b"\nthe cause")
    tail = log.tail(50, 8_192)
    assert len(tail.encode()) <= 8_192
    assert len(tail.splitlines()) <= 50
    assert tail.splitlines()[-1] == "the cause"


def test_where_all_fits_nothing_is_left_out() -> None:
    log = BoundedLog()
    written = prefixed(CORE, *FRAMES, "AssertionError: not enough nodes")
    log.write(written.encode())
    assert log.tail(50, 8_192) == written.rstrip("\n")


def test_lines_that_only_look_like_a_stack_stay() -> None:
    lines = ["    indented", "  File of mine", 'a file "x", line 3', f"{CORE}ready"]
    assert list(without_stacks(lines)) == lines
    assert list(without_stacks([*FRAMES[1:4], "    more"])) == ["  [... 4 lines of a stack ...]"]
    assert list(without_stacks([])) == []
