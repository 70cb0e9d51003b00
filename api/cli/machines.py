"""Options that say where images run, and the runner they make."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from evaluation.engines.profile import Launch
    from evaluation.images import ImageRef
    from evaluation.runners.port import Runner


class RunnerKind(StrEnum):
    """What runs an image."""

    DOCKER = "docker"
    PROCESS = "process"


WORKER: Final = "by-hand"
"""Whose containers they are: what a killed command left, the next one of this name removes."""

Runs = Annotated[
    RunnerKind,
    typer.Option(
        "--runner",
        help="docker: containers, confined as in a contest. process: plain processes of this "
        "machine, not confined: image directories, or launch profiles such as profile:vllm.",
    ),
]
_MODEL: Final = typer.Option(
    "--model",
    help="The model's directory; containers find it, read-only, at /models.",
)
Model = Annotated[Path, _MODEL]
ModelIfAny = Annotated[Path | None, _MODEL]
HostFirewall = Annotated[
    bool,
    typer.Option(
        help="Keep containers from this machine's own services too (docker; needs root). Leave it "
        "out only for images of your own.",
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model-name",
        help="The name servers must answer to; by default the one in the policy or the model.",
    ),
]
Engines = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        metavar="NAME=COMMAND",
        help="Where a launch profile's engine is on this machine, e.g. "
        "'vllm=/opt/vllm/bin/vllm'; may be repeated.",
    ),
]
Profiles = Annotated[
    Path | None,
    typer.Option(
        "--profiles",
        metavar="DIR",
        help="With --runner process: a folder of launch profiles of your own, NAME.toml each.",
    ),
]
Launches = Annotated[
    list[str] | None,
    typer.Option(
        "--launch",
        metavar="PROFILE",
        help="With --runner process and --plan: a launch profile, e.g. 'profile:vllm', that an "
        "image of the plan is the digest of; may be repeated.",
    ),
]


def engines_of(words: list[str] | None) -> dict[str, str]:
    """``NAME=COMMAND`` words as a mapping; a usage error for anything else."""
    engines = {}
    for word in words or ():
        name, equals, command = word.partition("=")
        if not (name and equals and command.strip()):
            msg = f"{word!r} is not NAME=COMMAND, e.g. vllm=/opt/vllm/bin/vllm"
            raise typer.BadParameter(msg, param_hint="'--engine'")
        engines[name] = command
    return engines


class Machine:
    """One runner, and how images are named to it."""

    def __init__(
        self,
        kind: RunnerKind,
        model_dir: Path,
        *,
        model_name: str,
        gpus: int,
        engines: dict[str, str],
        host_firewall: bool,
        profiles: Path | None = None,
        images: Path | None = None,
        launches: Sequence[str] = (),
    ) -> None:
        """``images`` is where image directories lie that a plan names by digest alone, and
        ``launches`` are profiles that it names likewise. A usage error for what will not do."""
        from evaluation.engines.profile import ProfileError, profile_names
        from evaluation.runners.local import LocalImages

        self.kind = kind
        self._model_dir = model_dir
        self._host_firewall = host_firewall
        if profiles is not None and kind is not RunnerKind.PROCESS:
            msg = "containers have no launch profiles; give it with --runner process"
            raise typer.BadParameter(msg, param_hint="'--profiles'")
        try:
            self._local = LocalImages(
                model_dir,
                model_name=model_name,
                gpus=gpus,
                engines=engines,
                profiles=profiles,
                images=images,
            )
        except ProfileError as error:
            raise typer.BadParameter(str(error), param_hint="'--profiles'") from error
        known = profile_names(profiles)
        for name in engines:
            if name not in known:
                msg = f"no launch profile is called {name[:32]!r}; there are: {', '.join(known)}"
                raise typer.BadParameter(msg, param_hint="'--engine'")
        for text in launches:
            if self.launch_of(self.image(text, "'--launch'")) is None:
                msg = f"{text[:256]!r} is no launch profile; write profile:NAME or profile:NAME?a=b"
                raise typer.BadParameter(msg, param_hint="'--launch'")

    @property
    def confines(self) -> bool:
        """Whether what runs here is kept from the network and from its file system."""
        return self.kind is RunnerKind.DOCKER

    def runner(self) -> Runner:
        """The runner itself; a usage error where this machine's engine will not do."""
        from evaluation.runners.process import ProcessRunner

        if self.kind is RunnerKind.PROCESS:
            return ProcessRunner(self._local)
        from evaluation.runners.docker.runner import DockerRunner

        try:
            return DockerRunner(
                model_dir=self._model_dir, worker=WORKER, host_firewall=self._host_firewall
            )
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--runner'") from error

    def image(self, text: str, param: str) -> ImageRef:
        """The image that ``text`` names; a usage error of ``param`` where it names none."""
        from evaluation.images import ImageReferenceError, parse_image
        from evaluation.runners.local import NotLocalError

        try:
            if self.kind is RunnerKind.PROCESS:
                return self._local.named(text)
            return parse_image(text)
        except (ImageReferenceError, NotLocalError) as error:
            raise typer.BadParameter(str(error), param_hint=param) from error

    def knows(self, image: ImageRef) -> bool:
        """Whether an image that a plan names by its digest is one of this machine's processes."""
        return self._local.knows(image.digest)

    def needs_model(self, image: ImageRef) -> bool:
        """Whether the image cannot start without ``--model``; a container may carry its weights."""
        if self.kind is not RunnerKind.PROCESS:
            return False
        launch = self.launch_of(image)
        return launch is None or launch.reads_model

    def launch_of(self, image: ImageRef) -> Launch | None:
        """The launch profile behind an image, None where it is none."""
        return self._local.launch_of(image.digest)
