"""One arm of a contest: its servers, one start after another, and their answers over the blocks.

Whatever goes wrong with an arm's own server or image is kept in :attr:`Arm.fault` and ends that arm
alone; the arm answers nothing more. Only a server that cannot be stopped is raised: it would take
machine time from everybody after it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from msgspec import structs

from evaluation.blocks import block_label
from evaluation.client import Answer
from evaluation.conditions import too_late
from evaluation.ends import killed_from_outside, own_exit_code
from evaluation.gpu_strangers import Neighbours
from evaluation.gpu_work import GpuSamples, Sampling, start_sampling
from evaluation.gpus import GpuFacts, gpu_facts
from evaluation.images import ImageRef, ImageReferenceError, parse_image
from evaluation.judge import Fault, repeat_gain_ppm
from evaluation.live import LiveRatios
from evaluation.load import Load
from evaluation.measure import Questions, Stretch, ask_stretch
from evaluation.meter import Meter
from evaluation.plan import PlannedEntrant
from evaluation.prompts import MAX_REPEAT_ROUNDS
from evaluation.records import ArmRecord, BlockRecord, StartRecord
from evaluation.runners.health import engine_version
from evaluation.runners.port import (
    ImageFacts,
    ImageRefusedError,
    InfrastructureFaultError,
    NeverHealthyError,
    RunningServer,
    ServerStartError,
    Stage,
)
from ledger.codes import DisqualificationCode, InfrastructureCause
from ledger.units import PPM

_NS_PER_MS: Final = 1_000_000

OnServer = Callable[[str, RunningServer], None]
"""``(role, server)``, called when a server has become healthy and before it is asked anything."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where an arm stood: how many answers and records it had."""

    answers: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Ground:
    """What all arms of a contest share: the questions, who watches, and the machine's GPUs."""

    questions: Questions
    on_server: OnServer
    live: LiveRatios
    started_ns: int = field(default_factory=time.monotonic_ns)
    read_gpus: Callable[[], GpuFacts] = gpu_facts
    sample_gpus: Callable[[], Sampling] = start_sampling
    neighbours: Neighbours = field(default_factory=Neighbours)

    def since_start_ms(self) -> int:
        """Milliseconds since the contest began."""
        return (time.monotonic_ns() - self.started_ns) // _NS_PER_MS


