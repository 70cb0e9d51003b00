"""The demo killed with SIGKILL at ten random moments ends as an undisturbed one does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KILLS = 10
SEED = int(os.environ.get("LEDGER_TEST_SEED", "14"))
DEADLINE_S = 600

pytestmark = pytest.mark.slow


def start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LEDGER_")}
    return subprocess.Popen(  # noqa: S603  our own program
        [
            *(sys.executable, "-c", "from api.cli.main import main; main()"),
            *("demo", "--no-serve", "--format", "json", "--folder", str(folder)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def played(folder: Path) -> tuple[dict[str, Any], float]:
    """The report of a run to the end, and how long it took in seconds."""
    began = time.monotonic()
    process = start(folder)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err.decode()[-2_000:]
    return json.loads(out), time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Whole:
    """A season that nobody disturbed: its folder, its report, and how long it took in seconds."""

    folder: Path
    report: dict[str, Any]
    took_s: float


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Played once for all tests of this file."""
    folder = tmp_path_factory.mktemp("whole")
    return Whole(folder, *played(folder))


def outcome(report: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on when the process died: kings, vectors, treasury. No score or time."""
    return {
        "kings": [
            (line["track"], line["number"], line["hotkey"], line["how"], line["ended_by"])
            for line in report["reigns"]
        ],
        "weights": report["weights"],
        "treasury": report["treasury"],
        "verdicts": [
            (line["hotkey"], line["block"], line["status"], line["codes"])
            for line in report["commits"]["lines"]
        ],
    }


def killed_seasons(tmp_path: Path, longest_life_s: float) -> list[Path]:
    """Play, killing at random moments, until ten kills are done; a season that ends makes way for
    a new one, so that every kill hits a living one."""
    chance = random.Random(SEED)
    folders = [tmp_path / "killed-1"]
    kills = 0
    while kills < KILLS:
        process = start(folders[-1])
        try:
            process.communicate(timeout=chance.uniform(0.5, longest_life_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        else:
            folders.append(tmp_path / f"killed-{len(folders) + 1}")
    return [folder for folder in folders if folder.exists()]


def test_ten_kills_change_neither_kings_nor_vectors_nor_treasury(
    tmp_path: Path, whole: Whole
) -> None:
    undisturbed = whole.report
    completed = sum(line["status"] == "completed" for line in undisturbed["contests"])
    for folder in killed_seasons(tmp_path, whole.took_s / 2):
        report, _ = played(folder)
        assert outcome(report) == outcome(undisturbed)
        ends = [line["status"] for line in report["contests"]]
        assert ends.count("completed") == completed
        assert set(ends) == {"completed", "void"}


def test_a_second_run_adds_no_fact(whole: Whole) -> None:
    again, _ = played(whole.folder)
    assert again == whole.report
