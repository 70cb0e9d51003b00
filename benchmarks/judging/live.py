"""Reference servers as processes, and one interview of a server as a contest would hold it."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.judging.table import CONTEST
from evaluation.client import Answer, ChatRequest, ServerFaultError, ask
from evaluation.entrant import CLAIMED_END, EntrantEvidence, Fault, ForcedAnswer
from evaluation.figures import repeat_gain_ppm
from evaluation.forcing import force_with_end
from evaluation.prompts import MAX_REPEAT_ROUNDS, PromptSet, prompts_for
from evaluation.reference import tokenizer
from evaluation.reference.config import ServerConfig
from evaluation.reference.image import CONFIG_FILE, image_path, write_image
from evaluation.reference.model import ModelConfig, init_weights
from evaluation.reference.model_files import save_model
from ledger.gate_policy import GatePolicy
from ledger.rules.seed import seed_from_block_hash

_STOP_S: Final = 10
_MODEL: Final = ModelConfig().name


class Ground:
    """A folder with the model and the images; ``digest`` names the baseline's."""

    def __init__(self, root: Path, baseline: ServerConfig) -> None:
        self._root = root
        self.baseline = self.image(baseline)
        save_model(init_weights(ModelConfig().seed), root / "model")

    def image(self, config: ServerConfig) -> str:
        """The digest of the image with this configuration, written if need be."""
        return write_image(self._root / "images", "judging", config)

    @contextmanager
    def server(self, digest: str) -> Iterator[str]:
        """The address of a server of that image, which lives as long as the context."""
        config = image_path(self._root / "images", digest) / CONFIG_FILE
        command = [sys.executable, "-m", "evaluation.reference.server", "--port", "0"]
        command += ["--model", str(self._root / "model"), "--config", str(config)]
        with (self._root / "servers.log").open("a") as log:
            process = subprocess.Popen(  # noqa: S603 - our own module
                command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line.startswith("listening on "):
                msg = f"the server of {config} did not start; see {self._root / 'servers.log'}"
                raise RuntimeError(msg)
            yield f"http://{line.removeprefix('listening on ').strip()}"
        finally:
            process.terminate()
            process.wait(_STOP_S)
            if process.stdout is not None:
                process.stdout.close()


@dataclass(slots=True)
class Interview:
    """What one server answered to the prompts of one seed, or what ended that."""

    answers: list[Answer]
    controls: list[Answer]
    repeats: list[Answer]
    forced: list[ForcedAnswer]
    fault: Fault | None = None


def block_hash(seed: int) -> str:
    """The hash of an imagined block; each seed's prompts are others."""
    return "0x" + hashlib.sha256(f"judging:{seed}".encode()).hexdigest()


def prompts_of(seed: int) -> PromptSet:
    """What is asked under a seed."""
    return prompts_for(seed_from_block_hash(block_hash(seed)), CONTEST, tokenizer)


def interview(
    url: str,
    reference_url: str,
    seed: int,
    *,
    streams: int = 1,
    rounds: int = MAX_REPEAT_ROUNDS,
    all_rounds: bool = False,
) -> Interview:
    """Ask a server as a contest does, then the reference about its answers.

    At most ``rounds`` rounds of repeats: the later ones while the repeats look replayed, or always
    with ``all_rounds``.
    """
    return asyncio.run(
        _interview(url, reference_url, prompts_of(seed), streams, rounds, all_rounds=all_rounds)
    )


async def _interview(
    url: str,
    reference_url: str,
    prompts: PromptSet,
    streams: int,
    rounds: int,
    *,
    all_rounds: bool,
) -> Interview:
    held = Interview([], [], [], [])
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=streams), trust_env=False
    ) as session:
        try:
            await _ask_all(session, url, prompts.warmup, streams)
            held.answers += await _ask_all(session, url, prompts.scored, streams)
            controls = iter(prompts.controls)
            for _ in range(rounds):
                for place in prompts.repeated:
                    held.controls += await _ask_all(session, url, [next(controls)], 1)
                    held.repeats += await _ask_all(session, url, [prompts.scored[place]], 1)
                fresh = (*held.answers, *held.controls)
                gain_ppm = repeat_gain_ppm(fresh, held.repeats) or 0
                if not all_rounds and gain_ppm <= GatePolicy().max_repeat_gain_ppm:
                    break
        except ServerFaultError as fault:
            held.fault = Fault(disqualified=fault.code, detail=fault.detail)
            return held
        for content, answer in zip(prompts.scored, held.answers, strict=True):
            held.forced.append(await _forced(session, reference_url, content, answer))
    return held


async def _ask_all(
    session: aiohttp.ClientSession, url: str, contents: Sequence[str], streams: int
) -> list[Answer]:
    """Each stream asks its next prompt when its last one is answered."""
    places = iter(range(len(contents)))
    answers: dict[int, Answer] = {}

    async def stream() -> None:
        for place in places:
            request = ChatRequest(
                model=_MODEL,
                content=contents[place],
                max_tokens=CONTEST.output_tokens,
                seed=0,
                timeout_s=CONTEST.prompt_timeout_s,
            )
            answers[place] = await ask(session, url, request, tokenizer)

    await asyncio.gather(*(stream() for _ in range(streams)))
    return [answers[place] for place in range(len(contents))]


async def _forced(
    session: aiohttp.ClientSession, url: str, content: str, answer: Answer
) -> ForcedAnswer:
    tokens, end = await force_with_end(
        session,
        url,
        model=_MODEL,
        prompt=tokenizer.chat_prompt([{"role": "user", "content": content}]),
        answer=answer.tokens,
        end_ids=[tokenizer.EOS_ID] if answer.finish_reason == CLAIMED_END else [],
        timeout_s=CONTEST.prompt_timeout_s,
    )
    return ForcedAnswer(tokens=tokens, end=end)


def evidence_on(
    held: Interview,
    baseline: Sequence[Answer],
    seed: int,
    *,
    name: str,
    image: str,
    baseline_image: str,
    streams: int,
) -> EntrantEvidence:
    """The interview as the evidence of an entrant named ``name``."""
    prompts = prompts_of(seed)
    return EntrantEvidence(
        contest_id=f"judging-{seed}",
        track="reference",
        attempt=1,
        seed_block=seed,
        seed_block_hash=block_hash(seed),
        prompts_digest=prompts.digest,
        model_name=_MODEL,
        baseline_image=baseline_image,
        entrant_id=name,
        hotkey=name,
        role="challenger",
        image_digest=image,
        baseline=tuple(baseline),
        answers=tuple(held.answers),
        repeated=prompts.repeated,
        repeats=tuple(held.repeats),
        controls=tuple(held.controls),
        forced=tuple(held.forced),
        fault=held.fault,
        exit_code=None,
        log_tail="",
        streams=streams,
    )
