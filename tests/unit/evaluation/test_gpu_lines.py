"""A contest's GPUs in a line each, and who was on them, as the report and the ledger tell it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from imagined_calibration import calibration
from imagined_contest import changed, record, stored

from api.cli.contest_tables import CONTEST
from api.contest_report import ContestReport, contest_report
from evaluation.calibration import Calibration
from evaluation.gpu_lines import (
    GpuLine,
    engine_of,
    gpu_lines,
    gpus_unknown,
    in_one_line,
    named_gpus,
    strangers_in_words,
)
from evaluation.gpu_strangers import MAX_STRANGERS
from evaluation.gpu_work import GpuSamples, worked
from evaluation.gpus import GpuFacts, GpuProcess, read_gpus
from evaluation.manifest import read_baseline, rejudge_contest, spelled_part
from evaluation.recording import Findings
from evaluation.records import ArmRecord, StartRecord
from tests.standins.nvidia_smi import BUSY, IDLE, UUID, busy

COLD, HOT = IDLE, busy(1_980, 71)
STRANGER = GpuProcess(gpu_uuid=UUID, pid=460, name="python3", memory_mib=1_092)


def facts(text: str) -> GpuFacts:
    return GpuFacts(gpus=read_gpus(text), unknown="")


def ran(*, sampled: bool = True, stranger: bool = False) -> ArmRecord:
    """A baseline that was started cold and ran hot."""
    rows = IDLE + busy(1_410, 66) + busy(1_980, 75, 0x40)
    samples = GpuSamples(gpus=worked(rows), unknown="") if sampled else GpuSamples()
    known: tuple[GpuProcess, ...] = (STRANGER,) if stranger else ()
    plain = record("baseline")
    return changed(
        plain,
        starts=(
            StartRecord(
                first_block=0, gpus_before=facts(COLD), engine_version="0.25.1", strangers=known
            ),
        ),
        blocks=tuple(
            changed(block, gpus=facts(HOT), gpu_samples=samples) for block in plain.blocks
        ),
    )


def test_a_line_says_clocks_under_work_and_temperatures_before_and_after() -> None:
    (line,) = gpu_lines([ran()])
    assert line == GpuLine(
        index=0,
        uuid=UUID,
        name="NVIDIA H200",
        driver="580.159.04",
        least_mhz=1_410,
        greatest_mhz=1_980,
        celsius_before=39,
        celsius_after=71,
        greatest_celsius=75,
        memory_mib=143_771,
        used_mib=1_101,
        held_back=("power limit", "too hot (hardware)"),
    )
    assert in_one_line(line) == (
        "NVIDIA H200, driver 580.159.04; 1410 to 1980 MHz under work; 39 °C before, 71 °C after; "
        "1101 of 143771 MiB in use; held back by power limit, too hot (hardware)"
    )


def test_old_evidence_has_the_clocks_of_the_moments_after_its_blocks() -> None:
    (line,) = gpu_lines([ran(sampled=False)])
    assert (line.least_mhz, line.greatest_mhz, line.held_back) == (1_980, 1_980, ("power limit",))


def test_several_gpus_are_in_the_order_of_their_numbers_and_named_once() -> None:
    second = "1" + BUSY[1:].replace(UUID, "GPU-0")
    several = changed(
        ran(), starts=(StartRecord(first_block=0, gpus_before=facts(second + COLD)),), blocks=()
    )
    lines = gpu_lines([several])
    assert [(line.index, line.uuid) for line in lines] == [(0, UUID), (1, "GPU-0")]
    assert [line.least_mhz for line in lines] == [None, None]
    assert named_gpus(1, lines) == "NVIDIA H200"
    assert named_gpus(2, lines) == "2 x NVIDIA H200"
    assert "unknown to unknown MHz under work" in in_one_line(lines[0])


def test_what_nobody_knows_is_said_to_be_unknown() -> None:
    nobody = changed(
        record("baseline"),
        starts=(StartRecord(first_block=0, gpus_before=GpuFacts(unknown="there is no smi")),),
    )
    assert (gpu_lines([nobody]), named_gpus(2, ())) == ((), "")
    assert gpus_unknown([nobody]) == "there is no smi"
    assert gpus_unknown([ran()]) == ""
    assert gpus_unknown([]) == "no GPU was found"
    assert (engine_of([nobody]), engine_of([ran(), ran()])) == (None, "0.25.1")
    assert strangers_in_words(None) == "unknown"
    assert strangers_in_words(()) == "none"
    many = strangers_in_words((STRANGER,) * (MAX_STRANGERS + 3))
    assert many.count("process 460") == MAX_STRANGERS == 16
    assert many.endswith(f"on {UUID}), and 3 more")
    assert "more" not in strangers_in_words((STRANGER,) * MAX_STRANGERS)
    assert strangers_in_words((STRANGER,)) == f"python3 (process 460, 1092 MiB on {UUID})"


def told(
    root: Path, arm: ArmRecord, calibrated: Calibration | None = None
) -> tuple[ContestReport, dict[str, str]]:
    """The report of a contest whose baseline left that record, and the ledger's facts of its host;
    its evidence agrees with itself."""
    store, manifest, _ = stored(root)
    baseline = changed(read_baseline(store.get(manifest.baseline_evidence)), records=(arm,))
    strangers = arm.starts[0].strangers if arm.starts else None
    manifest = changed(
        manifest,
        baseline_evidence=store.put(spelled_part(baseline)),
        conditions=changed(
            manifest.conditions, strangers=strangers, clock_drift_ppm=0 if arm.starts else None
        ),
    )
    digest = store.put(spelled_part(manifest))
    assert rejudge_contest(store, digest).differences == ()
    report = contest_report(
        manifest.plan,
        manifest.outcome,
        manifest=manifest,
        baseline=baseline,
        policy="quick",
        seed_note="",
        runner=manifest.runner,
        images=dict.fromkeys(["baseline", "fast", "faster"], "an image"),
        calibrated=calibrated,
    )
    return report, Findings(manifest, digest, baseline).host


def test_the_report_warns_where_the_policys_calibration_was_measured_elsewhere(
    tmp_path: Path,
) -> None:
    here = changed(calibration(gpu="NVIDIA H200"), engine_version="0.25.1")
    assert told(tmp_path / "here", ran(), here)[0].warnings == ()
    newer = changed(here, engine_version="0.25.2")
    (engine,) = told(tmp_path / "newer", ran(), newer)[0].warnings
    assert "version 0.25.2 and the baseline says that it is 0.25.1" in engine
    there = changed(here, facts=changed(here.facts, gpu="NVIDIA H100"))
    stranger, gpu = told(tmp_path / "there", ran(stranger=True), there)[0].warnings
    assert "is no server of this contest" in stranger
    assert "measured on NVIDIA H100 and this contest ran on NVIDIA H200" in gpu


def rows(report: ContestReport, title: str) -> list[dict[str, Any]]:
    (section,) = [one for one in CONTEST if one.title == title]
    return [dict(row) for row in section.rows(msgspec.to_builtins(report))]


def test_the_report_has_a_line_for_each_gpu_and_warns_of_strangers(tmp_path: Path) -> None:
    report, host = told(tmp_path, ran(stranger=True))
    assert (report.status, report.clock_drift_ppm, report.engine_version) == (
        "completed",
        0,
        "0.25.1",
    )
    (line,) = rows(report, "GPUs under the baseline")
    assert (line["mhz"], line["reasons"]) == ("1410..1980", "power limit, too hot (hardware)")
    (warning,) = rows(report, "Warnings")
    assert warning["warning"].startswith("python3 (process 460, 1092 MiB on GPU-")
    assert "voids nothing by itself" in warning["warning"]
    assert "end what should not run there" in warning["warning"]
    assert host["gpu 0"].startswith("NVIDIA H200, driver 580.159.04; 1410 to 1980 MHz")
    assert host["engine version"] == "0.25.1"
    assert host["processes of others on the GPUs"].startswith("python3 (process 460")


def test_the_report_says_where_gpus_and_strangers_are_unknown(tmp_path: Path) -> None:
    quiet, host = told(tmp_path / "quiet", ran())
    assert quiet.gpu_strangers == quiet.warnings == ()
    assert host["processes of others on the GPUs"] == "none"
    unknown, host = told(tmp_path / "unknown", record("baseline"))
    assert (unknown.gpus, unknown.gpu_strangers, unknown.clock_drift_ppm) == ((), None, None)
    said = {row["what"]: row["value"] for row in rows(unknown, "The contest")}
    assert said["GPUs"] == "unknown: no GPU was found"
    assert said["its GPUs' clock drift"].startswith("unknown; at most")
    assert rows(unknown, "GPUs under the baseline") == rows(unknown, "Warnings") == []
    assert host["gpus"] == "unknown: no GPU was found"
    assert host["processes of others on the GPUs"] == "unknown"
