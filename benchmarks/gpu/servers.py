"""One server of this machine for a step that asks it itself, with what a contest asks by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.measure import Questions
from evaluation.plan import ContestPlan
from evaluation.prompts import PromptSet
from evaluation.runners.local import LocalImages
from evaluation.runners.port import RunningServer
from evaluation.runners.process import ProcessRunner
from evaluation.tokenizers import load_tokenizer

if TYPE_CHECKING:
    from benchmarks.gpu.campaign import Campaign


@contextmanager
def launched(campaign: Campaign, images: dict[str, str]) -> Iterator[dict[str, RunningServer]]:
    """Servers of these launches, by name: all launched at once, all ended at the end.

    They are not healthy yet: see :func:`address`. Raises
    :class:`~evaluation.runners.port.InfrastructureFaultError` where one cannot be launched.
    """
    program = campaign.program
    local = LocalImages(
        program.model,
        model_name=campaign.model_name,
        gpus=campaign.manner.gpus,
        engines=dict(word.split("=", 1) for word in program.engines),
        profiles=program.profiles,
    )
    runner = ProcessRunner(local)
    with ExitStack() as stack:
        found: dict[str, RunningServer] = {}
        for name, image in images.items():
            log = program.folder / f"server-{name.replace(' ', '-')}.log"
            found[name] = runner.launch(local.named(image), name)
            stack.callback(_stop, found[name], log)
        yield found


def address(campaign: Campaign, server: RunningServer) -> str:
    """The address of a server once it is healthy.

    Raises :class:`~evaluation.runners.port.ServerStartError` for one that does not get so far.
    """
    server.wait_healthy(campaign.manner.startup_timeout_s)
    return server.base_url


def _stop(server: RunningServer, log: Path) -> None:
    server.stop()
    log.write_text(server.log_tail(), "utf-8")


def questions_of(campaign: Campaign, plan: ContestPlan, prompts: PromptSet) -> Questions:
    """What a contest of this plan would ask, over the model of this machine."""
    return Questions(
        plan=plan,
        prompts=prompts,
        tokenizer=load_tokenizer(campaign.program.model),
        on_progress=lambda *_: None,
        should_stop=lambda: None,
    )
