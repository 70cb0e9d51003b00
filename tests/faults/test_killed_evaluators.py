"""An evaluator or a server killed with SIGKILL while a contest runs costs nothing but time.

The benchmark `contest_recovery` does the same 60 times, with containers; these are plain processes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from api.errors import ExitCode
from benchmarks.recovery import ProcessMachine, RecoveryArena, Victim, killed_run
from benchmarks.recovery.arena import NETUID, NETWORK
from ledger.commands.arena import pause
from ledger.decisions.contest import ContestCompleted, ContestPlanned, ContestVoided
from ledger.decisions.submission import Submission
from ledger.store.logs import facts_of
from tests.faults.conftest import Command
from tests.faults.processes import wait_until

pytestmark = pytest.mark.slow

LONGEST_S = 20.0


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> ProcessMachine:
    return ProcessMachine(tmp_path_factory.mktemp("machine"))


@pytest.mark.parametrize("victim", ["evaluator", "server"])
def test_a_kill_at_a_random_moment_costs_nothing_but_time(
    machine: ProcessMachine, tmp_path: Path, seed: str, victim: Victim
) -> None:
    chance = random.Random(f"{seed} {victim}")
    run = killed_run(machine, tmp_path / "run", victim, chance.uniform(0, LONGEST_S), chance)
    assert run.faults == ()


class Evaluating:
    """An arena with a queue, blocks that come, and an evaluator over it."""

    def __init__(self, machine: ProcessMachine, folder: Path) -> None:
        self.arena = RecoveryArena(folder / "ledger.db", machine.images, machine.memory_bytes)
        self.folder = folder
        self._machine = machine
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self.arena.tick, args=(self._over,), daemon=True)
        self._ticker.start()

    @property
    def where(self) -> list[str]:
        return ["--database", self.arena.url, "--network", NETWORK, "--netuid", str(NETUID)]

    def words(self, *more: str) -> list[str]:
        folders = ("--evidence", str(self.folder / "evidence"), "--state", str(self.folder / "s"))
        return ["evaluate", *self._machine.options(), *folders, *self.where, *more]

    def start(self, *more: str) -> subprocess.Popen[str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("LEDGER_")}
        return subprocess.Popen(  # noqa: S603  our own program
            [
                *(sys.executable, "-c", "from api.cli.main import main; main()"),
                *self.words("--format", "json", *more),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean,
        )

    def facts(self, kind: type[Any]) -> list[Any]:
        with self.arena.engine.connect() as connection:
            log = facts_of(connection, self.arena.ledger.head().log_id)
            return [logged.fact for logged in log if isinstance(logged.fact, kind)]

    def head(self) -> int:
        return self.arena.ledger.head().effective_block

    def statuses(self) -> list[str]:
        load = self.arena.ledger.load
        return [load(Submission, one).status for one in self.arena.submissions]

    def close(self) -> None:
        self._over.set()
        self._ticker.join()
        self.arena.close()


@pytest.fixture
def evaluating(machine: ProcessMachine, tmp_path: Path) -> Any:
    found = Evaluating(machine, tmp_path)
    # Both submissions are older than the newest block, so that one contest can hold them.
    begun = found.head()
    wait_until(lambda: found.head() > begun, "a block came")
    yield found
    found.close()


def test_one_contest_is_run_shown_and_judged_again_and_a_changed_one_differs(
    evaluating: Evaluating, command: Command
) -> None:
    done = command(*evaluating.words("--once", "--format", "json"))
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    (attempt,) = report["attempts"]
    assert (attempt["status"], attempt["attempt"], attempt["entrants"]) == ("completed", 1, 2)
    assert evaluating.statuses() == ["scored", "scored"]

    contest, where = attempt["contest_id"], evaluating.where
    shown = json.loads(command("contest", "show", contest, *where, "--format", "json").stdout)
    assert shown["worker"] == report["worker"]
    assert shown["evidence_url"] is None
    assert shown["baseline_gpu_ms"] > 0
    assert shown["host_facts"]["runner"] == "process"
    for entrant in shown["entrants"]:
        assert entrant["fingerprint"].startswith("sha256:")
        assert {figure["within"] for figure in entrant["figures"]} == {True}
        assert "listening on" in entrant["log_tail"]

    evidence = evaluating.folder / "evidence"
    again = ["contest", "rejudge", contest, *where, "--format", "json", "--evidence"]
    agreed = command(*again, str(evidence))
    assert agreed.exit_code == 0, agreed.stderr
    assert json.loads(agreed.stdout)["agrees"]

    digest = shown["entrants"][0]["evidence_digest"].removeprefix("sha256:")
    file = evidence / digest[:2] / digest[2:]
    file.write_bytes(
        file.read_bytes().replace(b'"finish_reason":"length"', b'"finish_reason":"stop"')
    )
    changed = command(*again, str(evidence))
    assert changed.exit_code == 7
    assert "has been changed" in changed.stderr
    file.unlink()
    missing = command(*again, str(evidence))
    assert missing.exit_code == 7
    assert "there is no evidence" in missing.stderr


@pytest.mark.parametrize("once", [(), ("--once",)])
def test_a_signal_ends_it_tidily_and_the_attempt_is_void(
    evaluating: Evaluating, machine: ProcessMachine, once: tuple[str, ...]
) -> None:
    process = evaluating.start(*once)
    wait_until(lambda: bool(machine.left()), "a server runs")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == (ExitCode.CONTEST_VOID if once else 0), err
    report = json.loads(out)
    assert report["ended"] == "stopped"
    (attempt,) = report["attempts"]
    assert (attempt["status"], attempt["void_cause"]) == ("void", "interrupted")
    assert machine.left() == []
    (voided,) = evaluating.facts(ContestVoided)
    assert (voided.cause, "told to stop" in voided.detail) == ("interrupted", True)
    assert evaluating.statuses() == ["queued", "queued"]


def test_pausing_evaluation_ends_a_running_contest_and_starts_no_other(
    evaluating: Evaluating, machine: ProcessMachine
) -> None:
    process = evaluating.start()
    wait_until(lambda: bool(machine.left()), "a server runs")
    pause(evaluating.arena.ledger, "evaluation", reason="an exploit", actor="operator")
    wait_until(lambda: bool(evaluating.facts(ContestVoided)), "the contest is void")
    later = evaluating.head() + 20
    wait_until(lambda: evaluating.head() >= later, "blocks went on")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(evaluating.facts(ContestPlanned)) == 1
    assert [fact.cause for fact in evaluating.facts(ContestVoided)] == ["evaluation_paused"]
    assert evaluating.facts(ContestCompleted) == []
    assert machine.left() == []
