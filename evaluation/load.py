"""Many chat requests of one block against one server: so many at once, on a schedule, all timed.

While the block runs its chunks are only stamped and kept; they are read when it is over. The client
measures its own lateness meanwhile, so that a round in which it was the slow one can be void.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from evaluation.answers import Answer, RawStream, ServerFaultError, understand
from evaluation.client import ChatRequest, connect, receive
from evaluation.lag import LagMeter, LateCounts
from evaluation.plan import PlanError, Tokenizer
from evaluation.wire import received_by
from ledger.codes import VoidCause

MAX_BLOCK_BYTES: Final = 4 * 2**30
"""What the answers of one block may need in memory if every one is as long as it may be."""
BEAT_S: Final = 0.005
"""How often the client looks whether it is late. An event loop's timer is good to a millisecond."""
STOP_CHECK_S: Final = 0.25
"""How often it asks whether to stop: once before anything is sent, then no more often than this,
since the answer may take a look into a database while servers stream."""

ShouldStop = Callable[[], VoidCause | None]
OnAnswered = Callable[[int], None]


class StoppedError(Exception):
    """The caller asked for the round to end; ``cause`` is its reason."""

    def __init__(self, cause: VoidCause) -> None:
        super().__init__(f"the round was ended: {cause.value}")
        self.cause = cause


