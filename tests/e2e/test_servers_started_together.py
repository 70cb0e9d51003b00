"""Servers that start together: launched at once, frozen early, warmed up and asked by turns."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import pytest
from test_contest_between_real_servers import Ground, is_alive
from test_contest_orders import (
    ENTRANTS,
    LATE,
    RESIDENT,
    RESTARTED,
    ClientClock,
    Watched,
    hold_up,
    whole,
)

from evaluation import arms
from evaluation.blocks import arm_order
from evaluation.evidence import read_evidence
from evaluation.images import ImageRef
from evaluation.manifest import rejudge_contest
from evaluation.meter import Meter
from evaluation.plan import ContestPlan, EntrantRole
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.port import InfrastructureFaultError, RunningServer
from evaluation.runners.process import ProcessRunner, ProcessServer, ServerCommand
from evaluation.runners.reference import ReferenceImages
from evaluation.runners.session import running_of
from ledger.codes import InfrastructureCause, VoidCause
from ledger.contest_policy import ContestPolicy
from tests.quick_policy import NO_TIMING


def together(contest: ContestPolicy) -> ContestPolicy:
    return msgspec.structs.replace(contest, start_together=True)


MODES = {"restarted": together(RESTARTED), "resident": together(RESIDENT)}
TWO: list[tuple[str, EntrantRole]] = [("kv_cache", "king"), ("prefix_cache", "challenger")]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    root = tmp_path_factory.mktemp("together")
    save_model(init_weights(ModelConfig().seed), root / "model")
    return Ground(root)


@dataclass
class Seen(Watched):
    """A round, and how its servers were at each step of it."""

    steps: list[tuple[str, str | None, int]] = field(default_factory=list)
    beside: list[int] = field(default_factory=list)
    """How many servers were there, frozen or not, whenever a prompt was asked or answered."""
    warming: list[int] = field(default_factory=list)
    """How many servers were not frozen at each warm-up's start."""

    def there(self) -> list[RunningServer]:
        return [one for one in self.servers if one.pid is not None and is_alive(one.pid)]

    def working_now(self) -> int:
        return sum(bool(running_of(one.pid or 0)) for one in self.there())

    def on_progress(self, phase: str, who: str | None, done: int, _of: int) -> None:
        self.steps.append((phase, who, done))
        if (phase, done) == ("warmup", 0):
            self.warming.append(self.working_now())
        if phase == "prompts":
            self.beside.append(len(self.there()))


@pytest.fixture(scope="module", params=sorted(MODES))
def round_together(request: pytest.FixtureRequest, ground: Ground) -> tuple[str, ContestPlan, Seen]:
    plan = ground.plan(ENTRANTS, contest=MODES[request.param])
    seen = Seen()
    seen.run(ground, plan, on_progress=seen.on_progress)
    return request.param, plan, seen


Round = tuple[str, ContestPlan, Seen]


def test_a_round_gives_verdicts_and_a_dead_entrant_ends_alone(
    ground: Ground, round_together: Round
) -> None:
    _, plan, seen = round_together
    outcome = whole(seen)
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [verdict.code for verdict in outcome.verdicts] == ["", "exited_at_start", ""]
    assert "invalid choice: 'fp8'" in outcome.verdicts[1].log_tail
    for verdict in (outcome.verdicts[0], outcome.verdicts[2]):
        assert len(verdict.e2e_us) == len(verdict.baseline_e2e_us) == plan.policy.contest.prompts
    assert rejudge_contest(ground.evidence, outcome.manifest_digest).differences == ()
    assert not any(is_alive(server.pid or 0) for server in seen.servers)


def test_all_are_there_and_only_the_one_that_is_asked_or_warmed_up_is_working(
    round_together: Round,
) -> None:
    mode, _, seen = round_together
    blocks = 2
    assert seen.working == [1] * (3 * blocks)
    assert seen.warming == [1] * (3 * (blocks if mode == "restarted" else 1) + 1)  # the reference
    assert set(seen.beside) == {3}


def test_arms_are_asked_in_the_order_that_the_seed_draws(round_together: Round) -> None:
    _, _, seen = round_together
    names = [None, *(name for name, _ in ENTRANTS)]
    drawn = [
        (block, names[at])
        for block in range(2)
        for at in arm_order(whole(seen).seed, block, len(names))
        if names[at] != "dies_at_start"
    ]
    assert seen.blocks == drawn


