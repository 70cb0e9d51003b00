"""What a streamed answer says, read after it has ended: tokens, their times, claims about them.

Nothing here runs while a server is timed. Times are microseconds of the monotonic clock since the
request was sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgspec

from evaluation.plan import Tokenizer
from evaluation.sse import Chunk, sse_events
from ledger.codes import DisqualificationCode

MAX_MESSAGE_CHARS: Final = 300
MAX_CHARS_PER_TOKEN: Final = 256
"""No vocabulary has a longer token; text beyond this for each token kept is not even tokenized."""
MAX_LOGPROB_MILLI: Final = 10**9
"""A claimed logprob beyond this is kept as this."""
_MILLI: Final = 1_000
_LOST: Final = "\ufffd"
"""What the bytes of a character that never came whole are decoded to."""
_MOST_HELD_BACK: Final = 3


def tokens_kept(max_tokens: int) -> int:
    """How many tokens of an answer are kept: already too many for any gate."""
    return 2 * max_tokens + 16


class ServerFaultError(Exception):
    """A server did not answer as the container contract asks (DOMAIN 4).

    ``code`` is the disqualification it earns if the server is a miner's; ``detail`` is one sentence
    naming what it did.
    """

    def __init__(self, code: DisqualificationCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One completed answer, as measured.

    ``tokens`` are ids by our tokenizer from the text received; ``arrival_us[i]`` is when the whole
    text of ``tokens[i]`` was here. ``end_us`` is the last byte of the stream. Where a server named
    the ids of its tokens and they spell that very text, they are the ``tokens`` and
    ``ids_from_server`` is true: one text can be cut into tokens in several ways, and only the
    server knows how it did; the reference judges whether it says the truth.

    ``logprobs_milli`` is what the server claims of the first tokens, in thousandths of a nat, as
    far as its claims can be laid beside the tokens one by one. ``sent_us`` is when the request was
    sent, since its block began. ``named_tokens`` is how many ids the server named, an end of the
    sequence not counted, whether or not they spell its text; None where it named none, or in
    evidence from before it was kept.
    """

    tokens: tuple[int, ...]
    arrival_us: tuple[int, ...]
    end_us: int
    finish_reason: str
    logprobs_milli: tuple[int, ...] = ()
    ids_from_server: bool = False
    sent_us: int = 0
    named_tokens: int | None = None

    @property
    def ttft_us(self) -> int:
        """Time to first token, or to the end of an answer that has none."""
        return self.arrival_us[0] if self.arrival_us else self.end_us

    @property
    def wall_us(self) -> int:
        """Time to the last token, or to the end of an answer that has none."""
        return self.arrival_us[-1] if self.arrival_us else self.end_us


