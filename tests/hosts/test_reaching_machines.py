"""A machine is reached by its key alone, known again by its own, and never waited for in vain."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluation.pods import host as host_module
from evaluation.pods import ssh as ssh_module
from evaluation.pods.faults import (
    CommandFailedError,
    ConnectionLostError,
    HostError,
    HostKeyChangedError,
    KeyFileError,
    KeyRefusedError,
    TooMuchError,
    TooSlowError,
    UnreachableError,
)
from evaluation.pods.host import PodHost, connect
from evaluation.pods.host_keys import Pin
from evaluation.pods.port import Address
from evaluation.pods.ssh import Ssh
from tests.faults.processes import wait_until
from tests.hosts.sshd import Sshd, make_key


def shown_fingerprint(key: Path) -> str:
    said = subprocess.run(  # noqa: S603
        ["ssh-keygen", "-lf", f"{key}.pub"],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    )
    return said.stdout.split()[1]


def test_the_first_key_is_pinned_and_given_back_for_the_record(machine: Sshd, ssh: Ssh) -> None:
    host = connect(ssh)
    assert host.host_key == shown_fingerprint(machine.host_key)
    assert host.home == str(machine.home)
    assert connect(ssh).host_key == host.host_key
    assert [path.name for path in ssh.pin.file.parent.iterdir()] == ["machine"]


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_another_key_is_refused_also_one_of_another_kind(
    kind: str, machine: Sshd, ssh: Ssh
) -> None:
    pinned = connect(ssh).host_key
    machine.close()
    machine.host_key.unlink()
    make_key(machine.host_key, kind)
    machine.start()
    for _ in range(2):
        with pytest.raises(HostKeyChangedError, match=re.escape(pinned)):
            connect(ssh)
        with pytest.raises(HostKeyChangedError):
            ssh.run(["true"])
    ssh.pin.forget()
    assert connect(ssh).host_key == shown_fingerprint(machine.host_key)


def test_a_key_that_is_expected_is_held_against_the_first_and_the_pinned(
    machine: Sshd, ssh: Ssh
) -> None:
    with pytest.raises(HostKeyChangedError, match="not SHA256:other"):
        connect(ssh, expected_key="SHA256:other")
    assert not ssh.pin.is_set
    shown = shown_fingerprint(machine.host_key)
    assert connect(ssh, expected_key=shown).host_key == shown
    with pytest.raises(HostKeyChangedError, match="not SHA256:other"):
        connect(ssh, expected_key="SHA256:other")


def test_a_key_of_ours_that_the_machine_does_not_know_is_refused(
    machine: Sshd, tmp_path: Path
) -> None:
    pin = Pin(tmp_path / "pin")
    stranger = Ssh(machine.address, make_key(tmp_path / "stranger"), pin)
    with pytest.raises(KeyRefusedError, match="stranger"):
        connect(stranger)
    assert not pin.is_set


def test_a_key_file_that_will_not_do_is_told_before_anything_is_sent(
    machine: Sshd, tmp_path: Path
) -> None:
    pin = Pin(tmp_path / "pin")
    with pytest.raises(KeyFileError, match="No such file"):
        Ssh(machine.address, tmp_path / "none", pin)
    with pytest.raises(KeyFileError, match="is no file"):
        Ssh(machine.address, Path("/dev/null"), pin)
    machine.key.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Ssh(machine.address, machine.key, pin)


def test_neither_agent_nor_configuration_of_the_user_is_asked(
    machine: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent here holds a key that the machine takes, and ours it does not."""
    agent = tmp_path / "agent"
    started = subprocess.Popen(  # noqa: S603
        ["ssh-agent", "-D", "-a", str(agent)],  # noqa: S607
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(agent.exists, "the agent listens")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
        subprocess.run(["ssh-add", "-q", str(machine.key)], check=True)  # noqa: S603, S607
        stranger = Ssh(machine.address, make_key(tmp_path / "own"), Pin(tmp_path / "pin"))
        with pytest.raises(KeyRefusedError):
            connect(stranger)
    finally:
        started.kill()
        started.wait()


def test_no_word_of_our_environment_and_no_agent_reaches_the_machine(
    ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_SECRET", "never")
    monkeypatch.setenv("LC_SECRET", "never")
    connect(ssh)
    told = ssh.run(["env"]).output.decode()
    assert "SECRET" not in told
    assert "SSH_AUTH_SOCK" not in told


def test_words_arrive_as_they_are(host: PodHost) -> None:
    words = ["a b", "$HOME", "`id`", "'\"", "\\n", "*", "", "ü"]
    assert host.ssh.run(["printf", "%s|", *words]).output.decode() == "|".join([*words, ""])


def test_a_command_that_fails_is_told_with_its_code_and_its_last_words(host: PodHost) -> None:
    with pytest.raises(CommandFailedError, match=r"no such \[31mthing") as failed:
        host.shell("printf 'no such \\033[31mthing\\n' >&2; exit 7")
    assert failed.value.code == 7
    assert "\033" not in str(failed.value)


def test_a_command_without_end_is_left_at_its_deadline(machine: Sshd, host: PodHost) -> None:
    with pytest.raises(TooSlowError, match="longer than"):
        host.ssh.run(["sleep", "600"], timeout_s=1.0)
    wait_until(lambda: not machine.connections(), "its connection is closed")


def test_output_without_end_is_cut_off(machine: Sshd, host: PodHost) -> None:
    with pytest.raises(TooMuchError, match="more than 100000 bytes"):
        host.ssh.run(["yes"], max_bytes=100_000)
    wait_until(lambda: not machine.connections(), "its connection is closed")


def test_errors_without_end_are_bounded_too(host: PodHost) -> None:
    with pytest.raises(CommandFailedError) as failed:
        host.shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1")
    assert len(str(failed.value)) < 3_000


def test_a_connection_that_is_killed_in_the_middle_is_lost(machine: Sshd, host: PodHost) -> None:
    def drop() -> None:
        wait_until((machine.home / "begun").exists, "the command has begun")
        machine.drop()

    dropping = threading.Thread(target=drop)
    dropping.start()
    with pytest.raises(ConnectionLostError, match="broke"):
        host.shell("touch begun; sleep 600")
    dropping.join()


def test_a_machine_that_is_not_there_is_unreachable(ssh: Ssh, machine: Sshd) -> None:
    machine.close()
    with pytest.raises(UnreachableError, match="no SSH answers at"):
        connect(ssh)


def test_a_machine_that_boots_is_waited_for(ssh: Ssh, machine: Sshd) -> None:
    machine.close()
    told: list[str] = []

    def say(line: str) -> None:
        told.append(line)
        machine.start()

    assert connect(ssh, boot_s=120, say=say, look_again_s=0.05).home == str(machine.home)
    assert len(told) == 1


def test_a_key_is_waited_for_while_the_machine_boots_and_not_for_ever(
    ssh: Ssh, machine: Sshd
) -> None:
    keys = machine.folder / "authorized_keys"
    known = keys.read_text()
    keys.write_text("")
    with pytest.raises(KeyRefusedError):
        connect(ssh, boot_s=600, look_again_s=0.05, key_patience_s=0.2)
    connect(ssh, boot_s=600, say=lambda _: keys.write_text(known) and None, look_again_s=0.05)


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_machine_that_hangs_is_left(
    machine: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_module, "CONNECT_TIMEOUT_S", 1)
    with silent() as port:
        address = Address(machine.address.user, "127.0.0.1", port)
        with pytest.raises((UnreachableError, TooSlowError)):
            connect(Ssh(address, machine.key, Pin(tmp_path / "pin")))


def test_a_machine_that_freezes_in_the_middle_is_noticed_by_keepalives(
    machine: Sshd, host: PodHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_module, "KEEPALIVE_S", 1)
    monkeypatch.setattr(ssh_module, "KEEPALIVES", 1)
    with pytest.raises(ConnectionLostError):
        # It stops the process that serves this very connection.
        host.shell("kill -STOP $(cut -d ' ' -f 4 /proc/$PPID/stat) $PPID; sleep 600")


def test_files_travel_whole_or_not_at_all(machine: Sshd, host: PodHost, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    path = f"{host.folder}/runs/one/file"
    host.put(data, path)
    assert Path(path).read_bytes() == data
    assert Path(path).stat().st_mode & 0o077 == 0
    digest = hashlib.sha256(data).hexdigest()
    into = tmp_path / "got"
    host.get(path, into, size=len(data), sha256=digest, max_bytes=4_000_000)
    assert into.read_bytes() == data
    into.unlink()
    for size, sha256, most, told in (
        (len(data), digest, 2_000_000, "at most 2000000"),
        (len(data) - 1, digest, 4_000_000, "more than"),
        (len(data) + 1, digest, 4_000_000, "it had stated"),
        (len(data), "0" * 64, 4_000_000, "it had stated"),
    ):
        with pytest.raises(HostError, match=told):
            host.get(path, into, size=size, sha256=sha256, max_bytes=most)
    assert [one.name for one in tmp_path.iterdir() if "from-machine" in one.name] == []
    assert not into.exists()


def test_an_upload_that_breaks_off_leaves_no_file(
    machine: Sshd, host: PodHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{host.folder}/file"
    with pytest.raises(CommandFailedError):
        host.ssh.run(
            ["sh", "-c", host_module.PUT, "sh", path, "4"], data=b"abc"
        )  # one byte never came
    assert not Path(path).exists()


def test_a_link_on_the_machine_brings_nothing_of_here(host: PodHost, tmp_path: Path) -> None:
    target = tmp_path / "secret"
    target.write_text("ours")
    link = Path(host.folder) / "link"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    into = tmp_path / "got"
    digest = hashlib.sha256(b"ours").hexdigest()
    host.get(str(link), into, size=4, sha256=digest, max_bytes=4)
    assert not into.is_symlink()


def test_only_what_is_ours_is_removed(host: PodHost) -> None:
    for path in ("/", "/etc", host.home, host.folder, f"{host.folder}/../x", f"{host.folder}/.."):
        with pytest.raises(ValueError, match="none of our files"):
            host.remove(path)


def test_what_the_machine_is_is_asked_and_unknown_is_unknown(host: PodHost) -> None:
    facts = host.facts()
    assert facts.cores == os.cpu_count()
    assert facts.kernel is not None
    assert facts.kernel.startswith("Linux")
    assert facts.memory_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert facts.host_key == host.host_key
    assert (facts.gpus is None) == bool(facts.gpus_unknown)


def test_a_connection_ends_with_the_process_that_opened_it(machine: Sshd, ssh: Ssh) -> None:
    """SIGKILL: nobody is left to close it."""
    connect(ssh)
    code = (
        "import sys; from pathlib import Path; from evaluation.pods.ssh import Ssh; "
        "from evaluation.pods.host_keys import Pin; from evaluation.pods.port import Address; "
        f"Ssh(Address({machine.address.user!r}, '127.0.0.1', {machine.port}), "
        f"Path({str(machine.key)!r}), Pin(Path({str(ssh.pin.file)!r}))).run(['sleep', '600'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code])  # noqa: S603
    wait_until(lambda: bool(machine.connections()), "it is connected")
    process.kill()
    process.wait()
    wait_until(lambda: not machine.connections(), "the connection is closed")
