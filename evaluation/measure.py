"""What is asked of one healthy server, and how its answers come back, fault included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evaluation.arrivals import arrivals_us
from evaluation.client import (
    TOKEN_IDS,
    Answer,
    ChatRequest,
    HostFaultError,
    ServerFaultError,
    open_session,
)
from evaluation.evidence_size import kept_tokens
from evaluation.forcing import force_with_end
from evaluation.judge import CLAIMED_END, ForcedAnswer
from evaluation.load import ClientLag, Load, ShouldStop, StoppedError, Traffic, run_load
from evaluation.plan import ContestPlan, Tokenizer
from evaluation.prompts import PromptSet
from evaluation.runners.port import InfrastructureFaultError
from ledger.codes import InfrastructureCause

__all__ = ["ShouldStop", "StoppedError"]

Progress = Callable[[str, str | None, int, int], None]
"""``(phase, entrant_id, done, of)``; the baseline and the reference have no entrant id. Phases are
``prepare`` for all images, ``launch``, ``warmup``, ``prompts``, ``repeats`` for a server and
``reference`` for the scoring. ``prompts`` counts an arm's prompts over all its blocks."""
OnBlock = Callable[[int, int, str | None], None]
"""``(block, of, entrant_id)``: this arm is asked the prompts of that block now, counted from 0."""
OnMeasured = Callable[[str, int, int, int], None]
"""``(entrant_id, prompt, baseline_us, own_us)``: both sides' wall times of a scored prompt are
known, for a running ratio. With a baseline before and after, it is the one before."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Answers to prompts asked in one go, in their order; ``fault`` is what cut them short, if so.

    ``fault_at`` is the place of the prompt it came with. ``out_of_time`` is true where the time
    given was over first; there are no answers then, and no lag is known.
    """

    answers: tuple[Answer, ...]
    fault: ServerFaultError | None = None
    fault_at: int | None = None
    out_of_time: bool = False
    client_lag: ClientLag | None = None
    traffic: Traffic = field(default_factory=Traffic)


@dataclass(frozen=True, slots=True)
class Questions:
    """The same for every server of a round: what is asked, and who is told and asked about it."""

    plan: ContestPlan
    prompts: PromptSet
    tokenizer: Tokenizer
    on_progress: Progress
    should_stop: ShouldStop
    on_block: OnBlock = lambda *_: None
    on_measured: OnMeasured = lambda *_: None

    def request(self, content: str) -> ChatRequest:
        """The chat request of one prompt."""
        contest = self.plan.policy.contest
        return ChatRequest(
            model=self.plan.model_name,
            content=content,
            max_tokens=contest.output_tokens,
            seed=self.prompts.seed % 2**31,  # engines take a signed 32-bit seed
            timeout_s=contest.prompt_timeout_s,
            require_logprobs=self.plan.policy.gates.require_logprobs,
            extra=TOKEN_IDS if contest.ask_token_ids else {},
            kept_tokens=kept_tokens(self.plan.policy),
            ask_logprobs=contest.ask_logprobs,
        )

    def load(self, contents: Sequence[str], label: str | None) -> Load:
        """What ``contents`` ask of a server: by policy where ``label`` names their block, one
        after another where it is None."""
        contest = self.plan.policy.contest
        requests = [self.request(content) for content in contents]
        if label is None:
            return Load(requests, streams=1)
        arrivals = arrivals_us(contest.arrival, len(requests), self.prompts.seed, label)
        return Load(requests, streams=contest.streams, arrivals_us=arrivals)

    def prompt_ids(self, content: str) -> list[int]:
        """The ids a server is fed for one prompt."""
        return self.tokenizer.chat_prompt([{"role": "user", "content": content}])

    def stop_if_asked(self) -> None:
        """Raise :class:`StoppedError` when the caller wants the round ended."""
        cause = self.should_stop()
        if cause is not None:
            raise StoppedError(cause)


def ask_stretch(
    questions: Questions,
    base_url: str,
    load: Load,
    *,
    within_s: float | None = None,
    on_answered: Callable[[int], None] = lambda _: None,
) -> Stretch:
    """Ask all of ``load`` of one server, for at most ``within_s`` seconds.

    Raises :class:`StoppedError`, and :class:`InfrastructureFaultError` (`host_failed`) where this
    machine could not ask; a server's own fault is returned, with the answers before it.
    """
    return asyncio.run(_ask_stretch(questions, base_url, load, within_s, on_answered))


async def _ask_stretch(
    questions: Questions,
    base_url: str,
    load: Load,
    within_s: float | None,
    on_answered: Callable[[int], None],
) -> Stretch:
    try:
        async with asyncio.timeout(within_s), open_session(load.streams) as session:
            result = await run_load(
                session,
                base_url,
                load,
                questions.tokenizer,
                should_stop=questions.should_stop,
                on_answered=on_answered,
            )
    except TimeoutError:
        return Stretch((), out_of_time=True)
    except HostFaultError as error:
        raise InfrastructureFaultError(InfrastructureCause.HOST_FAILED, str(error)) from error
    return Stretch(
        result.answers,
        fault=result.fault,
        fault_at=result.fault_at,
        client_lag=result.client_lag_us,
        traffic=result.traffic,
    )


def force_answers(
    questions: Questions, base_url: str, answers: Sequence[Answer]
) -> tuple[ForcedAnswer, ...]:
    """The answers to the first scored prompts under the reference.

    Raises :class:`~evaluation.forcing.ScoringError`.
    """
    return asyncio.run(_force_answers(questions, base_url, answers))


async def _force_answers(
    questions: Questions, base_url: str, answers: Sequence[Answer]
) -> tuple[ForcedAnswer, ...]:
    forced_answers = []
    async with open_session() as session:
        for content, answer in zip(questions.prompts.scored, answers, strict=False):
            questions.stop_if_asked()
            claims_end = answer.finish_reason == CLAIMED_END
            tokens, end = await force_with_end(
                session,
                base_url,
                model=questions.plan.model_name,
                prompt=questions.prompt_ids(content),
                answer=answer.tokens,
                end_ids=questions.tokenizer.END_IDS if claims_end else (),
                timeout_s=questions.plan.policy.contest.prompt_timeout_s,
            )
            forced_answers.append(ForcedAnswer(tokens=tokens, end=end))
    return tuple(forced_answers)
