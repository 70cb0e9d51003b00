"""What a reference server does, as data: the content of an image's ``server.json``.

``{"engine": "<kind>", ...parameters}``. Three kinds are honest, the others cheat or fail in one of
the ways that DOMAIN 4 lists. Shares are in ppm, times in milliseconds, lengths in tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

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


class Recompute(_Kind, frozen=True, kw_only=True, tag="recompute"):
    """The baseline: computes the whole prefix again for every token."""


class KvCached(_Kind, frozen=True, kw_only=True, tag="kv_cache"):
    """Honest: one prefill of the prompt, then one token at a time over cached keys and values."""


class PrefixCached(_Kind, frozen=True, kw_only=True, tag="prefix_cache"):
    """Honest: as ``kv_cache``, and keeps the keys and values of what different prompts share."""


class OtherWeights(_Kind, frozen=True, kw_only=True, tag="other_weights"):
    """Cheat: serves a model of the same sizes drawn from another seed."""

    seed: NonNegative = 4_711


class Truncated(_Kind, frozen=True, kw_only=True, tag="truncated"):
    """Cheat: stops after a part of ``max_tokens`` and claims the end of the sequence."""

    kept_ppm: KeptPpm = 500_000


class RepeatPenalty(_Kind, frozen=True, kw_only=True, tag="repeat_penalty"):
    """Cheat: the right model under another sampler, which shuns the tokens it has written."""

    penalty_ppm: PenaltyPpm = 1_300_000


class Flush(_Kind, frozen=True, kw_only=True, tag="flush"):
    """Cheat: computes as ``prefix_cache``, waits, then sends the whole answer in one write."""

    wait_ms: NonNegative = 5


class Replay(_Kind, frozen=True, kw_only=True, tag="replay"):
    """Cheat: as ``prefix_cache``, but answers a prompt it has seen from a store of answers."""

    stored_answers: Positive = 256


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
    | OtherWeights
    | Truncated
    | RepeatPenalty
    | Flush
    | Replay
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
    OtherWeights,
    Truncated,
    RepeatPenalty,
    Flush,
    Replay,
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
