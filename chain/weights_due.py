"""Whether a vector is to be sent now, and why (DOMAIN 5).

Due at first, when the result changed, or ``stale_after_blocks`` after the last one, but not within
``rate_limit_blocks``; the burn vector of a pause is due at once. What is due is kept back while
ingest lags, the burn UID is not eligible, the validator is not registered or has no permit, and
until the chain's own rate limit allows it. What a recent gap of the log could change is kept back,
too. Nothing here sends or records anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from chain.port import WeightsTerms
from chain.weights_log import WeightsLog
from ledger.observations import WeightsSubmitted
from ledger.policy import WeightPolicy
from ledger.rules.weights import ShareReason, WeightVector

RETRY_BLOCKS: Final = 5
"""After a failure the next try waits so long, about a minute, and twice as long after each further
one. Sealed weights whose answer is open wait so long, too."""
MAX_RETRY_BLOCKS: Final = 320
"""The longest wait, about an hour."""
PAUSE_RETRY_BLOCKS: Final = 1
MAX_PAUSE_RETRY_BLOCKS: Final = 20
"""The same for the burn vector of a pause: a block, and four minutes at most."""


Run = tuple[int, int]
"""Blocks that the log lacks: the first and the last."""


@dataclass(frozen=True, slots=True)
class Due:
    """A vector that should be sent. ``again`` is its intent that was never answered."""

    reason: str
    again: WeightsSubmitted | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would happen to a vector now, and why.

    ``send`` says whether it would be sent. ``why`` is a sentence for people. ``alert`` is the kind
    of alert where something that needs a person keeps it back. ``terms`` are the chain's, None
    where they were not asked because nothing is due.
    """

    send: bool
    why: str
    alert: str | None = None
    due: Due | None = None
    terms: WeightsTerms | None = None


def is_pause(vector: WeightVector) -> bool:
    """Whether it is the burn vector of paused emission."""
    return all(share.reason is ShareReason.EMISSION_PAUSED for share in vector.explained)


def why_due(log: WeightsLog, vector: WeightVector, policy: WeightPolicy) -> Due | str:
    """Why it is due; where it is not, why not."""
    known, newest = log.intent_for(vector), log.newest()
    if known is not None and log.receipt_of(known) is not None:
        return f"the vector for block {vector.block} was sent before"
    again = known or _unanswered_twin(log, vector, newest)
    if again is not None:
        return _once_more(again, vector)
    failed = _failed_lately(log, vector, newest)
    return _compared(log, vector, policy) if failed is None else failed


def _compared(log: WeightsLog, vector: WeightVector, policy: WeightPolicy) -> Due | str:
    """With the newest vector that landed."""
    standing = log.standing()
    if standing is None:
        return Due("first vector")
    age = vector.block - standing.intent.for_block
    if standing.intent.digest == vector.digest:
        stale = age >= policy.stale_after_blocks
        return Due(f"{age} blocks old") if stale else f"the same was sent {age} blocks ago"
    if is_pause(vector):
        return Due("emission is paused")
    if age < max(1, policy.rate_limit_blocks):
        return (
            f"results changed, and the last vector is {age} blocks old, where the policy's rate "
            f"limit asks for {policy.rate_limit_blocks}"
        )
    return Due("results changed")


def _unanswered_twin(
    log: WeightsLog, vector: WeightVector, newest: WeightsSubmitted | None
) -> WeightsSubmitted | None:
    """The newest intent, if it is of the same weights and waits for its answer."""
    if newest is None or newest.digest != vector.digest or newest.nonce is None:
        return None
    return None if log.receipt_of(newest) is not None else newest


def _once_more(again: WeightsSubmitted, vector: WeightVector) -> Due | str:
    """An intent whose answer is open. Of sealed weights each intent has one extrinsic, or nobody
    could tell which vector landed: they are sent anew, as another intent that takes the nonce."""
    reason = "sent before and never answered"
    if again.sealed_hash is None:
        return Due(reason, again)
    age = vector.block - again.for_block
    if age >= RETRY_BLOCKS:
        return Due(reason)
    return f"sealed weights were sent {age} blocks ago and have no answer yet"