def test_evidence_has_one_start_for_each_block(ground: Ground, round_together: Round) -> None:
    mode, _, seen = round_together
    for verdict in (whole(seen).verdicts[0], whole(seen).verdicts[2]):
        record = read_evidence(ground.evidence.get(verdict.evidence_digest)).record
        assert record is not None
        first_blocks = [start.first_block for start in record.starts]
        assert first_blocks == ([0, 1] if mode == "restarted" else [0])
        assert all(start.ready_ms is not None for start in record.starts)
        asked = [block.block for block in record.blocks if block.phase == "prompts"]
        assert asked == [0, 1]


# -- how they start --------------------------------------------------------------------------

PATIENT = """
import sys, time
from pathlib import Path
from evaluation.reference import server
mine, others = Path(sys.argv.pop(1)), sys.argv.pop(1).split(",")
mine.touch()
while not all((mine.parent / other).exists() for other in others):
    time.sleep(0.02)
sys.exit(server.main(sys.argv[1:]))
"""


class PatientImages(ReferenceImages):
    """Reference images that leave a note in a folder, and go on once others' notes are there.

    They do so at their start, by default: whoever started them one after another would wait for the
    first one for ever.
    """

    def __init__(
        self, ground: Ground, notes: Path, waits_for: dict[str, str], program: str = PATIENT
    ) -> None:
        super().__init__(ground.root / "images", ground.root / "model")
        self._notes, self._program = notes, program
        self._waits_for = {ground.image(kind): (kind, then) for kind, then in waits_for.items()}

    def command(self, image_digest: str) -> ServerCommand:
        command = super().command(image_digest)
        kind, others = self._waits_for[image_digest]
        notes = (str(self._notes / kind), others)
        return ServerCommand(
            (sys.executable, "-c", self._program, *notes, *command.argv[3:]), command.environment
        )


