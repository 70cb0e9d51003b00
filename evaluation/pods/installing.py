"""Puts this program on a rented machine, in an environment of its own.

With the libraries that a contest needs there, in containers or without: what reads the ledger and
the chain stays at home.

The machine needs a network to a package index, and either ``uv`` or a Python of 3.11 or newer with
``venv``; ``uv`` brings a Python where there is none.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Final

from evaluation.pods.faults import CommandFailedError, HostError
from evaluation.pods.host import PodHost
from evaluation.pods.program import Program

INSTALL_TIMEOUT_S: Final = 900
_GRACE_S: Final = 30.0

# A call that was cut off may still be installing: the next one waits for it, then finds it done.
_INSTALL: Final = r"""
set -eu
# As pip does: an index behind a private authority works if the system trusts that authority.
export UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1
folder="$1"; wheel="$2"; limit="$3"
exec 9> "$folder/lock"
flock -w "$limit" 9
if [ -e "$folder/whole" ]; then exit 0; fi
rm -rf "$folder/venv" "$folder/tools"
uv="$(command -v uv || true)"
python=
for one in python3.14 python3.13 python3.12 python3.11 python3; do
    if "$one" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
    then python="$one"; break; fi
done
if [ -z "$uv" ] && [ -z "$python" ]; then
    echo "it has neither uv nor a Python of 3.11 or newer with venv; install one of them" >&2
    exit 3
fi
if [ -z "$uv" ]; then
    "$python" -m venv "$folder/tools"
    timeout "$limit" "$folder/tools/bin/python" -m pip install -q --disable-pip-version-check uv >&2
    uv="$folder/tools/bin/uv"
fi
timeout "$limit" "$uv" venv -q --python "${python:->=3.11}" "$folder/venv" >&2
timeout "$limit" "$uv" pip install -q --python "$folder/venv/bin/python" \
    -c "$folder/constraints.txt" "$folder/$wheel[containers]" >&2
touch "$folder/whole"
"""


@dataclass(frozen=True, slots=True)
class Installed:
    """An environment on the machine in which the program is."""

    venv: str

    @property
    def python(self) -> str:
        """Its interpreter."""
        return posixpath.join(self.venv, "bin/python")

    @property
    def command(self) -> str:
        """The program."""
        return posixpath.join(self.venv, "bin/cacheon-ledger")


def install(host: PodHost, program: Program, timeout_s: int = INSTALL_TIMEOUT_S) -> Installed:
    """Have the program there; one that is there already is not installed again.

    Raises :class:`HostError` with the end of what the installer said.
    """
    folder = folder_of(host, program)
    if not _is_whole(host, folder):
        host.put(program.constraints, f"{folder}/constraints.txt")
        host.put(program.wheel, f"{folder}/{program.name}")
        try:
            host.shell(
                _INSTALL, folder, program.name, str(timeout_s), timeout_s=timeout_s + _GRACE_S
            )
        except CommandFailedError as error:
            msg = f"the program could not be installed on {host.ssh.address}: {error.said}"
            raise HostError(msg) from error
    return Installed(f"{folder}/venv")


def folder_of(host: PodHost, program: Program) -> str:
    """Where this version of the program lies there."""
    return posixpath.join(host.folder, "programs", program.digest[:16])


def uninstall(host: PodHost, program: Program) -> None:
    """Take it away again."""
    host.remove(folder_of(host, program))


def installed_at(host: PodHost, venv: str) -> Installed:
    """An environment that somebody else made there; raises :class:`HostError` where it is none."""
    found = Installed(venv)
    try:
        host.ssh.run(["test", "-x", found.command])
    except CommandFailedError as error:
        msg = f"there is no {found.command} on {host.ssh.address}; leave out where it is installed"
        raise HostError(msg) from error
    return found


def _is_whole(host: PodHost, folder: str) -> bool:
    done = host.shell('[ -e "$1/whole" ] && echo yes || echo no', folder)
    return done.output.strip() == b"yes"