def _failed_lately(
    log: WeightsLog, vector: WeightVector, newest: WeightsSubmitted | None
) -> str | None:
    receipt = None if newest is None else log.receipt_of(newest)
    if receipt is None or receipt.success:
        return None
    age, wait = vector.block - receipt.for_block, _wait(log, vector)
    if age >= wait:
        return None
    return f"the last one failed {age} blocks ago, and {wait} are waited for ({receipt.error})"


def _wait(log: WeightsLog, vector: WeightVector) -> int:
    """How many blocks are let pass after the last failure."""
    if is_pause(vector):  # what failed before the pause does not let it wait
        shortest, longest, failed = (
            PAUSE_RETRY_BLOCKS,
            MAX_PAUSE_RETRY_BLOCKS,
            log.failures(vector.digest),
        )
    else:
        shortest, longest, failed = RETRY_BLOCKS, MAX_RETRY_BLOCKS, log.failures()
    return min(longest, shortest << max(0, failed - 1))


def outlook_of(
    due: Due,
    vector: WeightVector,
    policy: WeightPolicy,
    terms: WeightsTerms,
    *,
    burn_uid_eligible: bool | None,
    missing: Sequence[Run],
    who: str,
) -> Outlook:
    """What happens to a vector that is due, by what the chain asks of the validator ``who``."""
    held_back = _held_back(vector, policy, terms, burn_uid_eligible, who) or _gap(
        vector, policy, terms, missing
    )
    if held_back is not None:
        kind, detail = held_back
        return Outlook(False, f"weights not sent: {detail}", kind, due, terms)
    if terms.block.number + 1 < terms.allowed_from:
        detail = (
            f"the chain's rate limit of {terms.rate_limit_blocks} blocks lets the vector wait "
            f"until block {terms.allowed_from} ({due.reason})"
        )
        waits = "emission_pause_waits" if is_pause(vector) else None
        return Outlook(False, f"weights not sent: {detail}", waits, due, terms)
    return Outlook(True, due.reason, None, due, terms)


def _held_back(
    vector: WeightVector,
    policy: WeightPolicy,
    terms: WeightsTerms,
    burn_uid_eligible: bool | None,
    who: str,
) -> tuple[str, str] | None:
    """The kind of alert and a sentence, where something must be put right first.

    The sentence is the same in every block that it holds for, or each would raise an alert.
    """
    limit = policy.max_ingest_lag_blocks
    if terms.block.number - vector.block > limit:
        return "ingest_lag", (
            f"ingest stands at block {vector.block} and lags more than the {limit} blocks that are "
            "allowed"
        )
    if burn_uid_eligible is not True:
        what = "is not known to belong" if burn_uid_eligible is None else "does not belong"
        detail = f"burn UID {policy.burn_uid} {what} to the subnet's owner"
        return "burn_uid_not_eligible", detail
    if terms.uid is None:
        return "validator_not_registered", f"{who} is not registered on the subnet; register it"
    if not terms.permit and vector.uids != (terms.uid,):
        detail = f"{who} (UID {terms.uid}) has no validator permit; it needs more stake"
        return "validator_without_permit", detail
    return None


def _gap(
    vector: WeightVector, policy: WeightPolicy, terms: WeightsTerms, missing: Sequence[Run]
) -> tuple[str, str] | None:
    """As :func:`_held_back`, for the newest blocks that the log lacks.

    They may hold what changes the vector. A gap that is older than ingest may lag holds nothing
    back, or one that nobody can fill would stop weights for ever: who holds which UID was observed
    anew after it. A pause burns all, whatever the blocks hold.
    """
    if not missing or is_pause(vector):
        return None
    first, last = max(missing, key=lambda run: run[1])
    age, limit = terms.block.number - last, policy.max_ingest_lag_blocks
    if age > limit:
        return None
    return "gap_open", (
        f"the log lacks blocks {first} to {last}; fill them, or wait until block "
        f"{last + limit + 1}, when they are older than the {limit} blocks that ingest may lag"
    )
