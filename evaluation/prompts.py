"""The prompts of one attempt, derived from a block hash that nobody knew at commit time.

All randomness is a stream of SHA-256 over (seed, label, counter), not a library's generator, so
that the same block gives the same prompts under every version of Python, for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import msgspec

from evaluation.answers import MAX_CHARS_PER_TOKEN
from evaluation.draws import numbers
from evaluation.plan import PlanError, Tokenizer
from evaluation.sources import Texts
from ledger.contest_policy import ContestPolicy, GeneratedText

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


def prompts_for(
    seed: int, contest: ContestPolicy, tokenizer: Tokenizer, texts: Texts | None = None
) -> PromptSet:
    """The warm-up, scored and control prompts of ``seed``; no two are equal.

    Each fills ``contest.context_tokens`` by our tokenizer, chat template included: exactly where a
    token is a character, else as far as cutting between tokens allows (generated ones may then also
    be a token or two longer). ``texts`` are those of the policy's source, as
    :func:`~evaluation.sources.open_texts` gives them. Raises :class:`PlanError` when they are too
    few, or when the policy leaves no room.
    """
    repeated = repeated_places(seed, contest)
    first_scored = contest.warmup_prompts
    first_control = first_scored + contest.prompts
    count = first_control + MAX_REPEAT_ROUNDS * len(repeated)
    if isinstance(contest.source, GeneratedText) != (texts is None):
        msg = (
            f"the policy's prompts are {msgspec.to_builtins(contest.source)['source']!r}, "
            f"and {'no' if texts is None else 'other'} texts were given; open the source it names"
        )
        raise PlanError(msg)
    if texts is None:
        prompts = _generated(seed, contest.context_tokens, count, tokenizer)
    else:
        prompts = _selected(seed, contest.context_tokens, count, tokenizer, texts)
    warmup, scored = prompts[:first_scored], prompts[first_scored:first_control]
    controls = prompts[first_control:]
    found = PromptSet(
        seed=seed, warmup=warmup, scored=scored, repeated=repeated, controls=controls, digest=""
    )
    return msgspec.structs.replace(found, digest=digest_of_prompts(found))


def digest_of_prompts(prompts: PromptSet) -> str:
    """The digest that ``prompts`` must say of itself."""
    fields = [prompts.seed, prompts.warmup, prompts.scored, prompts.repeated, prompts.controls]
    return "sha256:" + hashlib.sha256(msgspec.json.encode(fields)).hexdigest()


def repeated_places(seed: int, contest: ContestPolicy) -> tuple[int, ...]:
    """The places of the scored prompts that ``seed`` draws to be asked again."""
    draws = numbers(_DOMAIN, seed, "repeats")
    return _places(draws, contest.repeated_prompts, contest.prompts)


def _room(context_tokens: int, least: int, tokenizer: Tokenizer) -> int:
    """How many tokens of a prompt are left beside the chat template, at least ``least``."""
    template = len(tokenizer.chat_prompt([{"role": "user", "content": ""}]))
    if context_tokens < template + least:
        msg = (
            f"context_tokens is {context_tokens}; the chat template and a prompt's own "
            f"tail already take {template + least}, so raise it in the track's policy"
        )
        raise PlanError(msg)
    return context_tokens - template


def _generated(seed: int, context_tokens: int, count: int, tokenizer: Tokenizer) -> tuple[str, ...]:
    """One long preamble that all share, then a short tail of its own for each."""
    tail_tokens = max(_MIN_TAIL_TOKENS, context_tokens // _TAIL_PART)
    preamble_tokens = _room(context_tokens, tail_tokens, tokenizer) - tail_tokens
    draws = numbers(_DOMAIN, seed, "preamble")
    preamble = _text(draws, preamble_tokens, tokenizer, start=_INSTRUCTION)
    tails = _distinct_tails(numbers(_DOMAIN, seed, "tails"), count, tail_tokens, tokenizer)
    return tuple(preamble + tail for tail in tails)


def _selected(
    seed: int, context_tokens: int, count: int, tokenizer: Tokenizer, texts: Texts
) -> tuple[str, ...]:
    """Texts of a source in an order the seed draws, each used once, strung together until full."""
    room = _room(context_tokens, _MIN_TAIL_TOKENS, tokenizer)
    prompts: dict[str, None] = {}
    seen: set[str] = set()
    parts: list[str] = []
    tokens = 0
    for place in _shuffled(numbers(_DOMAIN, seed, "texts"), len(texts)):
        if len(prompts) == count:
            break
        text = texts[place].strip()[: room * MAX_CHARS_PER_TOKEN]
        own_tokens = _count(text, tokenizer)
        if own_tokens == 0 or text in seen:
            continue
        seen.add(text)
        parts.append(text)
        tokens += own_tokens
        # The sum of the parts is close; only the whole is exact, and costs its whole length.
        if tokens >= room and len(tokenizer.encode(whole := "\n\n".join(parts))) >= room:
            prompts.setdefault(_cut(whole, room, context_tokens, tokenizer))
            parts, tokens = [], 0
    if len(prompts) < count:
        msg = (
            f"the {len(texts)} texts of the policy's source fill only {len(prompts)} of {count} "
            f"different prompts of {context_tokens} tokens; name a larger source, or lower "
            "context_tokens in the track's policy"
        )
        raise PlanError(msg)
    return tuple(prompts)


def _count(text: str, tokenizer: Tokenizer) -> int:
    """How many tokens ``text`` has; none if the model cannot have written it."""
    try:
        return len(tokenizer.encode(text))
    except ValueError:
        return 0


def _cut(prompt: str, room: int, context_tokens: int, tokenizer: Tokenizer) -> str:
    """As much of ``prompt`` as fits, never cut inside a character."""
    ends = tokenizer.text_ends(tokenizer.encode(prompt))
    while True:
        text = prompt[: ends[room - 1]]
        over = len(tokenizer.chat_prompt([{"role": "user", "content": text}])) - context_tokens
        if over <= 0 or room <= over:
            return text
        # The end of the text and the template may be cut into tokens otherwise than each alone.
        room -= over


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


def _shuffled(draws: Iterator[int], count: int) -> Iterator[int]:
    """All places below ``count``, drawn one by one by Fisher-Yates."""
    moved: dict[int, int] = {}
    for at in range(count):
        swap = at + next(draws) % (count - at)
        yield moved.get(swap, swap)
        moved[swap] = moved.get(at, at)
