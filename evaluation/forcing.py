"""Teacher forcing: how good each emitted token is under the reference, in vLLM's HTTP shape.

The reference reads prompt and answer as one prompt of ids and says, for each, its own logprob and
that of the reference's first choice there (``prompt_logprobs: 1``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import aiohttp
import msgspec

from evaluation.client import printable

MILLI: Final = 1_000
_MAX_REPLY_BYTES_PER_ID: Final = 4_096
_SPARE_BYTES: Final = 65_536
_MAX_MESSAGE_CHARS: Final = 300


class ScoringError(Exception):
    """The reference could not score an answer. That is never the miner's fault (DOMAIN 4)."""


class ForcedToken(msgspec.Struct, frozen=True, array_like=True):
    """One emitted token under the reference.

    ``margin_milli`` is how far its logprob lies below that of the reference's first choice, in
    thousandths of a nat; ``rank`` is 1 for the first choice itself; ``logprob_milli`` is the
    token's own logprob there, None in evidence from before it was kept.
    """

    margin_milli: int
    rank: int
    logprob_milli: int | None = None

    @property
    def is_first_choice(self) -> bool:
        """Whether no token is better: of tokens that tie, servers number only one as the first."""
        return self.rank == 1 or self.margin_milli == 0


class _Entry(msgspec.Struct):
    logprob: float
    rank: int


class _Choice(msgspec.Struct):
    prompt_logprobs: list[dict[str, _Entry] | None] | None = None
    prompt_token_ids: list[int] | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]


async def force(
    session: aiohttp.ClientSession,
    base_url: str,
    *,
    model: str,
    prompt: Sequence[int],
    answer: Sequence[int],
    timeout_s: int,
) -> tuple[ForcedToken | None, ...]:
    """One entry for each id of ``answer`` after ``prompt``; None where the reference says nothing.

    Raises :class:`ScoringError` when the reference refuses, breaks off or answers about other ids.
    """
    ids = [*prompt, *answer]
    body = msgspec.json.encode(
        {
            "model": model,
            "prompt": ids,
            "max_tokens": 1,
            "temperature": 0,
            "prompt_logprobs": 1,
            "return_token_ids": True,
        }
    )
    limit = len(ids) * _MAX_REPLY_BYTES_PER_ID + _SPARE_BYTES
    try:
        async with session.post(
            f"{base_url}/v1/completions",
            data=body,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
        ) as response:
            reply = bytearray()
            async for part in response.content.iter_any():
                reply += part
                if len(reply) > limit:
                    msg = f"the reference answered more than {limit} bytes about {len(ids)} tokens"
                    raise ScoringError(msg)
            status = response.status
    except TimeoutError as error:
        msg = f"the reference did not score {len(ids)} tokens within {timeout_s} s"
        raise ScoringError(msg) from error
    except (aiohttp.ClientError, OSError) as error:
        msg = f"the connection to the reference broke: {type(error).__name__}"
        raise ScoringError(msg) from error
    if status != 200:
        message = printable(reply.decode(errors="replace"))[:_MAX_MESSAGE_CHARS]
        msg = f"the reference answered HTTP {status}: {message}"
        raise ScoringError(msg)
    return forced_tokens(bytes(reply), ids, answer_starts_at=len(prompt))


async def force_with_end(
    session: aiohttp.ClientSession,
    base_url: str,
    *,
    model: str,
    prompt: Sequence[int],
    answer: Sequence[int],
    end_ids: Iterable[int],
    timeout_s: int,
) -> tuple[tuple[ForcedToken | None, ...], ForcedToken | None]:
    """As :func:`force`, and how good the end of the sequence is after ``answer``.

    A model may have several tokens that end a sequence, and a server only says that one came: of
    ``end_ids`` the one that the reference likes best counts, each asked for until one is its first
    choice. None where the reference says nothing about any, or there are none.
    """
    tokens: tuple[ForcedToken | None, ...] | None = None
    end: ForcedToken | None = None
    for end_id in sorted(end_ids):
        forced = await force(
            session,
            base_url,
            model=model,
            prompt=prompt,
            answer=(*answer, end_id),
            timeout_s=timeout_s,
        )
        tokens, found = forced[:-1], forced[-1]
        if found is not None and (end is None or found.margin_milli < end.margin_milli):
            end = found
        if end is not None and end.is_first_choice:
            break
    if tokens is None:
        tokens = await force(
            session, base_url, model=model, prompt=prompt, answer=answer, timeout_s=timeout_s
        )
    return tokens, end


def forced_tokens(
    reply: bytes, ids: Sequence[int], *, answer_starts_at: int
) -> tuple[ForcedToken | None, ...]:
    """Read one reply about ``ids``; raises :class:`ScoringError` if it is about anything else."""
    try:
        completion = msgspec.json.decode(reply, type=_Completion)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the reference's answer is no completion with prompt_logprobs: {error}"
        raise ScoringError(msg) from error
    choice = completion.choices[0] if completion.choices else _Choice()
    entries = choice.prompt_logprobs
    if entries is None or len(entries) != len(ids):
        held = "no" if entries is None else str(len(entries))
        msg = f"the reference gave {held} prompt_logprobs for {len(ids)} tokens"
        raise ScoringError(msg)
    if choice.prompt_token_ids is not None and choice.prompt_token_ids != list(ids):
        msg = "the reference scored other token ids than it was sent"
        raise ScoringError(msg)
    return tuple(_forced(entries[at], ids[at]) for at in range(answer_starts_at, len(ids)))


def _forced(entry: dict[str, _Entry] | None, token: int) -> ForcedToken | None:
    own = entry.get(str(token)) if entry else None
    if entry is None or own is None:
        return None
    best = max((one.logprob for one in entry.values() if one.rank == 1), default=math.nan)
    if not math.isfinite(own.logprob) or not math.isfinite(best):
        return None
    return ForcedToken(
        margin_milli=round((best - own.logprob) * MILLI),
        rank=own.rank,
        logprob_milli=round(own.logprob * MILLI),
    )
