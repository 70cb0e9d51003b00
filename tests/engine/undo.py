"""Takes back what a Docker Engine changed on the machine, and only that."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
CHAINS_OF_THE_ENGINE = (
    "DOCKER",
    "DOCKER-USER",
    "DOCKER-ISOLATION-STAGE-1",
    "DOCKER-ISOLATION-STAGE-2",
    # newer engines
    "DOCKER-FORWARD",
    "DOCKER-BRIDGE",
    "DOCKER-CT",
    "DOCKER-INTERNAL",
)


@dataclass(frozen=True)
class Before:
    """What of the machine an engine's start overwrites."""

    forwarding: str
    policies: dict[str, str]
    """Of the chain FORWARD, by tool."""

    @classmethod
    def seen(cls) -> Before:
        policies = {tool: iptables(tool, "-S", "FORWARD").split()[2] for tool in tools()}
        return cls(FORWARDING.read_text().strip(), policies)

    def restore(self) -> None:
        """Delete the engine's rules and chains; other rules, also newer ones, stay."""
        for tool in tools():
            for table in ("filter", "nat", "raw"):
                _forget(tool, table)
            iptables(tool, "-P", "FORWARD", self.policies[tool])
        FORWARDING.write_text(self.forwarding + "\n")


def tools() -> list[str]:
    """iptables, and ip6tables where the kernel speaks IPv6."""
    wanted = ["iptables", *(["ip6tables"] if Path("/proc/net/if_inet6").exists() else [])]
    return [tool for tool in wanted if shutil.which(tool)]


def iptables(tool: str, *words: str) -> str:
    """Its output; raises ``CalledProcessError``."""
    done = subprocess.run(  # noqa: S603
        [tool, "-w", "10", *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def _forget(tool: str, table: str) -> None:
    rules = iptables(tool, "-t", table, "-S").splitlines()
    chains = [
        words[1]
        for words in map(shlex.split, rules)
        if words[0] == "-N" and words[1] in CHAINS_OF_THE_ENGINE
    ]
    for chain in chains:
        iptables(tool, "-t", table, "-F", chain)
    for rule in rules:
        words = shlex.split(rule)
        if words[0] == "-A" and words[1] not in chains and set(words) & set(chains):
            iptables(tool, "-t", table, "-D", *words[1:])
    for chain in chains:
        iptables(tool, "-t", table, "-X", chain)
