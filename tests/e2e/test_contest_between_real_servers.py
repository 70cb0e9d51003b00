"""A whole round of real processes: honest servers are scored by speed, each cheat has its name."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec
import pytest

from evaluation import scoring
from evaluation.client import Answer
from evaluation.contest import ContestOutcome, run_contest
from evaluation.evidence import EvidenceStore, read_evidence, rejudge
from evaluation.forcing import ScoringError
from evaluation.images import ImageRef
from evaluation.judge import EntrantVerdict
from evaluation.measure import Questions
from evaluation.plan import ContestPlan, EntrantRole, PlannedEntrant
from evaluation.prompts import MAX_REPEAT_ROUNDS
from evaluation.reference import tokenizer
from evaluation.reference.image import reference_image_kinds, write_image
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from evaluation.runners.port import RunningServer
from evaluation.runners.process import ProcessRunner, ProcessServer
from evaluation.runners.reference import ReferenceImages
from evaluation.scoring import Forced
from ledger.codes import VoidCause
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy
from tests.quick_policy import NO_TIMING

POLICY = ContestPolicy(
    prompts=5,
    warmup_prompts=1,
    repeated_prompts=2,
    context_tokens=416,
    output_tokens=20,
    startup_timeout_s=60,
    prompt_timeout_s=30,
    max_client_lag_us=10_000_000,
)
MISSING = "sha256:" + "0" * 64


@dataclass
class Ground:
    """A model, images by kind, and a store, below one folder."""

    root: Path

    def image(self, kind: str) -> str:
        config = reference_image_kinds()[kind].config()
        return write_image(self.root / "images", kind, config)

    def plan(
        self,
        entrants: Sequence[tuple[str, EntrantRole]],
        gates: GatePolicy = NO_TIMING,
        contest: ContestPolicy = POLICY,
    ) -> ContestPlan:
        return ContestPlan(
            contest_id="round-1",
            track="reference",
            attempt=1,
            seed_block=8,
            seed_block_hash="0x" + "5a" * 32,
            policy=TrackPolicy(
                model="reference",
                emission=KingTakesAll(),
                scoring=ScoreV2(),
                gates=gates,
                contest=contest,
            ),
            model_dir=str(self.root / "model"),
            model_name=ModelConfig().name,
            baseline=ImageRef("", self.image("recompute")),
            entrants=tuple(
                PlannedEntrant(
                    entrant_id=kind,
                    hotkey=f"hotkey of {kind}",
                    role=role,
                    image=ImageRef("", MISSING if kind == "missing" else self.image(kind)),
                )
                for kind, role in entrants
            ),
        )

    @property
    def evidence(self) -> EvidenceStore:
        return EvidenceStore(self.root / "evidence")

    def run(
        self,
        plan: ContestPlan,
        *,
        on_server: Callable[[str, RunningServer], None] = lambda *_: None,
        on_progress: Callable[[str, str | None, int, int], None] = lambda *_: None,
        should_stop: Callable[[], VoidCause | None] = lambda: None,
        runner: ProcessRunner | None = None,
    ) -> ContestOutcome:
        images = ReferenceImages(self.root / "images", Path(plan.model_dir))
        return run_contest(
            plan,
            runner or ProcessRunner(images),
            self.evidence,
            tokenizer=tokenizer,
            on_progress=on_progress,
            should_stop=should_stop,
            on_server=on_server,
        )


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    root = tmp_path_factory.mktemp("contest")
    save_model(init_weights(ModelConfig().seed), root / "model")
    return Ground(root)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


EXPECTED = {
    "kv_cache": "",
    "prefix_cache": "",
    "other_weights": "other_weights",
    "truncated": "truncated",
    "repeat_penalty": "sampler_changed",
    "flush": "flushed",
    "replay": "replayed",
    "dies_at_start": "exited_at_start",
    "breaks_stream": "stream_broken",
    "no_logprobs": "logprobs_missing",
    "wrong_model_name": "wrong_model_name",
    "missing": "pull_failed",
}


JUDGED_BY_TIMES = frozenset({"kv_cache", "prefix_cache", "flush", "replay"})
ROUNDS = 5

Round = tuple[ContestOutcome, dict[str, EntrantVerdict], list[int]]


def one_round_of_all(ground: Ground) -> Round:
    roles: list[EntrantRole] = ["king", "runner_up", *["challenger"] * (len(EXPECTED) - 2)]
    pids: list[int] = []

    def note(role: str, server: RunningServer) -> None:
        assert server.pid is not None
        pids.append(server.pid)

    plan = ground.plan(list(zip(EXPECTED, roles, strict=True)), gates=GatePolicy())
    outcome = ground.run(plan, on_server=note)
    return outcome, {verdict.entrant_id: verdict for verdict in outcome.verdicts}, pids


def medians_us(verdicts: dict[str, EntrantVerdict]) -> tuple[float, float, float]:
    """How long the two honest servers and the baseline take, the quickest one first."""
    prefix, kept = verdicts["prefix_cache"], verdicts["kv_cache"]
    return median(prefix.e2e_us), median(kept.e2e_us), median(kept.baseline_e2e_us)


@pytest.fixture(scope="module")
def round_of_all(ground: Ground) -> Round:
    """The first round in which the times told what they can tell, or the last one.

    A busy machine can hide it for a round, or make an honest server look like a cheat, and not for
    long. What the answers give away is so in every round.
    """
    for _ in range(ROUNDS):
        found = one_round_of_all(ground)
        outcome, verdicts, _ = found
        if outcome.status == "void":
            # The baseline's own tokens were held back.
            assert "arrive" in outcome.detail
            continue
        odd = {name: one.code for name, one in verdicts.items() if one.code != EXPECTED[name]}
        assert odd.keys() <= JUDGED_BY_TIMES
        assert set(odd.values()) <= {"", "flushed", "replayed"}
        if not odd and list(medians_us(verdicts)) == sorted(medians_us(verdicts)):
            break
    return found


def test_each_cheat_and_fault_gets_its_own_code(round_of_all: Round) -> None:
    outcome, verdicts, _ = round_of_all
    assert (outcome.status, outcome.void_cause) == ("completed", None)
    assert [verdict.entrant_id for verdict in outcome.verdicts] == list(EXPECTED)
    assert {name: verdict.code for name, verdict in verdicts.items()} == EXPECTED
    assert verdicts["missing"].status == "infrastructure"


def test_a_miner_learns_why_from_its_own_log(round_of_all: Round) -> None:
    _, verdicts, _ = round_of_all
    assert "--kv-cache-dtype: invalid choice: 'fp8'" in verdicts["dies_at_start"].log_tail
    assert "does not exist" in verdicts["wrong_model_name"].detail


def test_honest_servers_are_as_fast_as_the_arithmetic_they_save(round_of_all: Round) -> None:
    _, verdicts, _ = round_of_all
    honest = verdicts["kv_cache"], verdicts["prefix_cache"]
    assert [verdict.status for verdict in honest] == ["scored", "scored"]
    prefix_us, kv_us, baseline_us = medians_us(verdicts)
    assert prefix_us < kv_us < baseline_us
    for verdict in honest:
        assert len(verdict.e2e_us) == POLICY.prompts
        assert verdict.tokens == verdict.baseline_tokens


def test_every_verdict_can_be_recomputed_from_its_evidence(
    ground: Ground, round_of_all: Round
) -> None:
    outcome, verdicts, _ = round_of_all
    for verdict in verdicts.values():
        assert rejudge(ground.evidence, verdict.evidence_digest, GatePolicy()) == verdict
        found = read_evidence(ground.evidence.get(verdict.evidence_digest))
        assert found.prompts_digest == outcome.prompts_digest


def test_replaying_is_confirmed_before_it_is_a_verdict(ground: Ground, round_of_all: Round) -> None:
    _, verdicts, _ = round_of_all
    found = read_evidence(ground.evidence.get(verdicts["replay"].evidence_digest))
    rounds = MAX_REPEAT_ROUNDS * POLICY.repeated_prompts
    assert len(found.repeats) == len(found.controls) == rounds


def test_no_server_is_left_running(round_of_all: Round) -> None:
    _, _, pids = round_of_all
    # The baseline, every entrant that started, the reference.
    assert len(pids) == 1 + len(EXPECTED) - 2 + 1
    assert not any(is_alive(pid) for pid in pids)


CHEAP = ContestPolicy(
    prompts=3,
    warmup_prompts=1,
    repeated_prompts=0,
    context_tokens=128,
    output_tokens=20,
    startup_timeout_s=60,
    prompt_timeout_s=30,
    max_client_lag_us=10_000_000,
)


def killing(
    wanted: str, by: signal.Signals = signal.SIGKILL
) -> Callable[[str, RunningServer], None]:
    def kill(role: str, server: RunningServer) -> None:
        if role == wanted:
            assert server.pid is not None
            os.kill(server.pid, by)

    return kill


def test_a_baseline_killed_in_mid_run_makes_the_round_void(ground: Ground) -> None:
    servers: list[RunningServer] = []

    def kill_after_the_first_answer(phase: str, entrant: str | None, done: int, of: int) -> None:
        if (phase, entrant, done) == ("prompts", None, 1):
            assert servers[0].pid is not None
            os.kill(servers[0].pid, signal.SIGKILL)

    outcome = ground.run(
        ground.plan([("kv_cache", "challenger")], contest=CHEAP),
        on_server=lambda _, server: servers.append(server),
        on_progress=kill_after_the_first_answer,
    )
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.HOST_FAILED)
    assert outcome.verdicts == ()
    assert len(servers) == 1
    assert servers[0].exit_code == -signal.SIGKILL


def test_a_reference_that_dies_makes_the_round_void(ground: Ground) -> None:
    plan = ground.plan([("kv_cache", "challenger")], contest=CHEAP)
    outcome = ground.run(plan, on_server=killing("reference", signal.SIGSEGV))
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.SCORING_FAILED)
    assert outcome.verdicts == ()


def test_gates_that_the_baseline_itself_fails_judge_nobody(ground: Ground) -> None:
    impossible = GatePolicy(min_stream_spread_ppm=1_000_000)
    outcome = ground.run(ground.plan([("kv_cache", "challenger")], gates=impossible, contest=CHEAP))
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.SCORING_FAILED)
    assert "own answers do not pass" in outcome.detail
    assert "ask_token_ids" not in outcome.detail  # times have nothing to do with it


@pytest.mark.parametrize("asked", [False, True])
def test_a_baseline_judged_by_its_text_is_told_of_token_ids(ground: Ground, asked: bool) -> None:
    by_ids = msgspec.structs.replace(CHEAP, output_tokens=40, ask_token_ids=asked)
    plan = ground.plan([("kv_cache", "challenger")], contest=by_ids)
    penalised = ImageRef("", ground.image("repeat_penalty"))
    outcome = ground.run(msgspec.structs.replace(plan, baseline=penalised))
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.SCORING_FAILED)
    assert "own answers do not pass" in outcome.detail
    assert ("since ask_token_ids is off" in outcome.detail) is not asked


def test_an_answer_longer_than_the_reference_can_read_voids_nothing(ground: Ground) -> None:
    # The reference reads 1,024 tokens: 1,006 of the prompt, and not all that this server adds.
    contest = msgspec.structs.replace(CHEAP, prompts=2, context_tokens=1_006, output_tokens=12)
    entrants: list[tuple[str, EntrantRole]] = [("token_spam", "king"), ("kv_cache", "challenger")]
    plan = ground.plan(entrants, NO_TIMING, contest)
    config = reference_image_kinds()["token_spam"].config(spam="overlong")
    image = ImageRef("", write_image(ground.root / "images", "overlong", config))
    first = msgspec.structs.replace(plan.entrants[0], image=image)
    outcome = ground.run(msgspec.structs.replace(plan, entrants=(first, plan.entrants[1])))
    assert (outcome.status, outcome.detail) == ("completed", "")
    assert [verdict.code for verdict in outcome.verdicts] == ["overlong", ""]
    found = read_evidence(ground.evidence.get(outcome.verdicts[0].evidence_digest))
    assert all(token is None for forced in found.forced for token in forced.tokens)
    for verdict in outcome.verdicts:
        assert rejudge(ground.evidence, verdict.evidence_digest, NO_TIMING) == verdict


@pytest.mark.parametrize("broken", [False, True])
def test_an_entrants_answers_that_cannot_be_scored_are_nobody_elses(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    calls: list[int] = []
    force = scoring.force_answers

    def failing(questions: Questions, base_url: str, answers: Sequence[Answer]) -> Forced:
        calls.append(len(answers))
        # The baseline's own are first, then the king's, then one of the baseline's again.
        if len(calls) == 2 or (broken and len(calls) == 3):
            message = "the reference answered HTTP 400: too long"
            raise ScoringError(message)
        return force(questions, base_url, answers)

    monkeypatch.setattr(scoring, "force_answers", failing)
    plan = ground.plan([("kv_cache", "king"), ("prefix_cache", "challenger")], NO_TIMING, CHEAP)
    outcome = ground.run(plan)
    if broken:
        assert (outcome.status, outcome.void_cause) == ("void", VoidCause.SCORING_FAILED)
        return
    assert calls == [3, 3, 1, 3]
    king, challenger = outcome.verdicts
    assert (king.status, king.code) == ("infrastructure", "coverage_too_low")
    assert "HTTP 400: too long" in king.detail
    assert challenger.status == "scored"
    assert rejudge(ground.evidence, king.evidence_digest, NO_TIMING) == king


def test_an_entrant_that_dies_in_mid_run_is_alone_disqualified(ground: Ground) -> None:
    plan = ground.plan([("kv_cache", "king"), ("prefix_cache", "challenger")], contest=CHEAP)
    outcome = ground.run(plan, on_server=killing("king", signal.SIGSEGV))
    assert [(verdict.status, verdict.code) for verdict in outcome.verdicts] == [
        ("disqualified", "stream_broken"),
        ("scored", ""),
    ]
    assert "the server exited with -11" in outcome.verdicts[0].detail


@pytest.mark.parametrize("when", ["prompts", "start"])
def test_an_entrant_that_the_machine_killed_is_nobody_s_fault(ground: Ground, when: str) -> None:
    plan = ground.plan([("kv_cache", "king"), ("prefix_cache", "challenger")], contest=CHEAP)
    if when == "prompts":
        outcome = ground.run(plan, on_server=killing("king"))
    else:
        images = ReferenceImages(ground.root / "images", Path(plan.model_dir))
        outcome = ground.run(plan, runner=KilledAtStart(images))
    assert [(verdict.status, verdict.code) for verdict in outcome.verdicts] == [
        ("infrastructure", "host_failed"),
        ("scored", ""),
    ]


class KilledAtStart(ProcessRunner):
    """A runner on a machine that ends every king before it is healthy."""

    def launch(self, image: ImageRef, role: str) -> ProcessServer:
        server = super().launch(image, role)
        if role == "king":
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
        return server


def test_a_round_ends_when_it_is_asked_to(ground: Ground) -> None:
    servers: list[RunningServer] = []
    outcome = ground.run(
        ground.plan([("kv_cache", "challenger")], contest=CHEAP),
        on_server=lambda _, server: servers.append(server),
        should_stop=lambda: VoidCause.EVALUATION_PAUSED if len(servers) == 2 else None,
    )
    assert (outcome.status, outcome.void_cause) == ("void", VoidCause.EVALUATION_PAUSED)
    assert len(servers) == 2
    assert all(server.exit_code is not None for server in servers)
