"""``references``: the answers of a kept bundle, forced again by servers started in other ways.

Says how far a restart, the batch-invariant kernels and eager mode move what the reference says of
the same tokens, and whether the same server says the same twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.gpu.program import StepError
from benchmarks.gpu.servers import address, launched, questions_of
from benchmarks.gpu.tables import Row, table_of
from benchmarks.gpu.throughput import answers_by_arm, kept
from evaluation.client import Answer
from evaluation.entrant import ForcedAnswer
from evaluation.forcing import ForcedToken, ScoringError
from evaluation.manifest import read_prompts
from evaluation.measure import force_answers
from evaluation.runners.port import ServerStartError

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign

PROMPTS: Final = 32
"""Of each arm as many answers are forced: some ten thousand tokens."""
_HEADS: Final = (
    *("reference", "arm", "tokens", "first choice %", "mean margin", "p99 margin"),
    *("mean |claim - ref|", "p99", "greatest", "differ when forced twice"),
)


class Forced(msgspec.Struct, frozen=True):
    """One arm's answers under one reference, twice."""

    reference: str
    arm: str
    once: tuple[ForcedAnswer, ...]
    twice: tuple[ForcedAnswer, ...]


def run(campaign: Campaign) -> str:
    """Force the baseline's and the first entrant's answers (or those of the arms that ``--only``
    names) by every reference; margins and distances are thousandths of a nat.

    A reference that fails is told beside what the others said."""
    campaign.program.clock.must_not_be_over("references")
    bundle = kept(campaign.bundle)
    answers = answers_by_arm(bundle)
    arms = [name for name in answers if campaign.wanted(name)][: None if campaign.only else 2]
    unknown = sorted(campaign.only - campaign.known_arms - set(answers))
    if unknown or not arms:
        named = f"no arm named {', '.join(unknown)}" if unknown else "none of the named arms"
        msg = f"the bundle has {named}; it has: {', '.join(answers)}"
        raise StepError(msg)
    plan = msgspec.structs.replace(bundle.manifest.plan, model_name=campaign.model_name)
    prompts = read_prompts(bundle.get(bundle.manifest.prompts_evidence))
    questions = questions_of(campaign, plan, prompts)
    found: list[Forced] = []
    rows: list[Row] = []
    failed: list[str] = []
    with launched(campaign, dict(campaign.engines.references())) as servers:
        for name, server in servers.items():
            try:
                url = address(campaign, server)
                for arm in arms:
                    own = answers[arm][:PROMPTS]
                    once, twice = (force_answers(questions, url, own) for _ in range(2))
                    found.append(Forced(name, arm, once, twice))
                    rows.append([name, arm, *_figures(own, once, twice)])
            except (ServerStartError, ScoringError) as error:
                failed.append(f"  the reference {name!r} could not be asked: {error}")
    (campaign.program.folder / "references.json").write_bytes(msgspec.json.encode(found))
    table = table_of("answers forced again, in thousandths of a nat", _HEADS, rows)
    if failed:
        raise StepError("\n".join(("not every reference answered", *failed, table)))
    return table


def _figures(
    answers: Sequence[Answer], once: Sequence[ForcedAnswer], twice: Sequence[ForcedAnswer]
) -> list[object]:
    known = [token for token in _tokens(once) if token is not None]
    if not known:
        return [0, *(None,) * 7]
    margins = [token.margin_milli for token in known]
    apart = [
        abs(claimed - token.logprob_milli)
        for answer, forced in zip(answers, once, strict=True)
        for claimed, token in zip(answer.logprobs_milli, forced.tokens, strict=False)
        if token is not None and token.logprob_milli is not None
    ]
    return [
        len(known),
        100 * fmean(token.is_first_choice for token in known),
        fmean(margins),
        percentile(margins, 99),
        *((fmean(apart), percentile(apart, 99), max(apart)) if apart else (None,) * 3),
        sum(one != other for one, other in zip(_tokens(once), _tokens(twice), strict=True)),
    ]


def _tokens(forced: Sequence[ForcedAnswer]) -> Iterator[ForcedToken | None]:
    for answer in forced:
        yield from answer.tokens


def percentile(values: Sequence[int], percent: int) -> int:
    """The smallest of ``values`` that at least ``percent`` per cent of them do not exceed."""
    return sorted(values)[-(-len(values) * percent // 100) - 1]
