"""The three orders of a round with real processes, and what makes such a round void."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_contest_between_real_servers import CHEAP, MISSING, Ground, is_alive

from evaluation.blocks import arm_order, blocks_of
from evaluation.bundle import read_bundle, write_bundle
from evaluation.contest import ContestOutcome, run_contest
from evaluation.evidence import EvidenceStore, digest_of, read_evidence
from evaluation.images import ImageRef, image_as_committed
from evaluation.load import BEAT_S
from evaluation.manifest import read_baseline, read_manifest, rejudge_contest
from evaluation.plan import ContestPlan, EntrantRole, PlanError
from evaluation.reference import tokenizer
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.port import InfrastructureFaultError, RunningServer, Stage
from evaluation.runners.process import ProcessRunner, ServerCommand
from evaluation.runners.reference import ReferenceImages
from evaluation.runners.session import running_of
from evaluation.sources import open_texts
from ledger.codes import InfrastructureCause, VoidCause
from ledger.contest_policy import ContestPolicy, JsonlFile, Poisson, ServerLimits
from tests.quick_policy import NO_TIMING

# No timing decides: at these limits neither drift nor lag can void a round, and a plan of
# `Ground` refuses nobody by the times of answers.
STEADY = msgspec.structs.replace(
    CHEAP,
    prompts=4,
    prompts_per_block=2,
    repeated_prompts=1,
    max_drift_ppm=1_000_000,
    max_client_lag_us=10_000_000,
)
BRACKETED = msgspec.structs.replace(STEADY, order="bracketed")
RESTARTED = msgspec.structs.replace(STEADY, order="interleaved")
RESIDENT = msgspec.structs.replace(
    RESTARTED, restart_each_block=False, streams=2, arrival=Poisson(per_minute=100_000)
)
ORDERS = {"bracketed": BRACKETED, "restarted": RESTARTED, "resident": RESIDENT}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    root = tmp_path_factory.mktemp("orders")
    save_model(init_weights(ModelConfig().seed), root / "model")
    return Ground(root)


@dataclass
class Watched:
    """A round with everything that its callbacks were told."""

    outcome: ContestOutcome | None = None
    servers: list[RunningServer] = field(default_factory=list)
    blocks: list[tuple[int, str | None]] = field(default_factory=list)
    measured: list[tuple[str, int, int, int]] = field(default_factory=list)
    working: list[int] = field(default_factory=list)
    """How many servers were not frozen, at each block's start."""

    def run(self, ground: Ground, plan: ContestPlan, **callbacks: Any) -> ContestOutcome:
        def on_block(block: int, of: int, entrant: str | None) -> None:
            assert 0 <= block < of == len(blocks_of(plan.policy.contest))
            self.blocks.append((block, entrant))
            alive = [s for s in self.servers if s.pid is not None and is_alive(s.pid)]
            self.working.append(sum(bool(running_of(server.pid or 0)) for server in alive))

        images = ReferenceImages(ground.root / "images", Path(plan.model_dir))
        given: dict[str, Any] = {"runner": ProcessRunner(images), "on_block": on_block} | callbacks
        self.outcome = run_contest(
            plan,
            given.pop("runner"),
            ground.evidence,
            tokenizer=tokenizer,
            on_server=lambda _, server: self.servers.append(server),
            on_measured=lambda *pair: self.measured.append(pair),
            **given,
        )
        return self.outcome


ENTRANTS: Sequence[tuple[str, EntrantRole]] = [
    ("kv_cache", "king"),
    ("dies_at_start", "challenger"),
    ("prefix_cache", "challenger"),
]


@pytest.fixture(scope="module", params=sorted(ORDERS))
def ordered(request: pytest.FixtureRequest, ground: Ground) -> tuple[str, ContestPlan, Watched]:
    plan = ground.plan(ENTRANTS, contest=ORDERS[request.param])
    watched = Watched()
    watched.run(ground, plan)
    return request.param, plan, watched


Ordered = tuple[str, ContestPlan, Watched]


def whole(watched: Watched) -> ContestOutcome:
    assert watched.outcome is not None
    return watched.outcome


