"""Whether a completed round's evidence holds all that its policy asked for, and nothing chosen.

Pure, over what the evidence holds. What it cannot see: whether the prompts' texts follow from the
seed, which takes the model's tokenizer and the policy's source of texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.blocks import arm_order, blocks_of
from evaluation.client import Answer
from evaluation.entrant import FIRST_EVIDENCE_FORM, EntrantEvidence
from evaluation.plan import ContestPlan
from evaluation.prompts import MAX_REPEAT_ROUNDS, PromptSet, digest_of_prompts, repeated_places
from evaluation.records import ArmRecord, BlockRecord
from ledger.contest_policy import ContestPolicy

BASELINE = "the baseline"


def prompts_differ(prompts: PromptSet, contest: ContestPolicy, seed: int, digest: str) -> list[str]:
    """Whether these are prompts of that digest, as many and under the seed that policy asks for."""
    if {prompts.digest, digest_of_prompts(prompts)} != {digest}:
        return ["the prompts kept are not those that were asked"]
    found = []
    if prompts.seed != seed:
        found.append("the prompts were drawn from another seed than the contest's")
    if prompts.repeated != repeated_places(seed, contest):
        found.append("the prompts asked again are not those that the seed draws")
    for what, held, asked in (
        ("scored", len(prompts.scored), contest.prompts),
        ("warm-up", len(prompts.warmup), contest.warmup_prompts),
        ("control", len(prompts.controls), MAX_REPEAT_ROUNDS * len(prompts.repeated)),
    ):
        if held != asked:
            found.append(f"{held} {what} prompts are kept where the policy asks {asked}")
    texts = (*prompts.warmup, *prompts.scored, *prompts.controls)
    if len(set(texts)) != len(texts):
        found.append("a prompt is kept twice")
    return found


def baseline_lacks(
    plan: ContestPlan,
    before: Sequence[Answer],
    after: Sequence[Answer],
    records: Sequence[ArmRecord],
    *,
    anybody_whole: bool,
) -> list[str]:
    """What the baseline's evidence lacks; it may break off only where no entrant is left."""
    contest = plan.policy.contest
    twice = contest.order == "bracketed"
    if after and not twice:
        return [f"{BASELINE} ran twice in an order that asks it once"]
    if not anybody_whole:
        return []
    runs = (before, after) if twice else (before,)
    found = [
        f"{BASELINE} gave {len(answers)} answers to {contest.prompts} prompts"
        for answers in runs
        if len(answers) != contest.prompts
    ]
    for record in records[: len(runs)]:
        found += _blocks_lack(contest, record, BASELINE)
    if len(records) < len(runs):
        found.append(f"{BASELINE} has {len(records)} records of {len(runs)} runs")
    return found


def entrant_lacks(
    evidence: EntrantEvidence, contest: ContestPolicy, prompts: PromptSet
) -> list[str]:
    """What the evidence on an entrant lacks that no fault explains."""
    name = evidence.entrant_id
    found = []
    if evidence.form != FIRST_EVIDENCE_FORM and evidence.streams != contest.streams:
        found.append(
            f"{name} was asked {evidence.streams} prompts at once where the policy asks "
            f"{contest.streams}"
        )
    if evidence.repeated != prompts.repeated:
        found.append(f"{name} was asked other prompts again than those drawn")
    if evidence.fault is not None:
        return found
    if len(evidence.answers) != contest.prompts:
        found.append(f"{name} gave {len(evidence.answers)} answers to {contest.prompts} prompts")
    repeats, least = len(evidence.repeats), len(prompts.repeated)
    if not least <= repeats <= MAX_REPEAT_ROUNDS * least:
        found.append(f"{name} answered {repeats} repeats where {least} are asked at least")
    if len(evidence.controls) != repeats:
        found.append(f"{name} answered {len(evidence.controls)} controls beside {repeats} repeats")
    if evidence.record is not None:
        found += _blocks_lack(contest, evidence.record, name)
    return found


def order_differs(
    plan: ContestPlan, seed: int, baseline: ArmRecord | None, entrants: Mapping[str, ArmRecord]
) -> list[str]:
    """Whether arms answered interleaved blocks in the order drawn; ``entrants`` without a fault.

    An arm with a fault is asked nothing more and leaves its place to the next, so that only who
    comes after whom is fixed.
    """
    contest = plan.policy.contest
    if contest.order != "interleaved":
        return []
    arms = [baseline, *(entrants.get(entrant.entrant_id) for entrant in plan.entrants)]
    for block in range(len(blocks_of(contest))):
        order = arm_order(seed, block, len(arms))
        places = [
            last.place
            for arm in (arms[at] for at in order)
            if arm is not None and (last := _last(arm, block)) is not None
        ]
        if places != sorted(set(places)):
            return [f"the arms answered block {block} in another order than the seed draws"]
    return []


def _blocks_lack(contest: ContestPolicy, record: ArmRecord, name: str) -> list[str]:
    """Every block must have been asked whole; one that was asked again counts by its last time."""
    found = []
    blocks = blocks_of(contest)
    for number, places in enumerate(blocks):
        last = _last(record, number)
        held = 0 if last is None else last.prompts
        if held != len(places):
            found.append(
                f"{name} has a record of {held} prompts in block {number}, which has {len(places)}"
            )
    if any(block.block >= len(blocks) for block in record.blocks):
        found.append(f"{name} has a record of more than the {len(blocks)} blocks there are")
    return found


def _last(record: ArmRecord, block: int) -> BlockRecord | None:
    own = [one for one in record.blocks if (one.phase, one.block) == ("prompts", block)]
    return own[-1] if own else None
