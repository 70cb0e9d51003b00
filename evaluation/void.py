"""How a round is ended without effect, from wherever it is noticed."""

from __future__ import annotations

from evaluation.arms import Arm
from ledger.codes import InfrastructureCause, VoidCause


class RoundVoidError(Exception):
    """The round cannot go on; nobody's verdict follows from it."""

    def __init__(self, cause: VoidCause, detail: str, log_tail: str = "") -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.log_tail = log_tail


def void_by_fault(who: str, arm: Arm, otherwise: VoidCause) -> RoundVoidError:
    """The end of a round by the fault of an arm that it cannot do without.

    The cause is ``otherwise`` unless the machine itself failed.
    """
    fault = arm.fault
    if fault is None:
        msg = f"{who} has no fault"
        raise ValueError(msg)
    host = fault.infrastructure is InfrastructureCause.HOST_FAILED
    cause = VoidCause.HOST_FAILED if host else otherwise
    return RoundVoidError(cause, f"{who}: {fault.detail}", arm.log_tail)
