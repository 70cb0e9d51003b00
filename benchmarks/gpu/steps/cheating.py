"""``cheats`` and ``proxies``: what must be refused, each with its own code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from benchmarks.gpu.program import StepError
from benchmarks.gpu.servers import address, launched
from benchmarks.gpu.steps.honest import arms_against_baseline

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign

CHEATS: Final = Path(__file__).parents[1] / "cheats"
"""The launch profiles of cheats."""


def run(campaign: Campaign) -> str:
    """Less precision than the policy allows, and other weights."""
    own = campaign if campaign.engines.kind == "reference" else _with_cheats(campaign)
    return arms_against_baseline(own, "cheats", campaign.engines.coarse(), campaign.manner)


def run_field(campaign: Campaign) -> str:
    """The honest and the coarse in one contest: one start of the reference judges them all."""
    own = campaign if campaign.engines.kind == "reference" else _with_cheats(campaign)
    return arms_against_baseline(own, "field", campaign.engines.field(), campaign.manner)


def run_proxies(campaign: Campaign) -> str:
    """Proxies that cheat, all before one server of the baseline's kind that is started for them.

    It is no server of the contest, so the evidence names it among the strangers on the GPU.
    """
    campaign.program.clock.must_not_be_over("proxies")
    with launched(campaign, {"backend": campaign.engines.baseline()}) as servers:
        url = address(campaign, servers["backend"])
        port = urlsplit(url).port
        if port is None:
            msg = f"the server behind the proxies has no port: {url}"
            raise StepError(msg)
        arms = campaign.engines.proxied(port)
        return arms_against_baseline(_with_cheats(campaign), "proxies", arms, campaign.manner)


def _with_cheats(campaign: Campaign) -> Campaign:
    return replace(campaign, program=replace(campaign.program, profiles=CHEATS))
