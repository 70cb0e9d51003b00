"""Where the contests run, and what is left there of them: plain processes, or a Docker Engine."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from benchmarks.recovery.arena import BASELINE, CHALLENGERS, process_images
from evaluation.images import ImageRef
from evaluation.runners import guard

if TYPE_CHECKING:
    from tests.engine.engine import Engine

_PROC: Final = Path("/proc")
_GUARD: Final = Path(guard.__file__).name.encode()


class Machine(Protocol):
    """One machine that an evaluator runs its contests on."""

    images: dict[str, ImageRef]
    memory_bytes: int

    def options(self) -> list[str]:
        """The evaluator's options for it."""
        ...

    def environment(self) -> Mapping[str, str]:
        """The evaluator's environment for it."""
        ...

    def kill_a_server(self, chance: random.Random) -> bool:
        """SIGKILL one of the servers that run now; False where none does."""
        ...

    def kill_engine(self) -> None:
        """SIGKILL what runs the containers, and start it again."""
        ...

    def left(self) -> list[str]:
        """What is left of contests."""
        ...


class ProcessMachine:
    """Servers are plain processes, known by the folder in their command line."""

    memory_bytes = 2**30

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.images = process_images(self._folder)

    def options(self) -> list[str]:
        """See :class:`Machine`."""
        return [
            *("--runner", "process", "--images", str(self._folder / "images")),
            *("--model", str(self._folder / "model")),
        ]

    def environment(self) -> Mapping[str, str]:
        """See :class:`Machine`."""
        return {}

    def kill_a_server(self, chance: random.Random) -> bool:
        """See :class:`Machine`."""
        running = self._servers()
        if not running:
            return False
        try:
            os.kill(chance.choice(running), signal.SIGKILL)
        except ProcessLookupError:
            return False  # it was stopped that very moment
        return True

    def kill_engine(self) -> None:
        """There is none."""
        msg = "plain processes have no engine to be killed"
        raise RuntimeError(msg)

    def left(self) -> list[str]:
        """See :class:`Machine`."""
        return [f"server process {pid}" for pid in self._servers()]

    def _servers(self) -> list[int]:
        ours = str(self._folder / "images").encode()
        found = []
        for entry in _PROC.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # ended meanwhile
            # Not who watches over a server and goes a second after it.
            is_server = b"evaluation.reference.server" in words and _GUARD not in words
            if is_server and ours in words:
                found.append(int(entry.name))
        return found


class DockerMachine:
    """Servers are containers of an engine of our own, which the tests bring along."""

    memory_bytes = 512 * 2**20

    def __init__(self, folder: Path, engine: Engine) -> None:
        from tests.engine.reference_image import reference_image

        process_images(folder)  # for the model
        self._folder = folder.resolve()
        self._engine = engine
        self.images = {kind: reference_image(engine, kind) for kind in (BASELINE, *CHALLENGERS)}
        self._before = self._seen()

    def options(self) -> list[str]:
        """See :class:`Machine`."""
        where = ("--model", str(self._folder / "model"), "--registry", self._engine.registry)
        return ["--runner", "docker", *where]

    def environment(self) -> Mapping[str, str]:
        """See :class:`Machine`."""
        return {"DOCKER_HOST": self._engine.base_url}

    def kill_a_server(self, chance: random.Random) -> bool:
        """See :class:`Machine`."""
        import docker

        try:
            running = self._engine.client.containers.list()
            if not running:
                return False
            pid = int(chance.choice(running).attrs["State"]["Pid"])
            if pid <= 0:
                return False
            os.kill(pid, signal.SIGKILL)
        except (docker.errors.DockerException, ProcessLookupError):
            return False  # it was stopped that very moment
        return True

    def kill_engine(self) -> None:
        """See :class:`Machine`."""
        from tests.engine.engine import EngineUnavailableError

        self._engine.kill()
        for last in (False, False, True):
            try:
                self._engine.start()
            except EngineUnavailableError:
                # Its old containerd may still be ending; whoever keeps a service up tries again.
                self._engine.kill()
                if last:
                    raise
            else:
                return

    def left(self) -> list[str]:
        """See :class:`Machine`."""
        return sorted(self._seen() - self._before)

    def _seen(self) -> set[str]:
        client = self._engine.client
        found = {f"container {one.name}" for one in client.containers.list(all=True)}
        found |= {f"network {one.name}" for one in client.networks.list()}
        tables = ("filter", "nat", "raw", "mangle")
        for program, table in product(("iptables", "ip6tables"), tables):
            rules = subprocess.run(  # noqa: S603
                [program, "-t", table, "-S"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            found |= {
                f"firewall rule {program} {table}: {line}"
                for line in rules.splitlines()
                if "cacheon" in line.lower()
            }
        return found
