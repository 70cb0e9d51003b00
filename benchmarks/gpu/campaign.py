"""``python -m benchmarks.gpu STEP … --out DIR --model DIR``: the trial's steps on a GPU host.

Each step runs contests by the program's own commands. Bundles, policies, logs and tables stay in
the folder; the tables are printed at the end. A step that fails is told, and the next one runs.
Needs no chain, no Docker and no network; ``hill`` needs the ledger's packages besides.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.gpu.policies import MAX_PROMPTS, Manner, Size, prompts_for_block
from benchmarks.gpu.program import Clock, Program, StepError
from benchmarks.gpu.settings import VLLM_COMMON, Engines, Kind, parameters_of
from benchmarks.gpu.throughput import arms_in, kept, tokens_per_s
from benchmarks.measuring import ROOT, tell
from evaluation.runners.port import InfrastructureFaultError, ServerStartError

PROFILES: Final = Path(__file__).with_name("profiles")
SEED_OF: Final = "cacheon gpu campaign"
"""What all seeds are drawn from: a step that runs again asks the same prompts again."""

_OWN_PYTHON: Final = shlex.join(("env", f"PYTHONPATH={ROOT}", sys.executable))
_OWN_ENGINES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "vllm": (),
    # Our own package, so our own interpreter; servers are handed nothing of our environment.
    "reference": (
        f"reference-kind={_OWN_PYTHON} -m evaluation.reference.server",
        f"cheat-proxy-reference={_OWN_PYTHON}",
    ),
}


@dataclass(frozen=True, slots=True)
class Campaign:
    """What every step is given."""

    program: Program
    engines: Engines
    size: Size
    manner: Manner
    copies: int
    only: frozenset[str]
    known_arms: frozenset[str]
    """What ``--only`` may name of the steps that are asked for, whatever bundle is read."""
    bundle: Path
    model_name: str

    def seed_hash(self, name: str) -> str:
        """The made-up block hash that the prompts of a contest follow from."""
        return "0x" + hashlib.sha256(f"{SEED_OF}: {name}".encode()).hexdigest()

    def wanted(self, name: str) -> bool:
        """Whether this arm is asked for; all are where none is named."""
        return not self.only or name in self.only


Step = Callable[[Campaign], str]
"""Runs and gives its tables; raises :class:`StepError` where it cannot."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the named steps in their order; 0 where all went through, 1 where one did not."""
    asked = parser().parse_args(words)
    folder: Path = asked.out
    folder.mkdir(parents=True, exist_ok=True)
    try:
        campaign = campaign_of(asked, folder)
    except (StepError, ValueError) as error:
        tell(str(error))
        return 2
    told, failed = [], False
    for name in asked.steps:
        try:
            campaign.program.clock.must_not_be_over(name)
            text = _steps()[name](campaign)
        except (StepError, InfrastructureFaultError, ServerStartError) as error:
            text, failed = f"{name}: FAILED: {error}", True
        except Exception:  # noqa: BLE001 - a machine is lent by the minute: the next step must run
            text, failed = f"{name}: FAILED by a defect:\n{traceback.format_exc()}", True
        (folder / f"{name}.txt").write_text(text + "\n", "utf-8")
        told.append(text)
        tell(f"{campaign.program.clock.passed_s:5.0f} s  {name} is over")
    sys.stdout.write("\n\n".join(told) + "\n")
    return int(failed)


def _steps() -> Mapping[str, Step]:
    from benchmarks.gpu.steps import aa, cheating, honest, parallel, price, references

    def hill(campaign: Campaign) -> str:
        from benchmarks.gpu.steps import hill as step  # the ledger's packages, for it alone

        return step.run(campaign)

    return {
        "aa": aa.run,
        "honest": honest.run,
        "transformers": honest.run_without_logprobs,
        "cheats": cheating.run,
        "field": cheating.run_field,
        "proxies": cheating.run_proxies,
        "hill": hill,
        "references": references.run,
        "price": price.run,
        "tp": parallel.run,
    }


NAMES: Final = (
    *("aa", "honest", "transformers", "cheats", "field", "proxies"),
    *("hill", "references", "price", "tp"),
)