def test_every_arm_answers_every_prompt_once_and_a_dead_one_ends_alone(ordered: Ordered) -> None:
    _, plan, watched = ordered
    outcome = whole(watched)
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [verdict.code for verdict in outcome.verdicts] == ["", "exited_at_start", ""]
    for verdict in (outcome.verdicts[0], outcome.verdicts[2]):
        assert len(verdict.e2e_us) == len(verdict.baseline_e2e_us) == plan.policy.contest.prompts
    assert outcome.baseline is not None
    assert len(outcome.baseline.e2e_us) == plan.policy.contest.prompts
    assert not any(is_alive(server.pid or 0) for server in watched.servers)


def test_a_display_is_told_every_pair_and_every_block(ordered: Ordered) -> None:
    order, plan, watched = ordered
    prompts = range(plan.policy.contest.prompts)
    assert sorted((who, at) for who, at, _, _ in watched.measured) == [
        (who, at) for who in ("kv_cache", "prefix_cache") for at in prompts
    ]
    verdicts = {verdict.entrant_id: verdict for verdict in whole(watched).verdicts}
    for who, at, _, own_us in watched.measured:
        assert own_us == verdicts[who].e2e_us[at]  # all answers have the same length here
    runs = {"kv_cache", "prefix_cache", None}
    if order == "bracketed":
        assert [who for _, who in watched.blocks] == [
            *[None] * 2,
            *["kv_cache"] * 2,
            *["prefix_cache"] * 2,
            *[None] * 2,
        ]
    else:
        arms = [None, *(name for name, _ in ENTRANTS)]
        drawn = [
            (block, arms[at])
            for block in range(2)
            for at in arm_order(whole(watched).seed, block, len(arms))
            if arms[at] in runs
        ]
        assert watched.blocks == drawn


def test_only_the_server_that_is_asked_is_working(ordered: Ordered) -> None:
    order, _, watched = ordered
    assert watched.working == [1] * len(watched.blocks)
    starts = {"bracketed": 2 + 2, "restarted": 2 * 3, "resident": 3}[order]
    assert len(watched.servers) == starts + 1  # the reference


def test_a_bracketed_pair_is_the_mean_of_before_and_after(ground: Ground, ordered: Ordered) -> None:
    order, _, watched = ordered
    manifest = read_manifest(ground.evidence.get(whole(watched).manifest_digest))
    baseline = read_baseline(ground.evidence.get(manifest.baseline_evidence))
    assert bool(baseline.after) == (order == "bracketed")
    assert (manifest.conditions.drift_ppm is None) is False
    figures = whole(watched).baseline
    assert figures is not None
    after = baseline.after or baseline.before
    for at, (one, other) in enumerate(zip(baseline.before, after, strict=True)):
        assert figures.e2e_us[at] == (one.wall_us + other.wall_us) // 2


def test_a_contest_is_judged_again_from_its_manifest_alone(
    ground: Ground, ordered: Ordered
) -> None:
    _, _, watched = ordered
    outcome = whole(watched)
    again = rejudge_contest(ground.evidence, outcome.manifest_digest)
    assert again.differences == ()
    assert again.verdicts == outcome.verdicts
    assert [score.entrant_id for score in again.throne.scores] == ["kv_cache", "prefix_cache"]
    (step,) = again.throne.steps  # the dead challenger is passed over
    assert step.entrant_id == "prefix_cache"
    assert step.beats == (again.throne.king == "prefix_cache")


def test_a_contest_travels_in_one_file(ground: Ground, ordered: Ordered, tmp_path: Path) -> None:
    _, plan, watched = ordered
    outcome = whole(watched)
    seal = write_bundle(tmp_path / "one", ground.evidence, outcome.manifest_digest)
    write_bundle(tmp_path / "two", ground.evidence, outcome.manifest_digest)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    bundle = read_bundle(tmp_path / "one")
    assert bundle.seal == seal
    assert bundle.manifest_digest == outcome.manifest_digest
    assert bundle.rejudged.verdicts == outcome.verdicts
    assert msgspec.structs.replace(bundle.manifest.plan, model_dir=plan.model_dir) == plan
    assert str(ground.root).encode() not in b"".join(bundle.blobs.values())


