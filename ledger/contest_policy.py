"""How a contest is run on one track, as policy (DOMAIN 4; ARCHITECTURE, "Fair measuring")."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from ledger.policy_numbers import Ppm, Seconds

MAX_STREAMS: Final = 256
MAX_GPUS: Final = 64
MIN_INTERLEAVED_BLOCKS: Final = 2
"""The baseline's drift is the first half of its blocks against the second."""
Bytes = Annotated[int, Meta(ge=1, le=2**50)]


class Closed(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="closed",
    tag_field="arrival",
    forbid_unknown_fields=True,
):
    """Each stream asks its next prompt when its last one is answered."""


class Steady(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="steady",
    tag_field="arrival",
    forbid_unknown_fields=True,
):
    """Prompts arrive at even distances, answered or not, while a stream is free."""

    per_minute: Annotated[int, Meta(ge=1, le=1_000_000)]


class Poisson(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="poisson",
    tag_field="arrival",
    forbid_unknown_fields=True,
):
    """Prompts arrive at random as people's do; the times follow from the attempt's seed."""

    per_minute: Annotated[int, Meta(ge=1, le=1_000_000)]


ArrivalPolicy = Closed | Steady | Poisson


class GeneratedText(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="generated",
    tag_field="source",
    forbid_unknown_fields=True,
):
    """Words strung together from the seed: text that ships with the project."""


class JsonlFile(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="jsonl",
    tag_field="source",
    forbid_unknown_fields=True,
):
    """Lines ``{"prompt": "..."}`` of a file on the machine that runs the contest, by its digest."""

    digest: str
    """``sha256:<hex>`` of the whole file."""
    field: str = "prompt"


class HuggingFaceDataset(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="hugging_face",
    tag_field="source",
    forbid_unknown_fields=True,
):
    """Rows of a dataset at one revision, where the package ``datasets`` is installed."""

    dataset: str
    revision: str
    """A full commit hash of the dataset's repository: a branch would be another text tomorrow."""
    split: str = "train"
    field: str = "text"


PromptSource = GeneratedText | JsonlFile | HuggingFaceDataset


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one server may use of the machine (DOMAIN 4, container contract)."""

    image_bytes: Bytes = 20 * 10**9
    memory_bytes: Bytes = 200 * 10**9
    cpus: Annotated[int, Meta(ge=1, le=1_024)] = 32
    pids: Annotated[int, Meta(ge=16, le=4_194_304)] = 4_096
    shm_bytes: Bytes = 16 * 10**9
    tmp_bytes: Bytes = 4 * 10**9
    """Writable scratch space in memory; everything else of the file system is read-only."""
    log_bytes: Annotated[int, Meta(ge=4_096, le=2**30)] = 16 * 2**20
    gpus: Annotated[int, Meta(ge=0, le=MAX_GPUS)] = 0
    """How many GPUs a server gets; 0 on machines without."""


class ContestPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a contest is run on one track (DOMAIN 4). Times in seconds, lengths in tokens."""

    prompts: Annotated[int, Meta(ge=2, le=1_000)] = 10
    prompts_per_block: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """How many consecutive prompts form one block, the unit the interval rule resamples."""
    repeated_prompts: Annotated[int, Meta(ge=0, le=1_000)] = 2
    """How many of the scored prompts are asked again at the end, for the replay check; not more
    than there are."""
    warmup_prompts: Annotated[int, Meta(ge=0, le=100)] = 2
    context_tokens: Annotated[int, Meta(ge=8, le=131_072)] = 6_144
    output_tokens: Annotated[int, Meta(ge=2, le=8_192)] = 512
    startup_timeout_s: Seconds = 750
    prompt_timeout_s: Seconds = 120
    pull_timeout_s: Seconds = 300
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    """Attempts of one round that may be void before its entrants are credited."""
    order: Literal["baseline_once", "bracketed", "interleaved"] = "baseline_once"
    """``baseline_once``: the historic round. ``bracketed``: the baseline before and after all
    entrants, their mean counts. ``interleaved``: in every block each arm answers the same prompts,
    in an order drawn from the seed."""
    restart_each_block: bool = True
    """Interleaved only: every block starts each server anew, so that what differs between starts is
    in the interval. Otherwise servers stay loaded and are frozen while another one is asked."""
    start_together: bool = False
    """Interleaved only: the servers of a block (of the round, where they stay loaded) are launched
    at once, warmed up one at a time, and frozen but while they are asked, so that they cost the
    time of one start. All must fit the machine's memory and GPUs together. Starts that overlap are
    each counted in full: a server's machine time runs from its launch to its stop, less what it was
    frozen."""
    streams: Annotated[int, Meta(ge=1, le=MAX_STREAMS)] = 1
    """How many prompts a server answers at once; a block holds at least as many."""
    arrival: ArrivalPolicy = Closed()
    source: PromptSource = GeneratedText()
    budget_gpu_minutes: Annotated[int, Meta(ge=1, le=100_000)] = 60
    """What one challenger's own servers may use, starting included; minutes of the machine where it
    has no GPU."""
    max_drift_ppm: Ppm = 100_000
    """The round is void where the baseline's own time drifted by more than this."""
    max_client_lag_us: Annotated[int, Meta(ge=100, le=10_000_000)] = 50_000
    """The round is void where the client itself was late by more than this (99th percentile)."""
    limits: ServerLimits = ServerLimits()
    ask_token_ids: bool = False
    """Whether requests carry ``return_token_ids``, which vLLM answers with the ids that it chose: a
    text can be cut into tokens in several ways. Engines that refuse fields they do not know need
    False; their text is cut by the model's tokenizer."""
    ask_logprobs: bool = True
    """Whether requests ask for logprobs and alternatives. False measures what they cost; no claim
    can be held against the reference then, so the gates must not require them."""


ADDED_LATER: Final[dict[type[msgspec.Struct], frozenset[str]]] = {
    ContestPolicy: frozenset(
        {
            "order",
            "restart_each_block",
            "start_together",
            "streams",
            "arrival",
            "source",
            "budget_gpu_minutes",
            "max_drift_ppm",
            "max_client_lag_us",
            "limits",
            "ask_token_ids",
            "ask_logprobs",
        }
    ),
}
"""Fields that contests had not when the first policies were recorded."""
