"""This machine's firewall around a stage's bridges.

On an internal network a container has no way out, but it reaches every address of the host through
the bridge, and with it every service that listens there. So whatever comes from a stage's bridges
is dropped unless it answers a connection that the host opened.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from evaluation.client import printable
from evaluation.runners.docker.ownership import read_tag
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause

METADATA_ADDRESSES: Final = "169.254.0.0/16"
"""Where clouds answer with a machine's keys (169.254.169.254 and its neighbours)."""
_TOOL_TIMEOUT_S: Final = 30.0
_WAIT_FOR_LOCK_S: Final = "10"
_CHAINS: Final = ("INPUT", "FORWARD")
_IPV6_OF_KERNEL: Final = Path("/proc/net/if_inet6")

Whose = Callable[[str, str, str], bool]
"""``(worker, owner, stage)`` to whether a rule is meant."""


class HostFirewall:
    """The rules of one stage: for all bridges whose names begin with ``bridges``."""

    def __init__(self, bridges: str, tag: str) -> None:
        self._bridges = bridges
        self._tag = tag

    def ensure(self) -> None:
        """Put in place whatever rule is missing, e.g. after somebody reloaded the firewall."""
        for tool in tools():
            for chain, rule in self._rules(tool):
                if not _is_there(tool, chain, rule):
                    _call(tool, "-I", chain, "1", *rule)

    def check(self) -> None:
        """Raise :class:`InfrastructureFaultError` (`host_failed`) where a rule is missing: what ran
        meanwhile was not shut off."""
        for tool in tools():
            for chain, rule in self._rules(tool):
                if not _is_there(tool, chain, rule):
                    raise InfrastructureFaultError(
                        InfrastructureCause.HOST_FAILED,
                        f"somebody took our rules out of this machine's firewall ({chain}) while a "
                        "contest ran; reload it between contests only",
                    )

    def remove(self) -> None:
        """Take away every rule with this stage's tag."""
        list(removed_rules(lambda *whose: whose == read_tag(self._tag)))

    def _rules(self, tool: str) -> Iterator[tuple[str, list[str]]]:
        """Each as ``(chain, rule)``; later ones are put above earlier ones."""
        comment = ["-m", "comment", "--comment", self._tag, "-j", "DROP"]
        ours = f"{self._bridges}+"
        yield "FORWARD", ["-o", ours, *comment]
        yield "FORWARD", ["-i", ours, *comment]
        if tool.endswith("ip6tables"):
            # Bridges have no IPv6 addresses but the link-local one that the kernel gives them.
            yield "INPUT", ["-i", ours, *comment]
            return
        answers_only = ["-m", "conntrack", "!", "--ctstate", "ESTABLISHED"]
        yield "INPUT", ["-i", ours, *answers_only, *comment]
        for chain in _CHAINS:
            yield chain, ["-d", METADATA_ADDRESSES, "-i", ours, *comment]


def tools() -> list[str]:
    """The programs to set rules with. Raises :class:`InfrastructureFaultError` for missing ones."""
    wanted = ["iptables"]
    if _IPV6_OF_KERNEL.exists():
        wanted.append("ip6tables")
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    found = {name: shutil.which(name, path=path) for name in wanted}
    missing = [name for name, program in found.items() if program is None]
    if missing:
        raise InfrastructureFaultError(
            InfrastructureCause.HOST_FAILED,
            f"{' and '.join(missing)} is not on this machine; install iptables, without which "
            "containers could reach this machine's services",
        )
    return [program for program in found.values() if program is not None]


def removed_rules(meant: Whose) -> Iterator[str]:
    """Take away the rules whose tags are meant; one sentence for each that is gone."""
    for tool in tools():
        for chain in _CHAINS:
            for line in _call(tool, "-S", chain).splitlines():
                words = shlex.split(line)
                whose = read_tag(_comment_of(words))
                if words[0] == "-A" and whose is not None and meant(*whose):
                    _call(tool, "-D", *words[1:])
                    yield f"removed a firewall rule of the stage {whose[2]} ({chain})"


def _comment_of(words: list[str]) -> str:
    return words[words.index("--comment") + 1] if "--comment" in words else ""


def _is_there(tool: str, chain: str, rule: list[str]) -> bool:
    return _run(tool, "-C", chain, *rule).returncode == 0


def _call(tool: str, *words: str) -> str:
    ended = _run(tool, *words)
    if ended.returncode != 0:
        raise InfrastructureFaultError(
            InfrastructureCause.HOST_FAILED,
            f"{Path(tool).name} {words[0]} {words[1]} failed: {printable(ended.stderr)[:300]}; "
            "the evaluator must be allowed to set this machine's firewall (root)",
        )
    return ended.stdout


def _run(tool: str, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - iptables, with words of our own
            [tool, "-w", _WAIT_FOR_LOCK_S, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TOOL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InfrastructureFaultError(
            InfrastructureCause.HOST_FAILED, f"{Path(tool).name} could not be run: {error}"
        ) from error
