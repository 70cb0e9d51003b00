"""A runner that tells what was found out about every image it prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from evaluation.images import ImageRef
from evaluation.runners.port import ImageFacts, Runner, RunningServer, Stage
from ledger.contest_policy import ServerLimits

OnPrepared = Callable[[ImageRef, ImageFacts], None]


class NotingRunner:
    """Another :class:`~evaluation.runners.port.Runner`, with ``on_prepared`` told of each image the
    first time that it is ready in a stage: before anything of it is started."""

    def __init__(self, runner: Runner, on_prepared: OnPrepared) -> None:
        self._runner = runner
        self._on_prepared = on_prepared

    @contextmanager
    def stage(self, contest_id: str, limits: ServerLimits, servers: int = 1) -> Iterator[Stage]:
        """The other runner's stage."""
        with self._runner.stage(contest_id, limits, servers) as stage:
            yield _NotingStage(stage, self._on_prepared)

    def sweep(self) -> Sequence[str]:
        """The other runner's."""
        return self._runner.sweep()

    def facts(self) -> Mapping[str, str]:
        """The other runner's."""
        return self._runner.facts()


class _NotingStage:
    def __init__(self, stage: Stage, on_prepared: OnPrepared) -> None:
        self._stage = stage
        self._on_prepared = on_prepared
        self._noted: set[ImageRef] = set()

    def prepare(self, image: ImageRef, timeout_s: float) -> ImageFacts:
        facts = self._stage.prepare(image, timeout_s)
        if image not in self._noted:
            self._on_prepared(image, facts)
            self._noted.add(image)
        return facts

    def launch(self, image: ImageRef, role: str) -> RunningServer:
        return self._stage.launch(image, role)
