"""``tp``: the same over several GPUs of one host, by the size of ``--gpus``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.gpu.steps.honest import arms_against_baseline

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign


def run(campaign: Campaign) -> str:
    """The baseline against a copy of itself and against the first other setting."""
    name = f"tp-{campaign.manner.gpus}"
    return arms_against_baseline(campaign, name, campaign.engines.over_gpus(), campaign.manner)