@dataclass(frozen=True, slots=True)
class ClientLag:
    """How late the client was, in microseconds: the 99th percentile and the worst of ``samples``.

    The worse of two things: how late a timer fired, looked at every :data:`BEAT_S`, and how long
    after it was due and a stream was free a request went out.
    """

    p99_us: int
    max_us: int
    samples: int

    @staticmethod
    def worst_of(lags: Sequence[ClientLag]) -> ClientLag:
        """What holds of all these blocks: the highest of each figure."""
        return ClientLag(
            p99_us=max((lag.p99_us for lag in lags), default=0),
            max_us=max((lag.max_us for lag in lags), default=0),
            samples=sum(lag.samples for lag in lags),
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the machine went through for one block.

    ``beats`` and ``sends`` are how late timers and sends were. ``wire_bytes`` is everything that
    came in, headers and the frames around pieces included, None where nobody counted;
    ``payload_bytes`` what of it was the text of whole streams.
    """

    beats: LateCounts = ()
    sends: LateCounts = ()
    wire_bytes: int | None = None
    payload_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What one block asks of one server.

    ``arrivals_us`` is when each request is due, in microseconds since the block's start; it waits
    for a free stream if all ``streams`` are busy then. None asks each stream's next request when
    its last one is answered. Raises :class:`PlanError` for a load that cannot be asked.
    """

    requests: Sequence[ChatRequest]
    streams: int
    arrivals_us: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.streams < 1:
            msg = f"a load needs at least one stream, not {self.streams}"
            raise PlanError(msg)
        if self.arrivals_us is not None and (
            len(self.arrivals_us) != len(self.requests)
            or list(self.arrivals_us) != sorted(self.arrivals_us)
            or any(at < 0 for at in self.arrivals_us)
        ):
            msg = (
                f"{len(self.requests)} requests need as many arrivals, none before the start and "
                "none before the one ahead of it"
            )
            raise PlanError(msg)
        most = sum(request.max_bytes for request in self.requests)
        if most > MAX_BLOCK_BYTES:
            msg = (
                f"the answers of one block could be {most} bytes, which is more than "
                f"{MAX_BLOCK_BYTES}; ask fewer prompts in a block, or for fewer tokens"
            )
            raise PlanError(msg)


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The answers in the order of the requests, as far as they reach without a gap.

    ``fault`` is what the server did wrong, if anything, and ``fault_at`` the request it did it to;
    what was on its way then was called off, so ``answers`` may end before that request.
    """

    answers: tuple[Answer, ...] = field(repr=False)
    fault: ServerFaultError | None
    fault_at: int | None
    client_lag_us: ClientLag
    traffic: Traffic = field(default_factory=Traffic)

    @property
    def outcomes(self) -> tuple[Answer | ServerFaultError, ...]:
        """The answers and, if there is one, the fault that ended them."""
        return self.answers if self.fault is None else (*self.answers, self.fault)


async def run_load(
    session: aiohttp.ClientSession,
    base_url: str,
    load: Load,
    tokenizer: Tokenizer,
    *,
    should_stop: ShouldStop,
    on_answered: OnAnswered = lambda _: None,
) -> LoadResult:
    """Ask everything of ``load`` and read what came; a server's fault is part of the result.

    ``session`` is :func:`~evaluation.client.open_session` for at least as many streams.
    ``should_stop`` and ``on_answered`` (how many are answered so far) are called while others
    stream: what they take counts as the client's lag. Raises :class:`StoppedError` and
    :class:`~evaluation.client.HostFaultError`, both with nothing left running.
    """
    block = await receive_block(
        session, base_url, load, should_stop=should_stop, on_answered=on_answered
    )
    return read_block(load, block, tokenizer)


@dataclass(slots=True)
class ReceivedBlock:
    """What came of each request, unread; nothing for those that were called off or never sent."""

    streams: dict[int, RawStream] = field(default_factory=dict, repr=False)
    faults: dict[int, ServerFaultError] = field(default_factory=dict)
    client_lag_us: ClientLag = ClientLag(0, 0, 0)
    traffic: Traffic = field(default_factory=Traffic)
    start_ns: int = 0


async def receive_block(
    session: aiohttp.ClientSession,
    base_url: str,
    load: Load,
    *,
    should_stop: ShouldStop,
    on_answered: OnAnswered = lambda _: None,
) -> ReceivedBlock:
    """The part of :func:`run_load` that is timed."""
    running = _Running(session, base_url, load, should_stop, on_answered)
    streams = min(load.streams, len(load.requests))
    if streams == 0:
        return running.block
    running.stop_if_asked()
    before = received_by(session)
    try:
        timeout_s = max(request.timeout_s for request in load.requests)
        await connect(session, base_url, streams, timeout_s)
    except ServerFaultError as fault:
        running.block.faults[0] = fault
        return running.block
    running.block.start_ns = time.perf_counter_ns()
    tasks = [asyncio.create_task(running.stream()) for _ in range(streams)]
    watch = asyncio.create_task(running.watch())
    try:
        going = set(tasks)
        while going:
            done, _ = await asyncio.wait({*going, watch}, return_when=asyncio.FIRST_COMPLETED)
            if watch in done or any(task.exception() for task in done):
                break
            going -= done
    finally:
        for task in (*tasks, watch):
            task.cancel()
        ended = await asyncio.gather(*tasks, watch, return_exceptions=True)
    for error in ended:
        # A fault of the server is kept beside its request; everything else is for the caller.
        if isinstance(error, Exception) and not isinstance(error, ServerFaultError):
            raise error
    running.block.client_lag_us = running.lag()
    received = received_by(session)
    running.block.traffic = running.traffic(
        None if received is None or before is None else received - before
    )
    return running.block


def read_block(load: Load, block: ReceivedBlock, tokenizer: Tokenizer) -> LoadResult:
    """Read what came, in the order of the requests, up to the first that is missing or wrong."""
    answers: list[Answer] = []
    fault_at = min(block.faults, default=None)
    fault = None if fault_at is None else block.faults[fault_at]
    for at, request in enumerate(load.requests):
        raw = block.streams.get(at)
        if raw is None:
            break
        try:
            answer = understand(
                raw,
                tokenizer,
                max_tokens=request.max_tokens,
                require_logprobs=request.require_logprobs,
                block_start_ns=block.start_ns,
                kept_tokens=request.kept_tokens,
            )
        except ServerFaultError as unreadable:
            fault, fault_at = unreadable, at
            break
        answers.append(answer)
    return LoadResult(tuple(answers), fault, fault_at, block.client_lag_us, block.traffic)


class _Running:
    """One block under way: its streams share what is still to ask, and the watch their lateness."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        load: Load,
        should_stop: ShouldStop,
        on_answered: OnAnswered,
    ) -> None:
        self._session, self._base_url, self._load = session, base_url, load
        self._should_stop, self._on_answered = should_stop, on_answered
        self._to_ask: Iterator[int] = iter(range(len(load.requests)))
        self._beats, self._sends = LagMeter(), LagMeter()
        self._sending = asyncio.Lock()
        self.block = ReceivedBlock()

    async def stream(self) -> None:
        """Ask what is next until nothing is; raises what ends the block."""
        free_us = 0
        for at in self._to_ask:
            due_us = max(free_us, await self._wait_until_due(at))
            # Making a request takes us a fifth of a millisecond. Where many streams end at once,
            # theirs would add up before anybody looks at the chunks that have come; so one at a
            # time, and what has come is stamped first.
            async with self._sending:
                await asyncio.sleep(0)
            try:
                raw = await receive(self._session, self._base_url, self._load.requests[at])
            except ServerFaultError as fault:
                self.block.faults[at] = fault
                raise
            self._sends.note((raw.sent_ns - self.block.start_ns) // 1_000 - due_us)
            self.block.streams[at] = raw
            free_us = self._elapsed_us()
            self._on_answered(len(self.block.streams))

    async def watch(self) -> None:
        """Measure how late timers fire, and see whether the caller wants to stop."""
        beat_us = round(BEAT_S * 1e6)
        next_check_us = self._elapsed_us() + round(STOP_CHECK_S * 1e6)
        while True:
            due_us = self._elapsed_us() + beat_us
            await asyncio.sleep(BEAT_S)
            now_us = self._elapsed_us()
            # A stall hides the beats that would have fallen into it; each was as late as it lasted
            # from there on.
            for late_us in range(now_us - due_us, -1, -beat_us):
                self._beats.note(late_us)
            if now_us >= next_check_us:
                self.stop_if_asked()
                next_check_us = now_us + round(STOP_CHECK_S * 1e6)

    def lag(self) -> ClientLag:
        """The worse of both kinds of lateness so far."""
        return ClientLag.worst_of(
            [
                ClientLag(meter.p99_us, meter.max_us, meter.samples)
                for meter in (self._beats, self._sends)
            ]
        )

    def traffic(self, wire_bytes: int | None) -> Traffic:
        """Everything counted so far."""
        return Traffic(
            beats=self._beats.counts(),
            sends=self._sends.counts(),
            wire_bytes=wire_bytes,
            payload_bytes=sum(
                len(piece) for stream in self.block.streams.values() for piece in stream.pieces
            ),
        )

    async def _wait_until_due(self, at: int) -> int:
        if self._load.arrivals_us is None:
            return 0
        due_us = self._load.arrivals_us[at]
        wait_us = due_us - self._elapsed_us()
        if wait_us > 0:
            await asyncio.sleep(wait_us / 1e6)
        return due_us

    def stop_if_asked(self) -> None:
        """Raise :class:`StoppedError` when the caller wants the block ended."""
        cause = self._should_stop()
        if cause is not None:
            raise StoppedError(cause)

    def _elapsed_us(self) -> int:
        return (time.perf_counter_ns() - self.block.start_ns) // 1_000