@pytest.mark.parametrize("mode", sorted(MODES))
def test_servers_are_launched_at_once(ground: Ground, tmp_path: Path, mode: str) -> None:
    kinds = ("recompute", "kv_cache", "prefix_cache")
    images = PatientImages(ground, tmp_path, dict.fromkeys(kinds, ",".join(kinds)))
    outcome = Watched().run(
        ground, ground.plan(TWO, contest=MODES[mode]), runner=ProcessRunner(images)
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [verdict.status for verdict in outcome.verdicts] == ["scored", "scored"]


def test_who_is_healthy_early_is_frozen_and_pays_nothing_while_others_start(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = {"recompute": "recompute", "kv_cache": "kv_cache", "prefix_cache": "late"}
    # The meter's clock stands but for the hour that the late one takes.
    clock_ns = [0]
    monkeypatch.setattr(arms, "Meter", partial(Meter, clock_ns=lambda: clock_ns[0]))
    contest = msgspec.structs.replace(MODES["resident"], budget_gpu_minutes=600)
    order: list[str] = []

    def healthy(role: str, server: RunningServer) -> None:
        order.append(role)
        if role != "reference" and len(order) < 3:
            assert server.pid is not None
            assert running_of(server.pid) == []
        if len(order) == 2:
            clock_ns[0] += 3_600 * 10**9
            (tmp_path / "late").touch()

    outcome = ground.run(
        ground.plan(TWO, contest=contest),
        on_server=healthy,
        runner=ProcessRunner(PatientImages(ground, tmp_path, waits)),
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert sorted(order[:2]) == ["baseline", "king"]
    assert order[2:] == ["challenger", "reference"]
    assert outcome.gpu_ms == {"kv_cache": 0, "prefix_cache": 3_600_000}


HANGING = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as listening:
    print(f"listening on 127.0.0.1:{listening.getsockname()[1]}", flush=True)
    held = []
    while True:
        held.append(listening.accept())
"""


class HangingImages(ReferenceImages):
    """Reference images of which one takes connections and never answers."""

    def __init__(self, ground: Ground, kind: str) -> None:
        super().__init__(ground.root / "images", ground.root / "model")
        self._hangs = ground.image(kind)

    def command(self, image_digest: str) -> ServerCommand:
        command = super().command(image_digest)
        if image_digest != self._hangs:
            return command
        return ServerCommand((sys.executable, "-c", HANGING), command.environment)


class Noting(ProcessRunner):
    """Remembers what it launched, by role and in that order."""

    def __init__(self, images: ReferenceImages) -> None:
        super().__init__(images)
        self.launched: list[tuple[str, int]] = []

    def launch(self, image: ImageRef, role: str) -> ProcessServer:
        server = super().launch(image, role)
        self.launched.append((role, server.pid))
        return server


def test_a_server_whose_health_path_hangs_holds_up_nobody_and_ends_alone(ground: Ground) -> None:
    seen, healthy = Seen(), []
    runner = Noting(HangingImages(ground, "kv_cache"))

    def on_progress(phase: str, who: str | None, done: int, of: int) -> None:
        seen.on_progress(phase, who, done, of)
        if (phase, done) == ("launch", 1):
            healthy.append(who)
            if len(healthy) == 2:  # while it is still waited for
                os.kill(dict(runner.launched)["king"], signal.SIGTERM)

    outcome = seen.run(
        ground, ground.plan(TWO, contest=MODES["restarted"]), runner=runner, on_progress=on_progress
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [verdict.code for verdict in outcome.verdicts] == ["exited_at_start", ""]
    record = read_evidence(ground.evidence.get(outcome.verdicts[0].evidence_digest)).record
    assert record is not None
    assert [start.ready_ms for start in record.starts] == [None]
    # It was out before anybody was warmed up, and is not started for the second block.
    assert "kv_cache" not in healthy
    assert [role for role, _ in runner.launched].count("king") == 1
    assert seen.working == [1] * 4
    assert not any(is_alive(pid) for _, pid in runner.launched)


@pytest.mark.parametrize("mode", sorted(MODES))
def test_a_round_that_is_ended_waits_for_nobody(ground: Ground, mode: str) -> None:
    contest = msgspec.structs.replace(MODES[mode], startup_timeout_s=86_400)
    healthy: list[str] = []
    outcome = ground.run(
        ground.plan(TWO, contest=contest),
        on_server=lambda role, _: healthy.append(role),
        should_stop=lambda: VoidCause.EVALUATION_PAUSED if len(healthy) == 2 else None,
        runner=ProcessRunner(HangingImages(ground, "kv_cache")),
    )
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.EVALUATION_PAUSED)
    assert sorted(healthy) == ["baseline", "challenger"]


@pytest.mark.parametrize("mode", sorted(MODES))
def test_a_baseline_that_fails_at_start_voids_the_round_at_once(ground: Ground, mode: str) -> None:
    contest = msgspec.structs.replace(MODES[mode], startup_timeout_s=86_400)
    plan = ground.plan(TWO, contest=contest)
    plan = msgspec.structs.replace(
        plan, baseline=ground.plan([("dies_at_start", "king")]).entrants[0].image
    )
    runner = Noting(HangingImages(ground, "kv_cache"))
    outcome = ground.run(plan, runner=runner)
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.BASELINE_FAILED)
    assert "exited with code" in outcome.detail
    assert "king" in dict(runner.launched)
    assert not any(is_alive(pid) for _, pid in runner.launched)


STUBBORN = """
import signal, sys, time
from pathlib import Path
from evaluation.reference import server
mine, others = Path(sys.argv.pop(1)), sys.argv.pop(1).split(",")
def leave(number, frame):
    mine.touch()
    while not all((mine.parent / other).exists() for other in others):
        time.sleep(0.02)
    print("the others were told to end, too", flush=True)
    sys.exit(0)
server._leave = leave
sys.exit(server.main(sys.argv[1:]))
"""


def test_servers_are_stopped_at_once(ground: Ground, tmp_path: Path) -> None:
    # Each ends when all were told to; who stopped one after another would have to kill the first.
    kinds = ("recompute", "kv_cache", "prefix_cache")
    images = PatientImages(ground, tmp_path, dict.fromkeys(kinds, ",".join(kinds)), STUBBORN)
    outcome = Watched().run(
        ground,
        ground.plan(TWO, contest=MODES["resident"]),
        runner=ProcessRunner(images, stop_grace_s=60),
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    for verdict in outcome.verdicts:
        assert verdict.status == "scored"
        found = read_evidence(ground.evidence.get(verdict.evidence_digest))
        assert "the others were told to end, too" in found.log_tail


class Unstoppable(ProcessRunner):
    """A machine that says of every server that it cannot be ended, and ends it."""

    def launch(self, image: ImageRef, role: str) -> ProcessServer:
        server = super().launch(image, role)
        stop = server.stop

        def stop_and_fail() -> None:
            stop()
            detail = f"the {role} goes on"
            raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, detail)

        server.stop = stop_and_fail  # type: ignore[method-assign]  # the failure is the test
        return server


def test_every_server_that_cannot_be_stopped_is_told(ground: Ground) -> None:
    images = ReferenceImages(ground.root / "images", ground.root / "model")
    outcome = ground.run(ground.plan(TWO, contest=MODES["resident"]), runner=Unstoppable(images))
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.HOST_FAILED)
    for role in ("baseline", "king", "challenger"):
        assert f"the {role} goes on" in outcome.detail


# -- an arm that has to start once more ------------------------------------------------------


@pytest.mark.parametrize("mode", sorted(MODES))
def test_one_under_which_the_client_was_late_gets_a_server_of_its_own_while_others_stand_still(
    ground: Ground, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen()
    held_up = hold_up(ClientClock(monkeypatch), "kv_cache", 1)

    def on_progress(phase: str, who: str | None, done: int, of: int) -> None:
        seen.on_progress(phase, who, done, of)
        held_up(phase, who, done, of)

    contest = together(LATE[mode])
    outcome = seen.run(
        ground, ground.plan(TWO, NO_TIMING, contest=contest), on_progress=on_progress
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [verdict.status for verdict in outcome.verdicts] == ["scored", "scored"]
    record = read_evidence(ground.evidence.get(outcome.verdicts[0].evidence_digest)).record
    assert record is not None
    assert [block.block for block in record.blocks if block.set_aside] == [0]
    assert [block.block for block in record.blocks if not block.set_aside] == [0, 1]
    assert len(record.starts) == {"restarted": 3, "resident": 2}[mode]
    assert seen.working == [1] * len(seen.blocks)
    assert set(seen.warming) == {1}
    assert rejudge_contest(ground.evidence, outcome.manifest_digest).differences == ()


@pytest.mark.parametrize("mode", ["one_by_one", *sorted(MODES)])
def test_a_server_that_is_set_aside_costs_the_entrant_nothing_not_even_its_start(
    ground: Ground, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The meter's clock stands but for the hour that each warm-up of the late one takes.
    clock_ns = [0]
    monkeypatch.setattr(arms, "Meter", partial(Meter, clock_ns=lambda: clock_ns[0]))
    held_up = hold_up(ClientClock(monkeypatch), "kv_cache", 1)

    def on_progress(phase: str, who: str | None, done: int, of: int) -> None:
        if (phase, who, done) == ("warmup", "kv_cache", 0):
            clock_ns[0] += 3_600 * 10**9
        held_up(phase, who, done, of)

    hours = {"one_by_one": 2, "resident": 2, "restarted": 3}[mode]
    contest = LATE["resident"] if mode == "one_by_one" else together(LATE[mode])
    contest = msgspec.structs.replace(contest, budget_gpu_minutes=hours * 60 - 30)
    outcome = Watched().run(
        ground, ground.plan(TWO, NO_TIMING, contest=contest), on_progress=on_progress
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [(one.status, one.code) for one in outcome.verdicts] == [("scored", "")] * 2
    assert outcome.gpu_ms == {"kv_cache": hours * 3_600_000, "prefix_cache": 0}


@pytest.mark.parametrize("mode", sorted(MODES))
def test_one_under_which_the_client_is_late_again_is_out_alone(
    ground: Ground, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ground.plan(TWO, NO_TIMING, contest=together(LATE[mode]))
    outcome = Watched().run(
        ground, plan, on_progress=hold_up(ClientClock(monkeypatch), "kv_cache", 99)
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [(one.status, one.code) for one in outcome.verdicts] == [
        ("infrastructure", "client_saturated"),
        ("scored", ""),
    ]


# -- answers without logprobs ----------------------------------------------------------------


def test_a_round_without_logprobs_is_judged_by_everything_else(ground: Ground) -> None:
    contest = msgspec.structs.replace(MODES["resident"], ask_logprobs=False)
    entrants: list[tuple[str, EntrantRole]] = [
        ("kv_cache", "king"),
        ("other_weights", "challenger"),
        ("repeat_penalty", "challenger"),
    ]
    gates = msgspec.structs.replace(NO_TIMING, require_logprobs=False)
    outcome = Watched().run(ground, ground.plan(entrants, gates, contest=contest))
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [one.code for one in outcome.verdicts] == ["", "other_weights", "sampler_changed"]
    found = read_evidence(ground.evidence.get(outcome.verdicts[0].evidence_digest))
    answers = (*found.answers, *found.baseline, *found.repeats, *found.controls)
    assert {answer.logprobs_milli for answer in answers} == {()}
    assert rejudge_contest(ground.evidence, outcome.manifest_digest).differences == ()
