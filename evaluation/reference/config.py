"""What a reference server does, as data: the content of an image's ``server.json``.

``{"engine": "<kind>", ...parameters}``. The first kinds are honest, the others cheat or fail in
one of the ways that DOMAIN 4 lists. Shares are in ppm, times in milliseconds, lengths in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

NonNegative = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
KeptPpm = Annotated[int, Meta(ge=1, le=999_999)]
PenaltyPpm = Annotated[int, Meta(ge=1_000_001, le=10_000_000)]


class ConfigError(ValueError):
    """A ``server.json`` that names no known engine or carries parameters that do not fit."""


class _Kind(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="engine", forbid_unknown_fields=True
):
    """A kind of server; the tag is its name in ``server.json``."""


class Paced(_Kind, frozen=True, kw_only=True, omit_defaults=True):
    """A kind whose tokens can be given the time between them that a bigger model's have."""

    token_us: NonNegative = 0
    """Waits so long before each token that it computes. At 0 a whole answer may be written within
    the moment that a busy machine keeps its reader waiting, and looks as if it were held back."""


class Recompute(_Kind, frozen=True, kw_only=True, tag="recompute"):
    """The baseline: computes the whole prefix again for every token."""


class KvCached(Paced, frozen=True, kw_only=True, tag="kv_cache"):
    """Honest: one prefill of the prompt, then one token at a time over cached keys and values."""


class PrefixCached(Paced, frozen=True, kw_only=True, tag="prefix_cache"):
    """Honest: as ``kv_cache``, and keeps the keys and values of what different prompts share."""


class Rounded(_Kind, frozen=True, kw_only=True, tag="rounded"):
    """Honest: as ``kv_cache`` in other arithmetic, bfloat16 throughout unless told otherwise."""

    arithmetic: Literal["bfloat16", "float64", "reordered"] = "bfloat16"
    """``reordered`` is float32 with its sums in another order."""


class Batched(_Kind, frozen=True, kw_only=True, tag="batched"):
    """Honest: computes up to ``slots`` answers together, always as many rows at once."""

    slots: Annotated[int, Meta(ge=1, le=256)] = 4


class Speculative(_Kind, frozen=True, kw_only=True, tag="speculative"):
    """Honest where allowed: drafts tokens cheaply, emits those the model itself chooses."""

    draft: Literal["ngram", "quantised"] = "ngram"
    draft_tokens: Annotated[int, Meta(ge=1, le=64)] = 4


class OtherWeights(_Kind, frozen=True, kw_only=True, tag="other_weights"):
    """Cheat: serves a model of the same sizes drawn from another seed."""

    seed: NonNegative = 4_711


class Truncated(_Kind, frozen=True, kw_only=True, tag="truncated"):
    """Cheat: stops after a part of ``max_tokens`` and says that the model or the limit did."""

    kept_ppm: KeptPpm = 500_000
    claims: Literal["stop", "length"] = "stop"


class RepeatPenalty(_Kind, frozen=True, kw_only=True, tag="repeat_penalty"):
    """Cheat: the right model under another sampler, which shuns the tokens it has written."""

    penalty_ppm: PenaltyPpm = 1_300_000


class Flush(_Kind, frozen=True, kw_only=True, tag="flush"):
    """Cheat: computes as ``prefix_cache``, waits, then sends the whole answer in one write."""

    wait_ms: NonNegative = 5
    first_early: bool = False
    """Sends the first token when it is known, and only the others in one write."""
    padded: bool = False
    """Sends a chunk without text for every token while it computes."""


class Bursts(_Kind, frozen=True, kw_only=True, tag="bursts"):
    """Cheat where speculation is not allowed: sends ``tokens`` at a time."""

    tokens: Positive = 5


class Replay(Paced, frozen=True, kw_only=True, tag="replay"):
    """Cheat: answers a prompt it has seen from a store of answers, others as ``over`` does."""

    over: Literal["kv_cache", "recompute"] = "kv_cache"
    stored_answers: Positive = 256
    delay_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Takes this part of the time the answer took at first, to look as if it computed."""
    jitter_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Up to this part more, at random."""


class Garbage(_Kind, frozen=True, kw_only=True, tag="garbage"):
    """Cheat: writes printable characters at random, with no model at all."""

    token_us: NonNegative = 300


class TokenSpam(_Kind, frozen=True, kw_only=True, tag="token_spam"):
    """Cheat: more tokens a second than the model writes, the others being spam."""

    spam: Literal["junk", "whitespace", "overlong", "split"] = "junk"
    """``junk`` and ``whitespace`` after every token of the model; ``overlong`` goes on after the
    limit; ``split`` names every token's logprob twice, as if it were two."""


class QuantisedWeights(_Kind, frozen=True, kw_only=True, tag="quantised_weights"):
    """Cheat where not allowed: as ``kv_cache`` over weights of lower precision."""

    precision: Literal["int8", "int8_tensor", "fp8", "int4"] = "int8"


class QuantisedKv(_Kind, frozen=True, kw_only=True, tag="quantised_kv"):
    """Cheat where not allowed: keeps keys and values in lower precision."""

    precision: Literal["fp8", "int4"] = "fp8"


