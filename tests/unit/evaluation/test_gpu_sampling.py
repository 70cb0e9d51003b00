"""What GPUs did while a block ran is what a real nvidia-smi printed; and what a drift is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from imagined_contest import plan

from evaluation.conditions import conditions_of, unfit
from evaluation.gpu_work import (
    MIN_WORKING_SAMPLES,
    SAMPLE_MS,
    GpuSamples,
    GpuWork,
    Sampling,
    start_sampling,
    work_drift_ppm,
    worked,
)
from evaluation.gpus import GPU_FIELDS, GpuFacts, clock_drift_ppm, read_gpus
from evaluation.records import ArmRecord, BlockRecord
from ledger.codes import VoidCause
from tests.standins.nvidia_smi import BUSY, IDLE, UUID, busy, nvidia_smi

OTHER = "GPU-other"
RECORDED = Path(__file__).parents[2] / "data" / "gpus" / "h100-multiplying.csv"
"""Every half second of a real H100 that multiplied matrices for eight seconds, idle before and
after; driver 580.159.04."""


def block(*clocks: int, number: int = 0, moment: str = "") -> BlockRecord:
    """A baseline's block sampled at these clocks, idle first; unsampled where there are none."""
    rows = IDLE + "".join(busy(mhz) for mhz in clocks)
    return BlockRecord(
        phase="prompts",
        block=number,
        place=0,
        since_start_ms=0,
        prompts=1,
        gpus=GpuFacts(gpus=read_gpus(moment)) if moment else GpuFacts(),
        gpu_samples=GpuSamples(gpus=worked(rows), unknown="") if clocks else GpuSamples(),
    )


def baseline(*blocks: BlockRecord) -> ArmRecord:
    return ArmRecord(arm="baseline", image=None, gpu_ms=1, starts=(), blocks=blocks)


def drift_ppm(*blocks: BlockRecord) -> int | None:
    found = conditions_of(plan().policy.contest, [], [], [baseline(*blocks)], [])
    assert found.clock_drift_ppm == work_drift_ppm([(one.gpus, one.gpu_samples) for one in blocks])
    return found.clock_drift_ppm


def test_samples_are_summed_up_for_each_gpu_and_a_cut_row_is_left_out() -> None:
    rows = IDLE + busy(1_200, 60, 0x20) + busy(1_980, 71) + busy(1_950, 65)
    other = busy(1_500, uuid=OTHER)
    found = worked(rows + other + BUSY[:-20])
    assert found == (
        GpuWork(
            uuid=UUID,
            samples=4,
            working=3,
            least_mhz=1_200,
            median_mhz=1_950,
            greatest_mhz=1_980,
            greatest_celsius=71,
            greatest_power_mw=403_720,
            greatest_memory_mib=1_101,
            clock_reasons=0x1 | 0x4 | 0x20,
        ),
        msgspec.structs.replace(
            worked(BUSY)[0], uuid=OTHER, least_mhz=1_500, median_mhz=1_500, greatest_mhz=1_500
        ),
    )
    assert msgspec.json.decode(msgspec.json.encode(found), type=tuple[GpuWork, ...]) == found


def test_a_gpu_that_was_idle_or_says_nothing_has_no_clock_under_work() -> None:
    (idle,) = worked(IDLE)
    assert (idle.samples, idle.working, idle.median_mhz) == (1, 0, None)
    (silent,) = worked("1, GPU-x, A, 580" + ", [N/A]" * 8 + "\n")
    assert (silent.working, silent.greatest_celsius, silent.clock_reasons) == (0, None, None)
    assert worked("") == worked(BUSY[:-1]) == ()
    with pytest.raises(ValueError, match="a row of 2 columns"):
        worked("a, b\n")


def test_a_clock_that_ramps_up_at_a_blocks_begin_is_no_drift() -> None:
    assert drift_ppm(block(345, 1_980), block(1_980, 1_980)) == 0
    assert drift_ppm(block(345, 1_980, 1_980, 1_410), block(1_980, 1_980, 1_980)) == 0


def test_a_throttle_that_holds_for_half_a_block_is_a_drift() -> None:
    steady, throttled = block(1_980, 1_980, 1_980), block(1_980, 1_188, 1_188)
    assert drift_ppm(steady, throttled) == 400_000
    assert drift_ppm(throttled, steady, steady) == 400_000


def test_blocks_with_too_few_samples_and_single_blocks_say_nothing() -> None:
    assert MIN_WORKING_SAMPLES == 2
    assert drift_ppm(block(1_980, 1_980), block(600)) is None
    assert drift_ppm(block(1_980, 1_980)) is None
    assert drift_ppm() is None
    assert drift_ppm(block(1_980, 1_980), block(990, 990)) == 500_000


def test_each_gpu_is_compared_with_itself_and_the_worst_counts() -> None:
    def of_two(mine: int, others: int) -> tuple[GpuFacts, GpuSamples]:
        rows = busy(mine) * 2 + busy(others, uuid=OTHER) * 2
        return GpuFacts(), GpuSamples(gpus=worked(rows), unknown="")

    assert work_drift_ppm([of_two(1_980, 1_000), of_two(1_980, 1_000)]) == 0
    assert work_drift_ppm([of_two(1_980, 1_000), of_two(1_980, 900)]) == 100_000


def test_evidence_from_before_blocks_were_sampled_is_judged_by_its_moments() -> None:
    old = [block(moment=BUSY), block(moment=busy(1_428))]
    assert drift_ppm(*old) == 200_000
    # Where anything was sampled, moments that may be of an idle GPU count no more.
    assert drift_ppm(*old, block(1_980, 1_980)) is None
    assert drift_ppm(block(1_980, 1_980, moment=busy(600)), block(1_980, 1_980, moment=BUSY)) == 0
    written = msgspec.json.decode(msgspec.json.encode(old[0]))
    for name in ("gpu_samples", "strangers"):
        del written[name]
    assert msgspec.convert(written, BlockRecord) == old[0]


