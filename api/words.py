"""The log's codes in words, for people who never read the rules."""

from __future__ import annotations

from typing import Final

from ledger.codes import (
    DepositionCause,
    DisqualificationCode,
    InfrastructureCause,
    RefusalCode,
    VoidCause,
)
from ledger.rules.weights import ShareReason

WORDS: Final[dict[str, str]] = {
    RefusalCode.MALFORMED_PAYLOAD: "the commit is not one JSON object with the four text fields",
    RefusalCode.PAYMENT_BLOCK_UNKNOWN: "the payment's block is not a finalized block before the "
    "commit",
    RefusalCode.PAYMENT_TX_NOT_IN_BLOCK: "the payment is not in the block that the commit names",
    RefusalCode.EXTRINSIC_FAILED: "the payment failed on chain",
    RefusalCode.NOT_BATCH_ALL: "the payment was not sent as one Utility.batch_all",
    RefusalCode.NO_TREASURY_TRANSFER: "the payment moved nothing to the treasury",
    RefusalCode.AMOUNT_TOO_SMALL: "less than the fee was paid",
    RefusalCode.WRONG_DESTINATION: "the payment went to another address",
    RefusalCode.TRANSFER_NOT_EXECUTED: "the transfer in the payment was not executed",
    RefusalCode.REMARK_MISSING: "the payment carries no remark that names the hotkey and digest",
    RefusalCode.REMARK_MISMATCH: "the payment's remark names another hotkey or digest",
    RefusalCode.AMBIGUOUS_REMARKS: "the payment carries more than one such remark",
    RefusalCode.SIGNER_NOT_OWNER: "the payment was not signed by the hotkey's coldkey",
    RefusalCode.COLDKEY_UNKNOWN: "the hotkey had no coldkey when the payment was made",
    RefusalCode.PAYMENT_ALREADY_USED: "the payment has paid for another submission",
    RefusalCode.COMMIT_EXTRINSIC_FAILED: "the commit itself failed on chain",
    RefusalCode.PAYMENT_EXPIRED: "the payment is older than policy allows",
    DisqualificationCode.EXITED_AT_START: "the server ended before it was ready",
    DisqualificationCode.NEVER_HEALTHY: "the server never became healthy in time",
    DisqualificationCode.WRONG_MODEL_NAME: "the server answers to another model name",
    DisqualificationCode.HTTP_ERROR: "the server answered with an HTTP error",
    DisqualificationCode.NO_STREAM: "the server did not stream its answer",
    DisqualificationCode.STREAM_BROKEN: "the stream ended before it was complete",
    DisqualificationCode.PROMPT_TIMEOUT: "a prompt was not answered in time",
    DisqualificationCode.LOGPROBS_MISSING: "the answer carries no log-probabilities",
    DisqualificationCode.TRUNCATED: "the answers were cut short",
    DisqualificationCode.OVERLONG: "the answers were longer than asked",
    DisqualificationCode.OTHER_WEIGHTS: "the output is another model's",
    DisqualificationCode.SAMPLER_CHANGED: "the tokens were not chosen as asked",
    DisqualificationCode.FLUSHED: "the tokens arrived at once, not as they were made",
    DisqualificationCode.REPLAYED: "repeated prompts were answered from memory",
    DisqualificationCode.QUANTISED: "the weights or the KV cache are coarser than the track allows",
    DisqualificationCode.SPECULATIVE: "tokens came in bursts, and the track allows no speculation",
    DisqualificationCode.LOGPROBS_FORGED: "the log-probabilities are not those of the answer",
    DisqualificationCode.OUT_OF_MEMORY: "the server used more memory than it may",
    DisqualificationCode.IMAGE_TOO_LARGE: "the image is larger than the track allows",
    DisqualificationCode.IMAGE_NAME_INVALID: "the commit's image is no name that can be pulled",
    DisqualificationCode.BUDGET_SPENT: "the server used up its GPU minutes before it was done",
    DisqualificationCode.FLOODED: "the server sent so much for a token that the client fell behind",
    DisqualificationCode.COPY: "the content is an earlier commit of another hotkey",
    VoidCause.BASELINE_FAILED: "the baseline failed, so the round counts for nobody",
    VoidCause.SCORING_FAILED: "the scoring failed, so the round counts for nobody",
    VoidCause.INTERRUPTED: "the round was interrupted",
    VoidCause.EVALUATION_PAUSED: "evaluation was paused while the round ran",
    VoidCause.CLIENT_SATURATED: "the measuring client was too busy to be trusted",
    VoidCause.STOPPED: "the operator ended the round",
    VoidCause.DRIFTED: "the machine changed its speed while the round ran",
    InfrastructureCause.PULL_FAILED: "the image could not be pulled (not the miner's fault)",
    InfrastructureCause.HOST_FAILED: "the machine failed (not the miner's fault)",
    InfrastructureCause.COVERAGE_TOO_LOW: "too little could be scored (not the miner's fault)",
    InfrastructureCause.KING_NOT_MEASURED: (
        "the king could not be measured, so nobody was compared with it"
    ),
    DepositionCause.NOT_MEASURED: "it could not be measured as often as the policy allows",
    DepositionCause.OVERTAKEN: "overtaken by a faster server",
    DepositionCause.DEREGISTERED: "its hotkey was deregistered",
    DepositionCause.DISQUALIFIED: "its own server failed in a round",
    ShareReason.KING: "king",
    ShareReason.RUNNER_UP: "runner-up",
    ShareReason.SUCCESSOR: "runner-up, in the place of a king that left",
    ShareReason.BURN: "burned: what the pool leaves",
    ShareReason.NO_KING: "burned: nobody is king",
    ShareReason.KING_DEPARTED: "burned: the king left and nobody follows",
    ShareReason.EMISSION_PAUSED: "burned: emission is paused",
    "on_chain_not_in_books": "on chain, not in the books",
    "in_books_not_on_chain": "in the books, not on chain",
    "amount_differs": "books and chain name different amounts",
    "king_takes_all": "the king takes everything",
    "score_pool": "the pool follows the king's score",
    "block_ramp": "the pool follows the block number",
}

GPU_STRANGERS_REMEDY: Final = (
    "this voids nothing by itself (the baseline's drift does where it shows), but end what should "
    "not run there before the next contest"
)
"""What to do about processes on a contest's GPUs that are none of its servers."""


def in_words(code: str | None) -> str:
    """A code as people say it; one without words of its own loses its underscores."""
    if code is None:
        return ""
    return WORDS.get(code, code.replace("_", " "))
