"""``cheats`` and ``proxies``: what must be refused, each with its own code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.gpu.steps.honest import arms_against_baseline

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign


def run(campaign: Campaign) -> str:
    """Less precision than the policy allows, and other weights."""
    return arms_against_baseline(campaign, "cheats", campaign.engines.coarse(), campaign.manner)


def run_proxies(campaign: Campaign) -> str:
    """Proxies."""
    raise NotImplementedError
