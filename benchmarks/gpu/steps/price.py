"""``price``: what asking for logprobs costs one and the same server, in the order A B B A.

A drift of the machine over a round of four blocks falls on both sides alike.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.gpu.policies import TRACK, Manner, Size, policy_of
from benchmarks.gpu.program import StepError
from benchmarks.gpu.servers import address, launched, questions_of
from benchmarks.gpu.tables import table_of
from benchmarks.gpu.throughput import block_walls_us
from evaluation.images import ImageRef
from evaluation.measure import Questions, Stretch, ask_stretch
from evaluation.plan import ContestPlan
from evaluation.prompts import prompts_for
from evaluation.tokenizers import load_tokenizer
from ledger.policy import TrackPolicy
from ledger.rules.seed import seed_from_block_hash

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign

ROUND: Final = (True, False, False, True)
"""Whether logprobs are asked for, block by block."""
_NO_INTERVAL_PPM: Final = 500_000
"""Four blocks are enough for an interval of that confidence, as a policy must have one."""
_US: Final = 1_000_000


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """One block: whether it asked for logprobs, its time in us, tokens and bytes that came."""

    ask_logprobs: bool
    wall_us: int
    tokens: int
    payload_bytes: int


def run(campaign: Campaign) -> str:
    """``--blocks`` rounds of four blocks (halved, rounded up), and the ratio of their times."""
    campaign.program.clock.must_not_be_over("price")
    timed: list[Timed] = []
    with launched(campaign, {"price": campaign.engines.baseline()}) as servers:
        url = address(campaign, servers["price"])
        for number in range(-(-campaign.size.blocks // 2)):
            asking = {wanted: _questions(campaign, wanted, number) for wanted in set(ROUND)}
            if number == 0:
                for questions in asking.values():
                    _whole(
                        ask_stretch(questions, url, questions.load(questions.prompts.warmup, None))
                    )
            timed += [
                _timed(wanted, _block(asking[wanted], url, place))
                for place, wanted in enumerate(ROUND)
            ]
    (campaign.program.folder / "price.json").write_bytes(msgspec.json.encode(timed))
    return _told(timed)


def _block(questions: Questions, url: str, place: int) -> Stretch:
    size = questions.plan.policy.contest.prompts_per_block
    contents = questions.prompts.scored[place * size : (place + 1) * size]
    return _whole(ask_stretch(questions, url, questions.load(contents, f"price-{place}")))


def track_of(model_name: str, size: Size, manner: Manner, ask_logprobs: bool) -> TrackPolicy:
    """The policy of one round, whose blocks nobody takes an interval of."""
    manner = replace(
        manner,
        ask_logprobs=ask_logprobs,
        require_logprobs=False,
        confidence_ppm=_NO_INTERVAL_PPM,
    )
    return policy_of(model_name, replace(size, blocks=len(ROUND)), manner).tracks[TRACK]


def _questions(campaign: Campaign, ask_logprobs: bool, number: int) -> Questions:
    """What a round asks: of each round other prompts, all of one length."""
    track = track_of(campaign.model_name, campaign.size, campaign.manner, ask_logprobs)
    contest = msgspec.structs.replace(track.contest, repeated_prompts=0)
    block_hash = campaign.seed_hash(f"price {number}")
    tokenizer = load_tokenizer(campaign.program.model)
    prompts = prompts_for(seed_from_block_hash(block_hash), contest, tokenizer)
    plan = ContestPlan(
        contest_id="price",
        track=TRACK,
        attempt=1,
        seed_block=0,
        seed_block_hash=block_hash,
        policy=msgspec.structs.replace(track, contest=contest),
        model_dir=str(campaign.program.model),
        model_name=campaign.model_name,
        baseline=ImageRef("", ""),
        entrants=(),
    )
    return questions_of(campaign, plan, prompts)


def _whole(stretch: Stretch) -> Stretch:
    if stretch.fault is not None:
        msg = f"the server of the price did not answer: {stretch.fault.detail}"
        raise StepError(msg)
    return stretch


def _timed(ask_logprobs: bool, stretch: Stretch) -> Timed:
    (wall_us,) = block_walls_us(stretch.answers, len(stretch.answers))
    return Timed(
        ask_logprobs=ask_logprobs,
        wall_us=wall_us,
        tokens=sum(len(answer.tokens) for answer in stretch.answers),
        payload_bytes=stretch.traffic.payload_bytes,
    )


def ratios(timed: list[Timed]) -> list[float]:
    """Of each whole round of four blocks: time with logprobs over time without, by their geometric
    means."""
    found = []
    for at in range(0, len(timed) - len(ROUND) + 1, len(ROUND)):
        first, second, third, fourth = timed[at : at + len(ROUND)]
        found.append(sqrt(first.wall_us * fourth.wall_us / (second.wall_us * third.wall_us)))
    return found


def _told(timed: list[Timed]) -> str:
    rows = [
        [
            "with" if one.ask_logprobs else "without",
            one.wall_us / _US,
            one.tokens,
            one.tokens * _US / one.wall_us,
            one.payload_bytes / one.tokens if one.tokens else None,
        ]
        for one in timed
    ]
    heads = ("logprobs", "block s", "tokens", "tokens/s", "bytes a token")
    found = ratios(timed)
    spread = f"{stdev(found):.4f}" if len(found) > 1 else "unknown of one round"
    return "\n".join(
        (
            table_of("the price of logprobs", heads, rows),
            f"  with over without: {fmean(found):.4f}, standard deviation over rounds {spread}, "
            f"least {min(found):.4f}, greatest {max(found):.4f}",
        )
    )