def test_evidence_tells_of_starts_blocks_machine_time_and_images(
    ground: Ground, ordered: Ordered
) -> None:
    order, plan, watched = ordered
    outcome = whole(watched)
    for verdict in (outcome.verdicts[0], outcome.verdicts[2]):
        found = read_evidence(ground.evidence.get(verdict.evidence_digest))
        record = found.record
        assert record is not None
        assert record.image == outcome.images[verdict.entrant_id]
        assert record.gpu_ms == outcome.gpu_ms[verdict.entrant_id] > 0
        assert len(record.starts) == (2 if order == "restarted" else 1)
        assert all(start.ready_ms is not None for start in record.starts)
        asked = [block for block in record.blocks if block.phase == "prompts"]
        assert [(block.block, block.prompts) for block in asked] == [(0, 2), (1, 2)]
        assert all(block.client_lag_samples > 0 for block in asked)
        assert len(found.repeats) >= plan.policy.contest.repeated_prompts
    assert set(outcome.images) == {name for name, _ in ENTRANTS}


# -- what makes a round void ----------------------------------------------------------------

SLOWING = """
import sys, time
from pathlib import Path
from evaluation.reference import engines, server
counter, quick = Path(sys.argv.pop(1)), int(sys.argv.pop(1))
generate = engines.RecomputeEngine.generate
def slowed(self, prompt, max_tokens):
    with counter.open("a") as file:
        file.write("x")
    slow = counter.stat().st_size > quick
    for step in generate(self, prompt, max_tokens):
        time.sleep(0.25 if slow else 0)
        yield step
engines.RecomputeEngine.generate = slowed
sys.exit(server.main(sys.argv[1:]))
"""


class SlowingImages(ReferenceImages):
    """Reference images whose baseline takes 0.25 s more a token after ``quick`` answers in all."""

    def __init__(self, ground: Ground, counter: Path, quick: int) -> None:
        super().__init__(ground.root / "images", ground.root / "model")
        self._slow, self._counter, self._quick = ground.image("recompute"), counter, quick

    def command(self, image_digest: str) -> ServerCommand:
        command = super().command(image_digest)
        if image_digest != self._slow:
            return command
        flags = command.argv[3:]
        slowed = (sys.executable, "-c", SLOWING, str(self._counter), str(self._quick), *flags)
        return ServerCommand(slowed, command.environment)


@pytest.mark.parametrize("order", sorted(ORDERS))
def test_a_baseline_that_slows_down_makes_the_round_void(
    ground: Ground, order: str, tmp_path: Path
) -> None:
    contest = msgspec.structs.replace(ORDERS[order], max_drift_ppm=500_000, output_tokens=4)
    # Half of what the baseline answers: warm-up and prompts of its one start, or of the first one.
    quick = {"bracketed": 1 + 4, "restarted": 1 + 2, "resident": 1 + 2}[order]
    images = SlowingImages(ground, tmp_path / "counter", quick)
    outcome = Watched().run(
        ground,
        ground.plan([("kv_cache", "challenger")], contest=contest),
        runner=ProcessRunner(images),
    )
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.DRIFTED)
    assert "the baseline's own time drifted by" in outcome.detail
    assert outcome.verdicts == ()
    again = rejudge_contest(ground.evidence, outcome.manifest_digest)
    assert again.differences == ()
    assert (again.conditions.drift_ppm or 0) > 500_000


def test_a_client_that_cannot_keep_up_makes_the_round_void(ground: Ground) -> None:
    contest = msgspec.structs.replace(RESTARTED, max_client_lag_us=100_000)
    asked: list[int] = []

    def busy(phase: str, who: str | None, done: int, of: int) -> None:
        if phase == "prompts" and who is None:
            asked.append(done)
            time.sleep(0.3)  # in the client's own loop, while the baseline streams

    outcome = Watched().run(
        ground, ground.plan([("kv_cache", "challenger")], contest=contest), on_progress=busy
    )
    assert asked
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.CLIENT_SATURATED)
    assert "us can be trusted" in outcome.detail
    assert rejudge_contest(ground.evidence, outcome.manifest_digest).differences == ()


