"""The load client against a synthetic server: what reading costs, and how true its times are."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from statistics import median
from typing import Final

import aiohttp

from benchmarks.measuring import RUN, Ratio, tell, timed
from benchmarks.registry import Measurement, benchmark
from benchmarks.streaming_server import streaming_server
from evaluation.answers import RawStream, understand
from evaluation.client import ChatRequest, open_session
from evaluation.load import Load, ReceivedBlock, read_block, receive_block
from evaluation.reference import tokenizer

STREAMS: Final = 128
EVENTS: Final = 400
"""Per stream: about a second of streaming for each side and round."""
TIMED_STREAMS: Final = 32
TIMED_REQUESTS: Final = 64
TIMED_EVENTS: Final = 50
FIRST_US: Final = 50_000
GAP_US: Final = 20_000
"""32 streams at 50 tokens a second are 1,600 events a second, as a server of that batch writes."""


@benchmark("SSE events/s of the load client at 128 streams, over those of a bare reader", goal=0.9)
def client_vs_aiohttp() -> Measurement:
    """What stamping, keeping, bounding and watching costs beside only reading."""
    load = _load(STREAMS, STREAMS, f"{EVENTS} 0 0")
    ours: list[float] = []
    bare: list[float] = []
    parsing: list[float] = []
    lags: list[int] = []
    with streaming_server() as base_url:
        for number in range(RUN.rounds + 1):
            sides: list[Callable[[], None]] = [
                lambda: ours.append(_ours(base_url, load, parsing, lags)),
                lambda: bare.append(_bare_side(base_url, load)),
            ]
            for side in reversed(sides) if number % 2 else sides:
                side()
            if number == 0:
                # The first round only warms up.
                del ours[:], bare[:], parsing[:], lags[:]
            else:
                tell(f"round {number} of {RUN.rounds}: {ours[-1]:.3g} s against {bare[-1]:.3g} s")
    events = STREAMS * EVENTS
    ratio = Ratio.of(bare, ours)
    with_parsing = [stream + parse for stream, parse in zip(ours, parsing, strict=True)]
    return Measurement(
        ratio.value,
        RUN.rounds,
        f"{events / median(ours):,.0f} events/s against {events / median(bare):,.0f} "
        f"(medians of {RUN.rounds} interleaved rounds of {events:,} events; {ratio}); with the "
        f"parsing that comes after the run, {events / median(with_parsing):,.0f} events/s; the "
        f"client's own lag was {median(lags) / 1_000:.1f} ms at the 99th percentile{_scheduling()}",
    )


@benchmark(
    "ms of error at the 99th percentile of TTFT and wall time at 32 streams", goal=2, better="lower"
)
def client_timing_error_ms() -> Measurement:
    """Each answer's times against what the server noted when it wrote, on one clock of the host."""
    load = _load(TIMED_REQUESTS, TIMED_STREAMS, f"{TIMED_EVENTS} {FIRST_US} {GAP_US}")
    ttft: list[float] = []
    wall: list[float] = []
    lags: list[int] = []
    with streaming_server() as base_url:
        for number in range(RUN.rounds):
            block = asyncio.run(_receive(base_url, load))
            errors = [_errors_us(stream) for stream in block.streams.values()]
            ttft.append(_p99([error for error, _ in errors]) / 1_000)
            wall.append(_p99([error for _, error in errors]) / 1_000)
            lags.append(block.client_lag_us.p99_us)
            tell(
                f"round {number + 1} of {RUN.rounds}: TTFT {ttft[-1]:.2f} ms, "
                f"wall time {wall[-1]:.2f} ms"
            )
    worse = [max(one, other) for one, other in zip(ttft, wall, strict=True)]
    return Measurement(
        median(worse),
        RUN.rounds,
        f"TTFT {median(ttft):.2f} ms, wall time {median(wall):.2f} ms, the worse of both counts "
        f"({min(worse):.2f} to {max(worse):.2f} ms over {RUN.rounds} rounds of {TIMED_REQUESTS} "
        f"requests of {TIMED_EVENTS} events); the client's own lag was "
        f"{median(lags) / 1_000:.1f} ms at the 99th percentile{_scheduling()}",
    )


def _scheduling() -> str:
    """What to add to a note: on a busy machine, times of all others are those of the scheduler."""
    real_time = os.sched_getscheduler(0) in {os.SCHED_FIFO, os.SCHED_RR}
    return (
        "; run under the real-time scheduler (chrt -f), other work beside it" if real_time else ""
    )


def _load(requests: int, streams: int, prompt: str) -> Load:
    events = int(prompt.split(maxsplit=1)[0])
    request = ChatRequest(model="model", content=prompt, max_tokens=events, seed=1, timeout_s=120)
    return Load([request] * requests, streams)


def _ours(base_url: str, load: Load, parsing: list[float], lags: list[int]) -> float:
    """Seconds of the timed part; what parsing takes after it goes into ``parsing``."""
    start = time.perf_counter()
    block = asyncio.run(_receive(base_url, load))
    received = time.perf_counter()
    result = read_block(load, block, tokenizer)
    parsing.append(time.perf_counter() - received)
    lags.append(result.client_lag_us.p99_us)
    if [len(answer.tokens) for answer in result.answers] != [EVENTS] * STREAMS:
        msg = f"the client did not read every event: {result.fault}"
        raise RuntimeError(msg)
    return received - start


def _bare_side(base_url: str, load: Load) -> float:
    """Seconds that reading everything takes the library by itself."""
    return timed(lambda: asyncio.run(_bare(base_url, load)))


async def _receive(base_url: str, load: Load) -> ReceivedBlock:
    async with open_session(load.streams) as session:
        block = await receive_block(session, base_url, load, should_stop=lambda: None)
    if len(block.streams) < len(load.requests):
        msg = f"the client did not read every stream: {block.faults}"
        raise RuntimeError(msg)
    return block


async def _bare(base_url: str, load: Load) -> None:
    """Every stream read to its end, and nothing kept."""

    async def read(request: ChatRequest) -> None:
        async with session.post(
            f"{base_url}/v1/chat/completions",
            json=request.body(),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            async for _ in response.content.iter_any():
                pass

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=load.streams)) as session:
        await asyncio.gather(*(read(request) for request in load.requests))


def _errors_us(stream: RawStream) -> tuple[float, float]:
    """How far TTFT and wall time lie from the server's: from the request read to the write."""
    answer = understand(stream, tokenizer, max_tokens=TIMED_EVENTS)
    sent = b"".join(stream.pieces)
    stamps = sent.rpartition(b"\n: ")[2].split(b"\n")[0]
    received_ns, first_ns, last_ns = (int(stamp) for stamp in stamps.split())
    return (
        abs(answer.ttft_us - (first_ns - received_ns) / 1_000),
        abs(answer.wall_us - (last_ns - received_ns) / 1_000),
    )


def _p99(errors: list[float]) -> float:
    return sorted(errors)[-(-99 * len(errors) // 100) - 1]
