"""A rented machine as a host of contests: met over SSH, asked what it is, written to and read.

What it says is a stranger's word. Nothing that it sends is opened here before its size, its digest
and its content were checked.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from evaluation.client import printable
from evaluation.gpus import GPU_FIELDS, Gpu, read_gpus
from evaluation.pods.faults import (
    CommandFailedError,
    HostError,
    KeyRefusedError,
    TooMuchError,
    UnreachableError,
)
from evaluation.pods.ssh import Done, Ssh

BOOT_S: Final = 600.0
"""How long a machine that was just rented may take until SSH answers."""
KEY_PATIENCE_S: Final = 60.0
"""How long it may refuse our key meanwhile: it is put there by a service that starts after SSH."""
LOOK_AGAIN_S: Final = 3.0
FOLDER: Final = ".cacheon-ledger"
"""Everything of ours on the machine lies below this folder of its user."""
TRANSFER_TIMEOUT_S: Final = 1_800.0
_MAX_TEXT_CHARS: Final = 120
_MAX_FACTS_BYTES: Final = 65_536
_PLAIN_PATH: Final = re.compile(r"/[ -~]{0,1000}")

_FACTS: Final = r"""
printf 'home %s\n' "$(pwd -P)"
printf 'kernel %s\n' "$(uname -sr)"
printf 'cores %s\n' "$(getconf _NPROCESSORS_ONLN)"
awk '$1 == "MemTotal:" { print "memory_kib " $2 }' /proc/meminfo
df -Pk . | awk 'NR == 2 { print "free_kib " $4 }'
"""
PUT: Final = """
umask 077; mkdir -p "$(dirname "$1")"
cat > "$1.part" && [ "$(wc -c < "$1.part")" -eq "$2" ] && mv -f "$1.part" "$1"
"""


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A machine by its own word; None for what it does not say. ``gpus`` is None where it has no
    ``nvidia-smi`` that answers, and ``gpus_unknown`` says so."""

    address: str
    host_key: str
    kernel: str | None
    cores: int | None
    memory_bytes: int | None
    free_disk_bytes: int | None
    gpus: tuple[Gpu, ...] | None
    gpus_unknown: str = ""


