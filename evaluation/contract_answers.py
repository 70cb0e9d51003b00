"""The answers of a healthy server, looked at one by one and as a contest's client sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median_high
from typing import Any, Final

import aiohttp
import msgspec

from evaluation.client import (
    TOKEN_IDS,
    Answer,
    ChatRequest,
    RawStream,
    ServerFaultError,
    open_session,
    printable,
    receive,
    understand,
)
from evaluation.contract_book import ANSWERS, Asked, Book
from evaluation.prompts import PromptSet
from evaluation.runners.port import RunningServer
from evaluation.stream_findings import Heard, Raw, heard, look, quoted
from ledger.codes import DisqualificationCode
from ledger.units import PPM

MODELS_TIMEOUT_S: Final = 10
MAX_MODELS_BYTES: Final = 262_144
MAX_NAMES: Final = 8
ASKED: Final = 3
"""Prompts that the contest's client asks, after one that warms the server up."""


async def try_answers(server: RunningServer, asked: Asked, prompts: PromptSet, book: Book) -> None:
    def request(content: str, name: str) -> ChatRequest:
        return ChatRequest(
            model=name,
            content=content,
            max_tokens=asked.contest.output_tokens,
            seed=asked.seed % 2**31,
            timeout_s=asked.contest.prompt_timeout_s,
            require_logprobs=asked.gates.require_logprobs,
            extra=TOKEN_IDS if asked.contest.ask_token_ids else {},
            ask_logprobs=asked.contest.ask_logprobs,
        )

    async with open_session() as session:
        book.on_step("asking which models it serves")
        offered = await _offered(session, server.base_url)
        book.on_step("asking the first prompt")
        first = request(prompts.scored[0], asked.model_name)
        try:
            raw = await look(session, server.base_url, first)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            _no_answer(error, asked, server, book)
            return
        if raw.status == 200:
            book.passed("model name", f"it answers to {asked.model_name!r}")
        else:
            name = _refused(raw, offered, asked, book)
            if name is None:
                return
            # Under its own name the rest can be looked at all the same.
            asked = replace(asked, model_name=name)
            raw = await look(session, server.base_url, request(prompts.scored[0], name))
            if raw.status != 200:
                book.not_tried("no chat request was answered", *ANSWERS[1:])
                return
        _stream(raw, heard(raw), asked, book)
        fault: ServerFaultError | None = None
        answers: list[Answer] = []
        for place, content in enumerate([*prompts.scored[:ASKED], prompts.scored[0]]):
            book.on_step(f"prompt {place + 1} of {ASKED + 1}, as a contest asks it")
            again = request(content, asked.model_name)
            try:
                stream = await receive(session, server.base_url, again)
            except ServerFaultError as caught:
                fault = caught
                break
            answer, caught_here = _understood(stream, again, asked)
            fault = fault or caught_here
            if answer is None:
                break
            answers.append(answer)
    _as_a_contest_sees_it(fault, answers, asked, book)


def _understood(
    stream: RawStream, request: ChatRequest, asked: Asked
) -> tuple[Answer | None, ServerFaultError | None]:
    """The answer and what a contest has against it; missing logprobs are the one fault behind which
    the rest of an answer can still be looked at."""
    fault: ServerFaultError | None = None
    for require_logprobs in (request.require_logprobs, False):
        try:
            answer = understand(
                stream,
                asked.tokenizer,
                max_tokens=request.max_tokens,
                require_logprobs=require_logprobs,
            )
        except ServerFaultError as caught:
            fault = fault or caught
            if caught.code is not DisqualificationCode.LOGPROBS_MISSING:
                return None, fault
        else:
            return answer, fault
    return None, fault


