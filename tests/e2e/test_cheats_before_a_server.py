"""The cheats of `benchmarks/gpu/cheats` before a real server, in whole contests of plain processes.

They are made for vLLM on a GPU; here the reference server stands behind the proxy. The gates are
those of the table of cheats (`test_no_cheat_passes.py`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from api.errors import ExitCode
from evaluation.engines.profile import load_profile, profile_names
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from tests.quick_policy import TIMELESS, quick_policy

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CHEATS = ROOT / "benchmarks" / "gpu" / "cheats"
PROXY = "cheat-proxy-reference"
GATES = {
    "min_top1_ppm": 850_000,
    "min_model_top1_ppm": 200_000,
    "max_mean_margin_milli": 25,
    "max_p99_margin_milli": 800,
    "max_logprob_delta_milli": 98,
}
SIZE = {"prompts": 8, "repeated_prompts": 2, "context_tokens": 96, "output_tokens": 40}
ANSWERS = quick_policy(gates={**GATES, **TIMELESS}, **SIZE)
TIMES = quick_policy(gates=GATES, **SIZE)
BY_ANSWERS = {
    "truncate": "truncated",
    "sampler": "sampler_changed",
    "forge": "logprobs_forged",
    "drop_logprobs": "logprobs_missing",
}
BY_TIMES = {"replay": "replayed", "flush": "flushed", "early_first": "flushed"}
"""What only arrival times give away: a busy machine can hide it for a round and not for long."""
VOID = "void"
"""In a code's place: the machine was so busy that the baseline's own tokens were held back."""
TRIES = 8

Codes = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Codes:
    """The code that each of some cheats gets in one contest, empty for one that is scored."""
    folder = tmp_path_factory.mktemp("cheats")
    save_model(init_weights(ModelConfig().seed), folder / "model")

    def contest(policy: str, *cheats: str) -> dict[str, str]:
        (folder / "policy.toml").write_text(policy, encoding="utf-8")
        entrants = [f"profile:{PROXY}?cheat={cheat}" for cheat in cheats]
        words = ["contest", "run", "--baseline", "profile:reference", "--runner", "process"]
        words += ["--model", str(folder / "model"), "--policy", str(folder / "policy.toml")]
        words += ["--profiles", str(CHEATS), "--engine", f"{PROXY}={sys.executable}"]
        words += [word for entrant in entrants for word in ("--entrant", entrant)]
        done = CliRunner().invoke(
            app, [*words, "--format", "json"], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        report: dict[str, Any] = json.loads(done.stdout)
        if policy == TIMES and done.exit_code == ExitCode.CONTEST_VOID:
            assert "own answers do not pass" in report["detail"]
            assert "arrive" in report["detail"]
            return dict.fromkeys(cheats, VOID)
        assert done.exit_code == 0, done.output
        found = [line["code"] for line in report["entrants"]]
        return dict(zip(cheats, found, strict=True))

    return contest


@pytest.fixture(scope="module")
def first(codes: Codes) -> dict[str, str]:
    """The codes of the first round in which times are looked at."""
    return codes(TIMES, "honest", *BY_TIMES)


def test_what_the_answers_give_away_has_its_own_code_and_a_proxy_that_only_passes_on_none(
    codes: Codes,
) -> None:
    assert codes(ANSWERS, "honest", *BY_ANSWERS) == {"honest": "", **BY_ANSWERS}


@pytest.mark.parametrize(("cheat", "code"), BY_TIMES.items())
def test_what_only_times_give_away_is_found_before_long(
    cheat: str, code: str, first: dict[str, str], codes: Codes
) -> None:
    found = first[cheat]
    for _ in range(TRIES):
        if found == code:
            return
        assert found in {"", VOID, *BY_TIMES.values()}
        found = codes(TIMES, cheat)[cheat]
    pytest.fail(f"{cheat} passed {TRIES} rounds")


def test_the_times_of_a_proxy_that_only_passes_on_are_no_cheats(
    first: dict[str, str], codes: Codes
) -> None:
    found = first["honest"]
    for _ in range(TRIES):
        if found == "":
            return
        # A machine that is busy enough holds tokens back and sends them together, or is less busy
        # when the repeats are asked.
        assert found in {VOID, *BY_TIMES.values()}
        found = codes(TIMES, "honest")["honest"]
    pytest.fail(f"an honest proxy was refused {TRIES} times")


def test_the_cheats_are_those_that_are_tried() -> None:
    choices = load_profile(PROXY, CHEATS).parameters["cheat"].choices
    # The reference server draws at no temperature; vLLM does.
    assert set(choices) == {"honest", "temperature", *BY_ANSWERS, *BY_TIMES}
    assert load_profile("cheat-proxy", CHEATS).parameters["cheat"].choices == choices


def test_vllm_behind_a_cheat_is_started_as_the_shipped_profile_starts_it() -> None:
    shipped = load_profile("vllm")
    proxied = load_profile("cheat-proxy", CHEATS)
    there = ["127.0.0.1" if word == "{host}" else word for word in shipped.arguments]
    there = ["BACKEND_PORT" if word == "{port}" else word for word in there]
    assert list(proxied.arguments[-len(there) :]) == there
    other = load_profile("vllm-other-weights", CHEATS)
    assert [word.replace("/../other-weights", "") for word in other.arguments] == list(
        shipped.arguments
    )
    for profile in (proxied, other):
        same = profile.parameters.keys() & shipped.parameters.keys()
        assert len(same) > 10
        assert {name: profile.parameters[name] for name in same} == {
            name: shipped.parameters[name] for name in same
        }
        assert profile.environment == shipped.environment
        assert profile.hands_on == shipped.hands_on
        assert profile.gpu_arguments == shipped.gpu_arguments


def test_the_folder_can_be_used_as_it_is() -> None:
    assert set(profile_names(CHEATS)) - set(profile_names()) == {
        "cheat-proxy",
        "cheat-proxy-reference",
        "vllm-other-weights",
    }