class PodHost:
    """One machine. Made by :func:`connect`, so that it has been met."""

    def __init__(self, ssh: Ssh, host_key: str, home: str) -> None:
        self.ssh = ssh
        self.host_key = host_key
        self.home = home
        """The folder that commands start in: its user's own."""

    @property
    def folder(self) -> str:
        """The folder on it that holds all that is ours."""
        return posixpath.join(self.home, FOLDER)

    def shell(self, script: str, *words: str, timeout_s: float = 60.0) -> Done:
        """Run a script of ``sh`` with these words as ``$1``, ``$2``, …"""
        return self.ssh.run(["sh", "-c", script, "sh", *words], timeout_s=timeout_s)

    def facts(self) -> MachineFacts:
        """Ask it what it is."""
        told = _told(self.ssh.run(["sh", "-c", _FACTS], max_bytes=_MAX_FACTS_BYTES).output)
        gpus, unknown = self._gpus()
        memory, free = _whole(told.get("memory_kib")), _whole(told.get("free_kib"))
        return MachineFacts(
            address=str(self.ssh.address),
            host_key=self.host_key,
            kernel=told.get("kernel"),
            cores=_whole(told.get("cores")),
            memory_bytes=None if memory is None else memory * 1024,
            free_disk_bytes=None if free is None else free * 1024,
            gpus=gpus,
            gpus_unknown=unknown,
        )

    def _gpus(self) -> tuple[tuple[Gpu, ...] | None, str]:
        query = f"--query-gpu={','.join(GPU_FIELDS)}"
        words = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
        try:
            answer = self.ssh.run(words, max_bytes=_MAX_FACTS_BYTES).output
            return read_gpus(answer.decode(errors="replace")), ""
        except CommandFailedError as error:
            return None, f"it has no nvidia-smi that answers: {error.said or error.code}"[:300]
        except ValueError as error:
            return None, printable(f"its nvidia-smi could not be read: {error}")[:300]

    def free_bytes(self, path: str) -> int:
        """What is free on the disk of a folder there."""
        done = self.shell("""df -Pk -- "$1" | awk 'NR == 2 { print $4 }'""", path)
        free = _whole(done.output.decode(errors="replace").strip())
        if free is None:
            msg = f"{self.ssh.address} does not say how much of its disk is free"
            raise HostError(msg)
        return free * 1024

    def put(self, data: bytes, path: str) -> None:
        """Write a file there, whole or not at all."""
        self.ssh.run(
            ["sh", "-c", PUT, "sh", path, str(len(data))],
            data=data,
            timeout_s=TRANSFER_TIMEOUT_S,
        )

    def get(self, path: str, into: Path, *, size: int, sha256: str, max_bytes: int) -> None:
        """Read a file of there into a new file of here; only its bytes come, whatever it is there.

        Raises :class:`HostError` where it is larger than ``max_bytes``, or not of the size and
        digest that were stated before; then nothing is left here.
        """
        if size > max_bytes:
            msg = f"{self.ssh.address} holds {size} bytes for us; at most {max_bytes} are taken"
            raise TooMuchError(msg)
        seen, counted = hashlib.sha256(), 0
        descriptor, name = tempfile.mkstemp(dir=into.parent, prefix=".from-machine-")
        try:
            with os.fdopen(descriptor, "wb") as file:

                def take(data: bytes) -> None:
                    nonlocal counted
                    counted += len(data)
                    seen.update(data)
                    file.write(data)

                self.ssh.run(
                    ["cat", "--", path], timeout_s=TRANSFER_TIMEOUT_S, max_bytes=size, to=take
                )
                file.flush()
                os.fsync(file.fileno())
            if counted != size or seen.hexdigest() != sha256:
                msg = (
                    f"{self.ssh.address} sent {counted} bytes of the digest {seen.hexdigest()} "
                    f"where it had stated {size} of {sha256[:64]}; fetch it again"
                )
                raise HostError(msg)
            Path(name).replace(into)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def remove(self, path: str) -> None:
        """Delete a file or folder below ours, with all it holds."""
        if not path.startswith(self.folder + "/") or "/../" in path + "/":
            msg = f"{path} is none of our files on {self.ssh.address}"
            raise ValueError(msg)
        self.ssh.run(["rm", "-rf", "--", path])

    def remove_if_empty(self) -> None:
        """Delete our folder there where nothing is left in it."""
        self.shell('rmdir "$1/runs" "$1/programs" "$1" 2>/dev/null; true', self.folder)


def connect(
    ssh: Ssh,
    *,
    expected_key: str | None = None,
    boot_s: float = 0.0,
    say: Callable[[str], None] = lambda _: None,
    look_again_s: float = LOOK_AGAIN_S,
    key_patience_s: float = KEY_PATIENCE_S,
) -> PodHost:
    """Meet the machine, which may boot for ``boot_s`` seconds yet.

    Raises the last :class:`UnreachableError` or :class:`KeyRefusedError` when that is over, and a
    changed host key at once.
    """
    began_s = time.monotonic()
    waited = False
    while True:
        try:
            host_key = ssh.meet(expected_key)
            break
        except (UnreachableError, KeyRefusedError) as error:
            patience_s = boot_s
            if isinstance(error, KeyRefusedError):
                patience_s = min(boot_s, key_patience_s)
            if time.monotonic() - began_s + look_again_s > patience_s:
                raise
            if not waited:
                say(f"waiting for SSH at {ssh.address}, {boot_s:g} s at most")
                waited = True
            time.sleep(look_again_s)
    home = ssh.run(["pwd", "-P"], max_bytes=_MAX_FACTS_BYTES).output.decode(errors="replace")
    home = home.removesuffix("\n")
    if not _PLAIN_PATH.fullmatch(home):
        msg = f"the folder of {ssh.address.user} at {ssh.address} has no plain path"
        raise HostError(msg)
    return PodHost(ssh, host_key, home)


def _told(output: bytes) -> dict[str, str]:
    found = {}
    for line in output.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        found[name] = printable(value)[:_MAX_TEXT_CHARS]
    return found


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() else None
