"""The Docker Engine of this machine as a :class:`~evaluation.runners.port.Runner`."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

from evaluation.runners.docker.connection import Connection, engine_faults
from evaluation.runners.docker.contract import Machine
from evaluation.runners.docker.firewall import HostFirewall
from evaluation.runners.docker.leftovers import clear
from evaluation.runners.docker.machine_lock import machine_locked, machine_locked_if_free
from evaluation.runners.docker.network import Networks, new_bridges
from evaluation.runners.docker.ownership import (
    Ownership,
    checked_worker,
    is_alive,
    this_process,
)
from evaluation.runners.docker.stage import DockerStage
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause
from ledger.contest_policy import ServerLimits

STOP_GRACE_S: Final = 10.0
"""Between SIGTERM and SIGKILL."""
MEASURED_DRIVER: Final = "overlay2"
"""Where :mod:`.pulling` sees how much is unpacked while it is."""
_LIVE: Final[set[str]] = set()
"""The stages of this process."""


class DockerRunner:
    """Servers in containers: read-only, limited, reached by nobody and reaching nobody but us.

    ``worker`` names this evaluator. What dead evaluators left on this machine, of whatever name, is
    cleared away before a stage begins and by :meth:`sweep`. ``host_firewall=False`` leaves this
    machine's firewall alone, for a miner who tries an image of their own at home; a stranger's
    image then reaches this machine's services.
    """

    def __init__(
        self,
        *,
        model_dir: Path,
        worker: str,
        base_url: str | None = None,
        host_firewall: bool = True,
        registries: Collection[str] | None = None,
        alone: bool = True,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        """Connects to nothing yet. Raises ``ValueError`` for a name or an engine that will not do.

        ``model_dir`` is what servers find at ``/models``, ``base_url`` the engine's socket; None
        takes DOCKER_HOST, or the engine's usual one. With ``registries`` (``host`` or
        ``host:port``), images come from these and from public ones alone: a stranger's image must
        not have the engine, which no firewall of ours holds, ask a neighbour. Only where nothing
        is measured may a stage not be ``alone`` on the machine.
        """
        self._connection = Connection(base_url)
        self._model_dir = model_dir.resolve()
        self._worker = checked_worker(worker)
        self._host_firewall = host_firewall
        self._registries = None if registries is None else frozenset(registries)
        self._alone = alone
        self._stop_grace_s = stop_grace_s
        self._fingerprints: dict[str, str] = {}

    @contextmanager
    def stage(
        self, contest_id: str, limits: ServerLimits, servers: int = 1
    ) -> Iterator[DockerStage]:
        """See :meth:`evaluation.runners.port.Runner.stage`. Waits for a stage of another process:
        a machine has one at a time."""
        whole_machine = machine_locked() if self._alone else nullcontext()
        with whole_machine, self._staged(contest_id, limits, servers) as stage:
            yield stage

    @contextmanager
    def _staged(self, contest_id: str, limits: ServerLimits, servers: int) -> Iterator[DockerStage]:
        if not self._model_dir.is_dir():
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED,
                f"there is no model directory {self._model_dir}; servers need it at /models",
            )
        with engine_faults("be reached"):
            info = self._connection.client.info()
        if self._registries is not None and info["Driver"] != MEASURED_DRIVER:
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED,
                f"the Docker Engine keeps images with {info['Driver']}, where nothing bounds what "
                f"a stranger's image unpacks to; set its storage-driver to {MEASURED_DRIVER}",
            )
        if self._alone:
            self._swept()  # what a dead evaluator left would run beside this contest
        ownership = Ownership(self._worker, this_process(), secrets.token_hex(6), contest_id)
        bridges = new_bridges()
        firewall = HostFirewall(bridges, ownership.tag) if self._host_firewall else None
        _LIVE.add(ownership.stage)
        try:
            if firewall is not None:
                firewall.ensure()
            yield DockerStage(
                self._connection,
                model_dir=self._model_dir,
                limits=limits,
                machine=Machine(cpus=int(info["NCPU"]), memory_bytes=int(info["MemTotal"])),
                ownership=ownership,
                networks=Networks(self._connection, bridges, ownership),
                firewall=firewall,
                fingerprints=self._fingerprints,
                stop_grace_s=self._stop_grace_s,
                servers=servers,
                registries=self._registries,
            )
            if firewall is not None:
                firewall.check()
        except BaseException as error:
            self._leave(ownership, error)
            raise
        else:
            self._leave(ownership, None)
        finally:
            _LIVE.discard(ownership.stage)

    def sweep(self) -> Sequence[str]:
        """See :meth:`evaluation.runners.port.Runner.sweep`. While anybody has a stage nothing is
        removed: they may run the same images, and their process may be one that we cannot see. The
        next sweep or the next stage removes it."""
        with machine_locked_if_free() as free:
            return self._swept() if free else ()

    def _swept(self) -> Sequence[str]:
        """Remove what the dead left. The machine is ours, so nobody else begins a stage."""

        def meant(_worker: str, owner: str, stage: str) -> bool:
            return stage not in _LIVE if owner == this_process() else not is_alive(owner)

        cleared = clear(self._connection, meant, self._host_firewall)
        if cleared.failed:
            raise InfrastructureFaultError(
                InfrastructureCause.HOST_FAILED,
                "what an earlier contest left could not all be removed: "
                + "; ".join(cleared.failed),
            )
        return tuple(cleared.removed)

    def facts(self) -> Mapping[str, str]:
        """The engine and what it stands on, as it says so itself."""
        with engine_faults("say what it is"):
            info = self._connection.client.info()
            version = self._connection.client.version()
        return {
            "runner": "docker",
            "engine": str(version["Version"]),
            "engine_api": str(version["ApiVersion"]),
            "storage_driver": str(info["Driver"]),
            "kernel": str(info["KernelVersion"]),
            "operating_system": str(info["OperatingSystem"]),
            "cgroup_version": str(info.get("CgroupVersion", "unknown")),
            "runtime": str(info["DefaultRuntime"]),
            "swap_limited": "yes" if info.get("SwapLimit") else "no",
            "host_firewall": "yes" if self._host_firewall else "no",
        }

    def _leave(self, ownership: Ownership, error: BaseException | None) -> None:
        cleared = clear(
            self._connection,
            lambda *whose: whose == (ownership.worker, ownership.owner, ownership.stage),
            self._host_firewall,
        )
        if not cleared.failed:
            return
        detail = f"the contest {ownership.contest_id} could not be cleared away: " + "; ".join(
            cleared.failed
        )
        if error is not None and not isinstance(error, Exception):
            error.add_note(detail)  # whoever ends this process is not to be held up
            return
        raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, detail) from error
