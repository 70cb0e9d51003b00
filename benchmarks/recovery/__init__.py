"""Evaluators that are killed: an arena to contest in, killings at random moments, and what is left.

Everything is real but the chain: a database, evaluator processes, servers. Blocks come from here.
"""

from benchmarks.recovery.arena import RecoveryArena, process_images
from benchmarks.recovery.machines import DockerMachine, Machine, ProcessMachine
from benchmarks.recovery.runs import Run, Victim, killed_run

__all__ = [
    "DockerMachine",
    "Machine",
    "ProcessMachine",
    "RecoveryArena",
    "Run",
    "Victim",
    "killed_run",
    "process_images",
]
