"""What is asked of one healthy server, and how its answers come back, fault included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.client import Answer, ChatRequest, ServerFaultError, ask, open_session
from evaluation.forcing import force
from evaluation.judge import CLAIMED_END, ForcedAnswer
from evaluation.plan import ContestPlan, Tokenizer
from evaluation.prompts import PromptSet
from ledger.codes import VoidCause

ShouldStop = Callable[[], VoidCause | None]
Progress = Callable[[str, str | None, int, int], None]
"""``(phase, entrant_id, done, of)``; the baseline and the reference have no entrant id. Phases are
``prepare`` for all images, ``launch``, ``warmup``, ``prompts``, ``repeats`` for a server and
``reference`` for the scoring. ``prompts`` counts an arm's prompts over all its blocks."""
OnBlock = Callable[[int, int, str | None], None]
"""``(block, of, entrant_id)``: this arm is asked the prompts of that block now, counted from 0."""
OnMeasured = Callable[[str, int, int, int], None]
"""``(entrant_id, prompt, baseline_us, own_us)``: both sides' wall times of a scored prompt are
known, for a running ratio. With a baseline before and after, it is the one before."""


class StoppedError(Exception):
    """The caller asked for the round to end; ``cause`` is its reason."""

    def __init__(self, cause: VoidCause) -> None:
        super().__init__(f"the round was ended: {cause.value}")
        self.cause = cause


@dataclass(slots=True)
class Stretch:
    """Answers to prompts asked in one go, in their order; ``fault`` is what cut them short, if so.

    ``out_of_time`` is true where the time given was over first. The client's lag is in
    microseconds; None where it was not measured.
    """

    answers: list[Answer]
    fault: ServerFaultError | None = None
    out_of_time: bool = False
    lag_p99_us: int | None = None
    lag_max_us: int | None = None
    lag_samples: int = 0


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
        )

    def prompt_ids(self, content: str) -> list[int]:
        """The ids a server is fed for one prompt."""
        return self.tokenizer.chat_prompt([{"role": "user", "content": content}])

    def stop_if_asked(self) -> None:
        """Raise :class:`StoppedError` when the caller wants the round ended."""
        cause = self.should_stop()
        if cause is not None:
            raise StoppedError(cause)


def ask_stretch(
    questions: Questions, base_url: str, contents: Sequence[str], *, within_s: float | None
) -> Stretch:
    """Ask ``contents`` of one server, one after another, for at most ``within_s`` seconds.

    Raises :class:`StoppedError`; a server's own fault is returned, with the answers before it.
    """
    return asyncio.run(_ask_stretch(questions, base_url, contents, within_s))


async def _ask_stretch(
    questions: Questions, base_url: str, contents: Sequence[str], within_s: float | None
) -> Stretch:
    stretch = Stretch([])
    try:
        async with asyncio.timeout(within_s), open_session() as session:
            for content in contents:
                questions.stop_if_asked()
                request = questions.request(content)
                answer = await ask(session, base_url, request, questions.tokenizer)
                stretch.answers.append(answer)
    except ServerFaultError as fault:
        stretch.fault = fault
    except TimeoutError:
        stretch.out_of_time = True
    return stretch


def force_answers(
    questions: Questions, base_url: str, answers: Sequence[Answer]
) -> tuple[ForcedAnswer, ...]:
    """Each scored answer under the reference; raises :class:`~evaluation.forcing.ScoringError`."""
    return asyncio.run(_force_answers(questions, base_url, answers))


async def _force_answers(
    questions: Questions, base_url: str, answers: Sequence[Answer]
) -> tuple[ForcedAnswer, ...]:
    forced_answers = []
    async with open_session() as session:
        for content, answer in zip(questions.prompts.scored, answers, strict=True):
            questions.stop_if_asked()
            claims_end = answer.finish_reason == CLAIMED_END
            end = (questions.tokenizer.EOS_ID,) if claims_end else ()
            forced = await force(
                session,
                base_url,
                model=questions.plan.model_name,
                prompt=questions.prompt_ids(content),
                answer=(*answer.tokens, *end),
                timeout_s=questions.plan.policy.contest.prompt_timeout_s,
            )
            forced_answers.append(
                ForcedAnswer(
                    tokens=forced[: len(answer.tokens)],
                    end=forced[-1] if claims_end else None,
                )
            )
    return tuple(forced_answers)
