"""What a server's output must be to count as correct, as policy (ARCHITECTURE, "Correct")."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledger.policy_numbers import MAX_INTEGER, NonNegative, Positive, Ppm
from ledger.units import PPM

Factor = Annotated[int, Meta(ge=1, le=100)]
Technique = Literal["speculative_decoding", "quantised_weights", "quantised_kv_cache"]
"""Ways to be faster that one track may allow and another forbid."""


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a server's output must be to count as correct (ARCHITECTURE, "Correct").

    Margins are teacher-forced under the reference, in thousandths of a logit (``milli``): how far
    each emitted token lies below the reference's best one.
    """

    min_length_ppm: Ppm = 900_000
    """Fewer tokens than max(2, ceil(this x baseline's)) is `truncated` (DOMAIN 4, v2)."""
    max_length_ppm: Annotated[int, Meta(ge=PPM, le=MAX_INTEGER)] = 1_100_000
    """More tokens than this x baseline's is `overlong`."""
    max_recut_ppm: Ppm = 20_000
    """Text that is cut into tokens anew may have fewer of them: an answer that ends by `length`,
    and names no token ids, may have this part fewer than the baseline's (else `truncated`)."""
    min_top1_ppm: Ppm = 970_000
    """The part of emitted tokens that must be the reference's first choice."""
    max_mean_margin_milli: NonNegative = 30
    """Mean over tokens of min(margin, clip)."""
    margin_clip_milli: Positive = 2_000
    max_p99_margin_milli: NonNegative = 500
    max_repeat_gain_ppm: Ppm = 100_000
    """A repeated prompt may be at most this much faster than fresh ones (else `replayed`)."""
    min_stream_spread_ppm: Ppm = 50_000
    """The smallest part of a response's wall time over which its tokens arrive (else `flushed`)."""
    min_model_top1_ppm: Ppm = 500_000
    """Below this top-1 rate the output is another model's (`other_weights`); between this and
    ``min_top1_ppm`` the model is right and its choice is not (`sampler_changed`)."""
    min_coverage_ppm: Ppm = 500_000
    """The part of emitted tokens the reference must have scored, else the fault is ours."""
    allowed: tuple[Technique, ...] = ("speculative_decoding",)
    """What a server may do to be faster; everything else of :data:`Technique` disqualifies it."""
    require_logprobs: bool = True
    """Whether an answer without the logprobs it was asked for is disqualified (DOMAIN 4)."""
    max_logprob_delta_milli: NonNegative = 50
    """Mean distance of a server's own logprobs from the reference's (else `quantised`). Measured on
    vLLM: bf16 17 to 28, an fp8 KV cache 86, fp8 weights 176."""
    quantised_kv_factor: Factor = 2
    """Where a quantised KV cache is allowed, noise may be this many times as large: the three
    limits on margins and the one on logprobs."""
    quantised_weights_factor: Factor = 4
    """The same where quantised weights are allowed."""
    min_claims_fit_ppm: Ppm = 500_000
    """Logprobs beyond the limit that follow less of how the reference's vary, while the tokens are
    right, are no lack of precision (`logprobs_forged`)."""
    min_claims_ppm: Ppm = 900_000
    """The part of its tokens that a server must give a logprob for, of the part the baseline does
    (else `logprobs_missing`, where ``require_logprobs``)."""
    burst_gap_us: NonNegative = 100
    """Tokens that arrive within this of the one before came together with it."""
    max_burst_ppm: Ppm = 800_000
    """The largest part of an answer that may come together (else `flushed`)."""
    max_burst_tokens_milli: Annotated[int, Meta(ge=1_000, le=MAX_INTEGER)] = 1_500
    """How many tokens may come together in the mean, in thousandths, where speculative decoding is
    not allowed (else `speculative`)."""


ADDED_LATER: Final[dict[type[msgspec.Struct], frozenset[str]]] = {
    GatePolicy: frozenset(
        {
            "max_recut_ppm",
            "allowed",
            "require_logprobs",
            "max_logprob_delta_milli",
            "quantised_kv_factor",
            "quantised_weights_factor",
            "min_claims_fit_ppm",
            "min_claims_ppm",
            "burst_gap_us",
            "max_burst_ppm",
            "max_burst_tokens_milli",
        }
    ),
}
"""Fields that gates had not when the first policies were recorded."""
