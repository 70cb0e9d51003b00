"""The reference's prompt logprobs become margins; an answer about anything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from evaluation.forcing import ForcedToken, ScoringError, forced_tokens


def entry(logprob: float, rank: int) -> dict[str, Any]:
    return {"logprob": logprob, "rank": rank, "decoded_token": "?"}


def reply(entries: list[Any] | None, **fields: Any) -> bytes:
    return json.dumps({"choices": [{"prompt_logprobs": entries, **fields}]}).encode()


ENTRIES = [
    None,
    {"7": entry(-0.5, 1)},
    {"8": entry(-2.0, 3), "9": entry(-0.25, 1)},
    {"5": entry(-0.1, 1)},
]


def test_margins_are_milli_nats_below_the_first_choice() -> None:
    forced = forced_tokens(reply(ENTRIES), [6, 7, 8, 3], answer_starts_at=1)
    assert forced == (ForcedToken(0, 1, -500), ForcedToken(1_750, 3, -2_000), None)


def test_an_entry_without_the_first_choice_says_nothing() -> None:
    lonely = [None, {"7": entry(-3.0, 2)}]
    assert forced_tokens(reply(lonely), [6, 7], answer_starts_at=1) == (None,)


def test_of_two_tied_tokens_both_are_the_first_choice() -> None:
    tied = [None, {"7": entry(-1.0, 2), "8": entry(-1.0, 1)}]
    (token,) = forced_tokens(reply(tied), [6, 7], answer_starts_at=1)
    assert token is not None
    assert token.is_first_choice


@pytest.mark.parametrize(
    "body",
    [
        reply(ENTRIES[:3]),
        reply(None),
        reply(ENTRIES, prompt_token_ids=[6, 7, 8, 4]),
        b'{"choices": []}',
        b"<html>",
    ],
)
def test_an_answer_about_something_else_is_a_scoring_error(body: bytes) -> None:
    with pytest.raises(ScoringError):
        forced_tokens(body, [6, 7, 8, 3], answer_starts_at=1)