def sampled(folder: Path, *rows: str) -> GpuSamples:
    return start_sampling(str(nvidia_smi(folder, rows))).end()


def test_one_child_samples_from_start_to_end_and_is_gone_afterwards(tmp_path: Path) -> None:
    program = nvidia_smi(tmp_path, [IDLE, busy(1_410), BUSY[:40]])
    sampling = start_sampling(str(program))
    pid = int((tmp_path / "sampling").read_text())
    os.kill(pid, 0)
    found = sampling.end()
    assert found == GpuSamples(gpus=worked(IDLE + busy(1_410)), unknown="")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (tmp_path / "asked").read_text() == (
        f"--query-gpu={','.join(GPU_FIELDS)} --format=csv,noheader,nounits -lms {SAMPLE_MS}\n"
    )
    assert sampling.end().gpus is None
    assert SAMPLE_MS == 2_000


def test_an_interrupt_while_its_first_row_is_waited_for_leaves_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = nvidia_smi(tmp_path, [])

    def interrupted(_: float) -> None:
        if (tmp_path / "sampling").exists() and (tmp_path / "sampling").read_text():
            raise KeyboardInterrupt

    # The name in this module alone: ending a child sleeps too, and must not be interrupted again.
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=interrupted)
    monkeypatch.setattr("evaluation.gpu_work.time", clock)
    with pytest.raises(KeyboardInterrupt):
        start_sampling(str(program))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "sampling").read_text()), 0)


def test_a_child_never_outlives_a_contest_that_was_killed(tmp_path: Path) -> None:
    program = nvidia_smi(tmp_path, [BUSY])
    code = (
        "import os, signal, sys\n"
        "from evaluation.gpu_work import start_sampling\n"
        "start_sampling(sys.argv[1])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(program)]
    done = subprocess.run(command, timeout=60, check=False)  # noqa: S603 - our own words
    assert done.returncode == -9
    pid = int((tmp_path / "sampling").read_text())
    for _ in range(1_000):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            break
        time.sleep(0.01)
    else:
        pytest.fail("the sampling child is still there")


def test_where_nothing_can_be_sampled_it_says_why(tmp_path: Path) -> None:
    assert start_sampling("no-such-program").end() == GpuSamples(
        unknown="there is no no-such-program on this machine"
    )
    assert Sampling(None, None).end().gpus is None
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'NVML: Driver/library version mismatch'\nexit 18\n")
    broken.chmod(0o755)
    found = start_sampling(str(broken)).end()
    assert found.gpus is None
    assert found.unknown == (
        "nvidia-smi did not sample and said: NVML: Driver/library version mismatch"
    )
    assert sampled(tmp_path / "what", "a, b\n").unknown.endswith("and said: a, b")
    assert sampled(tmp_path / "cut", BUSY[:30]).unknown.endswith("and said: " + BUSY[:30].strip())


def test_a_real_throttle_under_the_baseline_voids_the_round(tmp_path: Path) -> None:
    steady = sampled(tmp_path / "steady", IDLE, busy(1_980, 61), busy(1_965, 63))
    hot = sampled(tmp_path / "hot", IDLE, busy(1_965, 87, 0x60), *[busy(1_215, 88, 0x60)] * 4)
    assert hot.gpus is not None
    policy = plan().policy.contest
    blocks = [
        msgspec.structs.replace(block(number=at), gpu_samples=samples)
        for at, samples in enumerate((steady, steady, hot))
    ]
    quiet = conditions_of(policy, [], [], [baseline(*blocks[:2])], [])
    assert (quiet.clock_drift_ppm, unfit(quiet, policy)) == (0, None)
    found = conditions_of(policy, [], [], [baseline(*blocks)], [])
    assert found.clock_drift_ppm == (1_980 - 1_215) * 1_000_000 // 1_980
    reason = unfit(found, policy)
    assert reason is not None
    assert reason[0] is VoidCause.DRIFTED
    assert "the GPUs' clock under the baseline drifted by 386363 ppm" in reason[1]
    # The same throttle under an entrant's blocks is its own matter.
    entrant = msgspec.structs.replace(baseline(blocks[2]), arm="king")
    assert conditions_of(policy, [], [], [baseline(*blocks[:2])], [entrant]).clock_drift_ppm == 0


def test_what_a_real_gpu_did_is_no_drift_by_medians_though_its_clock_swung(tmp_path: Path) -> None:
    rows = RECORDED.read_text().splitlines(keepends=True)
    (work,) = worked("".join(rows))
    assert (work.samples, work.working) == (26, 20)
    assert (work.least_mhz, work.median_mhz, work.greatest_mhz) == (1_110, 1_380, 1_980)
    assert (work.greatest_celsius, work.greatest_power_mw) == (63, 701_870)
    # Under its power limit the clock swings by a fifth from sample to sample, and for a second
    # after the work it stands at its highest, not idle yet: a block's least or greatest clock, or
    # the moment after it, would call that a drift.
    early, late = rows[4:14], rows[12:22]
    halves = [GpuSamples(gpus=worked("".join(half)), unknown="") for half in (early, late)]
    medians = [half.gpus[0].median_mhz for half in halves if half.gpus]
    assert medians == [1_410, 1_365]
    found = work_drift_ppm([(GpuFacts(), half) for half in halves])
    assert found == 45 * 1_000_000 // 1_410
    assert found < plan().policy.contest.max_drift_ppm
    moments = [GpuFacts(gpus=read_gpus(row)) for row in (rows[6], rows[22])]
    assert (clock_drift_ppm(moments) or 0) > 400_000
