"""The program goes to a machine as one wheel, whichever way it is installed here."""

from __future__ import annotations

import hashlib
import io
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from evaluation.pods.faults import CommandFailedError, HostError
from evaluation.pods.host import PodHost
from evaluation.pods.installing import folder_of, install, installed_at, uninstall
from evaluation.pods.program import PACKAGES, this_program

ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_every_file_of_the_packages_and_says_their_digests() -> None:
    program = this_program()
    with zipfile.ZipFile(io.BytesIO(program.wheel)) as wheel:
        names = set(wheel.namelist())
        [record] = [name for name in names if name.endswith(".dist-info/RECORD")]
        listed = [line.rsplit(",", 2) for line in wheel.read(record).decode().splitlines()]
    assert {name for name, _, _ in listed} == names
    inside = {name for name in names if ".dist-info/" not in name}
    files = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == files
    assert "ledger/policies/" in " ".join(sorted(inside))
    assert not any("__pycache__" in name for name in names)


def test_the_same_program_gives_the_same_bytes_and_pins_what_runs_here() -> None:
    first, second = this_program(), this_program()
    assert first == second
    whole = hashlib.sha256(hashlib.sha256(first.wheel).digest() + first.constraints)
    assert first.digest == whole.hexdigest()
    pins = first.constraints.decode().splitlines()
    assert f"aiohttp=={metadata.version('aiohttp')}" in pins
    assert not any(line.startswith("cacheon-ledger==") for line in pins)


def test_an_environment_that_is_none_is_refused(host: PodHost) -> None:
    with pytest.raises(HostError, match="there is no /nowhere/bin/cacheon-ledger"):
        installed_at(host, "/nowhere")


@pytest.mark.slow
def test_a_machine_that_cannot_install_says_why_and_is_not_believed_whole(host: PodHost) -> None:
    program = this_program()._replace(wheel=b"no wheel")
    with pytest.raises(HostError, match="could not be installed on"):
        install(host, program)
    assert not (Path(folder_of(host, program)) / "whole").exists()


@pytest.mark.slow
def test_the_program_is_installed_once_and_runs_there_and_goes_again(host: PodHost) -> None:
    """With what a contest needs, from the package index that this machine has."""
    program = this_program()
    installed = install(host, program)
    done = host.ssh.run([installed.command, "contest", "run", "--help"], timeout_s=120)
    assert b"--plan" in done.output
    where = host.ssh.run(
        [installed.python, "-c", "import evaluation.pods.keeper as k; print(k.__file__)"]
    )
    assert where.output.decode().startswith(installed.venv)
    # Containers can be run there, and neither a database nor a chain is brought along.
    for library, found in (("docker", b"True"), ("sqlalchemy", b"False"), ("bittensor", b"False")):
        looked = f"from importlib.util import find_spec; print(bool(find_spec('{library}')))"
        assert host.ssh.run([installed.python, "-c", looked]).output.strip() == found, library
    marked = Path(installed.venv) / "marked"
    marked.touch()
    assert install(host, program) == installed
    assert marked.exists()
    uninstall(host, program)
    host.remove_if_empty()
    assert list(Path(host.home).iterdir()) == []
    with pytest.raises(CommandFailedError):
        host.ssh.run([installed.command, "--help"])
