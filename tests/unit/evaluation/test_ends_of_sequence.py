"""A model may end a sequence in several ways; the end that the reference likes best counts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from evaluation.forcing import ForcedToken, force_with_end

PROMPT, ANSWER = (1, 2), (7, 8)
Forced = tuple[tuple[ForcedToken | None, ...], ForcedToken | None]


def forced(
    end_ids: Sequence[int], logprobs: Mapping[int, float], best: int
) -> tuple[Forced, list[int]]:
    """What is said of ``end_ids`` by a reference with these logprobs after the answer, and the
    last ids it was asked about."""
    asked: list[int] = []

    async def complete(request: web.Request) -> web.Response:
        ids = (await request.json())["prompt"]
        asked.append(ids[-1])
        entries: list[dict[str, object] | None] = [None]
        entries += [{str(token): {"logprob": -0.5, "rank": 1}} for token in ids[1:4]]
        if len(ids) > 4:
            own = ids[4]
            entries.append({str(best): {"logprob": logprobs[best], "rank": 1}})
            if own != best and own in logprobs:
                entries[-1] = {
                    **(entries[-1] or {}),
                    str(own): {"logprob": logprobs[own], "rank": 2},
                }
        return web.json_response({"choices": [{"prompt_logprobs": entries}]})

    async def run() -> Forced:
        app = web.Application()
        app.router.add_post("/v1/completions", complete)
        async with TestServer(app) as server, ClientSession() as session:
            return await force_with_end(
                session,
                str(server.make_url("")).rstrip("/"),
                model="m",
                prompt=PROMPT,
                answer=ANSWER,
                end_ids=end_ids,
                timeout_s=5,
            )

    return asyncio.run(run()), asked


@pytest.mark.parametrize(
    ("end_ids", "logprobs", "best", "margin", "asked"),
    [
        ([9], {9: -0.1}, 9, 0, [9]),
        ([9], {9: -2.1, 5: -0.1}, 5, 2_000, [9]),
        ([10, 9], {9: -3.1, 10: -0.6, 5: -0.1}, 5, 500, [9, 10]),
        ([9, 10, 11], {9: -3.0, 10: -0.2}, 10, 0, [9, 10]),
        ([9, 10], {10: -1.1, 5: -0.1}, 5, 1_000, [9, 10]),
    ],
)
def test_the_end_that_the_reference_likes_best_counts(
    end_ids: list[int], logprobs: dict[int, float], best: int, margin: int, asked: list[int]
) -> None:
    (tokens, end), seen = forced(end_ids, logprobs, best)
    assert tokens == (ForcedToken(0, 1, -500),) * 2
    assert end is not None
    assert (end.margin_milli, seen) == (margin, asked)


def test_an_end_nobody_claimed_or_the_reference_does_not_know_is_unknown() -> None:
    (tokens, end), seen = forced([], {}, 0)
    assert (tokens, end, seen) == ((ForcedToken(0, 1, -500),) * 2, None, [8])
    (_, end), _ = forced([9], {5: -0.1}, 5)
    assert end is None
