"""What a contest will be, settled before any server runs, and the tokenizer it counts with.

A plan is data: with the evidence it produced, anyone can repeat the round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from evaluation.images import ImageRef
from ledger.contest_policy import MIN_INTERLEAVED_BLOCKS
from ledger.policy import TrackPolicy

EntrantRole = Literal["king", "runner_up", "challenger"]

MAX_ENTRANTS = 256
"""A subnet has 256 slots (DOMAIN, Words), so no round can have more entrants than that."""

_ORDER: dict[EntrantRole, int] = {"king": 0, "runner_up": 1, "challenger": 2}


class PlanError(ValueError):
    """A contest that cannot be run as planned; the message is one sentence for the operator."""


class Tokenizer(Protocol):
    """The ledger's own tokenizer: the only thing that counts tokens (never a server's `usage`).

    A module that defines these names will do, e.g. :mod:`evaluation.reference.tokenizer`.
    """

    @property
    def EOS_ID(self) -> int:  # noqa: N802 - a module's constant answers it
        """The id of the end-of-sequence token, which has no text."""
        ...

    @property
    def END_IDS(self) -> frozenset[int]:  # noqa: N802
        """All ids that end a sequence, ``EOS_ID`` among them: some models have several."""
        ...

    def encode(self, text: str) -> list[int]:
        """The ids of ``text``; raises ``ValueError`` for text the model cannot have written."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``."""
        ...

    def text_ends(self, ids: Sequence[int]) -> list[int]:
        """How many characters of ``decode(ids)`` are whole after each id.

        A character that takes several ids is whole with its last one.
        """
        ...

    def chat_prompt(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The ids a server is fed for a chat, up to where the assistant's answer starts."""
        ...


class PlannedEntrant(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the round: whose it is, why it is here, and which image it runs."""

    entrant_id: str
    hotkey: str
    role: EntrantRole
    image: ImageRef


class ContestPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one round on one track (DOMAIN 4).

    ``seed_block_hash`` is ``0x`` + 64 hex digits of a finalized block later than all entrants'
    reveals and than the previous attempt's. ``entrants`` are in the order they run: king,
    runner-up, then challengers in the order they are judged. ``model_dir`` is where the weights lie
    on the machine that runs the contest; ``model_name`` is the name servers must answer to.
    ``king_won_at_block`` is when the king's reign began, None where that is not known or nobody
    reigns; ``arena_policy_digest`` names the arena's whole policy, empty away from an arena.
    """

    contest_id: str
    track: str
    attempt: int
    seed_block: int
    seed_block_hash: str
    policy: TrackPolicy
    model_dir: str
    model_name: str
    baseline: ImageRef
    entrants: tuple[PlannedEntrant, ...]
    king_won_at_block: int | None = None
    arena_policy_digest: str = ""


def checked(plan: ContestPlan) -> ContestPlan:
    """The same plan, or :class:`PlanError` for one that has no meaning."""
    if len(plan.entrants) > MAX_ENTRANTS:
        msg = f"contest {plan.contest_id} has {len(plan.entrants)} entrants; at most {MAX_ENTRANTS}"
        raise PlanError(msg)
    ids = [entrant.entrant_id for entrant in plan.entrants]
    if len(set(ids)) != len(ids):
        msg = f"contest {plan.contest_id} names an entrant twice; entrant ids must differ"
        raise PlanError(msg)
    ranks = [_ORDER[entrant.role] for entrant in plan.entrants]
    if ranks != sorted(ranks):
        msg = (
            f"contest {plan.contest_id} has its entrants out of order; "
            "they run as king, runner-up, challengers"
        )
        raise PlanError(msg)
    for role in ("king", "runner_up"):
        if sum(entrant.role == role for entrant in plan.entrants) > 1:
            msg = f"contest {plan.contest_id} has more than one entrant in the role {role}"
            raise PlanError(msg)
    _check_order(plan)
    return plan


def _check_order(plan: ContestPlan) -> None:
    """What no policy document allows (ledger.policy), for a plan that came from none."""
    contest = plan.policy.contest
    blocks = max(1, contest.prompts // contest.prompts_per_block)
    if contest.order == "interleaved" and blocks < MIN_INTERLEAVED_BLOCKS:
        msg = (
            f"contest {plan.contest_id} interleaves {blocks} block of prompts; it takes at least "
            f"{MIN_INTERLEAVED_BLOCKS} to see a drift, so ask more prompts or make blocks smaller"
        )
        raise PlanError(msg)
    if contest.streams > contest.prompts_per_block:
        msg = (
            f"contest {plan.contest_id} asks {contest.streams} streams of blocks of "
            f"{contest.prompts_per_block} prompts; a block needs at least as many prompts"
        )
        raise PlanError(msg)
    if contest.start_together and contest.order != "interleaved":
        msg = (
            f"contest {plan.contest_id} starts servers together in the order {contest.order}, in "
            "which they run one after another; only interleaved ones can start together"
        )
        raise PlanError(msg)
    if plan.policy.gates.require_logprobs and not contest.ask_logprobs:
        msg = (
            f"contest {plan.contest_id} requires logprobs and does not ask for them; let its gates "
            "not require them, or ask"
        )
        raise PlanError(msg)
    if plan.king_won_at_block is not None and plan.king_won_at_block > plan.seed_block:
        msg = (
            f"contest {plan.contest_id} has a king that reigns from block "
            f"{plan.king_won_at_block}, after its seed block {plan.seed_block}"
        )
        raise PlanError(msg)
