"""Whether a round's evidence can be stored at all, settled before any server runs."""

from __future__ import annotations

from typing import Final

from evaluation.evidence import MAX_EVIDENCE_BYTES
from evaluation.plan import ContestPlan, PlanError
from ledger.policy import TrackPolicy
from ledger.units import PPM

SPARE_TOKENS: Final = 16
"""An answer that is that much too long is too long for any verdict but one."""
BASELINE_TOKEN_BYTES: Final = 24
"""A baseline's token in an entrant's evidence: its id, its arrival, its logprob."""
OWN_TOKEN_BYTES: Final = 52
"""An entrant's token: the same with the longest logprob it can claim, and the reference's three
numbers on it."""


def kept_tokens(policy: TrackPolicy) -> int:
    """How many tokens of an answer are kept: what the length gate may let pass, and some more, so
    that it sees what it must refuse. Never more than twice what was asked for, and some."""
    asked = policy.contest.output_tokens
    return min(2 * asked, asked * policy.gates.max_length_ppm // PPM) + SPARE_TOKENS


def check_evidence_fits(plan: ContestPlan) -> None:
    """Raise :class:`~evaluation.plan.PlanError` where an entrant that answers as long as it can
    would make evidence too large to store: it could void every round by that."""
    contest = plan.policy.contest
    a_prompt = (
        contest.output_tokens * BASELINE_TOKEN_BYTES + kept_tokens(plan.policy) * OWN_TOKEN_BYTES
    )
    if contest.prompts * a_prompt > MAX_EVIDENCE_BYTES:
        most = MAX_EVIDENCE_BYTES // a_prompt
        msg = (
            f"contest {plan.contest_id} asks {contest.prompts} prompts of {contest.output_tokens} "
            f"tokens, whose evidence could be larger than {MAX_EVIDENCE_BYTES} bytes; ask at most "
            f"{most} prompts of that length"
        )
        raise PlanError(msg)
