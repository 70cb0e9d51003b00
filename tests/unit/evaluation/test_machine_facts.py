"""What is said of host and GPUs is what was read, and unknown where it was not."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

import msgspec
import pytest

from evaluation import gpus
from evaluation.gpus import (
    GpuFacts,
    GpuProcess,
    clock_drift_ppm,
    gpu_facts,
    read_gpus,
    read_processes,
)
from evaluation.host import client_version, host_facts

# As a real H200 under driver 580.159.04 answered, idle and at work.
UUID = "GPU-ceafd5e8-f609-37b4-b5fe-d77f0c8adc00"
IDLE = (
    f"0, {UUID}, NVIDIA H200, 580.159.04, 345, 3201, 1980, 39, 143771, 0, 80.40, "
    "0x0000000000000001\n"
)
BUSY = (
    f"0, {UUID}, NVIDIA H200, 580.159.04, 1785, 3201, 1980, 49, 143771, 1101, 403.72, "
    "0x0000000000000004\n"
)
PROCESSES = f"{UUID}, 460, python3, 1092\n"


def facts(text: str) -> GpuFacts:
    return GpuFacts(gpus=read_gpus(text))


def test_a_real_gpus_answer_is_read_in_its_units() -> None:
    (idle,), (busy,) = read_gpus(IDLE), read_gpus(BUSY)
    assert (busy.name, busy.driver, busy.uuid) == ("NVIDIA H200", "580.159.04", UUID)
    assert (busy.sm_mhz, busy.max_sm_mhz, busy.celsius) == (1_785, 1_980, 49)
    assert (busy.memory_mib, busy.memory_used_mib, busy.power_mw) == (143_771, 1_101, 403_720)
    assert (idle.working_mhz, busy.working_mhz) == (None, 1_785)
    assert read_processes(PROCESSES) == (
        GpuProcess(gpu_uuid=UUID, pid=460, name="python3", memory_mib=1_092),
    )
    assert read_processes("") == ()


def test_a_figure_that_is_not_available_is_unknown() -> None:
    text = "1, GPU-x, NVIDIA A, 580, [N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]\n"
    (gpu,) = read_gpus(text)
    figures = (gpu.sm_mhz, gpu.celsius, gpu.memory_used_mib, gpu.power_mw, gpu.clock_reasons)
    assert figures == (None,) * 5
    assert gpu.working_mhz is None
    with pytest.raises(ValueError, match="a row of 2 columns"):
        read_gpus("a, b\n")


def test_clocks_drift_only_between_moments_of_work_of_one_gpu() -> None:
    slower = BUSY.replace("1785", "1428")
    other = BUSY.replace(UUID, "GPU-other").replace("1785", "100")
    assert clock_drift_ppm([facts(BUSY), facts(slower), facts(IDLE)]) == 200_000
    assert clock_drift_ppm([facts(BUSY), facts(IDLE)]) is None
    assert clock_drift_ppm([facts(BUSY), facts(other)]) is None
    assert clock_drift_ppm([GpuFacts(), GpuFacts()]) is None


def script(folder: Path, text: str) -> str:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_machine_is_asked_and_its_failures_are_said(tmp_path: Path) -> None:
    assert gpu_facts("no-such-program") == GpuFacts(
        unknown="there is no no-such-program on this machine"
    )
    answers = f"case $1 in --query-gpu=*) printf '{BUSY}' ;; *) printf '{PROCESSES}' ;; esac"
    found = gpu_facts(script(tmp_path, answers.replace("\n", "\\n")))
    assert (found.gpus, found.unknown) == (read_gpus(BUSY), "")
    assert [process.pid for process in found.processes] == [460]
    broken = gpu_facts(script(tmp_path, "echo 'NVML: Driver mismatch'; exit 18"))
    assert broken.unknown.endswith("it exited with code 18 and said: NVML: Driver mismatch")
    for failing in ("exit 9", "echo what", "printf '\\377,'"):
        broken = gpu_facts(script(tmp_path, failing))
        assert broken.gpus is None
        assert "could not be read" in broken.unknown
    assert msgspec.json.decode(msgspec.json.encode(found), type=GpuFacts) == found


def test_a_process_cannot_hide_behind_commas_in_its_name() -> None:
    (one,) = read_processes("GPU-x, 460, VLLM::EngineCore, rank 0,1, 1092\n")
    assert (one.pid, one.name, one.memory_mib) == (460, "VLLM::EngineCore, rank 0, 1", 1_092)
    (silent,) = read_processes("GPU-x, 461, a, b, [N/A]\n")
    assert silent.memory_mib is None
    with pytest.raises(ValueError, match="a row of 3 columns"):
        read_processes("GPU-x, 460, 1092\n")


def test_a_driver_that_hangs_and_cannot_be_killed_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpus.TIMEOUT_S == 10
    monkeypatch.setattr(gpus, "TIMEOUT_S", 0.1)
    # What hangs deep in the kernel is not ended by a signal; here the signal is held back.
    held_back: list[subprocess.Popen[bytes]] = []
    kill = subprocess.Popen.kill

    def held(child: subprocess.Popen[bytes]) -> None:
        held_back.append(child)

    monkeypatch.setattr(subprocess.Popen, "kill", held)
    found = gpu_facts(script(tmp_path, "exec sleep 600"))
    assert found.gpus is None
    assert found.unknown.endswith("could not be read: it did not answer within 0.1 s")
    (child,) = held_back
    assert child.poll() is None
    kill(child)
    child.communicate()


def test_the_host_is_described_and_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A CPU \x1b[1m @ 2 GHz\n")
    assert host_facts(tmp_path / "cpuinfo").cpu == "A CPU [1m @ 2 GHz"
    found = host_facts(tmp_path / "missing")
    assert found.cpu is None
    assert (found.cores or 0) >= (found.usable_cores or 0) > 0
    assert (found.memory_bytes or 0) > 2**20
    assert found.kernel
    assert client_version().startswith("cacheon-ledger ")


def test_a_program_that_runs_from_its_folder_says_that_it_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        if package == "cacheon-ledger":
            raise metadata.PackageNotFoundError(package)
        return "3.14"

    monkeypatch.setattr(metadata, "version", version)
    assert client_version().startswith("cacheon-ledger not installed, aiohttp 3.14, Python ")