def parser() -> argparse.ArgumentParser:
    """The words of ``python -m benchmarks.gpu``."""
    words = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    add = words.add_argument
    add("steps", nargs="+", choices=NAMES, metavar="STEP", help=", ".join(NAMES))
    add("--out", type=Path, required=True, help="the folder for bundles, logs and tables")
    add("--model", type=Path, required=True, help="the model's directory")
    add("--model-name", default="", help="the name it is served under; the directory's by default")
    add("--engine-kind", choices=("vllm", "reference"), default="vllm")
    add("--engine", action="append", default=[], metavar="NAME=COMMAND", help="as of contest run")
    add("--common", help=f"parameters of every launch; for vLLM '{VLLM_COMMON}' by default")
    add("--until", type=float, help="seconds after which no new contest is begun")
    add("--blocks", type=int, default=6, help="blocks of a contest; an interval needs 6")
    add("--prompts-per-block", type=int, help="prompts of a block; else by --block-s")
    add("--block-s", type=float, default=10.0, help="how long a block of the baseline shall last")
    add("--rate", type=float, help="tokens a second that the baseline makes, to size blocks by")
    add("--sized-by", type=Path, help="a bundle whose baseline tells that rate")
    add("--context-tokens", type=int, default=512)
    add("--output-tokens", type=int, default=256)
    add("--streams", type=int, default=16)
    add("--warmup-prompts", type=int, default=4)
    add("--repeated-prompts", type=int, default=4)
    add("--restart", action="store_true", help="start servers anew in each block")
    add("--one-by-one", action="store_true", help="start servers after each other, not together")
    add("--copies", type=int, default=6, help="of the baseline in aa")
    add("--only", action="append", default=[], metavar="ARM", help="only these arms of a step")
    add("--gpus", type=int, default=1, help="GPUs of each server")
    add(
        "--bundle",
        type=Path,
        default=Path("aa.zip"),
        help="of 'references': a bundle's name in --out, or its path",
    )
    add("--max-drift-ppm", type=int, default=100_000)
    add("--max-client-lag-us", type=int, default=50_000)
    add("--confidence-ppm", type=int, default=950_000, help="of intervals; less needs fewer blocks")
    add("--startup-timeout-s", type=int, default=300)
    return words


def campaign_of(asked: argparse.Namespace, folder: Path) -> Campaign:
    """What the words ask for in a folder, which need not be there; :class:`StepError` for what no
    policy allows, and for an arm that nothing has."""
    common = asked.common
    if common is None:
        common = VLLM_COMMON if asked.engine_kind == "vllm" else ""
    model_name = asked.model_name or asked.model.resolve().name
    size = Size(
        blocks=asked.blocks,
        prompts_per_block=_block(asked),
        context_tokens=asked.context_tokens,
        output_tokens=asked.output_tokens,
        streams=asked.streams,
        warmup_prompts=asked.warmup_prompts,
        repeated_prompts=asked.repeated_prompts,
    )
    if size.prompts > MAX_PROMPTS:
        msg = (
            f"{size.blocks} blocks of {size.prompts_per_block} prompts are more than the "
            f"{MAX_PROMPTS} that a policy allows; ask for longer answers or fewer blocks"
        )
        raise StepError(msg)
    program = Program(
        folder=folder,
        model=asked.model,
        clock=Clock(asked.until),
        engines=(*asked.engine, *_OWN_ENGINES[asked.engine_kind]),
        profiles=PROFILES if asked.engine_kind == "reference" else None,
    )
    manner = Manner(
        restart=asked.restart,
        together=not asked.one_by_one,
        gpus=asked.gpus if asked.engine_kind == "vllm" else 0,
        max_drift_ppm=asked.max_drift_ppm,
        max_client_lag_us=asked.max_client_lag_us,
        startup_timeout_s=asked.startup_timeout_s,
        confidence_ppm=asked.confidence_ppm,
        ask_token_ids=asked.engine_kind == "vllm",
    )
    engines = Engines(asked.engine_kind, parameters_of(common))
    known = frozenset(arm.name for step in asked.steps for arm in engines.arms_of(step))
    bundle = folder / asked.bundle if asked.bundle.name == str(asked.bundle) else asked.bundle
    _must_be_arms(asked, known, bundle)
    return Campaign(
        program=program,
        engines=engines,
        size=size,
        manner=manner,
        copies=asked.copies,
        only=frozenset(asked.only),
        known_arms=known,
        bundle=bundle,
        model_name=model_name,
    )


def _must_be_arms(asked: argparse.Namespace, known: frozenset[str], bundle: Path) -> None:
    """Refuse a name of ``--only`` that no step asked for has; ``references`` has a bundle's arms,
    and tells itself where that is not there yet."""
    if not asked.only:
        return
    reads = "references" in asked.steps
    if reads and not bundle.exists():
        return
    named = [*sorted(known), *(arms_in(kept(bundle)) if reads else ())]
    if not named:
        msg = f"{' and '.join(asked.steps)} have no arms to choose; leave --only out"
        raise StepError(msg)
    unknown = [name for name in asked.only if name not in named]
    if unknown:
        msg = (
            f"--only names {', '.join(unknown)}, which {' and '.join(asked.steps)} do not have; "
            f"there are: {', '.join(named)}"
        )
        raise StepError(msg)


def _block(asked: argparse.Namespace) -> int:
    """Prompts of a block: as said, by the rate of the baseline, or one round of the streams."""
    if asked.prompts_per_block is not None:
        return int(asked.prompts_per_block)
    rate = tokens_per_s(asked.sized_by) if asked.sized_by is not None else asked.rate
    if rate is None:
        return int(asked.streams)
    return prompts_for_block(rate, asked.block_s, asked.output_tokens, asked.streams)
