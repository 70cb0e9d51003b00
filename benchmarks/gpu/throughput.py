"""What a kept bundle tells of the time of its blocks: each arm's blocks, and tokens a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.gpu.program import StepError
from evaluation.bundle import Bundle, BundleError, read_bundle
from evaluation.client import Answer
from evaluation.evidence import read_evidence
from evaluation.manifest import read_baseline

_US: int = 1_000_000


def kept(path: Path) -> Bundle:
    """The bundle at ``path``; raises :class:`StepError` where there is none or it is not true."""
    try:
        return read_bundle(path)
    except BundleError as error:
        raise StepError(str(error)) from error


def arms_in(bundle: Bundle) -> list[str]:
    """The names that the arms of a bundle have in it."""
    return ["baseline", *(part.entrant_id for part in bundle.manifest.entrants)]


def answers_by_arm(bundle: Bundle) -> dict[str, tuple[Answer, ...]]:
    """The scored answers of every arm in the prompts' order; the baseline's under that name."""
    baseline = read_baseline(bundle.get(bundle.manifest.baseline_evidence))
    found = {"baseline": baseline.before}
    for part in bundle.manifest.entrants:
        found[part.entrant_id] = read_evidence(bundle.get(part.evidence_digest)).answers
    return found


def block_walls_us(answers: Sequence[Answer], prompts_per_block: int) -> list[int]:
    """How long each block took: from its begin to the last token of its last answer, in us."""
    blocks = [
        answers[at : at + prompts_per_block] for at in range(0, len(answers), prompts_per_block)
    ]
    return [max(one.sent_us + one.wall_us for one in block) for block in blocks]


def tokens_per_s(path: Path) -> float:
    """The median over blocks of what the baseline of a kept bundle made in a second."""
    bundle = kept(path)
    size = bundle.manifest.plan.policy.contest.prompts_per_block
    answers = answers_by_arm(bundle)["baseline"]
    walls = block_walls_us(answers, size)
    made = [
        sum(len(one.tokens) for one in answers[at * size : (at + 1) * size])
        for at in range(len(walls))
    ]
    if not walls:
        msg = f"the bundle {path.name} holds no answer of its baseline, so it tells no rate"
        raise StepError(msg)
    return median(count * _US / wall for count, wall in zip(made, walls, strict=True))
