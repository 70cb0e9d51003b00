"""Writing: opening, policies and switches change what is read, and repeats change nothing."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.unit.api.cli.conftest import GENESIS, POLICY, Run, failed
from tests.unit.api.season import TREASURY, address

OPEN = ("arena", "open", "--genesis", GENESIS, "--at-block", 100, "--policy")


def _arenas(run: Run, url: str) -> Any:
    return json.loads(run("arenas", "--format", "json", url=url).stdout)["arenas"]


def _policy(folder: Path, name: str, treasury: str = TREASURY) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(POLICY.replace("tested", name).replace(TREASURY, treasury), encoding="utf-8")
    return path


def test_an_arena_is_open_from_its_block_under_its_policy(
    run: Run, empty_url: str, policy_file: Path
) -> None:
    result = run(*OPEN, policy_file, url=empty_url)
    assert result.exit_code == 0, result.output
    assert "arena demo/14 is open from block 100 under policy 'tested'" in result.stdout
    assert _arenas(run, empty_url) == [
        {
            "network": "demo",
            "netuid": 14,
            "genesis": GENESIS,
            "head_block": 100,
            "head_position": 1,
        }
    ]


def test_opening_an_arena_again_alike_changes_nothing(
    run: Run, empty_url: str, policy_file: Path
) -> None:
    run(*OPEN, policy_file, url=empty_url)
    before = _arenas(run, empty_url)
    again = run(*OPEN, policy_file, url=empty_url)
    assert again.exit_code == 0
    assert "nothing changed" in again.stdout
    assert _arenas(run, empty_url) == before


def test_opening_an_arena_otherwise_is_refused(
    run: Run, empty_url: str, policy_file: Path, tmp_path: Path
) -> None:
    run(*OPEN, policy_file, url=empty_url)
    failed(run(*OPEN, _policy(tmp_path, "other")), 8, "demo/14 is open already")


def test_two_arenas_of_a_chain_cannot_share_a_treasury(
    run: Run, empty_url: str, policy_file: Path, tmp_path: Path
) -> None:
    run(*OPEN, policy_file, url=empty_url)
    refused = run(*OPEN, policy_file, "--netuid", 15)
    failed(refused, 8, TREASURY, "demo/14", "no two arenas may share one")
    assert len(_arenas(run, empty_url)) == 1
    own = _policy(tmp_path, "own", address("another treasury"))
    assert run(*OPEN, own, "--netuid", 15).exit_code == 0
    assert len(_arenas(run, empty_url)) == 2


@pytest.mark.parametrize("switch", ["evaluation", "emission"])
def test_a_switch_is_paused_with_its_reason_until_it_is_resumed(
    run: Run, empty_url: str, policy_file: Path, switch: str
) -> None:
    run(*OPEN, policy_file, url=empty_url)

    def paused() -> Any:
        return json.loads(run("status", "--format", "json").stdout)["paused"]

    first = run("arena", "pause", switch, "--reason", "an exploit")
    assert first.stdout == f"{switch} is paused from block 100 on\n"
    assert paused() == {switch: "an exploit"}
    assert run("arena", "pause", switch, "--reason", "again").stdout.endswith("paused already\n")
    assert paused() == {switch: "an exploit"}
    assert "goes on" in run("arena", "resume", switch, "--reason", "fixed").stdout
    assert paused() == {}
    assert "was not paused" in run("arena", "resume", switch, "--reason", "fixed").stdout


def test_a_pause_needs_a_reason(run: Run, empty_url: str, policy_file: Path) -> None:
    run(*OPEN, policy_file, url=empty_url)
    left_out = run("arena", "pause", "emission")
    assert (left_out.exit_code, left_out.stdout) == (2, "")
    assert "--reason" in left_out.stderr
    failed(run("arena", "pause", "emission", "--reason", "  "), 8, "without a reason")
    assert json.loads(run("status", "--format", "json").stdout)["paused"] == {}


def test_who_acts_must_be_named(
    run: Run, empty_url: str, policy_file: Path, environment: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        environment.delenv(name, raising=False)
    environment.setattr(getpass, "getuser", nobody)
    nameless = run(*OPEN, policy_file, url=empty_url)
    assert nameless.exit_code == 2
    assert "--actor" in nameless.stderr
    assert run(*OPEN, policy_file, "--actor", "alice").exit_code == 0


def test_whoever_runs_the_program_acts_where_nobody_else_is_named(
    run: Run, empty_url: str, policy_file: Path, environment: pytest.MonkeyPatch
) -> None:
    environment.setattr(getpass, "getuser", lambda: "bea")
    assert run(*OPEN, policy_file, url=empty_url).exit_code == 0
    paused = run("arena", "pause", "emission", "--reason", "a test")
    assert paused.exit_code == 0
    assert json.loads(run("status", "--format", "json").stdout)["paused"]
    engine = create_engine(empty_url)
    with engine.connect() as connection:
        assert list(connection.scalars(text("SELECT actor FROM weights_switches"))) == ["bea"]
    engine.dispose()


@pytest.mark.parametrize("error_of", [None, "comparison", "round"])
def test_an_interval_for_each_challenger_alone_is_said_to_crown_by_chance(
    run: Run, empty_url: str, policy_file: Path, tmp_path: Path, error_of: str | None
) -> None:
    run(*OPEN, policy_file, url=empty_url)
    later = _policy(tmp_path, "later")
    scoring = 'formula = "interval"' + (f'\nerror_of = "{error_of}"' if error_of else "")
    text = later.read_text(encoding="utf-8")
    assert 'formula = "v2"' in text
    text = text.replace('formula = "v2"', scoring) + "[tracks.tiny.contest]\nprompts = 20\n"
    later.write_text(text, encoding="utf-8")
    adopted = run("arena", "policy", "adopt", later, "--from-block", 200)
    assert adopted.exit_code == 0
    assert ('error_of = "round"' in adopted.stderr) == (error_of != "round")


def test_an_adopted_policy_is_in_force_from_its_block_on(
    run: Run, empty_url: str, policy_file: Path, tmp_path: Path
) -> None:
    run(*OPEN, policy_file, url=empty_url)
    later = _policy(tmp_path, "later")
    adopted = run("arena", "policy", "adopt", later, "--from-block", 200)
    assert "'later'" in adopted.stdout
    shown = json.loads(run("arena", "policy", "show", "--format", "json").stdout)
    assert shown["policy"]["name"] == "tested"
    now = run("arena", "policy", "adopt", later, "--from-block", 100)
    assert now.exit_code == 0
    shown = json.loads(run("arena", "policy", "show", "--format", "json").stdout)
    assert (shown["policy"]["name"], shown["from_block"]) == ("later", 100)


def test_a_policy_cannot_be_adopted_for_the_past(
    run: Run, empty_url: str, policy_file: Path, tmp_path: Path
) -> None:
    run(*OPEN, policy_file, url=empty_url)
    result = run("arena", "policy", "adopt", _policy(tmp_path, "later"), "--from-block", 99)
    failed(result, 8, "cannot start at block 99", "never changes the past")


def test_rebuilt_views_answer_as_before_and_progress_goes_to_stderr(
    run: Run, empty_url: str, policy_file: Path
) -> None:
    run(*OPEN, policy_file, url=empty_url)
    before = run("status", "--format", "json").stdout
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM weights_policies"))
    engine.dispose()
    assert run("status").exit_code != 0
    rebuilt = run("db", "rebuild")
    assert rebuilt.exit_code == 0, rebuilt.output
    assert rebuilt.stdout == "13 views rebuilt from 1 facts\n"
    pages = rebuilt.stderr.splitlines()
    assert len(pages) == 13
    assert pages[-1].startswith("costs: ")
    assert pages[-1].endswith(": 1 of 1 facts")
    assert run("status", "--format", "json").stdout == before


def test_db_check_tells_an_empty_database_from_a_current_one(run: Run, empty_url: str) -> None:
    Path(empty_url.removeprefix("sqlite:///")).touch()
    empty = run("db", "check", url=empty_url)
    assert (empty.exit_code, empty.stdout.split(":")[0]) == (9, "empty")
    assert "was empty and is current now" in run("db", "upgrade").stdout
    current = run("db", "check")
    assert (current.exit_code, current.stdout.split(":")[0]) == (0, "current")
    assert "was current already" in run("db", "upgrade").stdout
