"""The teacher forcing pass: every whole answer under the reference, the baseline's image.

Whatever goes wrong here is never an entrant's fault: the round is void (DOMAIN 4).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from evaluation.arms import Arm, stopped_at_the_end
from evaluation.client import Answer
from evaluation.forcing import ScoringError
from evaluation.judge import EntrantEvidence, ForcedAnswer, first_finding, gate_figures
from evaluation.measure import Questions, force_answers
from evaluation.void import RoundVoidError, void_by_fault
from ledger.codes import VoidCause
from ledger.gate_policy import GatePolicy

Forced = tuple[ForcedAnswer, ...]


def force_all(
    questions: Questions, reference: Arm, itself: EntrantEvidence, whole: Sequence[Arm]
) -> dict[str, Forced]:
    """The forced answers of every arm in ``whole``, by entrant id.

    The baseline must pass its own gates first (``itself`` is the evidence on it, not yet forced):
    a reference that refuses it can judge nobody. Raises :class:`~evaluation.void.RoundVoidError`
    where the reference fails.
    """
    found: dict[str, Forced] = {}
    with stopped_at_the_end(reference):
        reference.start()
        if reference.fault is not None:
            raise void_by_fault("the reference", reference, VoidCause.SCORING_FAILED)
        try:
            _check(
                itself, _force(questions, reference, itself.answers), questions.plan.policy.gates
            )
            for done, arm in enumerate(whole):
                questions.on_progress("reference", arm.entrant_id, done, len(whole))
                if arm.entrant_id is not None:
                    found[arm.entrant_id] = _force(questions, reference, arm.answers)
        except ScoringError as error:
            reference.stop()
            raise RoundVoidError(
                VoidCause.SCORING_FAILED, str(error), reference.log_tail
            ) from error
        questions.on_progress("reference", None, len(whole), len(whole))
    return found


def _force(questions: Questions, reference: Arm, answers: Sequence[Answer]) -> Forced:
    return force_answers(questions, reference.base_url, answers)


def _check(itself: EntrantEvidence, forced: Forced, gates: GatePolicy) -> None:
    found = replace(itself, forced=forced)
    finding = first_finding(found, gate_figures(found, gates), gates)
    if finding is not None:
        msg = f"the baseline's own answers do not pass under the reference: {finding.detail}"
        raise ScoringError(msg)
