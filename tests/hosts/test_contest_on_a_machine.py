"""A planned contest goes to a rented machine by one command, and its bundle comes home by it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from benchmarks.recovery import ProcessMachine, RecoveryArena
from benchmarks.recovery.arena import NETUID, NETWORK, TRACK
from evaluation.bundle import read_bundle
from ledger.application import Unit
from ledger.decisions.rental import Rental
from ledger.decisions.submission import Submission
from tests.bare_environment import bare_environment
from tests.faults.processes import wait_until
from tests.hosts.sshd import Sshd

pytestmark = pytest.mark.slow

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    return command_in(tmp_path, monkeypatch)


def command_in(folder: Path, patch: pytest.MonkeyPatch) -> Command:
    """`cacheon-ledger contest` in that folder, without settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("LEDGER_")]:
        patch.delenv(name)
    patch.chdir(folder)
    return lambda *words: CliRunner().invoke(app, ["contest", *words, "--format", "json"])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ProcessMachine:
    return ProcessMachine(tmp_path_factory.mktemp("images"))


@pytest.fixture
def arena(images: ProcessMachine, tmp_path: Path) -> Iterator[RecoveryArena]:
    with waiting_in(tmp_path, images) as found:
        yield found


@contextlib.contextmanager
def waiting_in(folder: Path, images: ProcessMachine) -> Iterator[RecoveryArena]:
    """An arena in which two submissions wait, with a block after theirs."""
    found = RecoveryArena(folder / "ledger.db", images.images, images.memory_bytes)
    begun, over = found.ledger.head().effective_block, threading.Event()
    ticker = threading.Thread(target=found.tick, args=(over,), daemon=True)
    ticker.start()
    wait_until(lambda: found.ledger.head().effective_block > begun, "a block comes")
    over.set()
    ticker.join()
    yield found
    found.close()


@pytest.fixture
def plan(arena: RecoveryArena, command: Command) -> UUID:
    return planned(arena, command)


def planned(arena: RecoveryArena, command: Command) -> UUID:
    """The contest's id; its plan lies in ``plan.json``."""
    done = command("plan", "--track", TRACK, "--out", "plan.json", *where(arena))
    assert done.exit_code == 0, done.stderr
    return UUID(json.loads(done.stdout)["contest_id"])


@dataclass(frozen=True, slots=True)
class Brought:
    """A contest that ran on a machine, was signed here and is over."""

    folder: Path
    """With its ``plan.json`` and its ``sealed.zip``."""
    home: Path
    """Of the user on the machine it ran on."""
    signer: str

    def copy(self, *names: str) -> None:
        """These files into the folder we stand in."""
        for name in names:
            shutil.copy(self.folder / name, name)


@pytest.fixture(scope="module")
def brought(images: ProcessMachine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brought]:
    """One contest for all tests that only look at what came home of it."""
    import bittensor

    folder = tmp_path_factory.mktemp("brought")
    wallet = bittensor.Wallet("evaluator", "hot", str(folder / "wallets"))
    wallet.create_new_hotkey(suppress=True)
    keys = ("--sign-with", "evaluator", "--hotkey", "hot", "--wallet-path", "wallets")
    machine = Sshd(folder / "machine")
    with pytest.MonkeyPatch.context() as patch, waiting_in(folder, images) as arena:
        command = command_in(folder, patch)
        planned(arena, command)
        done = command(*there(machine, images), *keys)
        assert done.exit_code == 0, done.output
    yield Brought(folder, machine.home, wallet.hotkey.ss58_address)
    machine.close()


def where(arena: RecoveryArena) -> list[str]:
    return ["--database", arena.url, "--network", NETWORK, "--netuid", str(NETUID)]


def there(
    machine: Sshd, images: ProcessMachine, *, address: bool = True, program: str = sys.prefix
) -> list[str]:
    """The words for a contest on the machine, where this program is installed already."""
    return [
        *("remote", "--plan", "plan.json", "--out", "sealed.zip", "--program", program),
        *("--ssh-key", str(machine.key), *images.options()),
        *(("--host", str(machine.address)) if address else ()),
    ]


def rented(arena: RecoveryArena, machine: Sshd) -> UUID:
    """A rental that runs, at the machine's address."""
    rental_id = uuid4()

    def work(unit: Unit) -> None:
        rental = unit.get(Rental, rental_id)
        rental.request(
            unit.context,
            provider="shadeform",
            tier="h100",
            max_usd_micros_per_hour=20_000_000,
            contest_id=None,
        )
        rental.start(
            unit.context,
            instance="one",
            usd_micros_per_hour=20_000_000,
            started_at_s=1_000,
        )
        rental.reach(unit.context, str(machine.address), 1_060)

    arena.ledger.decide(work)
    return rental_id


