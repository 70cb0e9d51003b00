"""What trying an image is asked with, and what it came to, check by check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from evaluation.plan import Tokenizer
from evaluation.sources import Texts
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy

Outcome = Literal["passed", "failed", "hint", "not_tried", "machine_failed"]
OnStep = Callable[[str], None]
"""Told, in a few words, what is being done now."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the contract asks. ``code`` is what a contest would disqualify for, empty where it
    would not; ``seen`` says what was found and ``remedy`` what to do, in one sentence each."""

    name: str
    outcome: Outcome
    code: str = ""
    seen: str = ""
    remedy: str = ""


class ContractReport(msgspec.Struct, frozen=True, kw_only=True):
    """``passed`` is whether a contest would have taken this server; its speed is not judged.

    ``machine_failed`` is whether the machine that tried it failed: that says nothing of the image.
    """

    image: str
    model_name: str
    passed: bool
    machine_failed: bool
    checks: tuple[Check, ...]
    log_tail: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What the image is tried with: a contest's policy, and the seed of its prompts."""

    model_name: str
    tokenizer: Tokenizer
    contest: ContestPolicy
    gates: GatePolicy
    seed: int
    confined: bool
    """Whether the runner keeps the server from the network and from its root file system."""
    counts_tokens: bool = True
    """Whether the tokenizer is the model's, so that its counts mean anything."""
    texts: Texts | None = None
    """What prompts are taken from, None where they are generated."""


@dataclass(slots=True)
class Book:
    """The checks so far, and the log that goes with them."""

    on_step: OnStep
    checks: list[Check] = field(default_factory=list)
    log: str = ""

    def passed(self, name: str, seen: str) -> None:
        self.checks.append(Check(name=name, outcome="passed", seen=seen))

    def failed(self, name: str, code: str, seen: str, remedy: str) -> None:
        self.checks.append(Check(name=name, outcome="failed", code=code, seen=seen, remedy=remedy))

    def machine_failed(self, code: str, seen: str, remedy: str) -> None:
        self.checks.append(
            Check(name="machine", outcome="machine_failed", code=code, seen=seen, remedy=remedy)
        )

    def hint(self, name: str, seen: str, remedy: str) -> None:
        self.checks.append(Check(name=name, outcome="hint", seen=seen, remedy=remedy))

    def not_tried(self, why: str, *names: str) -> None:
        self.checks += [Check(name=name, outcome="not_tried", seen=why) for name in names]


ANSWERS: Final = (
    "model name",
    "stream",
    "logprobs",
    "end of stream",
    "time",
    "length",
    "pace",
    "same answer again",
)
CONFINED: Final = ("writes only to /tmp", "needs no network")
