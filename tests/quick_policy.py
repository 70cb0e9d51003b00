"""A policy of one small track as a file, for contests of the reference server from a shell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.gate_policy import GatePolicy

TREASURY = "5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo"
CONTEST = {
    "prompts": 4,
    "repeated_prompts": 1,
    "warmup_prompts": 1,
    "context_tokens": 416,
    "output_tokens": 16,
    "startup_timeout_s": 60,
    "prompt_timeout_s": 30,
    # A machine that tests run on is no contest machine: nothing of its noise may decide.
    "max_drift_ppm": 1_000_000,
    "max_client_lag_us": 10_000_000,
}
NO_TIMING = GatePolicy(
    max_repeat_gain_ppm=1_000_000, min_stream_spread_ppm=0, max_burst_ppm=1_000_000
)
"""The default gates, but that no time of an answer can break one: what a busy machine delays is no
finding."""
TIMELESS: Mapping[str, Any] = {
    name: getattr(NO_TIMING, name)
    for name in ("max_repeat_gain_ppm", "min_stream_spread_ppm", "max_burst_ppm")
}
"""Those of its limits that are not the default ones."""


def quick_policy(*, gates: Mapping[str, int] = TIMELESS, **contest: int) -> str:
    """The policy's TOML, with the track ``tiny``: ``contest`` over :data:`CONTEST`."""
    lines = ['name = "quick"', "[fee]", f'treasury_ss58 = "{TREASURY}"']
    lines += ["[tracks.tiny]", 'model = "cacheon-reference"']
    lines += ["[tracks.tiny.emission]", 'phase = "king_takes_all"']
    lines += ["[tracks.tiny.scoring]", 'formula = "v2"']
    lines += ["[tracks.tiny.gates]", *_values(gates)]
    return "\n".join([*lines, "[tracks.tiny.contest]", *_values({**CONTEST, **contest}), ""])


def _values(table: Mapping[str, int]) -> list[str]:
    return [f"{name} = {value}" for name, value in table.items()]