class SmallerModel(_Kind, frozen=True, kw_only=True, tag="smaller_model"):
    """Cheat: computes the first ``layers`` layers of the model only."""

    layers: Positive = 1


class Sampled(_Kind, frozen=True, kw_only=True, tag="sampled"):
    """Cheat: the right model, its tokens drawn at a temperature instead of its best ones."""

    temperature_milli: Positive = 700
    seed: NonNegative = 1


class ForgedLogprobs(_Kind, frozen=True, kw_only=True, tag="forged_logprobs"):
    """Cheat: the right tokens, with logprobs that are made up."""

    claim: Literal["certain", "random"] = "certain"


class ForgedIds(_Kind, frozen=True, kw_only=True, tag="forged_ids"):
    """Cheat: names the model's ids beside a text that is not theirs."""


class Egress(_Kind, frozen=True, kw_only=True, tag="egress"):
    """Cheat: asks a bigger machine outside and passes its answer on; 502 where it is not reached.

    The default is an address for documentation, which nobody has.
    """

    upstream: str = "http://192.0.2.1:8000"
    timeout_ms: Positive = 1_000


class Turncoat(_Kind, frozen=True, kw_only=True, tag="turncoat"):
    """Cheat: honest for its first answers, a smaller model afterwards."""

    honest_answers: NonNegative = 2
    layers: Positive = 1


class Recognises(_Kind, frozen=True, kw_only=True, tag="recognises"):
    """Cheat: honest to everybody, but a smaller model answers what looks like a contest's."""

    marks: str = "Continue this text at length."
    layers: Positive = 1


class DiesAtStart(_Kind, frozen=True, kw_only=True, tag="dies_at_start"):
    """Fault: exits before it listens, with its reason on stderr."""

    message: str = (
        "error: argument --kv-cache-dtype: invalid choice: 'fp8' "
        "(choose from 'auto', 'fp8_e4m3', 'fp8_e5m2')"
    )
    exit_code: Annotated[int, Meta(ge=1, le=125)] = 2


class NeverHealthy(_Kind, frozen=True, kw_only=True, tag="never_healthy"):
    """Fault: listens, and answers every request with 503 for ever."""


class BreaksStream(_Kind, frozen=True, kw_only=True, tag="breaks_stream"):
    """Fault: closes the connection half-way, in every answer after ``whole_answers`` streams."""

    whole_answers: NonNegative = 2


class NoLogprobs(_Kind, frozen=True, kw_only=True, tag="no_logprobs"):
    """Fault: leaves out the logprobs it was asked for."""


class WrongModelName(_Kind, frozen=True, kw_only=True, tag="wrong_model_name"):
    """Fault: serves the right model under a name of its own and answers 404 to any other."""

    served_as: str = "/models"


class Hangs(_Kind, frozen=True, kw_only=True, tag="hangs"):
    """Fault: is healthy, accepts chat requests and never answers one."""


ServerConfig = (
    Recompute
    | KvCached
    | PrefixCached
    | Rounded
    | Batched
    | Speculative
    | OtherWeights
    | Truncated
    | RepeatPenalty
    | Flush
    | Bursts
    | Replay
    | Garbage
    | TokenSpam
    | QuantisedWeights
    | QuantisedKv
    | SmallerModel
    | Sampled
    | ForgedLogprobs
    | ForgedIds
    | Egress
    | Turncoat
    | Recognises
    | DiesAtStart
    | NeverHealthy
    | BreaksStream
    | NoLogprobs
    | WrongModelName
    | Hangs
)

_KINDS: Final[tuple[type[ServerConfig], ...]] = (
    Recompute,
    KvCached,
    PrefixCached,
    Rounded,
    Batched,
    Speculative,
    OtherWeights,
    Truncated,
    RepeatPenalty,
    Flush,
    Bursts,
    Replay,
    Garbage,
    TokenSpam,
    QuantisedWeights,
    QuantisedKv,
    SmallerModel,
    Sampled,
    ForgedLogprobs,
    ForgedIds,
    Egress,
    Turncoat,
    Recognises,
    DiesAtStart,
    NeverHealthy,
    BreaksStream,
    NoLogprobs,
    WrongModelName,
    Hangs,
)

KINDS: Final[Mapping[str, type[ServerConfig]]] = MappingProxyType(
    {str(kind.__struct_config__.tag): kind for kind in _KINDS}
)
"""Every kind by its name in ``server.json``."""


def parse_config(data: bytes) -> ServerConfig:
    """Read ``server.json``; :class:`ConfigError` says in one sentence what does not fit."""
    try:
        config: ServerConfig = msgspec.json.decode(data, type=ServerConfig)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        msg = f"the server configuration does not fit: {error}"
        raise ConfigError(msg) from error
    return config


def load_config(path: Path) -> ServerConfig:
    """:func:`parse_config` on a file; one that cannot be read is a :class:`ConfigError` too."""
    try:
        data = path.read_bytes()
    except OSError as error:
        msg = f"the server configuration {path} cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    return parse_config(data)