@dataclass(frozen=True, slots=True)
class RawStream:
    """Everything a server sent for one request, before anybody looked inside.

    Stamps are nanoseconds of ``time.perf_counter_ns``, one for each piece; nothing is made of them
    while other streams may still be timed.
    """

    content_type: str
    # Megabytes, which a failing assertion or the event loop's own repr should not write out.
    arrived_ns: Sequence[int] = field(repr=False)
    pieces: Sequence[bytes] = field(repr=False)
    sent_ns: int
    end_ns: int
    content_encoding: str = ""

    @property
    def end_us(self) -> int:
        """When the last byte was here, since the request was sent."""
        return (self.end_ns - self.sent_ns) // 1_000

    def chunks(self) -> list[Chunk]:
        """The pieces, each with when it came since the request was sent."""
        arrived_us = [(at_ns - self.sent_ns) // 1_000 for at_ns in self.arrived_ns]
        return list(map(Chunk, arrived_us, self.pieces))


class _TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    top_logprobs: list[msgspec.Raw] = []


class _Logprobs(msgspec.Struct):
    content: list[_TokenLogprob] | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None
    token_ids: msgspec.Raw = msgspec.Raw(b"null")


class _StreamedChunk(msgspec.Struct):
    choices: list[_Choice] = []


@dataclass(slots=True)
class _Heard:
    """What the events of one stream said, in order."""

    texts: list[tuple[int, str]]
    claims: list[_TokenLogprob]
    ids: list[int] | None
    """The tokens by the server's own count; None once it named none, or nothing that is ids."""
    finish_reason: str | None = None
    done: bool = False


def printable(text: str) -> str:
    """``text`` on one line, with everything a terminal could obey turned into a blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def understand(
    raw: RawStream,
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    require_logprobs: bool = True,
    block_start_ns: int | None = None,
    kept_tokens: int | None = None,
) -> Answer:
    """Read a finished stream; raises :class:`ServerFaultError` for one that is not as agreed.

    ``block_start_ns`` is what the answer's ``sent_us`` counts from; by default the send itself.
    Only the first ``kept_tokens`` are kept, by default ``2 x max_tokens + 16``; that many are
    already too many for any verdict but one.
    """
    if raw.content_encoding not in ("", "identity"):
        raise ServerFaultError(
            DisqualificationCode.NO_STREAM,
            "the server compressed its answer, which nobody asked for: "
            f"{printable(raw.content_encoding)[:MAX_MESSAGE_CHARS]!r}",
        )
    if raw.content_type != "text/event-stream":
        raise ServerFaultError(
            DisqualificationCode.NO_STREAM,
            f"the server answered {printable(raw.content_type)[:MAX_MESSAGE_CHARS]!r} "
            "instead of an event stream",
        )
    heard = _heard(raw.chunks(), require_logprobs=require_logprobs)
    if heard.finish_reason is None or not heard.done:
        missing = "a finish_reason" if heard.finish_reason is None else "[DONE]"
        raise ServerFaultError(
            DisqualificationCode.STREAM_BROKEN,
            f"the stream ended after {len(heard.texts)} pieces of text without {missing}",
        )
    limit = tokens_kept(max_tokens) if kept_tokens is None else kept_tokens
    tokens, ends, ids_from_server = _tokens(heard, tokenizer, limit=limit)
    return Answer(
        tokens=tuple(tokens),
        arrival_us=_arrivals(heard.texts, ends),
        end_us=raw.end_us,
        finish_reason=printable(heard.finish_reason)[:MAX_MESSAGE_CHARS],
        logprobs_milli=_claimed(heard, ends, ids_from_server=ids_from_server),
        ids_from_server=ids_from_server,
        sent_us=0 if block_start_ns is None else (raw.sent_ns - block_start_ns) // 1_000,
        named_tokens=_how_many_named(heard.ids, tokenizer),
    )


def _heard(chunks: Sequence[Chunk], *, require_logprobs: bool) -> _Heard:
    heard = _Heard([], [], [])
    for event in sse_events(chunks):
        if event.data.strip() == b"[DONE]":
            heard.done = True
            break
        choice = _choice(event.data)
        if choice is None:
            continue
        heard.finish_reason = choice.finish_reason or heard.finish_reason
        claims = choice.logprobs.content if choice.logprobs is not None else None
        if choice.delta.content:
            if require_logprobs:
                _require(claims)
            heard.texts.append((event.at_us, choice.delta.content))
        heard.claims += claims or []
        if heard.ids is not None:
            ids = _ids(choice.token_ids)
            if ids is not None:
                heard.ids += ids
            elif choice.delta.content:
                heard.ids = None
    return heard


def _choice(data: bytes) -> _Choice | None:
    try:
        choices = msgspec.json.decode(data, type=_StreamedChunk).choices
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ServerFaultError(
            DisqualificationCode.STREAM_BROKEN,
            f"an event of the stream is no completion chunk: {printable(str(error))}",
        ) from error
    # A chunk without choices is how `usage` is sent; we count for ourselves.
    return choices[0] if choices else None


def _require(claims: Sequence[_TokenLogprob] | None) -> None:
    if not claims or not all(claim.top_logprobs for claim in claims):
        raise ServerFaultError(
            DisqualificationCode.LOGPROBS_MISSING,
            "the server streamed text without the logprobs and top_logprobs it was asked for",
        )


def _ids(field: msgspec.Raw) -> list[int] | None:
    """``token_ids`` of one choice, as vLLM gives them; None for anything else.

    The field is no part of the contract, so a server may mean by it what it likes.
    """
    try:
        return msgspec.json.decode(field, type=list[int] | None)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _tokens(
    heard: _Heard, tokenizer: Tokenizer, *, limit: int
) -> tuple[list[int], list[int], bool]:
    """The tokens of an answer, how many characters are whole after each, and if they were named.

    The joined text is encoded, not each piece: a token of ours may span two of the server's.
    """
    text = "".join(piece for _, piece in heard.texts)
    named = _named(heard.ids, text, tokenizer, limit=limit) if heard.ids and text else None
    if named is not None:
        return (*named, True)
    try:
        ids = tokenizer.encode(text[: limit * MAX_CHARS_PER_TOKEN])[:limit]
    except ValueError as error:
        raise ServerFaultError(
            DisqualificationCode.OTHER_WEIGHTS,
            "the server streamed text that the model's tokenizer cannot have written",
        ) from error
    return ids, tokenizer.text_ends(ids), False


def _named(
    ids: list[int], text: str, tokenizer: Tokenizer, *, limit: int
) -> tuple[list[int], list[int]] | None:
    """The server's own ids and where their text ends, if they spell ``text`` and nothing more."""
    own = _without_end(ids, tokenizer)
    if not 0 < len(own) <= limit or any(token in tokenizer.END_IDS for token in own):
        return None
    try:
        spelled, ends = tokenizer.decode(own), tokenizer.text_ends(own)
    except (ValueError, OverflowError):
        return None
    if spelled != text and not _held_back(own, text, spelled, tokenizer):
        return None
    return own, [min(end, len(text)) for end in ends]


def _held_back(ids: list[int], text: str, spelled: str, tokenizer: Tokenizer) -> bool:
    """Whether ``spelled`` goes on behind ``text`` by what no server can send as text: the tokens
    of a character that never came whole, and what stands before it in them (a blank, a quote).

    A character has four bytes at most, so that is the last three tokens at most: more would be
    tokens that nobody had to compute.
    """
    return (
        spelled.startswith(text)
        and spelled.endswith(_LOST)
        and text.startswith(tokenizer.decode(ids[:-_MOST_HELD_BACK]))
    )


def _without_end(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """The end of the sequence has no text; it is claimed by the finish_reason."""
    return ids[:-1] if ids[-1] in tokenizer.END_IDS else ids


def _how_many_named(ids: list[int] | None, tokenizer: Tokenizer) -> int | None:
    return len(_without_end(ids, tokenizer)) if ids else None


def _arrivals(texts: Sequence[tuple[int, str]], ends: Sequence[int]) -> tuple[int, ...]:
    """For each token when the piece was here that holds the last of its characters."""
    arrivals: list[int] = []
    piece, chars_here = 0, len(texts[0][1]) if texts else 0
    for end in ends:
        while chars_here < end and piece + 1 < len(texts):
            piece += 1
            chars_here += len(texts[piece][1])
        arrivals.append(texts[piece][0])
    return tuple(arrivals)


def _claimed(heard: _Heard, ends: Sequence[int], *, ids_from_server: bool) -> tuple[int, ...]:
    """The logprobs claimed of the first tokens, as far as claims and tokens are the same ones.

    Named ids with as many claims are. Otherwise the claims must be about our tokens' very text, up
    to the first that is not: from there on a server cut the text in another way. Where a character
    came in several tokens it may write what it likes for its parts, which count once the token
    after them is the same one again, or all are as many.
    """
    claims = heard.claims
    ended = heard.finish_reason == "stop" and len(claims) == len(ends) + 1
    as_many = len(claims) == len(ends) + ended
    kept = len(ends) if as_many else 0
    if not (as_many and ids_from_server):
        text = "".join(piece for _, piece in heard.texts)
        same, parted = 0, False
        for at, ((start, end), claim) in enumerate(
            zip(pairwise((0, *ends)), claims, strict=False), start=1
        ):
            whole = start < end and not parted
            if whole and claim.token != text[start:end]:
                kept = same
                break
            same = at if whole else same
            parted = start == end
        kept = max(kept, same)
    return tuple(_milli(claim.logprob) for claim in claims[:kept])


def _milli(logprob: float) -> int:
    bounded = max(-MAX_LOGPROB_MILLI / _MILLI, min(logprob, MAX_LOGPROB_MILLI / _MILLI))
    return round(bounded * _MILLI)
