"""The cheats of DOMAIN 4 and ARCHITECTURE and the honest servers beside them, as configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from evaluation.reference import config as kinds
from ledger.codes import DisqualificationCode as Code
from ledger.contest_policy import ContestPolicy

CONTEST: Final = ContestPolicy(
    prompts=10,
    warmup_prompts=1,
    repeated_prompts=2,
    context_tokens=96,
    output_tokens=40,
    prompt_timeout_s=30,
)
"""What every server is asked: small enough for a thousand runs, long enough for its figures."""


@dataclass(frozen=True, slots=True)
class Cheat:
    """A server that must not pass, and the code that says why."""

    name: str
    config: kinds.ServerConfig
    code: Code
    speculation_allowed: bool = True
    repeats: bool = False
    """Whether repeats are asked: of the others every gate that catches them comes earlier."""


@dataclass(frozen=True, slots=True)
class Honest:
    """A server that must pass; ``streams`` is how many prompts it is asked at once."""

    name: str
    config: kinds.ServerConfig
    streams: int = 1

    @property
    def in_bursts(self) -> bool:
        """Whether it may send several tokens at once, as only speculation does."""
        return isinstance(self.config, kinds.Speculative)


CHEATS: Final = (
    Cheat("prompts recognised", kinds.Recognises(), Code.OTHER_WEIGHTS),
    Cheat("repeats recognised", kinds.Replay(), Code.REPLAYED, repeats=True),
    Cheat(
        "repeats recognised, delayed",
        kinds.Replay(over="recompute", delay_ppm=200_000),
        Code.REPLAYED,
        repeats=True,
    ),
    Cheat(
        "repeats recognised, jittered",
        kinds.Replay(over="recompute", delay_ppm=100_000, jitter_ppm=200_000),
        Code.REPLAYED,
        repeats=True,
    ),
    Cheat("honest in warm-up only", kinds.Turncoat(honest_answers=1), Code.OTHER_WEIGHTS),
    Cheat("garbage fast", kinds.Garbage(), Code.OTHER_WEIGHTS),
    Cheat("flushed at once", kinds.Flush(), Code.FLUSHED),
    Cheat("generated slowly, flushed", kinds.Flush(wait_ms=60), Code.FLUSHED),
    Cheat("first token early, rest flushed", kinds.Flush(first_early=True), Code.FLUSHED),
    Cheat("padding chunks, then flushed", kinds.Flush(padded=True), Code.FLUSHED),
    Cheat(
        "bursts, no speculation allowed",
        kinds.Bursts(tokens=8),
        Code.SPECULATIVE,
        speculation_allowed=False,
    ),
    Cheat(
        "speculation where not allowed",
        kinds.Speculative(draft="quantised", draft_tokens=16),
        Code.SPECULATIVE,
        speculation_allowed=False,
    ),
    Cheat("spam: junk between tokens", kinds.TokenSpam(spam="junk"), Code.OTHER_WEIGHTS),
    Cheat("spam: white space", kinds.TokenSpam(spam="whitespace"), Code.OTHER_WEIGHTS),
    Cheat("spam: beyond the limit", kinds.TokenSpam(spam="overlong"), Code.OVERLONG),
    Cheat("spam: each token told twice", kinds.TokenSpam(spam="split"), Code.LOGPROBS_MISSING),
    Cheat("truncated by half", kinds.Truncated(), Code.TRUNCATED),
    Cheat("end claimed early", kinds.Truncated(kept_ppm=960_000), Code.TRUNCATED),
    Cheat(
        "limit claimed early",
        kinds.Truncated(kept_ppm=950_000, claims="length"),
        Code.TRUNCATED,
    ),
    Cheat("repeat penalty 1.1", kinds.RepeatPenalty(penalty_ppm=1_100_000), Code.SAMPLER_CHANGED),
    Cheat("repeat penalty 1.3", kinds.RepeatPenalty(), Code.SAMPLER_CHANGED),
    Cheat("temperature 0.7", kinds.Sampled(), Code.SAMPLER_CHANGED),
    Cheat("int8 weights", kinds.QuantisedWeights(precision="int8"), Code.QUANTISED),
    Cheat(
        "int8 weights, one scale", kinds.QuantisedWeights(precision="int8_tensor"), Code.QUANTISED
    ),
    Cheat("fp8 weights", kinds.QuantisedWeights(precision="fp8"), Code.QUANTISED),
    Cheat("int4 weights", kinds.QuantisedWeights(precision="int4"), Code.QUANTISED),
    Cheat("fp8 KV cache", kinds.QuantisedKv(precision="fp8"), Code.QUANTISED),
    Cheat("int4 KV cache", kinds.QuantisedKv(precision="int4"), Code.QUANTISED),
    Cheat("other weights", kinds.OtherWeights(), Code.OTHER_WEIGHTS),
    Cheat("smaller model", kinds.SmallerModel(), Code.OTHER_WEIGHTS),
    Cheat("logprobs: every token certain", kinds.ForgedLogprobs(), Code.LOGPROBS_FORGED),
    Cheat("logprobs: at random", kinds.ForgedLogprobs(claim="random"), Code.LOGPROBS_FORGED),
    Cheat("forged token ids", kinds.ForgedIds(), Code.OTHER_WEIGHTS),
    Cheat("asks a bigger machine", kinds.Egress(), Code.HTTP_ERROR),
)

HONEST: Final = (
    Honest("other engine: no cache", kinds.Recompute()),
    Honest("the baseline again", kinds.KvCached()),
    Honest("other engine: prefix cache", kinds.PrefixCached()),
    Honest("bfloat16", kinds.Rounded()),
    Honest("float64", kinds.Rounded(arithmetic="float64")),
    Honest("float32, other order of sums", kinds.Rounded(arithmetic="reordered")),
    Honest("batches of 4", kinds.Batched()),
    Honest("batches of 16", kinds.Batched(slots=16)),
    Honest("batches of 4, 4 streams", kinds.Batched(), streams=4),
    Honest("one at a time, 4 streams", kinds.KvCached(), streams=4),
    Honest("speculation by n-grams", kinds.Speculative()),
    Honest("speculation by a draft", kinds.Speculative(draft="quantised")),
)
