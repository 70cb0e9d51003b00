"""What is asked of one healthy server, and how its answers come back, fault included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from evaluation.client import Answer, ChatRequest, ServerFaultError, ask, open_session
from evaluation.forcing import force
from evaluation.judge import CLAIMED_END, ForcedAnswer, repeat_gain_ppm
from evaluation.load import ShouldStop, StoppedError
from evaluation.plan import ContestPlan, Tokenizer
from evaluation.prompts import MAX_REPEAT_ROUNDS, PromptSet

Progress = Callable[[str, str | None, int, int], None]
"""``(phase, entrant_id, done, of)``; the baseline and the reference have no entrant id. Phases are
``launch``, ``warmup``, ``prompts``, ``repeats`` for a server and ``reference`` for the scoring."""


_Asked = tuple[str, list[Answer]]
"""One prompt and where its answer goes."""


@dataclass(slots=True)
class Measured:
    """The answers of one server in the prompts' order; ``fault`` is what cut them short, if so."""

    answers: list[Answer] = field(default_factory=list)
    controls: list[Answer] = field(default_factory=list)
    repeats: list[Answer] = field(default_factory=list)
    fault: ServerFaultError | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """The same for every server of a round: what is asked, and who is told and asked about it."""

    plan: ContestPlan
    prompts: PromptSet
    tokenizer: Tokenizer
    on_progress: Progress
    should_stop: ShouldStop

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


def measure(questions: Questions, base_url: str, entrant_id: str | None) -> Measured:
    """Warm-up, the scored prompts, then each repeat after its control, one at a time.

    Further rounds of repeats follow while the repeats look replayed.

    The baseline (``entrant_id`` None) is not asked repeats: nobody is judged by them but entrants.
    Raises :class:`StoppedError`; a server's own fault is returned, with the answers before it.
    """
    return asyncio.run(_measure(questions, base_url, entrant_id))


async def _measure(questions: Questions, base_url: str, entrant_id: str | None) -> Measured:
    prompts, measured = questions.prompts, Measured()
    discarded: list[Answer] = []
    phases: list[tuple[str, list[_Asked]]] = [
        ("warmup", [(content, discarded) for content in prompts.warmup]),
        ("prompts", [(content, measured.answers) for content in prompts.scored]),
    ]
    if entrant_id is not None:
        phases += [("repeats", asked) for asked in _repeat_rounds(prompts, measured)]
    async with open_session() as session:
        for phase, asked in phases:
            if measured.repeats and not _looks_replayed(questions, measured):
                break
            for done, (content, answers) in enumerate(asked):
                questions.stop_if_asked()
                questions.on_progress(phase, entrant_id, done, len(asked))
                request = questions.request(content)
                try:
                    answers.append(await ask(session, base_url, request, questions.tokenizer))
                except ServerFaultError as fault:
                    fault.detail = f"{phase} {done}: {fault.detail}"
                    measured.fault = fault
                    return measured
            questions.on_progress(phase, entrant_id, len(asked), len(asked))
    return measured


def _repeat_rounds(prompts: PromptSet, measured: Measured) -> list[list[_Asked]]:
    """Every repeat right after a control of its own, as many rounds as there are controls for."""
    rounds: list[list[_Asked]] = []
    controls = iter(prompts.controls)
    for _ in range(MAX_REPEAT_ROUNDS if prompts.repeated else 0):
        rounds.append([])
        for place in prompts.repeated:
            rounds[-1].append((next(controls), measured.controls))
            rounds[-1].append((prompts.scored[place], measured.repeats))
    return rounds


def _looks_replayed(questions: Questions, measured: Measured) -> bool:
    """Whether the repeats so far are suspiciously quick. A server that replays stays so however
    often it is asked; chance on a busy machine does not."""
    fresh = (*measured.answers, *measured.controls)
    gain_ppm = repeat_gain_ppm(fresh, measured.repeats)
    return gain_ppm is not None and gain_ppm > questions.plan.policy.gates.max_repeat_gain_ppm


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
