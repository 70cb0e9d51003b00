"""The arena: its policies by block, the throne of each track, and what is paused.

Identity: genesis, netuid. Defends: one throne per track, held without a gap from crowning to fall;
a defended crown is the same reign; a policy starts no earlier than the block it is adopted at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

from ledger.codes import DepositionCause
from ledger.decisions.base import NOTHING, Aggregate, DecisionRefusedError, without
from ledger.facts import Context, Fact, fact
from ledger.keys import ArenaKey
from ledger.policy import Policy, PolicyFrom, parse_policy_json, policy_at
from ledger.texts import is_one_line

Switch = Literal["evaluation", "emission"]

MAX_ACTOR_CHARS: Final = 64
MAX_REASON_CHARS: Final = 500
_NETWORK: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@fact("arena.opened.v1")
class ArenaOpened(Fact, frozen=True, kw_only=True):
    """The arena exists from ``opened_at_block`` on, under a first policy."""

    genesis: str
    network: str
    netuid: int
    opened_at_block: int
    policy_json: str
    policy_digest: str
    actor: str

    @property
    def advances_to(self) -> int | None:
        """An arena's time begins where it opens."""
        return self.opened_at_block


@fact("arena.policy_adopted.v1")
class PolicyAdopted(Fact, frozen=True, kw_only=True):
    """A policy is in force from ``from_block`` on."""

    from_block: int
    policy_json: str
    policy_digest: str
    actor: str


@fact("arena.paused.v1")
class Paused(Fact, frozen=True, kw_only=True):
    """Evaluation or emission stopped (DOMAIN 5)."""

    switch: Switch
    reason: str
    actor: str


@fact("arena.resumed.v1")
class Resumed(Fact, frozen=True, kw_only=True):
    """Evaluation or emission goes on."""

    switch: Switch
    reason: str
    actor: str


@fact("arena.king_crowned.v1")
class KingCrowned(Fact, frozen=True, kw_only=True):
    """A reign began. ``how`` is ``contest`` or, after a king left, ``succession``.

    ``needed_ppm`` and ``reached_ppm`` are what the margin rule compared (DOMAIN 4); None for a
    succession.
    """

    track: str
    hotkey: str
    submission_id: UUID
    contest_id: UUID
    score_ppm: int
    how: Literal["contest", "succession"]
    previous_hotkey: str | None
    needed_ppm: int | None
    reached_ppm: int | None
    why: str


@fact("arena.crown_defended.v1")
class CrownDefended(Fact, frozen=True, kw_only=True):
    """The king was measured again and keeps the same reign, with this round's score."""

    track: str
    hotkey: str
    submission_id: UUID
    contest_id: UUID
    score_ppm: int


@fact("arena.runner_up_named.v1")
class RunnerUpNamed(Fact, frozen=True, kw_only=True):
    """The best other hotkey; all None where there is none."""

    track: str
    hotkey: str | None
    submission_id: UUID | None
    contest_id: UUID | None
    score_ppm: int | None


@fact("arena.king_deposed.v1")
class KingDeposed(Fact, frozen=True, kw_only=True):
    """A reign ended. ``cause`` is a :class:`ledger.codes.DepositionCause`."""

    track: str
    hotkey: str
    submission_id: UUID
    cause: str
    detail: str


@dataclass(frozen=True, slots=True)
class Crown:
    """Who holds a throne and since when. ``won_at_block`` is the block of the crowning."""

    hotkey: str
    submission_id: UUID
    contest_id: UUID
    score_ppm: int
    won_at_block: int


@dataclass(frozen=True, slots=True)
class RunnerUp:
    """The best other hotkey of the last round."""

    hotkey: str
    submission_id: UUID
    contest_id: UUID
    score_ppm: int


