"""Small built-in rules for a contest at home, by the kind of model that lies in a directory.

They ask the same as an arena's track, of fewer and shorter prompts; no arena ever adopts them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from evaluation.reference.model import ModelError
from evaluation.reference.model_files import load_config
from ledger.contest_policy import ContestPolicy
from ledger.policy import KingTakesAll, ScoreInterval, TrackPolicy

_REFERENCE: Final = ContestPolicy(
    prompts=12,
    prompts_per_block=2,
    warmup_prompts=1,
    repeated_prompts=2,
    context_tokens=416,
    output_tokens=32,
    startup_timeout_s=60,
    prompt_timeout_s=60,
    order="interleaved",
    restart_each_block=False,
    budget_gpu_minutes=10,
    # A laptop with other work is no contest machine: say how noisy it was, refuse little.
    max_drift_ppm=500_000,
    max_client_lag_us=500_000,
)
_ENGINE: Final = ContestPolicy(
    prompts=24,
    prompts_per_block=4,
    warmup_prompts=2,
    repeated_prompts=4,
    context_tokens=1_024,
    output_tokens=128,
    startup_timeout_s=750,
    prompt_timeout_s=120,
    order="interleaved",
    restart_each_block=False,
    budget_gpu_minutes=60,
)


class SmallTrack(NamedTuple):
    """Built-in rules under the name they are printed with."""

    name: str
    policy: TrackPolicy


def small_track(model_dir: Path | None, model_name: str | None) -> SmallTrack:
    """The rules that suit the model: the project's own small transformer, or any other one.

    ``model_name`` is what servers must answer to; by default what the reference model's own
    configuration says, or the directory's name.
    """
    own = None
    if model_dir is not None:
        try:
            own = load_config(model_dir).name
        except ModelError:
            own = None  # some other engine's model: its files say nothing of our form
    name, contest = ("small-reference", _REFERENCE) if own else ("small-engine", _ENGINE)
    served = model_name or own or (model_dir.resolve().name if model_dir else "model")
    return SmallTrack(
        name,
        TrackPolicy(
            model=served, emission=KingTakesAll(), scoring=ScoreInterval(), contest=contest
        ),
    )