# -- a client that is late under an entrant --------------------------------------------------

LATE = {
    name: msgspec.structs.replace(
        contest, prompts=4, output_tokens=8, max_client_lag_us=5_000_000, repeated_prompts=0
    )
    for name, contest in ORDERS.items()
}


class ClientClock:
    """The clock that the client stamps and measures its lateness by, which can be put forward."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead_ns = 0
        for module in ("evaluation.client", "evaluation.load"):
            monkeypatch.setattr(f"{module}.time", self)

    def perf_counter_ns(self) -> int:
        return time.perf_counter_ns() + self._ahead_ns

    def block(self) -> None:
        """Hold the client's own loop up, by its clock for longer than any machine is that busy."""
        self._ahead_ns += 20 * 10**9
        time.sleep(4 * BEAT_S)  # so that it is seen: its next look at the clock is due


def hold_up(
    clock: ClientClock, entrant: str, times: int
) -> Callable[[str, str | None, int, int], None]:
    """Blocks the client's own loop for long in the first prompts asked of the entrant."""
    stretches = 0

    def on_progress(phase: str, who: str | None, done: int, of: int) -> None:
        nonlocal stretches
        if phase == "launch" and who == entrant and done == 1:
            stretches += 1
        if phase == "prompts" and who == entrant and stretches <= times and done % 2 == 1:
            clock.block()

    return on_progress