class Arena(Aggregate):
    """State and rule of one arena. It grows with tracks and policies, not with contests."""

    network: str = ""
    opened_at_block: int = 0
    policies: tuple[PolicyFrom, ...] = ()
    paused: frozenset[str] = frozenset()
    last_paused_at: Mapping[str, int] = NOTHING
    kings: Mapping[str, Crown] = NOTHING
    runners_up: Mapping[str, RunnerUp] = NOTHING
    crownings: int = 0

    # -- commands ---------------------------------------------------------------------------

    def open(
        self, context: Context, network: str, policy: Policy, actor: str, *, at_block: int
    ) -> None:
        """Open the arena at a block, which a new arena's context is at.

        Opening it again with the same network, block and policy is a no-op, whoever does it;
        otherwise it is refused, for it is open.
        """
        if not _NETWORK.fullmatch(network):
            msg = (
                f"{network[:MAX_ACTOR_CHARS]!r} is no name of a network: 1 to 64 of a-z, 0-9, dot, "
                "underscore and dash, the first a letter or digit"
            )
            raise DecisionRefusedError(msg)
        check_actor(actor)
        if self.version:
            alike = (self.network, self.opened_at_block) == (network, at_block)
            if alike and self.policies[0].policy.digest() == policy.digest():
                return
            msg = f"arena {network}/{context.arena.netuid} is open already; adopt a policy instead"
            raise DecisionRefusedError(msg)
        self.record(
            context,
            ArenaOpened,
            f"arena-opened:{context.arena}",
            genesis=context.arena.genesis,
            network=network,
            netuid=context.arena.netuid,
            opened_at_block=at_block,
            policy_json=policy.canonical_json().decode(),
            policy_digest=policy.digest(),
            actor=actor,
        )

    def adopt(self, context: Context, policy: Policy, from_block: int, actor: str) -> None:
        """Adopt a policy from a block on. The past cannot be given other rules."""
        self._must_be_open(context.arena)
        check_actor(actor)
        digest = policy.digest()
        same_start = [p.policy.digest() for p in self.policies if p.from_block == from_block]
        if same_start and same_start[-1] == digest:
            return
        # Going back to a policy that another one replaced from the same block is a new fact.
        again = f":{len(self.policies)}" if digest in same_start else ""
        if from_block < context.block:
            msg = (
                f"policy '{policy.name}' cannot start at block {from_block}: block {context.block} "
                "is recorded already, and a policy never changes the past"
            )
            raise DecisionRefusedError(msg)
        for track in self.kings:
            if track not in policy.tracks:
                msg = f"policy '{policy.name}' drops track '{track}', which has a king"
                raise DecisionRefusedError(msg)
        self.record(
            context,
            PolicyAdopted,
            f"policy-adopted:{context.arena}:{from_block}:{digest}{again}",
            from_block=from_block,
            policy_json=policy.canonical_json().decode(),
            policy_digest=digest,
            actor=actor,
        )

    def pause(self, context: Context, switch: Switch, reason: str, actor: str) -> None:
        """Pause evaluation or emission; pausing what is paused is a no-op."""
        self._must_be_open(context.arena)
        if switch not in self.paused:
            self._turn(context, Paused, "paused", switch, reason, actor)

    def resume(self, context: Context, switch: Switch, reason: str, actor: str) -> None:
        """Resume what was paused; resuming what runs is a no-op."""
        self._must_be_open(context.arena)
        if switch in self.paused:
            self._turn(context, Resumed, "resumed", switch, reason, actor)

    def crown(
        self,
        context: Context,
        *,
        track: str,
        hotkey: str,
        submission_id: UUID,
        contest_id: UUID,
        score_ppm: int,
        how: Literal["contest", "succession"],
        needed_ppm: int | None,
        reached_ppm: int | None,
        why: str,
    ) -> None:
        """Seat a king; the one before, if any, is deposed as overtaken in the same breath."""
        previous = self.kings.get(track)
        if previous is not None and previous.submission_id == submission_id:
            msg = f"{hotkey} holds the throne of '{track}' already with this submission"
            raise DecisionRefusedError(msg)
        if previous is not None:
            self.depose(context, track, DepositionCause.OVERTAKEN, f"overtaken by {hotkey}")
        self.record(
            context,
            KingCrowned,
            f"crowned:{context.arena}:{track}:{self.crownings + 1}",
            track=track,
            hotkey=hotkey,
            submission_id=submission_id,
            contest_id=contest_id,
            score_ppm=score_ppm,
            how=how,
            previous_hotkey=previous.hotkey if previous else None,
            needed_ppm=needed_ppm,
            reached_ppm=reached_ppm,
            why=why,
        )

    def defend(self, context: Context, track: str, contest_id: UUID, score_ppm: int) -> None:
        """The king was measured again and stays."""
        king = self.kings[track]
        self.record(
            context,
            CrownDefended,
            f"defended:{context.arena}:{track}:{contest_id}:{self.crownings}",
            track=track,
            hotkey=king.hotkey,
            submission_id=king.submission_id,
            contest_id=contest_id,
            score_ppm=score_ppm,
        )

    def name_runner_up(self, context: Context, track: str, runner_up: RunnerUp | None) -> None:
        """Name the best other hotkey, or nobody; no fact where nothing changes."""
        if self.runners_up.get(track) == runner_up:
            return
        king = self.kings.get(track)
        if runner_up and king and runner_up.hotkey == king.hotkey:
            msg = f"{king.hotkey} is king of '{track}' and cannot be its own runner-up"
            raise DecisionRefusedError(msg)
        self.record(
            context,
            RunnerUpNamed,
            f"runner-up:{context.arena}:{track}:{self.version + 1}",
            track=track,
            hotkey=runner_up.hotkey if runner_up else None,
            submission_id=runner_up.submission_id if runner_up else None,
            contest_id=runner_up.contest_id if runner_up else None,
            score_ppm=runner_up.score_ppm if runner_up else None,
        )

    def depose(
        self, context: Context, track: str, cause: DepositionCause, detail: str
    ) -> KingDeposed:
        """End a reign."""
        king = self.kings[track]
        return self.record(
            context,
            KingDeposed,
            f"deposed:{context.arena}:{track}:{self.crownings}",
            track=track,
            hotkey=king.hotkey,
            submission_id=king.submission_id,
            cause=cause.value,
            detail=detail,
        )

    def succeed(self, context: Context, track: str, cause: DepositionCause, detail: str) -> None:
        """The king left: depose it and seat the runner-up, if there is one (DOMAIN 5)."""
        deposed = self.depose(context, track, cause, detail)
        runner_up = self.runners_up.get(track)
        if runner_up is None:
            return
        after = context.because(deposed)
        self.name_runner_up(after, track, None)
        self.crown(
            after,
            track=track,
            hotkey=runner_up.hotkey,
            submission_id=runner_up.submission_id,
            contest_id=runner_up.contest_id,
            score_ppm=runner_up.score_ppm,
            how="succession",
            needed_ppm=None,
            reached_ppm=None,
            why=f"runner-up when {deposed.hotkey} left ({cause.value})",
        )

    # -- reads ------------------------------------------------------------------------------

    def policy_at(self, block: int) -> Policy:
        """The policy in force at ``block``."""
        return policy_at(self.policies, block)

    # -- inside -----------------------------------------------------------------------------

    def _must_be_open(self, arena: ArenaKey) -> None:
        if not self.version:
            msg = f"arena {arena} is unknown here; open it first with 'arena open'"
            raise DecisionRefusedError(msg)

    def _turn(
        self,
        context: Context,
        event: type[Paused] | type[Resumed],
        word: str,
        switch: Switch,
        reason: str,
        actor: str,
    ) -> None:
        check_reason(reason, f"{switch} is {word}")
        check_actor(actor)
        self.record(
            context,
            event,
            f"{word}:{context.arena}:{switch}:{self.version + 1}",
            switch=switch,
            reason=reason,
            actor=actor,
        )

    def apply(self, fact: Fact) -> None:
        """Change the state by one fact."""
        match fact:
            case ArenaOpened():
                self.network = fact.network
                self.opened_at_block = fact.opened_at_block
                policy = parse_policy_json(fact.policy_json)
                self.policies = (*self.policies, PolicyFrom(fact.opened_at_block, policy))
            case PolicyAdopted():
                policy = parse_policy_json(fact.policy_json)
                self.policies = (*self.policies, PolicyFrom(fact.from_block, policy))
            case Paused():
                self.paused |= {fact.switch}
                self.last_paused_at = {**self.last_paused_at, fact.switch: fact.effective_block}
            case Resumed():
                self.paused -= {fact.switch}
            case KingCrowned():
                self.crownings += 1
                crown = Crown(
                    fact.hotkey,
                    fact.submission_id,
                    fact.contest_id,
                    fact.score_ppm,
                    fact.effective_block,
                )
                self.kings = {**self.kings, fact.track: crown}
            case CrownDefended():
                held = self.kings[fact.track]
                crown = Crown(
                    held.hotkey,
                    held.submission_id,
                    fact.contest_id,
                    fact.score_ppm,
                    held.won_at_block,
                )
                self.kings = {**self.kings, fact.track: crown}
            case RunnerUpNamed():
                self.runners_up = without(self.runners_up, fact.track)
                if (
                    fact.hotkey is not None
                    and fact.submission_id is not None
                    and fact.contest_id is not None
                    and fact.score_ppm is not None
                ):
                    named = RunnerUp(
                        fact.hotkey, fact.submission_id, fact.contest_id, fact.score_ppm
                    )
                    self.runners_up = {**self.runners_up, fact.track: named}
            case KingDeposed():
                self.kings = without(self.kings, fact.track)
            case _:
                msg = f"an arena cannot take a {fact.topic}"
                raise TypeError(msg)


def check_actor(actor: str) -> None:
    """Who acted is shown to everybody for ever."""
    if not is_one_line(actor, MAX_ACTOR_CHARS):
        msg = f"whoever acts must be named in 1 to {MAX_ACTOR_CHARS} printable characters"
        raise DecisionRefusedError(msg)


def check_reason(reason: str, what: str) -> None:
    """Why somebody acted is shown to everybody for ever. ``what`` happened is a clause."""
    if not reason.strip():
        msg = f"say why {what}; nothing is done without a reason"
        raise DecisionRefusedError(msg)
    if not is_one_line(reason, MAX_REASON_CHARS):
        msg = (
            f"the reason why {what} must be one line of at most {MAX_REASON_CHARS} printable "
            "characters"
        )
        raise DecisionRefusedError(msg)
