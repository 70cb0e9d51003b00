"""The container contract (DOMAIN 4), tried on one image at home: what is wrong, and what to do.

Whether an answer passes is decided by the contest's own client, asked the contest's own prompts;
the rest explains. Every check runs that can, so that a miner learns everything in one go.
"""

from __future__ import annotations

import asyncio

from evaluation.client import HostFaultError
from evaluation.contract_answers import try_answers
from evaluation.contract_book import ANSWERS, CONFINED, Asked, Book, ContractReport, OnStep
from evaluation.images import ImageRef
from evaluation.listening import listeners
from evaluation.log_hints import LogHint, explain
from evaluation.prompts import PromptSet, prompts_for
from evaluation.runners.port import (
    EngineMissingError,
    ImageRefusedError,
    InfrastructureFaultError,
    NeverHealthyError,
    Runner,
    RunningServer,
    ServerStartError,
    Stage,
)
from ledger.codes import DisqualificationCode, InfrastructureCause


def check_contract(
    image: ImageRef, runner: Runner, asked: Asked, on_step: OnStep = lambda _: None
) -> ContractReport:
    """Try ``image`` and report. Blocks; what the image or the runner does wrong is in the report.

    Raises :class:`~evaluation.plan.PlanError` for a policy whose prompts cannot be made.
    """
    prompts = prompts_for(asked.seed, asked.contest, asked.tokenizer, asked.texts)
    book = Book(on_step)
    try:
        with runner.stage(f"contract of {image.digest}", asked.contest.limits) as stage:
            _image(stage, image, asked, prompts, book)
    except EngineMissingError as fault:
        book.machine_failed(
            fault.cause.value, fault.detail, "see that the engine is here, then try again"
        )
    except InfrastructureFaultError as fault:
        book.machine_failed(fault.cause.value, fault.detail, "look at the runner of this machine")
    except HostFaultError as fault:
        book.machine_failed(InfrastructureCause.HOST_FAILED.value, str(fault), "run it again")
    return ContractReport(
        image=str(image),
        model_name=asked.model_name,
        passed=not {"failed", "machine_failed"} & {check.outcome for check in book.checks},
        machine_failed=any(check.outcome == "machine_failed" for check in book.checks),
        checks=tuple(book.checks),
        log_tail=book.log,
    )


def _image(stage: Stage, image: ImageRef, asked: Asked, prompts: PromptSet, book: Book) -> None:
    book.on_step("getting the image")
    rest = ("start", "health", *ANSWERS, *CONFINED)
    try:
        facts = stage.prepare(image, asked.contest.pull_timeout_s)
    except ImageRefusedError as refused:
        large = refused.code is DisqualificationCode.IMAGE_TOO_LARGE
        remedy = "make the image smaller" if large else "mend what the image says of itself"
        book.failed("image", refused.code.value, refused.detail, remedy)
        book.not_tried("there is no image to start", *rest)
        return
    except InfrastructureFaultError as fault:
        missing = isinstance(fault, EngineMissingError)
        if missing or fault.cause is not InfrastructureCause.PULL_FAILED:
            raise
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


def _server(server: RunningServer, asked: Asked, prompts: PromptSet, book: Book) -> None:
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
    asyncio.run(try_answers(server, asked, prompts, book))


def _not_started(fault: ServerStartError, pid: int | None, book: Book) -> None:
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
        "the server was never ready", *(() if never else ("health",)), *ANSWERS, *CONFINED
    )


def _told(hint: LogHint) -> str:
    return f"{hint.meaning} (its log: {hint.line})"


def _confined(asked: Asked, book: Book) -> None:
    """What the isolation forbids shows in the server's own log, if anywhere."""
    if any(check.name == CONFINED[0] for check in book.checks):
        return
    if not asked.confined:
        book.not_tried("a plain process is not confined; try it with --runner docker", *CONFINED)
        return
    hints = {hint.topic: hint for hint in reversed(explain(book.log))}
    for name, topic in zip(CONFINED, ("files", "network"), strict=True):
        hint = hints.get(topic)
        if hint is None:
            book.passed(name, "it became ready without, and its log complains of nothing")
        else:
            book.hint(name, _told(hint), hint.remedy)
