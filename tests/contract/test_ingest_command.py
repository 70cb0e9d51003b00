"""`arena open` and `ingest` as a user runs them, on a node that plays the recorded season."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner, Result

from api.cli.main import app
from evaluation.runners.free_port import free_port
from ledger.policies import load, names
from tests.cassette import needs_cassette, replay_server, truth

pytestmark = [needs_cassette, pytest.mark.cassette]

Run = Callable[..., Result]
HEAD = 77


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with replay_server() as url:
        yield url


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "NETWORK": "season",
        "NETUID": str(truth()["netuid"]),
        "ACTOR": "tester",
    }.items():
        monkeypatch.setenv(f"LEDGER_{name}", value)

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    yield invoke
    structlog.reset_defaults()


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """The example of phase 1 with the season's treasury, as an operator makes it."""
    lines = [
        f'treasury_ss58 = "{truth()["treasury"]}"' if line.startswith("treasury_ss58") else line
        for line in load("phase1").splitlines()
    ]
    path = tmp_path / "policy.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def report(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def gone() -> str:
    """The URL of a node that is not there."""
    return f"ws://127.0.0.1:{free_port()}"


def test_from_an_empty_folder_to_the_head_in_two_commands(
    run: Run, node: str, policy: Path
) -> None:
    opened = run("arena", "open", "--node", node, "--policy", policy, "--at-block", 60)
    assert opened.exit_code == 0, opened.output
    assert "season/2 is open from block 60" in opened.stdout
    done = report(run("ingest", "--node", gone(), "--node", node, "--format", "json"))
    assert (done["head_block"], done["blocks"], done["ended"]) == (HEAD, HEAD - 60, "head")
    assert (done["missing"], done["last_safe_block"]) == (0, HEAD - 1)
    again = report(run("ingest", "--node", node, "--format", "json"))
    assert again["blocks"] == 0


def test_an_arena_opens_at_the_finalized_head_by_default_and_again_alike_changes_nothing(
    run: Run, node: str, policy: Path
) -> None:
    words = ("arena", "open", "--node", node, "--policy", policy)
    assert f"is open from block {HEAD}" in run(*words).stdout
    before = run("arenas", "--format", "json").stdout
    assert "was open already, just so; nothing changed" in run(*words).stdout
    assert run("arenas", "--format", "json").stdout == before
    other = run(*words, "--at-block", 60)
    assert other.exit_code == 8
    assert "is open already" in other.stderr


def test_another_genesis_is_refused_in_one_sentence(run: Run, node: str, policy: Path) -> None:
    foreign = "0x" + "11" * 32
    result = run(
        *("arena", "open", "--node", node, "--policy", policy),
        *("--genesis", foreign, "--at-block", 60),
    )
    assert result.exit_code == 19
    assert result.stderr.count("\n") == 1
    assert foreign in result.stderr
    run("arena", "open", "--node", node, "--policy", policy, "--at-block", 60)
    taken = run("arena", "open", "--genesis", foreign, "--policy", policy, "--at-block", 60)
    assert taken.exit_code == 8
    assert "on the chain of genesis" in taken.stderr


def test_nothing_is_made_up_where_no_node_is_named(run: Run, policy: Path) -> None:
    result = run("arena", "open", "--policy", policy)
    assert result.exit_code == 2
    assert "--node" in result.stderr


def test_blocks_left_out_show_in_the_status_until_a_later_run_fills_them(
    run: Run, node: str, policy: Path
) -> None:
    run("arena", "open", "--node", node, "--policy", policy, "--at-block", 47)
    words = ("ingest", "--node", node, "--format", "json")
    first = report(run(*words, "--from-block", 60, "--until-block", 65))
    assert (first["ended"], first["head_block"], first["missing"]) == ("until_block", 65, 12)
    status = json.loads(run("status", "--format", "json").stdout)
    assert status["last_safe_block"] == 47
    assert status["gaps"][0]["missing"] == [[48, 59]]
    table = run("status").stdout
    assert "Gaps" in table
    assert "48-59" in table
    second = report(run(*words))
    assert (second["filled"], second["missing"]) == (12, 0)
    status = json.loads(run("status", "--format", "json").stdout)
    assert (status["last_safe_block"], status["gaps"][0]["filled_at_block"]) == (HEAD - 1, HEAD)
    third = report(run(*words, "--from-block", 48))
    assert (third["reread"], third["differences"]) == (30, [])


def test_a_block_that_is_not_finalized_is_no_beginning(run: Run, node: str, policy: Path) -> None:
    run("arena", "open", "--node", node, "--policy", policy, "--at-block", 60)
    result = run("ingest", "--node", node, "--from-block", HEAD + 1)
    assert result.exit_code == 19
    assert f"block {HEAD + 1} is not finalized yet" in result.stderr
    wrong = run("ingest", "--node", node, "--from-block", 70, "--until-block", 65)
    assert wrong.exit_code == 2


def test_where_no_node_answers_a_run_that_does_not_follow_ends_with_its_exit_code(
    run: Run, node: str, policy: Path
) -> None:
    run("arena", "open", "--node", node, "--policy", policy, "--at-block", 60)
    result = run("ingest", "--node", gone(), "--timeout-s", 5)
    assert result.exit_code == 12
    assert result.stdout == ""


def test_the_historic_policies_are_written_and_can_be_read(run: Run, tmp_path: Path) -> None:
    assert run("arena", "policy", "examples").stdout.split() == list(names())
    for name in names():
        assert run("arena", "policy", "examples", name).stdout == load(name)
    folder = tmp_path / "examples"
    written = run("arena", "policy", "examples", "--folder", folder).stdout.split()
    assert [Path(one).read_text(encoding="utf-8") for one in written] == list(map(load, names()))
    (folder / f"{names()[0]}.toml").write_text("mine", encoding="utf-8")
    kept = run("arena", "policy", "examples", "--folder", folder)
    assert kept.exit_code == 2
    assert (folder / f"{names()[0]}.toml").read_text(encoding="utf-8") == "mine"
    assert run("arena", "policy", "examples", "phase9").exit_code == 6
