"""The container contract (DOMAIN 4), tried on one image at home: what is wrong, and what to do.

Whether an answer passes is decided by the contest's own client, asked the contest's own prompts;
the rest explains. Every check runs that can, so that a miner learns everything in one go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median_high
from typing import Any, Final, Literal

import aiohttp
import msgspec

from evaluation.client import Answer, ChatRequest, ServerFaultError, ask, open_session, printable
from evaluation.images import ImageRef
from evaluation.listening import listeners
from evaluation.log_hints import LogHint, explain
from evaluation.plan import Tokenizer
from evaluation.prompts import PromptSet, prompts_for
from evaluation.runners.port import (
    ImageRefusedError,
    InfrastructureFaultError,
    NeverHealthyError,
    Runner,
    RunningServer,
    ServerStartError,
    Stage,
)
from evaluation.stream_findings import Heard, Raw, heard, look, quoted
from ledger.codes import DisqualificationCode
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy
from ledger.units import PPM

Outcome = Literal["passed", "failed", "hint", "not_tried"]
OnStep = Callable[[str], None]
"""Told, in a few words, what is being done now."""

MODELS_TIMEOUT_S: Final = 10
MAX_MODELS_BYTES: Final = 262_144
MAX_NAMES: Final = 8
ASKED: Final = 3
"""Prompts that the contest's client asks, after one that warms the server up."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing the contract asks. ``code`` is what a contest would disqualify for, empty where it
    would not; ``seen`` says what was found and ``remedy`` what to do, in one sentence each."""

    name: str
    outcome: Outcome
    code: str = ""
    seen: str = ""
    remedy: str = ""


class ContractReport(msgspec.Struct, frozen=True, kw_only=True):
    """``passed`` is whether a contest would have taken this server; its speed is not judged."""

    image: str
    model_name: str
    passed: bool
    checks: tuple[Check, ...]
    log_tail: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What the image is tried with: a contest's policy, and the seed of its prompts."""

    model_name: str
    tokenizer: Tokenizer
    contest: ContestPolicy
    gates: GatePolicy
    seed: int
    confined: bool
    """Whether the runner keeps the server from the network and from its root file system."""


@dataclass(slots=True)
class _Book:
    """The checks so far, and the log that goes with them."""

    on_step: OnStep
    checks: list[Check] = field(default_factory=list)
    log: str = ""

    def passed(self, name: str, seen: str) -> None:
        self.checks.append(Check(name=name, outcome="passed", seen=seen))

    def failed(self, name: str, code: str, seen: str, remedy: str) -> None:
        self.checks.append(Check(name=name, outcome="failed", code=code, seen=seen, remedy=remedy))

    def hint(self, name: str, seen: str, remedy: str) -> None:
        self.checks.append(Check(name=name, outcome="hint", seen=seen, remedy=remedy))

    def not_tried(self, why: str, *names: str) -> None:
        self.checks += [Check(name=name, outcome="not_tried", seen=why) for name in names]


_ANSWERS: Final = (
    "model name",
    "stream",
    "logprobs",
    "end of stream",
    "time",
    "length",
    "pace",
    "same answer again",
)
_CONFINED: Final = ("writes only to /tmp", "needs no network")


def check_contract(
    image: ImageRef, runner: Runner, asked: Asked, on_step: OnStep = lambda _: None
) -> ContractReport:
    """Try ``image`` and report. Blocks; what the image or the runner does wrong is in the report.

    Raises :class:`~evaluation.plan.PlanError` for a policy whose prompts cannot be made.
    """
    prompts = prompts_for(asked.seed, asked.contest, asked.tokenizer)
    book = _Book(on_step)
    try:
        with runner.stage(f"contract of {image.digest}", asked.contest.limits) as stage:
            _image(stage, image, asked, prompts, book)
    except InfrastructureFaultError as fault:
        book.failed(
            "machine", fault.cause.value, fault.detail, "look at the runner of this machine"
        )
    return ContractReport(
        image=str(image),
        model_name=asked.model_name,
        passed=all(check.outcome != "failed" for check in book.checks),
        checks=tuple(book.checks),
        log_tail=book.log,
    )


def _image(stage: Stage, image: ImageRef, asked: Asked, prompts: PromptSet, book: _Book) -> None:
    book.on_step("getting the image")
    rest = ("start", "health", *_ANSWERS, *_CONFINED)
    try:
        facts = stage.prepare(image, asked.contest.pull_timeout_s)
    except ImageRefusedError as refused:
        book.failed("image", refused.code.value, refused.detail, "make the image smaller")
        book.not_tried("there is no image to start", *rest)
        return
    except InfrastructureFaultError as fault:
        book.failed(
            "image",
            fault.cause.value,
            fault.detail,
            "check the name and the digest, and that this machine may pull it",
        )
        book.not_tried("there is no image to start", *rest)
        return
    size = "" if facts.bytes is None else f", {facts.bytes:,} bytes unpacked"
    book.passed("image", f"it is here, content {facts.fingerprint}{size}")
    book.on_step("starting the server")
    try:
        server = stage.launch(image, "contract check")
    except ServerStartError as fault:
        _not_started(fault, None, book)
        return
    try:
        _server(server, asked, prompts, book)
    finally:
        server.stop()
        book.log = book.log or server.log_tail()
    _confined(asked, book)


