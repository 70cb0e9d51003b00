"""Slots: one process a name, and whose sessions are known to be over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.slots import MAX_SESSIONS, MAX_SLOTS, SlotError, take_slot

_HOLD = """
import sys, time
from pathlib import Path
from evaluation.slots import take_slot
slot = take_slot(Path(sys.argv[1]), "host", "a")
print(slot.holder.session, flush=True)
time.sleep(600)
"""


def test_processes_without_a_name_get_a_slot_of_their_own_each(tmp_path: Path) -> None:
    first, second = take_slot(tmp_path, "host"), take_slot(tmp_path, "host")
    assert [first.holder.worker, second.holder.worker] == ["host/0", "host/1"]
    first.close()
    with take_slot(tmp_path, "host") as third:
        assert third.holder.worker == "host/0"
        assert third.holder.session != first.holder.session
        assert third.dead == (first.holder,)
    second.close()


def test_a_name_is_held_by_one_living_process_and_free_when_that_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        session = process.stdout.readline().strip()
        with pytest.raises(SlotError, match="another evaluator named 'a' runs"):
            take_slot(tmp_path, "host", "a")
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    with take_slot(tmp_path, "host", "a") as slot:
        assert [one.session for one in slot.dead] == [session]


def test_a_torn_line_is_no_session_and_old_sessions_are_forgotten(tmp_path: Path) -> None:
    (tmp_path / "worker-a").write_bytes(b"0f\xff\n" + b"ab" * 16 + b"\n" + b"cd" * 9)
    with take_slot(tmp_path, "host", "a") as slot:
        assert [one.session for one in slot.dead] == ["ab" * 16]
    for _ in range(MAX_SESSIONS + 2):
        take_slot(tmp_path, "host", "a").close()
    with take_slot(tmp_path, "host", "a") as slot:
        assert len(slot.dead) == MAX_SESSIONS
        assert "ab" * 16 not in [one.session for one in slot.dead]


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a" * 33, "a\n"])
def test_a_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SlotError, match="is no name of a worker"):
        take_slot(tmp_path, "host", name)
    assert list(tmp_path.iterdir()) == []


def test_there_is_an_end_to_slots(tmp_path: Path) -> None:
    slots = [take_slot(tmp_path, "host") for _ in range(MAX_SLOTS)]
    with pytest.raises(SlotError, match=f"{MAX_SLOTS} evaluators run"):
        take_slot(tmp_path, "host")
    for slot in slots:
        slot.close()
