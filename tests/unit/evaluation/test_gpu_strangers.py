"""Who is on the GPUs and belongs to no server, told from real processes by the kernel's list."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from evaluation.gpu_strangers import HIDDEN_MIB, MAX_STRANGERS, Neighbours, all_strangers
from evaluation.gpus import GpuFacts, GpuProcess, read_gpus
from tests.standins.nvidia_smi import IDLE, UUID, busy

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], **{extra})
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


def process(pid: int, mib: int | None = 10, name: str = "python3") -> GpuProcess:
    return GpuProcess(gpu_uuid=UUID, pid=pid, name=name, memory_mib=mib)


def on_gpu(*processes: GpuProcess, used_mib: int = 0) -> GpuFacts:
    (gpu,) = read_gpus(IDLE)
    return GpuFacts(
        gpus=(msgspec.structs.replace(gpu, memory_used_mib=used_mib),), processes=processes
    )


@contextmanager
def server(*, own_session: bool = False) -> Iterator[tuple[int, int]]:
    """The pids of a server that leads a session, and of a process it started."""
    extra = "{'start_new_session': True}" if own_session else "{}"
    leader = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", PARENT.replace("{extra}", extra)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert leader.stdout is not None
    try:
        yield leader.pid, int(leader.stdout.readline())
    finally:
        leader.communicate()


@contextmanager
def stranger() -> Iterator[int]:
    alone = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield alone.pid
    finally:
        alone.communicate()


def test_before_the_first_server_everybody_is_a_stranger() -> None:
    me = process(os.getpid())
    assert Neighbours().strangers(on_gpu(me)) == (me,)
    # The driver of a container's host may number them otherwise; they are there all the same.
    assert Neighbours(Path("/nowhere")).strangers(on_gpu(me)) == (me,)


@pytest.mark.parametrize("own_session", [False, True])
def test_a_running_servers_processes_are_ours_and_others_are_not(own_session: bool) -> None:
    neighbours = Neighbours()
    with server(own_session=own_session) as (leader, child), stranger() as other:
        neighbours.launched(leader)
        seen = on_gpu(process(leader), process(child), process(other, 20))
        assert neighbours.strangers(seen) == (process(other, 20),)
        assert neighbours.strangers(on_gpu(process(child))) == ()


def test_servers_that_run_at_once_are_all_ours_until_they_are_stopped() -> None:
    neighbours = Neighbours()
    with server() as (one, its_child), server() as (other, other_child):
        for pid in (one, other):
            neighbours.launched(pid)
        seen = on_gpu(process(its_child), process(other_child))
        assert neighbours.strangers(seen) == ()
        neighbours.ended(one)
        # What outlives its server takes the GPU from the next.
        assert neighbours.strangers(seen) == (process(its_child),)
    neighbours.ended(other)
    # They are listed a moment longer than they live.
    assert neighbours.strangers(seen) == ()


def test_what_cannot_be_told_is_unknown_and_not_nobody() -> None:
    with server() as (leader, child), stranger() as other:
        in_container = Neighbours()
        in_container.launched(None)
        assert in_container.strangers(on_gpu(process(other))) is None
        in_container.ended(None)
        in_container.launched(leader)
        assert in_container.strangers(on_gpu(process(child), process(other))) == (process(other),)

        numbered_otherwise = Neighbours()
        numbered_otherwise.launched(leader)
        assert numbered_otherwise.strangers(on_gpu(process(2**22 + 1))) is None
        # Our own server works and none of the numbers is its: one of them must be it.
        assert numbered_otherwise.strangers(on_gpu(process(other))) is None
        assert Neighbours(Path("/nowhere")).strangers(GpuFacts()) is None


def test_an_empty_list_is_believed_only_of_gpus_whose_memory_is_free() -> None:
    for neighbours in (Neighbours(), Neighbours()):
        assert neighbours.strangers(on_gpu(used_mib=HIDDEN_MIB)) == ()
        assert neighbours.strangers(on_gpu(used_mib=HIDDEN_MIB + 1)) is None
        neighbours.launched(1)
    unsaid = read_gpus(busy(1_980).replace(" 1101,", " [N/A],"))
    assert Neighbours().strangers(GpuFacts(gpus=unsaid)) is None


def test_so_many_are_recorded_those_with_most_memory_first() -> None:
    many = [process(pid, mib) for pid, mib in zip(range(100, 120), range(20), strict=True)]
    found = Neighbours().strangers(on_gpu(*many))
    assert found is not None
    assert len(found) == MAX_STRANGERS == 16
    assert [one.memory_mib for one in found] == list(range(19, 3, -1))


def test_strangers_of_all_moments_are_named_once_with_their_most_memory() -> None:
    assert all_strangers([]) is None
    assert all_strangers([None, None]) is None
    assert all_strangers([None, ()]) == ()
    assert all_strangers([(process(2, 5), process(1, None)), None, (process(2, 9),)]) == (
        process(1, None),
        process(2, 9),
    )
