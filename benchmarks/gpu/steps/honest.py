"""``honest`` and ``transformers``: what computes the same in another way, none of it refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks.gpu.policies import Manner, policy_of
from benchmarks.gpu.program import StepError
from benchmarks.gpu.tables import contest_table, judged, speed_order, table_of

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign
    from benchmarks.gpu.settings import Arm


def run(campaign: Campaign) -> str:
    """Other settings of the baseline's own engine, in one contest."""
    return arms_against_baseline(campaign, "honest", campaign.engines.honest(), campaign.manner)


def run_without_logprobs(campaign: Campaign) -> str:
    """Engines that give no logprobs and no token ids, under a policy that asks for neither."""
    manner = replace(campaign.manner, require_logprobs=False, ask_token_ids=False)
    arms = campaign.engines.without_logprobs()
    return arms_against_baseline(campaign, "transformers", arms, manner)


def arms_against_baseline(
    campaign: Campaign, name: str, arms: Sequence[Arm], manner: Manner
) -> str:
    """One contest of these arms: its table, and what each came to beside what it must."""
    wanted = [arm for arm in arms if campaign.wanted(arm.name)]
    if not wanted:
        known = ", ".join(arm.name for arm in arms)
        msg = f"{name} has none of the arms that --only names; it has: {known}"
        raise StepError(msg)
    policy = policy_of(campaign.model_name, campaign.size, manner)
    ran = campaign.program.contest(
        name,
        policy,
        campaign.engines.baseline(),
        [arm.image for arm in wanted],
        campaign.seed_hash(name),
    )
    title = f"{name} in {ran.seconds:.0f} s"
    names = [arm.name for arm in wanted]
    return "\n".join(
        (
            contest_table(title, names, ran.document),
            speed_order(names, ran.document),
            expectations(wanted, ran.document),
        )
    )


def expectations(arms: Sequence[Arm], report: dict[str, Any]) -> str:
    """Entrant, expected, found; no line of a void contest, which judges nobody."""
    rows = []
    of = {arm.name: arm for arm in arms}
    for name, line in judged([arm.name for arm in arms], report):
        arm = of[name]
        expected, found = arm.expected or "scored", line["code"] or line["status"]
        rows.append([arm.name, expected, found, "" if expected == found else "OTHERWISE"])
    return table_of("entrants", ("entrant", "expected", "found", ""), rows)
