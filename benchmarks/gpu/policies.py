"""The policies that the steps run under, all from :func:`policy_of`, and how large a block is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from benchmarks.gpu.toml_text import toml_of
from ledger.contest_policy import ContestPolicy, ServerLimits
from ledger.gate_policy import GatePolicy
from ledger.policy import (
    BlockRamp,
    FeePolicy,
    MarginPolicy,
    Policy,
    ScoreInterval,
    TrackPolicy,
    WeightPolicy,
    checked,
)
from ledger.units import PPM

TRACK: Final = "gpu"
TREASURY: Final = "5EtaM5n7SqfTC86xwQ2GrzMtMR6rfq1jipEeDHYy6ZNjCd4F"
FEE_RAO: Final = 100_000_000
MAX_PROMPTS: Final = 1_000
"""What a policy's ``prompts`` can be."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much a contest asks: lengths in tokens, counts of prompts and blocks."""

    blocks: int
    prompts_per_block: int
    context_tokens: int
    output_tokens: int
    streams: int
    warmup_prompts: int = 4
    repeated_prompts: int = 4

    @property
    def prompts(self) -> int:
        """Scored prompts in all."""
        return self.blocks * self.prompts_per_block


@dataclass(frozen=True, slots=True)
class Manner:
    """How a contest is run and judged, beside its size."""

    restart: bool = False
    together: bool = True
    gpus: int = 0
    ask_token_ids: bool = True
    ask_logprobs: bool = True
    require_logprobs: bool = True
    max_drift_ppm: int = 100_000
    max_client_lag_us: int = 50_000
    startup_timeout_s: int = 300
    baseline_image: str = ""
    calibration: str = ""
    confidence_ppm: int = ScoreInterval().confidence_ppm


def prompts_for_block(tokens_per_s: float, block_s: float, output_tokens: int, streams: int) -> int:
    """How many prompts of ``output_tokens`` a server that makes ``tokens_per_s`` answers in
    ``block_s`` seconds: whole rounds of its streams, so that none idles, and at least one."""
    rounds = tokens_per_s * block_s / (output_tokens * streams)
    return max(1, -int(-rounds // 1)) * streams


def policy_of(model_name: str, size: Size, manner: Manner) -> Policy:
    """The whole policy; raises :class:`~ledger.policy.PolicyError` for one that cannot be.

    Emission is a ramp that has ended, so that king and runner-up share the whole pool, 80 to 20.
    """
    contest = ContestPolicy(
        prompts=size.prompts,
        prompts_per_block=size.prompts_per_block,
        repeated_prompts=min(size.repeated_prompts, size.prompts),
        warmup_prompts=size.warmup_prompts,
        context_tokens=size.context_tokens,
        output_tokens=size.output_tokens,
        startup_timeout_s=manner.startup_timeout_s,
        order="interleaved",
        restart_each_block=manner.restart,
        start_together=manner.together,
        streams=size.streams,
        max_drift_ppm=manner.max_drift_ppm,
        max_client_lag_us=manner.max_client_lag_us,
        limits=ServerLimits(gpus=manner.gpus),
        ask_token_ids=manner.ask_token_ids,
        ask_logprobs=manner.ask_logprobs,
    )
    track = TrackPolicy(
        model=model_name,
        emission=BlockRamp(start_block=0, length_blocks=1, floor_ppm=PPM),
        scoring=ScoreInterval(confidence_ppm=manner.confidence_ppm),
        margin=MarginPolicy(),
        gates=GatePolicy(require_logprobs=manner.require_logprobs),
        contest=contest,
        baseline_image=manner.baseline_image,
        calibration=manner.calibration,
    )
    return arena_policy(track)


def arena_policy(track: TrackPolicy) -> Policy:
    """The policy of an arena with this one track."""
    return checked(
        Policy(
            name="gpu campaign",
            fee=FeePolicy(treasury_ss58=TREASURY, fee_rao=FEE_RAO),
            weights=WeightPolicy(burn_uid=0),
            tracks={TRACK: track},
        )
    )


def policy_toml(policy: Policy) -> str:
    """The policy as the file that the command line reads."""
    return toml_of(msgspec.to_builtins(policy))
