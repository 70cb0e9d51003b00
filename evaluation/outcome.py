"""What became of one attempt: the only thing that a contest hands to whoever records it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from evaluation.client import Answer
from evaluation.judge import EntrantVerdict
from evaluation.lengths import baseline_tokens
from evaluation.runners.port import ImageFacts
from ledger.codes import VoidCause


class BaselineFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline's own times over its whole answers, one entry per scored prompt."""

    ttft_us: tuple[int, ...]
    e2e_us: tuple[int, ...]
    tokens: tuple[int, ...]


def figures_of(baseline: Sequence[Answer]) -> BaselineFigures:
    """The times of the answers that entrants are paired with."""
    return BaselineFigures(
        ttft_us=tuple(answer.ttft_us for answer in baseline),
        e2e_us=tuple(answer.wall_us for answer in baseline),
        tokens=tuple(baseline_tokens(answer) for answer in baseline),
    )


class ContestOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the attempt.

    A void one counts for nobody: it has a cause, one sentence, the last lines of the log of the
    server that failed, and no verdicts. A completed one has a verdict per entrant, in the plan's
    order.

    ``images`` holds what is known of the images that could be had, by entrant id, so that nobody
    pulls one again for its fingerprint. ``gpu_ms`` is the machine time by entrant id, times GPUs.
    ``manifest_digest`` names the contest's whole evidence (:mod:`evaluation.manifest`); it is empty
    where that could not be stored.
    """

    contest_id: str
    status: Literal["completed", "void"]
    seed: int
    prompts_digest: str
    void_cause: VoidCause | None = None
    detail: str = ""
    log_tail: str = ""
    baseline: BaselineFigures | None = None
    verdicts: tuple[EntrantVerdict, ...] = ()
    images: dict[str, ImageFacts] = {}
    gpu_ms: dict[str, int] = {}
    manifest_digest: str = ""