class Arm:
    """An image and everything its servers did; ``entrant`` is None for the baseline.

    ``budget_ppm`` is the share of the policy's budget that they may use; None is no limit.
    """

    def __init__(
        self,
        ground: Ground,
        name: str,
        image: ImageRef,
        entrant: PlannedEntrant | None = None,
        *,
        budget_ppm: int | None = PPM,
    ) -> None:
        self.name = name
        self.entrant = entrant
        self.image = image
        self.facts: ImageFacts | None = None
        self.answers: list[Answer] = []
        self.repeats: list[Answer] = []
        self.controls: list[Answer] = []
        self.fault: Fault | None = None
        self.exit_code: int | None = None
        self.log_tail = ""
        self._budget_ppm = budget_ppm
        self._ground = ground
        self._questions = ground.questions
        self._contest = ground.questions.plan.policy.contest
        self._meter = Meter(self._contest.limits.gpus)
        self._stage: Stage | None = None
        self._server: RunningServer | None = None
        self._starts: list[StartRecord] = []
        self._blocks: list[BlockRecord] = []
        self._start = StartRecord(first_block=0)
        self._launched_ns = 0
        self._used_before_ms = 0

    @property
    def entrant_id(self) -> str | None:
        """The entrant's id; None for the baseline and the reference."""
        return None if self.entrant is None else self.entrant.entrant_id

    @property
    def base_url(self) -> str:
        """Where its running server answers."""
        return self._running().base_url

    @property
    def gpu_ms(self) -> int:
        """The machine time its servers used so far, in milliseconds times GPUs."""
        return self._meter.gpu_ms

    @property
    def blocks(self) -> Sequence[BlockRecord]:
        """What was recorded of every stretch it was asked, in that order."""
        return self._blocks

    def record(self) -> ArmRecord:
        """Everything of it that is neither an answer nor a verdict."""
        return ArmRecord(
            arm=self.name,
            image=self.facts,
            gpu_ms=self.gpu_ms,
            starts=tuple(self._starts),
            blocks=tuple(self._blocks),
        )

    def enter(self, stage: Stage) -> None:
        """Take a place on the machine; before it nothing can be prepared or started."""
        self._stage = stage

    def prepare(self) -> None:
        """Have its image on the machine, and know what is in it."""
        try:
            parse_image(str(self.image))
        except ImageReferenceError as error:
            code = DisqualificationCode.IMAGE_NAME_INVALID
            self._fail(Fault(disqualified=code, detail=str(error)))
            return
        with self._faults():
            self.facts = self._entered().prepare(self.image, self._contest.pull_timeout_s)

    def start(self, first_block: int = 0, seen: range = range(0)) -> None:
        """Launch a server, wait until it is healthy, ask the warm-up and forget the answers.

        ``seen`` are places of scored prompts that belong to the warm-up: those that an earlier
        server of the arm has answered, where this one takes its place for good.
        """
        self.launch(first_block)
        self.await_health()
        self.present()
        self.warm_up(seen)

    def launch(self, first_block: int = 0) -> None:
        """Start a server and return before it is ready. Its machine time runs from here on."""
        if self.fault is not None:
            return
        self._questions.stop_if_asked()
        self._questions.on_progress("launch", self.entrant_id, 0, 1)
        gpus = self._ground.read_gpus()
        self._start = StartRecord(
            first_block=first_block,
            gpus_before=gpus,
            strangers=self._ground.neighbours.strangers(gpus),
        )
        self._launched_ns, self._used_before_ms = time.monotonic_ns(), self.gpu_ms
        with self._faults():
            self._meter.run()
            self._server = self._entered().launch(self.image, self.name)
            self._ground.neighbours.launched(self._server.pid)
        if self.fault is not None:
            self.stop()

    def await_health(self, called_off: Callable[[], bool] = lambda: False) -> None:
        """Wait until the launched server is healthy; what goes wrong is the arm's fault.

        It stops nothing, tells nobody and touches no other arm, so that a thread of its own may
        wait here for each of several. Raises :class:`~evaluation.runners.port.CalledOffError`.
        """
        if self._server is None:
            return
        with self._faults():
            self._wait_healthy(self._server, called_off)
        if self.fault is None:
            ready_ms = (time.monotonic_ns() - self._launched_ns) // _NS_PER_MS
            version = engine_version(self.base_url) if self.entrant is None else None
            self._start = structs.replace(self._start, ready_ms=ready_ms, engine_version=version)

    def await_and_hold(self, called_off: Callable[[], bool]) -> None:
        """:meth:`await_health`, and freeze the server at once: it is idle, others still start."""
        self.await_health(called_off)
        if self.fault is None:
            self._hold()

    def present(self) -> None:
        """Say that the server is healthy, or stop it where it has failed."""
        if self._server is not None and self.fault is None:
            with self._faults():
                self._questions.on_progress("launch", self.entrant_id, 1, 1)
                self._ground.on_server(self.name, self._server)
        if self.fault is not None:
            self.stop()

    def warm_up(self, seen: range = range(0)) -> None:
        """Ask the warm-up and forget the answers; ``seen`` as for :meth:`start`."""
        if self.fault is not None:
            return
        with self._faults():
            self._warm_up(seen)
        if self.fault is not None:
            self.stop()

    def ask(self, block: int, places: range, place: int = 0) -> None:
        """Ask the scored prompts at ``places``, the ``place``-th of the arms of that block."""
        if self.fault is not None:
            return
        contents = [self._questions.prompts.scored[at] for at in places]
        load = self._questions.load(contents, block_label(block))
        of = self._contest.prompts
        stretch = self._asked("prompts", block, place, load, done=places.start, of=of)
        self.answers += stretch.answers
        for at, answer in zip(places, stretch.answers, strict=False):
            self._ground.live.note(self.entrant_id, at, answer.wall_us)
        if self.fault is not None:
            self.stop()

    def repeat(self, block: int, repeated: Sequence[int], place: int = 0) -> None:
        """Ask prompts that this very server answered again, each after a control of its own.

        ``repeated`` are places in the prompt set's ``repeated``. Further rounds follow while the
        repeats look replayed: a server that replays stays so however often it is asked; chance on
        a busy machine does not.
        """
        for turn in range(MAX_REPEAT_ROUNDS if repeated else 0):
            if self.fault is not None or (turn and not self._looks_replayed()):
                break
            self._repeat_once(turn, block, repeated, place)
        if self.fault is not None:
            self.stop()

    def mark(self) -> Mark:
        """Where it stands, to see later what came since, or to go back to."""
        return Mark(len(self.answers), len(self._blocks))

    def too_late(self, since: Mark) -> str | None:
        """One sentence where the client was too late for what it measured since the mark.

        Nothing is taken back of an arm that has a fault, so nothing needs to be trusted there.
        """
        if self.fault is not None:
            return None
        return too_late(self._blocks[since.blocks :], f"the {self.name}", self._contest)

    def set_aside(self, since: Mark) -> None:
        """Stop its server and forget what it answered since the mark; the record keeps that it was.

        All that this server used, its start too, is not the arm's to pay: the client was late.
        What it is asked again it must not know from before, so a new server has to be started, and
        that one is paid for.
        """
        self.stop()
        del self.answers[since.answers :]
        for at in range(since.blocks, len(self._blocks)):
            self._blocks[at] = structs.replace(self._blocks[at], set_aside=True)
        self._meter.forgive(self.gpu_ms - self._used_before_ms)

    def give_up(self, detail: str) -> None:
        """End the arm, and it alone, as one that the client could not measure."""
        self._fail(Fault(infrastructure=InfrastructureCause.CLIENT_SATURATED, detail=detail))
        self.stop()

    def blame(self, fault: Fault) -> None:
        """Put another fault in the place of the one that ended the arm: more is known now."""
        self.fault = fault

    def freeze(self) -> None:
        """Stop its server's clock and the meter's until :meth:`thaw`."""
        self._hold()
        if self.fault is not None:
            self.stop()

    def thaw(self) -> None:
        """Let a frozen server go on."""
        if self._server is not None:
            self._meter.run()
            with self._faults():
                self._server.resume()
            if self.fault is not None:
                self.stop()

    def stop(self) -> None:
        """End its server, if one runs, and keep its last words; again it does nothing.

        Raises :class:`InfrastructureFaultError` where the server cannot be ended.
        """
        server, self._server = self._server, None
        if server is None:
            self._meter.hold()
            return
        try:
            try:
                self._start = structs.replace(self._start, exit_code=server.exit_code)
            finally:
                server.stop()
        finally:
            self._meter.hold()
            self._ground.neighbours.ended(server.pid)
            self.log_tail = server.log_tail()
            self._start = structs.replace(self._start, out_of_memory=server.out_of_memory)
            self._starts.append(self._start)

    # -- inside -------------------------------------------------------------------------------

    def _entered(self) -> Stage:
        if self._stage is None:
            msg = f"the arm {self.name} has no stage"
            raise RuntimeError(msg)
        return self._stage

    def _running(self) -> RunningServer:
        if self._server is None:
            msg = f"the arm {self.name} has no server running"
            raise RuntimeError(msg)
        return self._server

    def _left_s(self) -> float | None:
        """Seconds left of the arm's budget; the reference has none to keep."""
        if self._budget_ppm is None:
            return None
        return self._meter.left_s(self._contest.budget_gpu_minutes, self._budget_ppm)

    def _hold(self) -> None:
        if self._server is None:
            return
        with self._faults():
            self._server.pause()
        self._meter.hold()

    def _wait_healthy(self, server: RunningServer, called_off: Callable[[], bool]) -> None:
        left_s = self._left_s()
        timeout_s: float = self._contest.startup_timeout_s
        if left_s is None or timeout_s <= left_s:
            server.wait_healthy(timeout_s, called_off)
            return
        try:
            server.wait_healthy(left_s, called_off)
        except NeverHealthyError as error:
            self._fail(self._budget_spent(f"while it started: {error.detail}"))

    def _warm_up(self, seen: range) -> None:
        """As many at once as later, and at once: it is there to have the server ready."""
        scored = self._questions.prompts.scored
        prompts = (*self._questions.prompts.warmup, *(scored[at] for at in seen))
        if not prompts:
            return
        load = replace(self._questions.load(prompts, "warmup"), arrivals_us=None)
        self._end_by(self._ask("warmup", load, done=0, of=len(prompts)), "warmup", 0)

    def _repeat_once(self, turn: int, block: int, repeated: Sequence[int], place: int) -> None:
        """One at a time, so that each control stands right before its repeat."""
        prompts = self._questions.prompts
        contents = []
        for at in repeated:
            contents.append(prompts.controls[turn * len(prompts.repeated) + at])
            contents.append(prompts.scored[prompts.repeated[at]])
        load = self._questions.load(contents, None)
        stretch = self._asked("repeats", block, place, load, done=0, of=len(contents))
        self.controls += stretch.answers[::2]
        self.repeats += stretch.answers[1::2]

    def _asked(
        self, phase: str, block: int, place: int, load: Load, *, done: int, of: int
    ) -> Stretch:
        """One recorded stretch; what cut it short is this arm's fault."""
        since_start_ms = self._ground.since_start_ms()
        stretch, samples = self._sampled(phase, load, done=done, of=of)
        lag, gpus = stretch.client_lag, self._ground.read_gpus()
        self._blocks.append(
            BlockRecord(
                phase=phase,
                block=block,
                place=place,
                since_start_ms=since_start_ms,
                prompts=len(stretch.answers),
                client_lag_p99_us=None if lag is None else lag.p99_us,
                client_lag_max_us=None if lag is None else lag.max_us,
                client_lag_samples=0 if lag is None else lag.samples,
                late_beats=stretch.traffic.beats,
                late_sends=stretch.traffic.sends,
                wire_bytes=stretch.traffic.wire_bytes,
                payload_bytes=stretch.traffic.payload_bytes,
                tokens=sum(len(answer.tokens) for answer in stretch.answers),
                gpus=gpus,
                gpu_samples=samples,
                strangers=self._ground.neighbours.strangers(gpus),
            )
        )
        self._end_by(stretch, phase, done)
        return stretch

    def _sampled(self, phase: str, load: Load, *, done: int, of: int) -> tuple[Stretch, GpuSamples]:
        """Ask, and sample the GPUs meanwhile. Repeats are too short to say anything of a clock."""
        if phase != "prompts":
            return self._ask(phase, load, done=done, of=of), GpuSamples()
        sampling = self._ground.sample_gpus()
        try:
            stretch = self._ask(phase, load, done=done, of=of)
        finally:
            samples = sampling.end()
        return stretch, samples

    def _ask(self, phase: str, load: Load, *, done: int, of: int) -> Stretch:
        def tell(answered: int) -> None:
            self._questions.on_progress(phase, self.entrant_id, done + answered, of)

        tell(0)
        return ask_stretch(
            self._questions,
            self._running().base_url,
            load,
            within_s=self._left_s(),
            on_answered=tell,
        )

    def _looks_replayed(self) -> bool:
        fresh = (*self.answers, *self.controls)
        gain_ppm = repeat_gain_ppm(fresh, self.repeats)
        limit_ppm = self._questions.plan.policy.gates.max_repeat_gain_ppm
        return gain_ppm is not None and gain_ppm > limit_ppm

    def _end_by(self, stretch: Stretch, phase: str, done: int) -> None:
        """Note what cut the stretch short."""
        if stretch.out_of_time:
            self._fail(self._budget_spent(f"{phase} {done} was not done"))
        if stretch.fault is None:
            return
        server, fault = self._running(), stretch.fault
        self.exit_code = own_exit_code(server, fault)
        detail = f"{phase} {done + (stretch.fault_at or 0)}: {fault.detail}"
        code = fault.code
        if self.exit_code is not None:
            detail += f"; the server exited with {self.exit_code}"
            if server.out_of_memory:
                code = DisqualificationCode.OUT_OF_MEMORY
                detail += " because it used more memory than it may"
            elif killed_from_outside(self.exit_code):
                self._fail(Fault(infrastructure=InfrastructureCause.HOST_FAILED, detail=detail))
                return
        self._fail(Fault(disqualified=code, detail=detail))

    def _budget_spent(self, when: str) -> Fault:
        share = "" if self._budget_ppm == PPM else f"{self._budget_ppm} ppm of "
        return Fault(
            disqualified=DisqualificationCode.BUDGET_SPENT,
            detail=(
                f"the server used up {share}its {self._contest.budget_gpu_minutes} minutes of "
                f"machine time; {when}"
            ),
        )

    def _fail(self, fault: Fault) -> None:
        self.fault = self.fault or fault

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Keep what goes wrong inside as this arm's fault."""
        try:
            yield
        except InfrastructureFaultError as fault:
            self._fail(Fault(infrastructure=fault.cause, detail=fault.detail))
        except ImageRefusedError as refused:
            self._fail(Fault(disqualified=refused.code, detail=refused.detail))
        except ServerStartError as at_start:
            own = at_start.code is DisqualificationCode.OUT_OF_MEMORY
            if own or not killed_from_outside(at_start.exit_code):
                self._fail(Fault(disqualified=at_start.code, detail=at_start.detail))
            else:
                cause = InfrastructureCause.HOST_FAILED
                self._fail(Fault(infrastructure=cause, detail=at_start.detail))
            self.exit_code, self.log_tail = at_start.exit_code, at_start.log_tail