async def _offered(session: aiohttp.ClientSession, base_url: str) -> tuple[str, ...]:
    """The names of ``GET /v1/models``; empty where it tells none."""
    try:
        async with session.get(
            f"{base_url}/v1/models",
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=MODELS_TIMEOUT_S),
        ) as response:
            body = await response.content.read(MAX_MODELS_BYTES)
        listed: Any = msgspec.json.decode(body)
        rows = listed.get("data") if isinstance(listed, dict) else None
    except (TimeoutError, aiohttp.ClientError, OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return ()  # it is only asked to explain a refused name
    names = [row.get("id") for row in rows or () if isinstance(row, dict)]
    return tuple(printable(name) for name in names if isinstance(name, str))[:MAX_NAMES]


def _no_answer(error: Exception, asked: Asked, server: RunningServer, book: Book) -> None:
    slow = isinstance(error, TimeoutError)
    code = DisqualificationCode.PROMPT_TIMEOUT if slow else DisqualificationCode.STREAM_BROKEN
    ended = "" if server.exit_code is None else f" (the server exited with {server.exit_code})"
    name = "time" if slow else "stream"
    if slow:
        seen = f"no answer was whole within {asked.contest.prompt_timeout_s} s"
        remedy = "answer faster, or look whether the server hangs"
    else:
        seen = f"the connection broke: {type(error).__name__}{ended}"
        remedy = "look at the server's own log for what ended it"
    book.failed(name, code.value, seen, remedy)
    others = [one for one in ANSWERS if one != name]
    book.not_tried("there was no answer to look at", *others)


def _refused(raw: Raw, offered: Sequence[str], asked: Asked, book: Book) -> str | None:
    """Tell why; the name under which the server may answer the rest, None where there is none."""
    message = quoted(raw.body)
    known = ", ".join(repr(name) for name in offered) or "no model at all"
    if asked.model_name not in offered:
        is_name = raw.status == 404 and "model" in message.lower()
        code = DisqualificationCode.WRONG_MODEL_NAME if is_name else DisqualificationCode.HTTP_ERROR
        book.failed(
            "model name",
            code.value,
            f"asked for {asked.model_name!r} it answers HTTP {raw.status} ({message}); "
            f"GET /v1/models offers {known}",
            f"serve the model under the name {asked.model_name!r} (vLLM, SGLang: "
            "--served-model-name)",
        )
        if offered:
            return offered[0]
    else:
        book.failed(
            "model name",
            DisqualificationCode.HTTP_ERROR.value,
            f"it offers the model and answers HTTP {raw.status} to a chat request ({message})",
            "accept the contract's request: messages, max_tokens, temperature 0, seed, stream, "
            "logprobs and top_logprobs",
        )
    book.not_tried("no chat request was answered", *ANSWERS[1:])
    return None


def _stream(raw: Raw, said: Heard, asked: Asked, book: Book) -> None:
    """Everything that can be seen in one answer, each on a line of its own."""
    broken = DisqualificationCode.STREAM_BROKEN.value
    if raw.content_type != "text/event-stream":
        book.failed(
            "stream",
            DisqualificationCode.NO_STREAM.value,
            f"asked for a stream it answers {printable(raw.content_type)!r} ({quoted(raw.body)})",
            'answer with text/event-stream when the request says "stream": true',
        )
        book.not_tried("there is no stream to look into", "logprobs", "end of stream")
        return
    if said.unreadable is not None:
        book.failed(
            "stream",
            broken,
            f"an event is no completion chunk: {said.unreadable}",
            "send chat.completion.chunk objects, one an event",
        )
    elif not said.pieces:
        book.failed("stream", broken, "the stream holds no text", "send it in delta.content")
    else:
        book.passed("stream", f"{len(said.pieces)} pieces of text")
    pieces = len(said.pieces)
    if not asked.contest.ask_logprobs:
        book.not_tried("this track asks for no logprobs", "logprobs")
    elif said.without_logprobs or said.without_top:
        what = "logprobs" if said.without_logprobs else "top_logprobs"
        lacking = said.without_logprobs or said.without_top
        seen = f"{lacking} of {pieces} pieces of text come without {what}"
        remedy = "send choices[0].logprobs.content with every piece, each with its top_logprobs"
        if asked.gates.require_logprobs:
            code = DisqualificationCode.LOGPROBS_MISSING.value
            book.failed("logprobs", code, seen, remedy)
        else:
            book.hint("logprobs", f"{seen}, which this track allows", remedy)
    elif pieces:
        book.passed("logprobs", f"{said.entries} entries, each with its alternatives")
    else:
        book.not_tried("the stream holds no text", "logprobs")
    missing = [
        name
        for name, there in (
            ("a finish_reason", said.finish_reason is not None),
            ("[DONE]", said.done),
        )
        if not there
    ]
    if raw.cut or missing:
        cut = "the connection broke in the middle" if raw.cut else ""
        lacks = f"the stream ends without {' and without '.join(missing)}" if missing else ""
        book.failed(
            "end of stream",
            broken,
            "; ".join(part for part in (cut, lacks) if part),
            'end with a choice that names its finish_reason, then "data: [DONE]"',
        )
    else:
        book.passed("end of stream", f"finish_reason {printable(said.finish_reason or '')!r}")


def _as_a_contest_sees_it(
    fault: ServerFaultError | None, answers: Sequence[Answer], asked: Asked, book: Book
) -> None:
    """The answers that the contest's client took, and the fault by which it stopped, if it did."""
    code = "" if fault is None else fault.code.value
    known = {check.code for check in book.checks if check.outcome == "failed"}
    limit_s = asked.contest.prompt_timeout_s
    if fault is not None and fault.code is DisqualificationCode.PROMPT_TIMEOUT:
        book.failed(
            "time", code, fault.detail, "answer faster: fewer steps, a bigger batch, a warm cache"
        )
    elif answers:
        slowest_us = max(answer.end_us for answer in answers)
        book.passed("time", f"the slowest answer took {slowest_us / 1e6:.2f} s of {limit_s} s")
    else:
        book.not_tried("no answer was whole", "time")
    explained = fault is None or code in known or fault.code is DisqualificationCode.PROMPT_TIMEOUT
    if fault is not None and not explained:
        book.failed("as a contest asks", code, fault.detail, "see what the code asks in the docs")
    if not answers:
        book.not_tried("no answer was whole", "length", "pace")
    else:
        _length(answers, asked, book)
        _pace(answers, asked, book)
    if len(answers) <= ASKED:
        book.not_tried("not enough answers were whole", "same answer again")
    elif answers[0].tokens == answers[-1].tokens:
        book.passed("same answer again", "the first prompt, asked twice, is answered alike")
    else:
        at = _first_difference(answers[0].tokens, answers[-1].tokens)
        book.hint(
            "same answer again",
            f"the first prompt, asked twice at temperature 0, differs from token {at} on",
            "no contest disqualifies for it as long as the tokens are the model's first choices; "
            "look whether temperature 0 and the seed are obeyed",
        )


def _length(answers: Sequence[Answer], asked: Asked, book: Book) -> None:
    if not asked.counts_tokens:
        book.not_tried("without the model's tokenizer nobody can count; give --model", "length")
        return
    most = asked.contest.output_tokens
    longest = max(len(answer.tokens) for answer in answers)
    shortest = min(len(answer.tokens) for answer in answers)
    if longest > most * asked.gates.max_length_ppm // PPM:
        book.failed(
            "length",
            DisqualificationCode.OVERLONG.value,
            f"{longest} tokens came where max_tokens is {most}",
            "stop at max_tokens",
        )
    elif any(
        answer.finish_reason == "length"
        and len(answer.tokens) * PPM < most * asked.gates.min_length_ppm
        for answer in answers
    ):
        book.hint(
            "length",
            f"an answer of {shortest} tokens claims to have ended at max_tokens, which is {most}",
            "send all that was asked for: an answer shorter than the baseline's is truncated",
        )
    else:
        book.passed("length", f"{shortest} to {longest} tokens where at most {most} were asked")


def _pace(answers: Sequence[Answer], asked: Asked, book: Book) -> None:
    """As the judge looks at it: over how much of the time the tokens of an answer came."""
    spread_ppm = median_high([_spread_ppm(answer) for answer in answers])
    least_ppm = asked.gates.min_stream_spread_ppm
    if spread_ppm < least_ppm:
        book.failed(
            "pace",
            DisqualificationCode.FLUSHED.value,
            f"the tokens come over {spread_ppm / 10_000:.1f} % of an answer's time, and at least "
            f"{least_ppm / 10_000:.1f} % is asked",
            "send each token when it is made, with TCP_NODELAY set; do not collect them",
        )
    else:
        book.passed("pace", f"the tokens come over {spread_ppm / 10_000:.0f} % of an answer's time")


def _spread_ppm(answer: Answer) -> int:
    if not answer.arrival_us or answer.wall_us <= 0:
        return 0
    return (answer.arrival_us[-1] - answer.arrival_us[0]) * PPM // answer.wall_us


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int:
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))
