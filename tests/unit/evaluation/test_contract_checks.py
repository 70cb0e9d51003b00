"""The container contract against scripted servers: several faults at once are all told."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, cast

import msgspec
import pytest

from evaluation.contract import check_contract
from evaluation.contract_book import Asked, Check, ContractReport
from evaluation.images import ImageRef
from evaluation.listening import listeners
from evaluation.reference import tokenizer
from evaluation.runners.port import EngineMissingError, InfrastructureFaultError, Runner
from evaluation.runners.process import ProcessRunner, ProcessServer, ServerCommand
from ledger.codes import InfrastructureCause
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy
from tests.faults.processes import wait_until

SERVER = Path(__file__).with_name("scripted_engine.py")
CONTEST = ContestPolicy(
    prompts=4,
    repeated_prompts=1,
    warmup_prompts=0,
    context_tokens=128,
    output_tokens=8,
    startup_timeout_s=30,
    prompt_timeout_s=60,
)


GATES = GatePolicy(min_stream_spread_ppm=0)  # how busy this machine is decides nothing


class Scripted:
    """An image whose server misbehaves as it is told."""

    def __init__(self, *faults: str) -> None:
        self._faults = faults

    def command(self, _digest: str) -> ServerCommand:
        return ServerCommand((sys.executable, str(SERVER), *self._faults))

    def fingerprint(self, digest: str) -> str:
        return digest


def tried(
    *faults: str,
    gates: GatePolicy = GATES,
    contest: ContestPolicy = CONTEST,
    runner: Runner | None = None,
) -> tuple[ContractReport, dict[str, Check]]:
    report = check_contract(
        ImageRef("", "sha256:" + "0" * 64),
        runner or ProcessRunner(Scripted(*faults)),
        Asked(
            model_name="tiny",
            tokenizer=tokenizer,
            contest=contest,
            gates=gates,
            seed=14,
            confined=False,
        ),
    )
    return report, {check.name: check for check in report.checks}


def test_a_good_server_passes_every_check_that_can_be_tried() -> None:
    report, checks = tried()
    assert report.passed, failures(report)
    assert {name for name, check in checks.items() if check.outcome == "not_tried"} == {
        "writes only to /tmp",
        "needs no network",
    }


class NoEngine:
    """A runner whose machine cannot run anything, or not get an image."""

    def __init__(self, fault: InfrastructureFaultError, *, prepares: bool) -> None:
        self._fault = fault
        self._prepares = prepares

    @contextmanager
    def stage(self, *_: object) -> Iterator[Self]:
        if not self._prepares:
            raise self._fault
        yield self

    def prepare(self, *_: object) -> None:
        raise self._fault


@pytest.mark.parametrize("prepares", [True, False])
def test_a_machine_that_fails_says_nothing_of_the_image(*, prepares: bool) -> None:
    fault = InfrastructureFaultError(InfrastructureCause.HOST_FAILED, "the engine does not answer")
    machine = NoEngine(fault, prepares=prepares)
    report, checks = tried(runner=cast("Runner", machine))
    assert (report.passed, report.machine_failed) == (False, True)
    assert failures(report) == []
    assert checks["machine"].seen == "the engine does not answer"


def test_an_image_that_cannot_be_pulled_is_one_that_no_contest_can_take() -> None:
    fault = InfrastructureFaultError(InfrastructureCause.PULL_FAILED, "no such image there")
    machine = NoEngine(fault, prepares=True)
    report, checks = tried(runner=cast("Runner", machine))
    assert (report.passed, report.machine_failed) == (False, False)
    assert checks["image"].code == "pull_failed"


def test_an_engine_that_is_not_here_says_nothing_of_the_image() -> None:
    machine = NoEngine(EngineMissingError("there is no program 'vllm'"), prepares=True)
    report, checks = tried(runner=cast("Runner", machine))
    assert (report.passed, report.machine_failed) == (False, True)
    assert failures(report) == []
    assert checks["machine"].code == "pull_failed"
    assert checks["machine"].seen == "there is no program 'vllm'"


def test_missing_logprobs_and_a_missing_end_are_told_at_once() -> None:
    report, checks = tried("no-logprobs", "no-done")
    assert not report.passed
    assert checks["logprobs"].code == "logprobs_missing"
    assert checks["end of stream"].code == "stream_broken"
    assert "without [DONE]" in checks["end of stream"].seen


def test_missing_alternatives_are_told_apart_from_missing_logprobs() -> None:
    _, checks = tried("no-top")
    assert checks["logprobs"].seen == "8 of 8 pieces of text come without top_logprobs"
    # Behind that one fault the rest of the answer is looked at all the same.
    assert checks["length"].outcome == checks["same answer again"].outcome == "passed"


def test_a_track_may_let_logprobs_go() -> None:
    report, checks = tried(
        "no-logprobs", gates=GatePolicy(require_logprobs=False, min_stream_spread_ppm=0)
    )
    assert report.passed, failures(report)
    assert checks["logprobs"].outcome == "hint"


def test_a_track_that_asks_for_no_logprobs_looks_for_none() -> None:
    report, checks = tried(
        "no-logprobs",
        gates=GatePolicy(require_logprobs=False, min_stream_spread_ppm=0),
        contest=msgspec.structs.replace(CONTEST, ask_logprobs=False),
    )
    assert report.passed, failures(report)
    assert checks["logprobs"].outcome == "not_tried"


def test_a_whole_answer_instead_of_a_stream() -> None:
    _, checks = tried("no-stream")
    assert checks["stream"].code == "no_stream"
    assert "application/json" in checks["stream"].seen


def test_more_tokens_than_asked() -> None:
    report, checks = tried("too-long")
    assert not report.passed
    assert checks["length"].code == "overlong"
    assert "16 tokens came where max_tokens is 8" in checks["length"].seen


def test_answers_that_differ_are_a_hint_and_no_failure() -> None:
    report, checks = tried("moody")
    assert report.passed, failures(report)
    assert checks["same answer again"].outcome == "hint"
    assert "differs from token" in checks["same answer again"].seen


def test_a_server_that_never_answers_is_slower_than_the_limit() -> None:
    contest = ContestPolicy(**{**_fields(CONTEST), "prompt_timeout_s": 1})
    report, checks = tried("silent", contest=contest)
    assert not report.passed
    assert checks["time"].code == "prompt_timeout"


def test_a_refused_field_is_told_with_the_servers_own_words() -> None:
    _, checks = tried("refuses")
    assert checks["model name"].code == "http_error"
    assert "Unexpected fields in the request" in checks["model name"].seen


class Listening(ProcessRunner):
    """A runner on a machine so quick that a server listens before anybody waits for it."""

    def launch(self, image: ImageRef, role: str) -> ProcessServer:
        server = super().launch(image, role)
        # Elsewhere than on Linux nobody can say whether it does.
        wait_until(lambda: listeners(server.pid) != (), "it listens")
        return server


def test_a_server_on_another_port_is_found() -> None:
    contest = ContestPolicy(**{**_fields(CONTEST), "startup_timeout_s": 1})
    report, checks = tried("elsewhere", contest=contest, runner=Listening(Scripted("elsewhere")))
    assert not report.passed
    assert checks["health"].code == "never_healthy"
    if sys.platform == "linux":
        assert "it listens on 127.0.0.1:" in checks["health"].seen


@pytest.mark.parametrize(
    ("last_words", "meaning"),
    [
        ("CUDA out of memory.", "the GPU's memory was not enough"),
        ("error: unrecognized arguments: --x", "has no such option: --x"),
    ],
)
def test_the_last_words_of_a_dead_server_are_explained(last_words: str, meaning: str) -> None:
    report, checks = tried("dies", last_words)
    assert not report.passed
    assert checks["start"].code == "exited_at_start"
    assert meaning in checks["start"].seen
    assert last_words in report.log_tail
    assert checks["stream"].outcome == "not_tried"


def failures(report: ContractReport) -> list[Check]:
    return [check for check in report.checks if check.outcome == "failed"]


def _fields(policy: ContestPolicy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in policy.__struct_fields__}