@pytest.mark.parametrize("order", sorted(LATE))
def test_a_client_late_under_one_entrant_alone_asks_it_once_more(
    ground: Ground, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ground.plan(
        [("kv_cache", "king"), ("prefix_cache", "challenger")], NO_TIMING, LATE[order]
    )
    outcome = Watched().run(
        ground, plan, on_progress=hold_up(ClientClock(monkeypatch), "kv_cache", 1)
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [verdict.status for verdict in outcome.verdicts] == ["scored", "scored"]
    found = read_evidence(ground.evidence.get(outcome.verdicts[0].evidence_digest))
    assert found.record is not None
    aside = [block.block for block in found.record.blocks if block.set_aside]
    kept = [block.block for block in found.record.blocks if not block.set_aside]
    assert aside == ([0, 1] if order == "bracketed" else [0])
    assert kept == [0, 1]
    # What it is asked again it must not remember: each asking is under a start of its own.
    starts = {"bracketed": 2, "restarted": 3, "resident": 2}[order]
    assert len(found.record.starts) == starts
    assert rejudge_contest(ground.evidence, outcome.manifest_digest).differences == ()


@pytest.mark.parametrize("order", sorted(LATE))
def test_an_entrant_under_which_the_client_is_late_again_is_out_alone(
    ground: Ground, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ground.plan(
        [("kv_cache", "king"), ("prefix_cache", "challenger")], NO_TIMING, LATE[order]
    )
    outcome = Watched().run(
        ground, plan, on_progress=hold_up(ClientClock(monkeypatch), "kv_cache", 99)
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    king, challenger = outcome.verdicts
    assert (king.status, king.code) == ("infrastructure", "client_saturated")
    assert "and it was so twice" in king.detail
    assert challenger.status == "scored"
    assert rejudge_contest(ground.evidence, outcome.manifest_digest).differences == ()


FLOODING = """
import sys
from evaluation.reference import http_server, server
FILLER = b"1\\r\\n:\\r\\n" * 2_000 + b"1\\r\\n\\n\\r\\n"
setup = http_server._Handler.setup
class Flood:
    def __init__(self, file):
        self._file = file
    def write(self, data):
        return self._file.write(data + FILLER if b"data: {" in data else data)
    def __getattr__(self, name):
        return getattr(self._file, name)
def flooding(self):
    setup(self)
    self.wfile = Flood(self.wfile)
http_server._Handler.setup = flooding
sys.exit(server.main(sys.argv[1:]))
"""


class FloodingImages(ReferenceImages):
    """Reference images of which one sends 2,001 HTTP chunks of filler after every token."""

    def __init__(self, ground: Ground, kind: str) -> None:
        super().__init__(ground.root / "images", ground.root / "model")
        self._floods = ground.image(kind)

    def command(self, image_digest: str) -> ServerCommand:
        command = super().command(image_digest)
        if image_digest != self._floods:
            return command
        return ServerCommand(
            (sys.executable, "-c", FLOODING, *command.argv[3:]), command.environment
        )


def test_an_entrant_that_floods_a_late_client_is_disqualified_and_voids_nothing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = ground.plan(
        [("kv_cache", "king"), ("prefix_cache", "challenger")], NO_TIMING, LATE["restarted"]
    )
    outcome = Watched().run(
        ground,
        plan,
        runner=ProcessRunner(FloodingImages(ground, "kv_cache")),
        # No timing decides: the client is late for certain, and by whom is told by bytes alone.
        on_progress=hold_up(ClientClock(monkeypatch), "kv_cache", 99),
    )
    assert (outcome.status, outcome.detail) == ("completed", "")
    king, challenger = outcome.verdicts
    assert (king.status, king.code) == ("disqualified", "flooded")
    assert "bytes of framing a token" in king.detail or "bytes a token" in king.detail
    assert challenger.status == "scored"
    assert rejudge_contest(ground.evidence, outcome.manifest_digest).differences == ()


# -- machine time, names, servers that cannot be stopped ------------------------------------


def test_an_entrant_that_uses_up_its_machine_time_is_stopped(ground: Ground) -> None:
    # Twenty minutes over 64 GPUs are 19 seconds: the server hangs until they are over.
    contest = msgspec.structs.replace(
        STEADY, budget_gpu_minutes=20, limits=ServerLimits(gpus=64), prompt_timeout_s=60
    )
    watched = Watched()
    outcome = watched.run(ground, ground.plan([("hangs", "challenger")], contest=contest))
    assert outcome.status == "completed"
    (verdict,) = outcome.verdicts
    assert (verdict.status, verdict.code) == ("disqualified", "budget_spent")
    assert "20 minutes of machine time" in verdict.detail
    assert outcome.gpu_ms["hangs"] >= 20 * 60_000
    assert not any(is_alive(server.pid or 0) for server in watched.servers)


def test_a_budget_too_small_for_the_baseline_is_no_entrants_fault(ground: Ground) -> None:
    # Less than a second, in which nobody recomputes 800 tokens for each of the answers' own.
    contest = msgspec.structs.replace(
        STEADY,
        budget_gpu_minutes=1,
        limits=ServerLimits(gpus=64),
        context_tokens=800,
        output_tokens=100,
    )
    for order in ("baseline_once", "interleaved"):
        outcome = Watched().run(
            ground,
            ground.plan(
                [("kv_cache", "king"), ("prefix_cache", "challenger")],
                contest=msgspec.structs.replace(contest, order=order),
            ),
        )
        assert (outcome.status, outcome.void_cause) == ("void", VoidCause.BASELINE_FAILED)
        assert "900000 ppm of its 1 minutes of machine time" in outcome.detail


def test_an_image_that_nobody_can_name_is_its_committers_fault(ground: Ground) -> None:
    plan = ground.plan([("kv_cache", "king"), ("prefix_cache", "challenger")], contest=CHEAP)
    unnameable = msgspec.structs.replace(
        plan.entrants[1], image=image_as_committed("a//b..c", plan.entrants[1].image.digest)
    )
    plan = msgspec.structs.replace(plan, entrants=(plan.entrants[0], unnameable))
    outcome = Watched().run(ground, plan)
    assert [verdict.code for verdict in outcome.verdicts] == ["", "image_name_invalid"]


def test_an_arm_that_dies_between_blocks_is_dropped_and_the_others_go_on(ground: Ground) -> None:
    watched = Watched()
    victim = "prefix_cache"

    def kill(block: int, _of: int, entrant: str | None) -> None:
        if (block, entrant) == (1, victim):
            os.kill(watched.servers[-1].pid or 0, signal.SIGKILL)

    plan = ground.plan([("kv_cache", "king"), (victim, "challenger")], contest=RESTARTED)
    outcome = watched.run(ground, plan, on_block=kill)
    assert [verdict.code for verdict in outcome.verdicts] == ["", "host_failed"]
    assert outcome.verdicts[1].e2e_us == ()


class ShortOfMemory:
    """A server whose runner says that the kernel ended it at its memory limit."""

    out_of_memory = True

    def __init__(self, server: RunningServer) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class LimitedMemory(ProcessRunner):
    """A runner whose challengers have too little memory."""

    def launch(self, image: ImageRef, role: str) -> Any:
        server = super().launch(image, role)
        return ShortOfMemory(server) if role == "challenger" else server


def test_a_server_ended_at_its_memory_limit_is_told_apart_from_a_broken_stream(
    ground: Ground,
) -> None:
    plan = ground.plan([("breaks_stream", "challenger")], contest=CHEAP)
    images = ReferenceImages(ground.root / "images", Path(plan.model_dir))
    watched = Watched()

    def kill(_block: int, _of: int, entrant: str | None) -> None:
        if entrant is not None:
            os.kill(watched.servers[-1].pid or 0, signal.SIGKILL)

    outcome = watched.run(ground, plan, runner=LimitedMemory(images), on_block=kill)
    (verdict,) = outcome.verdicts
    assert verdict.code == "out_of_memory"
    assert "exited with -9 because it used more memory than it may" in verdict.detail
    # The same runner, and a stream that breaks while the server lives on.
    alive = Watched().run(ground, plan, runner=LimitedMemory(images))
    assert alive.verdicts[0].code == "stream_broken"


def test_a_block_too_large_to_be_asked_is_refused_before_anything_starts(ground: Ground) -> None:
    contest = msgspec.structs.replace(
        CHEAP, prompts=150, prompts_per_block=150, context_tokens=128, output_tokens=8_192
    )
    watched = Watched()
    with pytest.raises(PlanError, match=r"could be .* bytes"):
        watched.run(ground, ground.plan([("kv_cache", "challenger")], contest=contest))
    assert watched.servers == []


def test_prompts_come_from_the_file_that_the_policy_names(ground: Ground, tmp_path: Path) -> None:
    lines = [{"prompt": f"line {at} " + "of a text to continue " * 20} for at in range(40)]
    content = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    (tmp_path / "prompts.jsonl").write_bytes(content)
    contest = msgspec.structs.replace(STEADY, source=JsonlFile(digest=digest_of(content)))
    plan = ground.plan([("kv_cache", "challenger")], contest=contest)
    texts = open_texts(contest.source, tmp_path / "prompts.jsonl")
    outcome = Watched().run(ground, plan, texts=texts)
    assert [verdict.code for verdict in outcome.verdicts] == [""]
    manifest = read_manifest(ground.evidence.get(outcome.manifest_digest))
    assert b"of a text to continue" in ground.evidence.get(manifest.prompts_evidence)
    with pytest.raises(PlanError, match="no texts were given"):
        Watched().run(ground, plan)


def test_an_interrupted_round_leaves_no_server(ground: Ground) -> None:
    watched = Watched()

    def interrupt(block: int, *_: object) -> None:
        if block == 1:
            raise KeyboardInterrupt

    plan = ground.plan([("kv_cache", "king"), ("prefix_cache", "challenger")], contest=RESIDENT)
    with pytest.raises(KeyboardInterrupt):
        watched.run(ground, plan, on_block=interrupt)
    assert len(watched.servers) == 3
    assert not any(is_alive(server.pid or 0) for server in watched.servers)


class Counting(ProcessRunner):
    """A runner that is told how many servers live at once, and has no place for them."""

    servers = 0

    @contextmanager
    def stage(
        self, contest_id: str, limits: ServerLimits, servers: int = 1
    ) -> Iterator[ProcessRunner]:
        self.servers = servers
        raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, "no place")
        yield self


@pytest.mark.parametrize(
    ("contest", "servers"),
    [
        (RESIDENT, 3),
        (RESTARTED, 1),
        (CHEAP, 1),
        (msgspec.structs.replace(RESTARTED, start_together=True), 3),
        (msgspec.structs.replace(RESIDENT, start_together=True), 3),
    ],
)
def test_a_machine_is_told_how_many_servers_live_at_once(
    ground: Ground, contest: ContestPolicy, servers: int
) -> None:
    plan = ground.plan([("kv_cache", "king"), ("prefix_cache", "challenger")], contest=contest)
    runner = Counting(ReferenceImages(ground.root / "images", Path(plan.model_dir)))
    assert Watched().run(ground, plan, runner=runner).detail == "no place"
    assert runner.servers == servers


class Failing:
    """A runner of real processes on a machine that fails at one thing for one role."""

    def __init__(self, ground: Ground, role: str, at: str) -> None:
        self._runner = ProcessRunner(ReferenceImages(ground.root / "images", ground.root / "model"))
        self._role, self._at = role, at

    @contextmanager
    def stage(self, contest_id: str, limits: ServerLimits, servers: int = 1) -> Iterator[Stage]:
        self._fail("stage", self._role)
        yield self  # type: ignore[misc]  # a stage and its runner at once, as the process runner
        self._fail("leaving", self._role)

    def facts(self) -> Mapping[str, str]:
        return self._runner.facts()

    def prepare(self, image: ImageRef, timeout_s: float) -> Any:
        return self._runner.prepare(image, timeout_s)

    def launch(self, image: ImageRef, role: str) -> Any:
        self._fail("launch", role)
        server = self._runner.launch(image, role)
        stop = server.stop

        def stop_and_fail() -> None:
            stop()
            self._fail("stop", role)

        server.stop = stop_and_fail  # type: ignore[method-assign]  # the failure is the test
        return server

    def _fail(self, at: str, role: str) -> None:
        if (at, role) == (self._at, self._role):
            detail = f"this machine failed at {at}"
            raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, detail)


@pytest.mark.parametrize(
    ("role", "at"),
    [
        ("nobody", "stage"),
        ("nobody", "leaving"),
        ("baseline", "launch"),
        ("baseline", "stop"),
        ("challenger", "stop"),
        ("reference", "launch"),
    ],
)
def test_a_machine_that_fails_makes_the_round_void(ground: Ground, role: str, at: str) -> None:
    plan = ground.plan([("kv_cache", "challenger")], contest=CHEAP)
    outcome = Watched().run(ground, plan, runner=Failing(ground, role, at))
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.HOST_FAILED)
    assert f"this machine failed at {at}" in outcome.detail


def test_a_machine_that_cannot_start_one_entrant_is_nobodys_fault(ground: Ground) -> None:
    plan = ground.plan([("kv_cache", "king"), ("prefix_cache", "challenger")], contest=CHEAP)
    outcome = Watched().run(ground, plan, runner=Failing(ground, "king", "launch"))
    assert [(verdict.status, verdict.code) for verdict in outcome.verdicts] == [
        ("infrastructure", "host_failed"),
        ("scored", ""),
    ]


def test_a_failure_to_stop_is_told_beside_what_ended_the_round(ground: Ground) -> None:
    plan = ground.plan([("kv_cache", "challenger")], contest=CHEAP)
    causes: Iterator[VoidCause | None] = iter([None, None, None, None])
    outcome = Watched().run(
        ground,
        plan,
        runner=Failing(ground, "baseline", "stop"),
        should_stop=lambda: next(causes, VoidCause.EVALUATION_PAUSED),
    )
    assert outcome.void_cause is VoidCause.EVALUATION_PAUSED
    assert "besides, this machine failed at stop" in outcome.detail


def test_a_round_whose_evidence_cannot_be_kept_does_not_count(
    ground: Ground, tmp_path: Path
) -> None:
    (tmp_path / "evidence").write_text("a file where the store's folder should be")
    plan = ground.plan([("missing", "challenger")], contest=CHEAP)
    assert plan.entrants[0].image.digest == MISSING
    outcome = run_contest(
        plan,
        ProcessRunner(ReferenceImages(ground.root / "images", Path(plan.model_dir))),
        EvidenceStore(tmp_path / "evidence"),
        tokenizer=tokenizer,
    )
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.HOST_FAILED)
    assert "the evidence was not stored" in outcome.detail
    assert (outcome.verdicts, outcome.manifest_digest, outcome.baseline) == ((), "", None)
