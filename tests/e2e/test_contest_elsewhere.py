"""A contest that runs away from its ledger, by commands alone: planned, run, sealed, imported."""

from __future__ import annotations

import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import bittensor
import msgspec
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from benchmarks.recovery import ProcessMachine, RecoveryArena
from benchmarks.recovery.arena import NETUID, NETWORK, TRACK
from evaluation.bundle import Seal, pack
from ledger.decisions.submission import Submission
from tests.bare_environment import bare_environment
from tests.faults.processes import wait_until

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    for name in [name for name in os.environ if name.startswith("LEDGER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["contest", *words, "--format", "json"])


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> ProcessMachine:
    return ProcessMachine(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture
def arena(machine: ProcessMachine, tmp_path: Path) -> Iterator[RecoveryArena]:
    """An arena in which two submissions wait, with a block after theirs."""
    found = RecoveryArena(tmp_path / "ledger.db", machine.images, machine.memory_bytes)
    begun, over = found.ledger.head().effective_block, threading.Event()
    ticker = threading.Thread(target=found.tick, args=(over,), daemon=True)
    ticker.start()
    wait_until(lambda: found.ledger.head().effective_block > begun, "a block comes")
    over.set()
    ticker.join()
    yield found
    found.close()


def where(arena: RecoveryArena) -> list[str]:
    return ["--database", arena.url, "--network", NETWORK, "--netuid", str(NETUID)]


def test_what_plan_writes_is_run_as_it_is_and_its_bundle_is_imported(
    arena: RecoveryArena, machine: ProcessMachine, command: Command
) -> None:
    planned = command("plan", "--track", TRACK, "--out", "plan.json", *where(arena))
    assert planned.exit_code == 0, planned.stderr
    plan = json.loads(Path("plan.json").read_text(encoding="utf-8"))

    # Neither database nor chain here: the plan and the model are all that is at hand.
    ran = command("run", "--plan", "plan.json", *machine.options(), "--out", "sealed.zip")
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert report["contest_id"] == plan["contest_id"]
    assert report["seed_block_hash"] == plan["seed_block_hash"]
    assert [line["entrant"] for line in report["entrants"]] == [
        entrant["entrant_id"] for entrant in plan["entrants"]
    ]

    taken = command("import", "sealed.zip", "--evidence", "kept", *where(arena))
    assert taken.exit_code == 0, taken.stderr
    imported = json.loads(taken.stdout)
    assert (imported["contest_id"], imported["outcome"]) == (plan["contest_id"], "recorded")
    statuses = [arena.ledger.load(Submission, one).status for one in arena.submissions]
    assert statuses == ["scored", "scored"]


def test_wheels_alone_run_what_is_imported_where_the_ledger_is(
    arena: RecoveryArena, machine: ProcessMachine, command: Command, tmp_path: Path
) -> None:
    assert command("plan", "--track", TRACK, "--out", "plan.json", *where(arena)).exit_code == 0
    bare = bare_environment(tmp_path / "bare")
    for library in ("sqlalchemy", "eventsourcing", "bittensor", "docker", "huggingface_hub"):
        looked = bare.run(f"import {library}", cwd=tmp_path)
        assert f"No module named '{library}'" in looked.stderr

    run = ("contest", "run", "--plan", "plan.json", *machine.options())
    ran = bare.command(*run, "--out", "sealed.zip", "--format", "json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    taken = command("import", "sealed.zip", "--evidence", "kept", *where(arena))
    assert taken.exit_code == 0, taken.stderr
    assert json.loads(taken.stdout)["outcome"] == "recorded"
    statuses = [arena.ledger.load(Submission, one).status for one in arena.submissions]
    assert statuses == ["scored", "scored"]

    # What needs more says so before anything is started.
    signed = bare.command(*run, "--out", "s.zip", "--sign-with", "evaluator", cwd=tmp_path)
    assert signed.returncode == 29
    assert "the library 'bittensor'" in signed.stderr
    assert "launch" not in signed.stderr
    shown = bare.command("contest", "import", "sealed.zip", cwd=tmp_path)
    assert shown.returncode == 29


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wallets")
    for name in ("hot", "other"):
        bittensor.Wallet("evaluator", name, str(folder)).create_new_hotkey(suppress=True)
    return folder


def address(wallets: Path, hotkey: str) -> str:
    return str(bittensor.Wallet("evaluator", hotkey, str(wallets)).hotkey.ss58_address)


def test_a_bundle_is_taken_from_the_signer_who_is_believed_and_nobody_else(
    arena: RecoveryArena, machine: ProcessMachine, wallets: Path, command: Command
) -> None:
    assert command("plan", "--track", TRACK, "--out", "p.json", *where(arena)).exit_code == 0
    keys = ("--sign-with", "evaluator", "--hotkey", "hot", "--wallet-path", str(wallets))
    ran = command("run", "--plan", "p.json", *machine.options(), "--out", "sealed.zip", *keys)
    assert ran.exit_code == 0, ran.output

    ours, theirs = address(wallets, "hot"), address(wallets, "other")
    taking = ("import", "--evidence", "kept", *where(arena))
    unknown = command(*taking, "sealed.zip", "--signer", theirs)
    assert unknown.exit_code == 7
    assert f"signed by '{ours}'" in unknown.stderr

    # The same contest, whole and true, under a signature that somebody else made.
    with zipfile.ZipFile("sealed.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    seal = msgspec.json.decode(members.pop("seal.json"), type=Seal)
    assert seal.signature is not None
    other = bittensor.Wallet("evaluator", "other", str(wallets)).hotkey
    forged = msgspec.structs.replace(
        seal.signature, signature=bytes(other.sign(seal.digest.encode())).hex()
    )
    for name, signature, told in (
        ("forged.zip", forged, "signature is not one of"),
        ("plain.zip", None, "is not signed"),
    ):
        own = msgspec.structs.replace(seal, signature=signature)
        Path(name).write_bytes(pack({"seal.json": msgspec.json.encode(own), **members}))
        refused = command(*taking, name, "--signer", ours)
        assert refused.exit_code == 7
        assert told in refused.stderr

    taken = command(*taking, "sealed.zip", "--signer", theirs, "--signer", ours)
    assert taken.exit_code == 0, taken.stderr
    assert json.loads(taken.stdout)["outcome"] == "recorded"


def test_a_signer_that_is_no_address_and_a_wallet_without_a_key_are_told_at_once(
    plan_file: Path, machine: ProcessMachine, wallets: Path, command: Command
) -> None:
    no_address = command("import", str(plan_file), "--signer", "alice")
    assert no_address.exit_code == 5
    run = ("run", "--plan", str(plan_file), *machine.options())
    nowhere = command(*run, "--sign-with", "evaluator")
    assert nowhere.exit_code == 2
    assert "--out" in nowhere.stderr
    keys = ("--sign-with", "evaluator", "--hotkey", "none", "--wallet-path", str(wallets))
    no_key = command(*run, "--out", "sealed.zip", *keys)
    assert no_key.exit_code == 22
    assert "there is no such key file" in no_key.stderr
    assert not Path("sealed.zip").exists()


@pytest.fixture
def plan_file(arena: RecoveryArena, command: Command) -> Path:
    assert command("plan", "--track", TRACK, "--out", "p.json", *where(arena)).exit_code == 0
    return Path("p.json")


@pytest.mark.parametrize(
    "more",
    [
        ("--baseline", "profile:reference"),
        ("--entrant", "profile:reference"),
        ("--king", "profile:reference"),
        ("--seed-hash", "0x" + "5a" * 32),
        ("--seed-block", "0"),
        ("--gpus", "0"),
        ("--model-name", "m"),
    ],
)
def test_what_a_plan_settles_cannot_be_said_otherwise(
    more: tuple[str, str], plan_file: Path, machine: ProcessMachine, command: Command
) -> None:
    said = command("run", "--plan", str(plan_file), *machine.options(), *more)
    assert said.exit_code == 2
    assert more[0] in said.stderr
    assert "the plan settles" in said.stderr


def test_a_plan_as_plain_processes_needs_the_images(
    plan_file: Path, machine: ProcessMachine, command: Command
) -> None:
    model = machine.options()[machine.options().index("--model") + 1]
    said = command("run", "--plan", str(plan_file), "--runner", "process", "--model", model)
    assert said.exit_code == 2
    assert "--images" in said.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "contest_id"),
        ("[" * 100_000, "no plan"),
        ("no json", "no plan"),
        ("x" * (2**20 + 1), "larger than the 1048576 bytes"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_in_a_sentence(
    text: str, told: str, machine: ProcessMachine, command: Command
) -> None:
    Path("other.json").write_text(text, encoding="utf-8")
    said = command("run", "--plan", "other.json", *machine.options())
    assert said.exit_code == 7
    assert told in said.stderr
    assert "'other.json'" in said.stderr


def test_without_a_plan_the_baseline_and_an_entrant_are_named(
    machine: ProcessMachine, command: Command
) -> None:
    model = machine.options()[machine.options().index("--model") + 1]
    words = ("run", "--runner", "process", "--model", model)
    for more, lacking in (
        (("--entrant", "profile:reference"), "--baseline"),
        (("--baseline", "profile:reference"), "--entrant"),
    ):
        said = command(*words, *more)
        assert said.exit_code == 2
        assert lacking in said.stderr
    images = machine.options()[machine.options().index("--images") + 1]
    assert command(*words, "--images", images).exit_code == 2