def _server(server: RunningServer, asked: Asked, prompts: PromptSet, book: _Book) -> None:
    try:
        server.wait_healthy(asked.contest.startup_timeout_s)
    except ServerStartError as fault:
        _not_started(fault, server.pid, book)
        return
    book.passed("start", "the server started")
    book.passed("health", "GET /health answers 200")
    for hint in explain(server.log_tail()):
        if hint.topic in ("gpu", "memory", "flag"):
            book.hint("start", f"its log says: {hint.line}", hint.remedy)
    asyncio.run(_answers(server, asked, prompts, book))


def _not_started(fault: ServerStartError, pid: int | None, book: _Book) -> None:
    """It ended, or never became healthy: its own log knows why, and the kernel where it listens."""
    book.log = fault.log_tail
    hints = explain(fault.log_tail)
    never = isinstance(fault, NeverHealthyError)
    name = "health" if never else "start"
    if never:
        book.passed("start", "the server is running")
    seen, remedy = fault.detail, "read its log below"
    if hints:
        seen, remedy = f"{fault.detail}: {_told(hints[0])}", hints[0].remedy
    if never:
        where = None if pid is None else listeners(pid)
        if where:
            places = ", ".join(str(one) for one in where)
            seen += f"; it listens on {places}"
            if not hints:
                remedy = "answer 200 to GET /health on port 8000 of every address (0.0.0.0)"
        elif where is not None:
            seen += "; it listens nowhere"
            if not hints:
                remedy = "let it listen on 0.0.0.0:8000, sooner than the startup timeout"
    book.failed(name, fault.code.value, seen, remedy)
    for hint in hints[1:]:
        book.hint(name, _told(hint), hint.remedy)
    book.not_tried(
        "the server was never ready", *(() if never else ("health",)), *_ANSWERS, *_CONFINED
    )


def _told(hint: LogHint) -> str:
    return f"{hint.meaning} (its log: {hint.line})"


async def _answers(server: RunningServer, asked: Asked, prompts: PromptSet, book: _Book) -> None:
    def request(content: str, name: str) -> ChatRequest:
        return ChatRequest(
            model=name,
            content=content,
            max_tokens=asked.contest.output_tokens,
            seed=asked.seed % 2**31,
            timeout_s=asked.contest.prompt_timeout_s,
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
                book.not_tried("no chat request was answered", *_ANSWERS[1:])
                return
        _stream(raw, heard(raw), book)
        fault, answers = None, []
        for place, content in enumerate([*prompts.scored[:ASKED], prompts.scored[0]]):
            book.on_step(f"prompt {place + 1} of {ASKED + 1}, as a contest asks it")
            try:
                again = request(content, asked.model_name)
                answers.append(await ask(session, server.base_url, again, asked.tokenizer))
            except ServerFaultError as caught:
                fault = caught
                break
    _as_a_contest_sees_it(fault, answers, asked, book)


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


def _no_answer(error: Exception, asked: Asked, server: RunningServer, book: _Book) -> None:
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
    others = [one for one in _ANSWERS if one != name]
    book.not_tried("there was no answer to look at", *others)


def _refused(raw: Raw, offered: Sequence[str], asked: Asked, book: _Book) -> str | None:
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
    book.not_tried("no chat request was answered", *_ANSWERS[1:])
    return None


def _stream(raw: Raw, said: Heard, book: _Book) -> None:
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
    if said.without_logprobs or said.without_top:
        what = "logprobs" if said.without_logprobs else "top_logprobs"
        lacking = said.without_logprobs or said.without_top
        book.failed(
            "logprobs",
            DisqualificationCode.LOGPROBS_MISSING.value,
            f"{lacking} of {pieces} pieces of text come without {what}",
            "send choices[0].logprobs.content with every piece, each entry with its top_logprobs",
        )
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
    fault: ServerFaultError | None, answers: Sequence[Answer], asked: Asked, book: _Book
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


def _length(answers: Sequence[Answer], asked: Asked, book: _Book) -> None:
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


def _pace(answers: Sequence[Answer], asked: Asked, book: _Book) -> None:
    """As the judge looks at it: over how much of the time the tokens of an answer came."""
    spread_ppm = median_high([_spread_ppm(answer) for answer in answers])
    least_ppm = asked.gates.min_stream_spread_ppm
    if spread_ppm < least_ppm:
        book.failed(
            "pace",
            DisqualificationCode.FLUSHED.value,
            f"the tokens come over {spread_ppm / 10_000:.1f} % of an answer's time, and at least "
            f"{least_ppm / 10_000:.1f} % is asked",
            "send each token when it is made; do not collect them",
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


def _confined(asked: Asked, book: _Book) -> None:
    """What the isolation forbids shows in the server's own log, if anywhere."""
    if any(check.name == _CONFINED[0] for check in book.checks):
        return
    if not asked.confined:
        book.not_tried("a plain process is not confined; try it with --runner docker", *_CONFINED)
        return
    hints = {hint.topic: hint for hint in reversed(explain(book.log))}
    for name, topic in zip(_CONFINED, ("files", "network"), strict=True):
        hint = hints.get(topic)
        if hint is None:
            book.passed(name, "it became ready without, and its log complains of nothing")
        else:
            book.hint(name, _told(hint), hint.remedy)
