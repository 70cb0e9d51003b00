"""The prompts of one attempt, derived from a block hash that nobody knew at commit time.

All randomness is a stream of SHA-256 over (seed, label, counter), not a library's generator, so
that the same block gives the same prompts under every version of Python, for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from evaluation.draws import numbers
from evaluation.plan import PlanError, Tokenizer
from ledger.contest_policy import ContestPolicy

_DOMAIN: Final = "cacheon-prompts/1"
_INSTRUCTION: Final = "Continue this text at length. "
_TAIL_PART: Final = 16
"""One token in so many of a prompt is its own; the rest is the preamble all prompts share."""
_MIN_TAIL_TOKENS: Final = 4
_MAX_DRAWS: Final = 100
MAX_REPEAT_ROUNDS: Final = 4
"""One round of repeats is always asked; the others only to confirm or clear a suspicion."""

_VOCABULARY: Final = """
river stone morning engine letter garden winter signal copper window harbor market
silver bridge forest candle mirror valley station paper summer thunder island basket
ladder orchard meadow lantern castle desert ocean pencil anchor saddle carpet feather
quietly slowly under over between beyond against toward until because although whenever
carries follows builds breaks opens closes gathers returns writes measures remembers crosses
bright narrow
"""
_WORDS: Final = tuple(_VOCABULARY.split())


class PromptSet(msgspec.Struct, frozen=True, kw_only=True):
    """Every prompt of one attempt, as the user's message of a chat.

    ``repeated`` holds the places in ``scored`` of the prompts asked once more at the end, for the
    replay check; ``controls`` has a prompt never asked before to go right before each of them, for
    up to :data:`MAX_REPEAT_ROUNDS` rounds of repeats. ``digest`` is ``sha256:<hex>`` over all the
    other fields.
    """

    seed: int
    warmup: tuple[str, ...]
    scored: tuple[str, ...]
    repeated: tuple[int, ...]
    controls: tuple[str, ...]
    digest: str


def prompts_for(seed: int, contest: ContestPolicy, tokenizer: Tokenizer) -> PromptSet:
    """The warm-up, scored and control prompts of ``seed``; no two are equal.

    Each is ``contest.context_tokens`` long by our tokenizer, chat template included: one long
    preamble that all share, then a short tail of its own. Raises :class:`PlanError` when the policy
    leaves no room for that.
    """
    template = len(tokenizer.chat_prompt([{"role": "user", "content": ""}]))
    tail_tokens = max(_MIN_TAIL_TOKENS, contest.context_tokens // _TAIL_PART)
    preamble_tokens = contest.context_tokens - template - tail_tokens
    if preamble_tokens < 0:
        msg = (
            f"context_tokens is {contest.context_tokens}; the chat template and a prompt's own "
            f"tail already take {template + tail_tokens}, so raise it in the track's policy"
        )
        raise PlanError(msg)
    preamble = _text(
        numbers(_DOMAIN, seed, "preamble"), preamble_tokens, tokenizer, start=_INSTRUCTION
    )
    repeated = _places(numbers(_DOMAIN, seed, "repeats"), contest.repeated_prompts, contest.prompts)
    first_scored = contest.warmup_prompts
    first_control = first_scored + contest.prompts
    tails = _distinct_tails(
        numbers(_DOMAIN, seed, "tails"),
        first_control + MAX_REPEAT_ROUNDS * len(repeated),
        tail_tokens,
        tokenizer,
    )
    prompts = tuple(preamble + tail for tail in tails)
    warmup, scored = prompts[:first_scored], prompts[first_scored:first_control]
    controls = prompts[first_control:]
    content = msgspec.json.encode([seed, warmup, scored, repeated, controls])
    return PromptSet(
        seed=seed,
        warmup=warmup,
        scored=scored,
        repeated=repeated,
        controls=controls,
        digest="sha256:" + hashlib.sha256(content).hexdigest(),
    )


def _text(draws: Iterator[int], tokens: int, tokenizer: Tokenizer, start: str = "") -> str:
    """Words until ``tokens`` tokens are full, cut at exactly that many."""
    text = start
    ids = tokenizer.encode(text)
    while len(ids) < tokens:
        # Words are added in bulk: encoding after each one would cost the square of the length.
        missing = tokens - len(ids)
        words = (_WORDS[next(draws) % len(_WORDS)] for _ in range(missing // 8 + 1))
        text += " ".join(words) + " "
        ids = tokenizer.encode(text)
    return tokenizer.decode(ids[:tokens])


def _distinct_tails(
    draws: Iterator[int], count: int, tokens: int, tokenizer: Tokenizer
) -> tuple[str, ...]:
    tails: dict[str, None] = {}
    for _ in range(count * _MAX_DRAWS):
        if len(tails) == count:
            break
        tails.setdefault(_text(draws, tokens, tokenizer))
    if len(tails) < count:
        msg = (
            f"only {len(tails)} of {count} prompts of {tokens} own tokens could be told apart; "
            "raise context_tokens in the track's policy"
        )
        raise PlanError(msg)
    return tuple(tails)


def _places(draws: Iterator[int], count: int, among: int) -> tuple[int, ...]:
    """``count`` different places of ``among``, drawn by Fisher-Yates; all of them if too few."""
    places = list(range(among))
    for at in range(min(count, among)):
        swap = at + next(draws) % (among - at)
        places[at], places[swap] = places[swap], places[at]
    return tuple(places[:count])
