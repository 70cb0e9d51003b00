"""Evidence on an imagined entrant, whole and honest unless told otherwise."""

from __future__ import annotations

from typing import Any

from evaluation.client import Answer
from evaluation.forcing import ForcedToken
from evaluation.judge import EntrantEvidence, ForcedAnswer

BEST = ForcedToken(0, 1)


def answer(
    tokens: int,
    *,
    first_us: int = 1_000,
    step_us: int = 500,
    end: str = "length",
    claims: tuple[int, ...] = (),
) -> Answer:
    """``tokens`` tokens, the first at ``first_us``, then one every ``step_us``."""
    arrivals = tuple(first_us + step_us * at for at in range(tokens))
    return Answer(
        tokens=tuple(range(tokens)),
        arrival_us=arrivals,
        end_us=first_us + step_us * tokens,
        finish_reason=end,
        logprobs_milli=claims,
    )


def forced(
    tokens: int, *others: ForcedToken | None, end: ForcedToken | None = None
) -> ForcedAnswer:
    """``others`` first, then first choices up to ``tokens``."""
    return ForcedAnswer(tokens=(*others, *[BEST] * (tokens - len(others))), end=end)


def evidence(**fields: Any) -> EntrantEvidence:
    """Two prompts of 20 tokens, one repeat and its control; ``fields`` in place of these."""
    answers = fields.get("answers", (answer(20), answer(20)))
    honest: dict[str, Any] = {
        "contest_id": "round-1",
        "track": "qwen",
        "attempt": 1,
        "seed_block": 8,
        "seed_block_hash": "0x" + "ab" * 32,
        "prompts_digest": "sha256:" + "0" * 64,
        "model_name": "qwen",
        "baseline_image": "sha256:" + "1" * 64,
        "entrant_id": "entrant",
        "hotkey": "5F",
        "role": "challenger",
        "image_digest": "sha256:" + "2" * 64,
        "baseline": (answer(20, step_us=5_000), answer(20, step_us=4_000)),
        "answers": answers,
        "repeated": (1,),
        "repeats": (answer(20),),
        "controls": (answer(20),),
        "forced": tuple(forced(len(one.tokens)) for one in answers),
        "fault": None,
        "exit_code": None,
        "log_tail": "listening\n",
    }
    return EntrantEvidence(**(honest | fields))