def test_a_contest_runs_there_and_is_charged_to_its_rental_and_recorded(
    arena: RecoveryArena,
    machine: Sshd,
    images: ProcessMachine,
    plan: UUID,
    command: Command,
    tmp_path: Path,
) -> None:
    """With nothing on the machine but what wheels alone give."""
    rental = rented(arena, machine)
    program = str(bare_environment(tmp_path / "bare").folder)
    words = there(machine, images, address=False, program=program)
    words += ["--rental", str(rental), *where(arena)]
    done = command(*words)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert UUID(report["contest_id"]) == plan
    assert report["runner"]["runner"] == "process"
    assert {line["status"] for line in report["entrants"]} == {"scored"}
    assert "prompts of the baseline" in done.stderr  # its progress came as it went
    assert list(machine.home.iterdir()) == []

    loaded = arena.ledger.load(Rental, rental)
    [used] = loaded.used
    assert loaded.host_key is not None
    assert loaded.host_key.host_key in done.stderr
    assert (used.key, loaded.contest) == (plan, None)

    # Again: the bundle is here, so nothing runs and nothing is charged.
    again = command(*words)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == report
    assert arena.ledger.load(Rental, rental).used == (used,)

    taken = command("import", "sealed.zip", "--evidence", "kept", *where(arena))
    assert taken.exit_code == 0, taken.stderr
    assert [arena.ledger.load(Submission, one).status for one in arena.submissions] == [
        "scored",
        "scored",
    ]


def test_a_caller_that_is_killed_finds_its_contest_again(
    machine: Sshd, images: ProcessMachine, plan: UUID, command: Command, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", "from api.cli.main import main; main()", "contest"]
    first = subprocess.Popen([*words, *there(machine, images)], cwd=tmp_path)  # noqa: S603
    run = machine.home / ".cacheon-ledger/runs" / str(plan)
    wait_until((run / "log").exists, "it runs there")
    first.kill()
    first.wait()
    begun = (run / "log").stat().st_ino
    done = command(*there(machine, images))
    assert done.exit_code == 0, done.output
    assert "is there already; taking it up" in done.stderr
    assert begun
    assert UUID(read_bundle(Path("sealed.zip")).manifest.plan.contest_id) == plan
    assert list(machine.home.iterdir()) == []
    assert images.left() == []


def test_an_interrupt_ends_it_there_too(
    machine: Sshd, images: ProcessMachine, plan: UUID, command: Command, tmp_path: Path
) -> None:
    words = [sys.executable, "-c", "from api.cli.main import main; main()", "contest"]
    caller = subprocess.Popen([*words, *there(machine, images)], cwd=tmp_path)  # noqa: S603
    wait_until(lambda: bool(images.left()), "servers run there")
    caller.send_signal(signal.SIGINT)
    assert caller.wait(120) == 130
    assert images.left() == []
    assert list(machine.home.iterdir()) == [] or not any(machine.home.rglob("plan.json"))
    assert not Path("sealed.zip").exists()


def test_a_bundle_of_another_plan_is_refused(
    brought: Brought, machine: Sshd, images: ProcessMachine, command: Command
) -> None:
    brought.copy("plan.json", "sealed.zip")
    text = json.loads(Path("plan.json").read_text())
    text["seed_block_hash"] = "0x" + "77" * 32
    Path("plan.json").write_text(json.dumps(text))
    refused = command(*there(machine, images))
    assert refused.exit_code == 7
    assert "is no bundle of this contest" in refused.stderr


def test_a_bundle_from_there_can_be_signed_here(brought: Brought) -> None:
    signature = read_bundle(brought.folder / "sealed.zip").seal.signature
    assert signature is not None
    assert signature.signer == brought.signer


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--host", "nobody"], "no address of SSH"),
        (["--host", "root@-oProxyCommand=x"], "no name or IP address"),
        (["--host", "root@127.0.0.1:99999"], "no port"),
        ([], "name the machine"),
        (["--host", "a@b", "--rental", str(uuid4())], "name the machine"),
    ],
)
def test_an_address_that_is_none_is_a_wrong_use(
    more: list[str],
    told: str,
    brought: Brought,
    machine: Sshd,
    images: ProcessMachine,
    command: Command,
) -> None:
    brought.copy("plan.json")
    done = command(*there(machine, images, address=False), *more)
    assert done.exit_code == 2
    assert told in done.stderr


def test_a_machine_that_cannot_be_reached_costs_its_rental_no_contest(
    arena: RecoveryArena, machine: Sshd, images: ProcessMachine, plan: UUID, command: Command
) -> None:
    rental = rented(arena, machine)
    machine.close()
    words = [*there(machine, images, address=False), "--rental", str(rental), "--boot-s", "0"]
    done = command(*words, *where(arena))
    assert done.exit_code == 24
    assert "no SSH answers" in done.stderr
    assert arena.ledger.load(Rental, rental).contest is None
    assert arena.ledger.load(Rental, rental).used == ()


def test_a_rental_that_does_not_run_is_refused(
    arena: RecoveryArena, machine: Sshd, images: ProcessMachine, plan: UUID, command: Command
) -> None:
    done = command(*there(machine, images, address=False), "--rental", str(uuid4()), *where(arena))
    assert done.exit_code == 8
    assert "is unknown here" in done.stderr


def test_the_plan_that_travels_names_no_folder_of_here(brought: Brought) -> None:
    manifest = read_bundle(brought.folder / "sealed.zip").manifest
    assert str(brought.home) not in msgspec.json.encode(manifest).decode()
