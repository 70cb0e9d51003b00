"""The teacher forcing pass: every whole answer under the reference, the baseline's image.

Whatever goes wrong here is never an entrant's fault: the round is void (DOMAIN 4), or that entrant
has no verdict where the others have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from evaluation.arms import Arm
from evaluation.client import Answer
from evaluation.forcing import ScoringError
from evaluation.judge import EntrantEvidence, Fault, ForcedAnswer, first_finding, gate_figures
from evaluation.measure import Questions, force_answers
from evaluation.stopping import stopped_at_the_end
from evaluation.void import RoundVoidError, void_by_fault
from ledger.codes import DisqualificationCode, InfrastructureCause, VoidCause
from ledger.gate_policy import GatePolicy

Forced = tuple[ForcedAnswer, ...]

_LENGTH: Final = frozenset({DisqualificationCode.TRUNCATED, DisqualificationCode.OVERLONG})
_OF_TOKENS: Final = frozenset(
    {
        DisqualificationCode.OTHER_WEIGHTS,
        DisqualificationCode.QUANTISED,
        DisqualificationCode.SAMPLER_CHANGED,
    }
)
"""What a text that is cut into other tokens than the model made looks like."""


def force_all(
    questions: Questions,
    reference: Arm,
    itself: EntrantEvidence,
    whole: Sequence[tuple[Arm, EntrantEvidence]],
) -> dict[str, Forced]:
    """The forced answers of every arm in ``whole``, which come with their evidence so far, by
    entrant id.

    The baseline must pass its own gates first (``itself`` is the evidence on it, not yet forced):
    a reference that refuses it can judge nobody. Answers of a length that no verdict but one
    follows from are not forced: they may be longer than the reference can read. Where it cannot
    score an entrant's answers and still scores the baseline's, that entrant alone has no verdict.
    Raises :class:`~evaluation.void.RoundVoidError` where the reference fails.
    """
    gates = questions.plan.policy.gates
    found: dict[str, Forced] = {}
    with stopped_at_the_end(reference):
        reference.start()
        if reference.fault is not None:
            raise void_by_fault("the reference", reference, VoidCause.SCORING_FAILED)
        try:
            _check(questions, itself, _force(questions, reference, itself.answers))
            for done, (arm, evidence) in enumerate(whole):
                questions.on_progress("reference", arm.entrant_id, done, len(whole))
                unforced = refused_by_length(evidence, gates)
                forced = unforced or _force_entrant(questions, reference, itself, arm)
                found[evidence.entrant_id] = forced
        except ScoringError as error:
            reference.stop()
            raise RoundVoidError(
                VoidCause.SCORING_FAILED, str(error), reference.log_tail
            ) from error
        questions.on_progress("reference", None, len(whole), len(whole))
    return found


def refused_by_length(evidence: EntrantEvidence, gates: GatePolicy) -> Forced:
    """What stands for forced answers where their lengths alone decide; nothing where they do not.

    It says of no token what the reference thinks.
    """
    silent = tuple(
        ForcedAnswer(tokens=(None,) * len(answer.tokens), end=None) for answer in evidence.answers
    )
    found = replace(evidence, forced=silent)
    finding = first_finding(found, gate_figures(found, gates), gates)
    return silent if finding is not None and finding.code in _LENGTH else ()


def _force_entrant(
    questions: Questions, reference: Arm, itself: EntrantEvidence, arm: Arm
) -> Forced:
    try:
        return _force(questions, reference, arm.answers)
    except ScoringError as error:
        _force(questions, reference, itself.answers[:1])  # raises where nobody can be scored
        detail = f"the reference scores the baseline's answers and not this server's: {error}"
        arm.blame(Fault(infrastructure=InfrastructureCause.COVERAGE_TOO_LOW, detail=detail))
        return ()


def _force(questions: Questions, reference: Arm, answers: Sequence[Answer]) -> Forced:
    return force_answers(questions, reference.base_url, answers)


def _check(questions: Questions, itself: EntrantEvidence, forced: Forced) -> None:
    policy = questions.plan.policy
    found = replace(itself, forced=forced)
    finding = first_finding(found, gate_figures(found, policy.gates), policy.gates)
    if finding is None:
        return
    msg = f"the baseline's own answers do not pass under the reference: {finding.detail}"
    if finding.code in _OF_TOKENS and not policy.contest.ask_token_ids:
        msg += (
            "; answers are judged by the tokens that their text is cut into, since ask_token_ids "
            "is off, and those may not be the tokens that this model made"
        )
    raise ScoringError(msg)
