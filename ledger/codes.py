"""The words of a verdict: why a commit was refused, a server disqualified, a round void.

Codes are part of the log for ever; a code is never renamed, only added to.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class RefusalCode(StrEnum):
    """Why a commit was refused (DOMAIN 2), in the order R1 to R10 of its rules."""

    MALFORMED_PAYLOAD = "malformed_payload"
    PAYMENT_BLOCK_UNKNOWN = "payment_block_unknown"
    PAYMENT_TX_NOT_IN_BLOCK = "payment_tx_not_in_block"
    EXTRINSIC_FAILED = "extrinsic_failed"
    NOT_BATCH_ALL = "not_batch_all"
    NO_TREASURY_TRANSFER = "no_treasury_transfer"
    AMOUNT_TOO_SMALL = "amount_too_small"
    WRONG_DESTINATION = "wrong_destination"
    TRANSFER_NOT_EXECUTED = "transfer_not_executed"
    REMARK_MISSING = "remark_missing"
    REMARK_MISMATCH = "remark_mismatch"
    AMBIGUOUS_REMARKS = "ambiguous_remarks"
    SIGNER_NOT_OWNER = "signer_not_owner"
    COLDKEY_UNKNOWN = "coldkey_unknown"
    PAYMENT_ALREADY_USED = "payment_already_used"
    COMMIT_EXTRINSIC_FAILED = "commit_extrinsic_failed"
    PAYMENT_EXPIRED = "payment_expired"


RULE_OF: Final[dict[RefusalCode, str]] = {
    RefusalCode.MALFORMED_PAYLOAD: "R1",
    RefusalCode.PAYMENT_BLOCK_UNKNOWN: "R2",
    RefusalCode.PAYMENT_TX_NOT_IN_BLOCK: "R3",
    RefusalCode.EXTRINSIC_FAILED: "R4",
    RefusalCode.NOT_BATCH_ALL: "R4",
    RefusalCode.NO_TREASURY_TRANSFER: "R5",
    RefusalCode.AMOUNT_TOO_SMALL: "R5",
    RefusalCode.WRONG_DESTINATION: "R5",
    RefusalCode.TRANSFER_NOT_EXECUTED: "R5",
    RefusalCode.REMARK_MISSING: "R6",
    RefusalCode.REMARK_MISMATCH: "R6",
    RefusalCode.AMBIGUOUS_REMARKS: "R6",
    RefusalCode.SIGNER_NOT_OWNER: "R7",
    RefusalCode.COLDKEY_UNKNOWN: "R7",
    RefusalCode.PAYMENT_ALREADY_USED: "R8",
    RefusalCode.COMMIT_EXTRINSIC_FAILED: "R9",
    RefusalCode.PAYMENT_EXPIRED: "R10",
}


class DisqualificationCode(StrEnum):
    """What the miner's own server did (DOMAIN 4). It scores zero however fast it is."""

    EXITED_AT_START = "exited_at_start"
    NEVER_HEALTHY = "never_healthy"
    WRONG_MODEL_NAME = "wrong_model_name"
    HTTP_ERROR = "http_error"
    NO_STREAM = "no_stream"
    STREAM_BROKEN = "stream_broken"
    PROMPT_TIMEOUT = "prompt_timeout"
    LOGPROBS_MISSING = "logprobs_missing"
    TRUNCATED = "truncated"
    OVERLONG = "overlong"
    OTHER_WEIGHTS = "other_weights"
    SAMPLER_CHANGED = "sampler_changed"
    FLUSHED = "flushed"
    REPLAYED = "replayed"
    QUANTISED = "quantised"
    SPECULATIVE = "speculative"
    LOGPROBS_FORGED = "logprobs_forged"
    OUT_OF_MEMORY = "out_of_memory"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_NAME_INVALID = "image_name_invalid"
    BUDGET_SPENT = "budget_spent"
    COPY = "copy"
    FLOODED = "flooded"


class VoidCause(StrEnum):
    """Why a round counts for nobody (DOMAIN 4, Failures)."""

    BASELINE_FAILED = "baseline_failed"
    SCORING_FAILED = "scoring_failed"
    INTERRUPTED = "interrupted"
    EVALUATION_PAUSED = "evaluation_paused"
    HOST_FAILED = "host_failed"
    CLIENT_SATURATED = "client_saturated"
    DRIFTED = "drifted"
    STOPPED = "stopped"


class InfrastructureCause(StrEnum):
    """Faults that are nobody's own: retried, then credited (DOMAIN 4, Failures)."""

    PULL_FAILED = "pull_failed"
    HOST_FAILED = "host_failed"
    COVERAGE_TOO_LOW = "coverage_too_low"
    KING_NOT_MEASURED = "king_not_measured"
    CLIENT_SATURATED = "client_saturated"


class DepositionCause(StrEnum):
    """Why a reign ended other than by a faster server."""

    OVERTAKEN = "overtaken"
    COPY = "copy"
    DEREGISTERED = "deregistered"
    DISQUALIFIED = "disqualified"
    NOT_MEASURED = "not_measured"
