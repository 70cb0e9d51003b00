"""Every failure a user can meet: one sentence on stderr, its exit code, no traceback."""

from __future__ import annotations

import errno
import importlib
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from api import errors
from api.cli import main
from api.errors import MAX_SENTENCE_CHARS, ExitCode, problem_of, without_secrets
from chain.port import ChainUnavailableError, SendRefusedError
from ledger.application import ContentionError
from ledger.observations import BalanceObserved
from ledger.policy import MAX_TRACKS
from ledger.store.conflicts import FactConflictError
from ledger.store.database import DatabaseError
from ledger.units import PPM
from tests.unit.api.cli.conftest import GENESIS, POLICY, Run, failed
from tests.unit.api.season import ALICE, ARENA, HEAD, VALIDATOR, Season, address


def _raising(environment: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let opening the ledger fail by ``error``."""

    def fail(_settings: object, *, create: bool, views_may_lack: bool) -> None:
        raise error

    environment.setattr("api.app.open_services", fail)


# -- what was asked ---------------------------------------------------------------------------


def test_an_unknown_arena_names_those_there_are(run: Run, season_url: str) -> None:
    result = run("weights", "--netuid", 77, url=season_url)
    failed(result, 3, "demo/77 is unknown", "demo/14")


def test_a_block_beyond_the_head_names_the_newest(run: Run, season_url: str) -> None:
    result = run("weights", "--at-block", HEAD + 1, url=season_url)
    failed(result, 4, f"block {HEAD + 1} is not ingested yet", str(HEAD))


def test_a_block_before_the_log_is_out_of_range(run: Run, season_url: str) -> None:
    failed(run("reigns", "--at-block", 0, url=season_url), 4, "begins at block 100", "at block 0;")


def test_an_unknown_address_is_no_empty_statement(run: Run, season_url: str) -> None:
    failed(run("payouts", address("nobody"), url=season_url), 13, address("nobody"))


@pytest.mark.parametrize("command", ["payouts", "submissions"])
def test_a_mistyped_address_and_an_unknown_one_are_told_apart(
    run: Run, season_url: str, command: str
) -> None:
    typed = ALICE[:-1] + ("a" if ALICE[-1] != "a" else "b")
    for wrong in ("UNKNOWN", typed):
        failed(run(command, wrong, url=season_url), 5, wrong, "is no SS58 address")
    stranger = address("a stranger")
    failed(run(command, stranger), 13, stranger, "appears nowhere in the log")


def test_who_is_in_the_log_and_never_committed_has_no_submissions(
    run: Run, season_url: str
) -> None:
    result = run("submissions", VALIDATOR, "--format", "json", url=season_url)
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


@pytest.mark.parametrize("genesis", ["0x12", GENESIS.upper(), "45" * 32, ""])
def test_a_malformed_genesis_hash_says_its_form(
    run: Run, empty_url: str, policy_file: Path, genesis: str
) -> None:
    result = run(
        "arena", "open", "--policy", policy_file, "--genesis", genesis, "--at-block", 1,
        url=empty_url,
    )  # fmt: skip
    failed(result, 5, "genesis hash", "64")


# -- policy files -----------------------------------------------------------------------------

IMPOSSIBLE = {
    "not TOML": ("this is = = not toml", "not TOML"),
    "unknown field": (POLICY.replace("[fee]", "[fee]\nfee_roa = 5"), "fee_roa"),
    "no treasury": (POLICY.replace("treasury_ss58 =", "# treasury_ss58 ="), "treasury_ss58"),
    "empty treasury": (POLICY.replace(POLICY.split('"')[3], ""), "no treasury address"),
    "negative fee": (POLICY.replace("[fee]", "[fee]\nfee_rao = -1"), "fee_rao"),
    "share over one whole": (
        POLICY.replace("[tracks.tiny]\n", "[tracks.tiny]\nemission_share_ppm = 1_000_001\n"),
        "emission_share_ppm",
    ),
    "shares below one whole": (
        POLICY.replace("[tracks.tiny]\n", "[tracks.tiny]\nemission_share_ppm = 999_999\n"),
        "sum to 999999 ppm",
    ),
    "two tracks over one whole": (
        POLICY + POLICY[POLICY.index("[tracks.tiny]") :].replace("tiny", "second"),
        "sum to 2000000 ppm",
    ),
    "no tracks": (POLICY[: POLICY.index("[tracks.tiny]")] + "[tracks]\n", "tracks"),
    "nested without end": ("a = " + "[" * 20_000, "not TOML"),
    "number without end": ("a = " + "9" * 20_000, "not TOML"),
    "too large": ("#" * 70_000, "larger than 65536 bytes"),
}


@pytest.mark.parametrize(("document", "said"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_an_impossible_policy_is_one_sentence(
    run: Run, empty_url: str, tmp_path: Path, document: str, said: str
) -> None:
    path = tmp_path / "impossible.toml"
    path.write_text(document, encoding="utf-8")
    words = ("arena", "open", "--policy", path, "--genesis", GENESIS, "--at-block", 1)
    failed(run(*words, url=empty_url), 6, said)
    assert not Path(empty_url.removeprefix("sqlite:///")).exists()


def test_a_policy_file_that_cannot_be_read_is_named(
    run: Run, empty_url: str, tmp_path: Path
) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"name = \x00\xff\xfe")
    for path, said in (
        (tmp_path / "missing.toml", "there is no file"),
        (tmp_path, "cannot be read: Is a directory"),
        (binary, "is not UTF-8 text"),
    ):
        words = ("arena", "policy", "adopt", path, "--from-block", 1)
        failed(run(*words, url=empty_url), 7, said, str(path))


# -- databases --------------------------------------------------------------------------------


def _with_revision(url: str, revision: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    engine.dispose()


def test_a_database_of_a_newer_program_is_left_alone(run: Run, empty_url: str) -> None:
    run("db", "upgrade", url=empty_url)
    _with_revision(empty_url, "9999")
    for words in (("arenas",), ("db", "check"), ("db", "upgrade"), ("db", "rebuild")):
        failed(run(*words), 9, "schema '9999'", "newer program")


def test_a_database_of_an_older_program_says_how_to_upgrade(
    run: Run, empty_url: str, environment: pytest.MonkeyPatch
) -> None:
    run("db", "upgrade", url=empty_url)
    # This program's own first schema becomes an old one by there being a newer step.
    environment.setattr("migrations.NEWEST", "9999")
    failed(run("arenas"), 9, "older schema", "cacheon-ledger db upgrade")
    check = run("db", "check")
    assert (check.exit_code, check.stdout.split(":")[0]) == (9, "older")


def test_a_database_that_is_no_ledger_is_left_alone(run: Run, empty_url: str) -> None:
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE recipes (name TEXT)"))
    engine.dispose()
    failed(run("arenas", url=empty_url), 9, "is no ledger", "LEDGER_DATABASE_URL")


def test_a_file_that_is_no_database_says_so(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and they are long enough to be looked at\n" * 20)
    result = run("arenas", url=f"sqlite:///{path}")
    failed(result, 9, str(path), "no SQLite database")


def test_a_folder_that_does_not_exist_is_named(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/none/ledger.db"
    failed(run("arenas", url=url), 9, "there is no database", "none/ledger.db")
    failed(run("db", "upgrade"), 9, "none/ledger.db", "check that its folder exists")


READING = (
    ("status",),
    ("weights",),
    ("weights", "--sent"),
    ("emissions",),
    ("treasury",),
    ("payouts", ALICE),
    ("submissions",),
    ("reigns",),
    ("contests",),
    ("queue",),
    ("arenas",),
    ("arena", "policy", "show"),
    ("arena", "pause", "emission", "--reason", "an exploit"),
    ("arena", "resume", "emission", "--reason", "fixed"),
    ("db", "check"),
    ("db", "rebuild"),
    ("serve", "--port", "0"),
    ("ingest", "--node", "ws://127.0.0.1:1", "--until-block", "1"),
)


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_mistyped_database_is_said_so_and_not_made(
    run: Run, empty_url: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    failed(run(*words, url=empty_url), 9, "there is no database", empty_url, "LEDGER_DATABASE_URL")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_not_filled_by_reading_it(run: Run, empty_url: str) -> None:
    path = Path(empty_url.removeprefix("sqlite:///"))
    path.touch()
    failed(run("arenas", url=empty_url), 9, "is empty", "cacheon-ledger db upgrade")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert run("db", "upgrade").exit_code == 0
    assert '"arenas":[]' in run("arenas", "--format", "json").stdout


@pytest.mark.parametrize("url", ["not a url", "oracle9://somewhere", ""])
def test_a_url_of_no_database_is_refused(run: Run, url: str) -> None:
    failed(run("arenas", "--database", url), 9, "LEDGER_DATABASE_URL")


def test_an_unreachable_server_is_named_without_its_password(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = taken.getsockname()[1]
        result = run("arenas", "--database", f"postgresql://me:geheim@127.0.0.1:{port}/ledger")
    failed(result, 9, "does not answer", f"127.0.0.1:{port}")
    assert "geheim" not in result.output


UNESCAPED = (
    "postgresql://u:pa@ss:geheim@127.0.0.1:5432/db",
    "postgresql://u:pa@geheim@127.0.0.1/db",
    "postgresql://u@corp:x@geheim@127.0.0.1/db",
    "postgresql://u:geheim@127.0.0.1:port/db",
)


@pytest.mark.parametrize("url", UNESCAPED)
@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=("plain", "debug"))
def test_a_password_that_is_not_escaped_is_never_shown(
    run: Run, url: str, debug: tuple[str, ...]
) -> None:
    result = run(*debug, "status", "--database", url)
    assert result.exit_code == 9, result.output
    assert "percent-encoded" in result.stderr
    for part in ("geheim", "ss:", "port/db"):
        assert part not in result.output


@pytest.mark.parametrize("url", (*UNESCAPED[:3], "postgresql://u:1/geheim@127.0.0.1/db"))
def test_a_password_in_anybody_s_sentence_is_masked_to_its_last_character(url: str) -> None:
    told = problem_of(RuntimeError(f"cannot reach {url} now")).message
    assert "geheim" not in told
    assert "***@127.0.0.1" in told


def test_a_sentence_has_an_end() -> None:
    told = problem_of(RuntimeError("x" * 2 * MAX_SENTENCE_CHARS)).message
    assert len(told) == MAX_SENTENCE_CHARS
    assert told.endswith("…")


def _without(url: str, statement: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_missing_tables_are_named_with_their_remedy(
    run: Run, empty_url: str, policy_file: Path
) -> None:
    words = ("arena", "open", "--policy", policy_file, "--genesis", GENESIS, "--at-block", 1)
    assert run(*words, url=empty_url).exit_code == 0
    before = run("status", "--format", "json").stdout
    _without(empty_url, "DROP TABLE tracking")
    _without(empty_url, "DROP TABLE weights_thrones")
    failed(run("status"), 9, "lacks tracking, weights_thrones", "cacheon-ledger db rebuild")
    check = run("db", "check")
    assert check.exit_code == 9
    assert check.stdout.startswith("incomplete: tracking, weights_thrones missing; ")
    assert run("db", "rebuild").exit_code == 0
    assert run("db", "check").stdout == "current: it is this program's\n"
    assert run("status", "--format", "json").stdout == before


def test_a_missing_column_is_found_by_the_check_and_mended_by_a_rebuild(
    run: Run, empty_url: str
) -> None:
    run("db", "upgrade", url=empty_url)
    _without(empty_url, "ALTER TABLE weights_thrones DROP COLUMN king_hotkey")
    check = run("db", "check")
    assert (check.exit_code, check.stdout.split(";")[0]) == (
        9,
        "incomplete: weights_thrones.king_hotkey missing",
    )
    assert run("db", "rebuild").exit_code == 0
    assert run("db", "check").exit_code == 0


def test_a_log_that_lost_its_table_is_not_rebuilt(run: Run, empty_url: str) -> None:
    run("db", "upgrade", url=empty_url)
    _without(empty_url, "DROP TABLE events")
    for words in (("arenas",), ("db", "rebuild")):
        failed(run(*words), 9, "lacks events", "restore a backup")
    assert "restore a backup" in run("db", "check").stdout


def test_a_locked_database_says_so_and_records_nothing(
    run: Run, empty_url: str, policy_file: Path, environment: pytest.MonkeyPatch
) -> None:
    words = ("arena", "open", "--policy", policy_file, "--genesis", GENESIS, "--at-block", 1)
    run("db", "upgrade", url=empty_url)
    environment.setattr("ledger.store.database.BUSY_TIMEOUT_S", 0)
    with closing(sqlite3.connect(empty_url.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        failed(run(*words), 10, "holds the database's lock")
        other.rollback()
    assert '"arenas":[]' in run("arenas", "--format", "json").stdout
    assert run(*words).exit_code == 0


def test_a_database_file_that_may_grow_no_further_says_so(
    run: Run, empty_url: str, policy_file: Path, environment: pytest.MonkeyPatch
) -> None:
    run("db", "upgrade", url=empty_url)
    with sqlite3.connect(empty_url.removeprefix("sqlite:///")) as file:
        file.execute("VACUUM")  # migrating left free pages, which a file may use without growing

    def full(*args: Any, **kwargs: Any) -> Any:
        engine = create_engine(*args, **kwargs)
        event.listen(engine, "connect", lambda db, _: db.execute("PRAGMA max_page_count=1"))
        return engine

    environment.setattr("ledger.store.database.create_engine", full)
    whole, track = POLICY.split("[tracks.tiny]\n")
    large = track.replace("model", f'baseline_image = "{"i" * 255}"\nmodel', 1)
    share = PPM // MAX_TRACKS
    for number in range(MAX_TRACKS):
        whole += f"[tracks.t{number}]\nemission_share_ppm = {share}\n"
        whole += large.replace("tracks.tiny", f"tracks.t{number}")
    policy_file.write_text(whole)
    words = ("arena", "open", "--policy", policy_file, "--genesis", GENESIS, "--at-block", 1)
    failed(run(*words), 10, "disk of the database is full")


def _driver_says(message: str) -> OperationalError:
    return OperationalError("INSERT INTO events", {"state": b"secret"}, Exception(message))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("database is locked", "wait for it or stop it"),
        ("database or disk is full", "free space"),
        ("could not extend file: No space left on device", "free space"),
        ("attempt to write a readonly database", "read-only"),
        ("connection failed: Connection refused", "does not answer"),
        ("no such table: weights_thrones", "cacheon-ledger db rebuild"),
        ('relation "weights_thrones" does not exist', "cacheon-ledger db rebuild"),
        ('password authentication failed for user "me"', "refuses the login"),
        ("something else password=geheim broke", "something else password=*** broke"),
    ],
)
def test_a_failing_database_names_the_cause_and_what_to_do(
    run: Run, environment: pytest.MonkeyPatch, message: str, said: str
) -> None:
    _raising(environment, _driver_says(message))
    result = run("arenas")
    failed(result, 10, said)
    assert "INSERT" not in result.stderr
    assert "geheim" not in result.stderr


def test_a_broken_constraint_is_a_defect_and_not_blamed_on_the_database() -> None:
    broken = IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed: events.fact_key"))
    assert problem_of(broken).is_defect


# -- the rest ---------------------------------------------------------------------------------


def test_a_taken_port_says_so(run: Run, season_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed(run("serve", "--port", port, url=season_url), 11, f"port {port}", "--port")


def test_a_host_that_is_not_ours_says_so(run: Run, season_url: str) -> None:
    result = run("serve", "--host", "192.0.2.1", "--port", 0, url=season_url)
    failed(result, 20, "192.0.2.1", "--host")


def test_an_environment_file_that_is_no_text_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"LEDGER_NETWORK=\xff\xfe\n")
    failed(run("arenas"), 7, "'.env'", "not UTF-8")


def test_a_folder_that_cannot_be_made_is_named(run: Run) -> None:
    failed(run("demo", "--no-serve", "--folder", "/proc/nope"), 7, "'/proc/nope' cannot be used")


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/data/e/42"), 7, "'/data/e/42'"),
        (OSError(errno.ENOSPC, "No space left on device"), 7, "a disk is full; free space"),
        (sqlite3.OperationalError("database or disk is full"), 10, "disk of the database is full"),
    ],
    ids=("with a path", "without", "of a chain's own file"),
)
def test_a_full_disk_is_no_defect(
    run: Run, environment: pytest.MonkeyPatch, error: Exception, exit_code: int, said: str
) -> None:
    _raising(environment, error)
    failed(run("arenas"), exit_code, said)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/geheim", "127.0.0.1:9944", "", "ws://", "wss://h:geheim/x"]
)
def test_what_is_no_node_is_refused_and_not_quoted(run: Run, season_url: str, url: str) -> None:
    result = run("ingest", "--node", url, url=season_url)
    failed(result, 16, "must be ws:// or wss://")
    assert "geheim" not in result.output


def test_the_demo_says_where_its_own_ledger_is(run: Run) -> None:
    words = " ".join(run("demo", "--help").stdout.split())
    assert "sqlite:///ledger.db" not in words
    assert "ledger.db" in words


def test_a_wrong_setting_is_named(run: Run, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LEDGER_PORT", "http")
    failed(run("arenas"), 16, "LEDGER_PORT")


@pytest.mark.parametrize(
    ("error", "exit_code", "said"),
    [
        (ChainUnavailableError("the node does not answer"), 12, "the node does not answer"),
        (SendRefusedError("too soon"), 19, "too soon"),
        (ContentionError("nothing was recorded"), 15, "nothing was recorded"),
        (DatabaseError("two\nlines"), 9, "two lines"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_the_parts_raise_is_told_in_their_words(
    run: Run,
    environment: pytest.MonkeyPatch,
    error: BaseException,
    exit_code: int,
    said: str,
) -> None:
    _raising(environment, error)
    failed(run("arenas"), exit_code, said)


def test_a_conflict_with_a_recorded_fact_says_what_differs(
    run: Run, environment: pytest.MonkeyPatch, recorded: tuple[str, Season]
) -> None:
    ledger = recorded[1].ledger
    key = f"balance:{ARENA}:test"
    known, offered = (
        BalanceObserved(
            originator_id=ledger.arena_state().id,
            originator_version=1,
            arena=str(ARENA),
            fact_key=key,
            effective_block=1,
            asset="TAO",
            account="treasury",
            amount=amount,
            about_block=1,
            source="chain",
        )
        for amount in (1, 2)
    )
    _raising(environment, FactConflictError(known, offered))
    failed(run("arenas"), 14, key, "1 is recorded, 2 was offered")


def test_a_defect_says_so_and_debug_shows_its_traceback(
    run: Run, environment: pytest.MonkeyPatch
) -> None:
    _raising(environment, ZeroDivisionError("by\nnothing"))
    failed(
        run("arenas"),
        70,
        "unexpected ZeroDivisionError",
        "by nothing",
        "this is a defect",
        "--debug",
    )
    debugged = run("--debug", "arenas")
    assert debugged.exit_code == 70
    assert "Traceback" in debugged.stderr
    assert debugged.stdout == ""


def test_a_library_that_is_not_installed_is_named_and_what_has_it(
    run: Run, environment: pytest.MonkeyPatch
) -> None:
    _raising(environment, ModuleNotFoundError("No module named 'a.b'", name="a.b"))
    failed(run("arenas"), 29, "the library 'a'", "cacheon-ledger[containers,ledger]")
    _raising(environment, ModuleNotFoundError("No module named 'ledger.b'", name="ledger.b"))
    failed(run("arenas"), 70, "ledger.b", "this is a defect")


def test_every_path_in_the_mapping_names_an_exception_that_exists() -> None:
    for path in errors._KINDS:
        module, _, name = path.rpartition(".")
        found: Any = getattr(importlib.import_module(module), name)
        assert issubclass(found, BaseException), path


def test_exit_codes_are_distinct_and_documented() -> None:
    for code in ExitCode:
        assert f" {code.value} " in main.EPILOG, code.name
    unusable, failed_in_use = main.EPILOG.split("; 10 ")[0].split("; 9 ")[1], main.EPILOG
    assert "unreachable" in unusable  # what the tests above see for a refused connection
    assert "unreachable" not in failed_in_use.split("; 10 ")[1].split("; 11 ")[0]
    assert len({code.value for code in ExitCode}) == len(ExitCode.__members__)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("no answer of wss://node.example:443/?apikey=s3cret now", "wss://node.example:443/***"),
        ("'ws://127.0.0.1:1/key/s3cret' refused", "ws://127.0.0.1:1/***"),
        ("postgresql://u:s3cret@host/db", "postgresql://u:***@host/db"),
    ],
)
def test_a_traceback_loses_its_secrets(text: str, told: str) -> None:
    assert told in without_secrets(text)
    assert "s3cret" not in without_secrets(text)
