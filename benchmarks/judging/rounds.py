"""The rounds of a judging run: calibrate on honest servers, then judge cheats and honest alike."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from benchmarks.judging.live import Ground, evidence_on, interview
from benchmarks.judging.table import CHEATS, HONEST, Cheat, Honest
from evaluation.calibration import CalibrationFacts, calibrate
from evaluation.client import Answer
from evaluation.entrant import EntrantEvidence
from evaluation.evidence import canonical, read_evidence
from evaluation.figures import repeat_gain_ppm
from evaluation.judge import EntrantVerdict, judge
from evaluation.prompts import MAX_REPEAT_ROUNDS
from evaluation.reference import config as kinds
from evaluation.resampling import draws, resampled
from ledger.gate_policy import GatePolicy

FACTS: Final = CalibrationFacts(model="cacheon-reference", gpu="", engine="evaluation.reference")
SLACK_PPM: Final = 200_000
"""A fifth more than the greatest honest figure: the calibration saw every honest engine there is
here, so that only chance is left to allow for, and int8 weights lie but half above bfloat16. What
`contest calibrate --slack 20` gives; its default is wider, and judges every run beside."""
MIN_MODEL_TOP1_PPM: Final = 200_000
"""The track's own line between coarse arithmetic and another model. The reference model is chaotic:
int4 weights leave it under half of its choices, another model's hits are about 5 %."""
CALIBRATION_SEEDS: Final = range(10_000, 10_004)

Tell = Callable[[str], None]
HEAD: Final = (
    f"{'server':34} | {'refused':>10} | {'codes under the calibrated gates':40} | "
    f"{'codes under those of the default slack':40} | "
    "codes under the default gates"
)


@dataclass(slots=True)
class Row:
    """One server of the table: how many runs had which code; the last one's sentence."""

    name: str
    expected: str
    runs: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    by_default: Counter[str] = field(default_factory=Counter)
    by_wide: Counter[str] = field(default_factory=Counter)
    detail: str = ""

    @property
    def as_expected(self) -> int:
        """Runs that had the expected code; of a cheat, more may have been caught."""
        return self.codes[self.expected]

    @property
    def caught(self) -> int:
        """Runs that were not scored."""
        return self.runs - self.codes[""]

    @property
    def caught_wide(self) -> int:
        """Runs that were not scored under gates of the default slack."""
        return self.runs - self.by_wide[""]

    def note(
        self, found: EntrantVerdict, by_wide: EntrantVerdict, by_default: EntrantVerdict
    ) -> None:
        """Count a verdict, the one under gates of the default slack, and under the default ones."""
        self.runs += 1
        self.codes[found.code] += 1
        self.by_wide[by_wide.code] += 1
        self.by_default[by_default.code] += 1
        if found.code:
            self.detail = found.detail


class Judging:
    """The servers that all rounds share: the reference, and the baseline's answers by seed."""

    def __init__(self, ground: Ground, reference_url: str) -> None:
        self._ground = ground
        self._reference_url = reference_url
        self._baseline: dict[int, tuple[Answer, ...]] = {}

    @classmethod
    @contextmanager
    def held(cls) -> Iterator[Judging]:
        """With a folder and a reference server that live as long as the context."""
        with tempfile.TemporaryDirectory(prefix="judging-") as root:
            ground = Ground(Path(root), kinds.KvCached())
            with ground.server(ground.baseline) as url:
                yield cls(ground, url)

    def run(
        self, kind: Cheat | Honest, seeds: Sequence[int], *, all_rounds: bool = False
    ) -> Iterator[EntrantEvidence]:
        """The evidence on one server process, asked under each seed in turn."""
        image = self._ground.image(kind.config)
        streams = kind.streams if isinstance(kind, Honest) else 1
        rounds = MAX_REPEAT_ROUNDS if isinstance(kind, Honest) or kind.repeats else 0
        with self._ground.server(image) as url:
            for seed in seeds:
                baseline = self._baseline_answers(seed)
                held = interview(
                    url,
                    self._reference_url,
                    seed,
                    streams=streams,
                    rounds=rounds,
                    all_rounds=all_rounds,
                )
                yield evidence_on(
                    held,
                    baseline,
                    seed,
                    name=kind.name,
                    image=image,
                    baseline_image=self._ground.baseline,
                    streams=streams,
                )

    def _baseline_answers(self, seed: int) -> tuple[Answer, ...]:
        """The baseline's answers; the reference's server gives them, which is of its image."""
        if seed not in self._baseline:
            held = interview(self._reference_url, self._reference_url, seed, rounds=0)
            if held.fault is not None:
                raise RuntimeError(held.fault.detail)
            self._baseline[seed] = tuple(held.answers)
        return self._baseline[seed]


class Gates(NamedTuple):
    """The gates of :data:`SLACK_PPM`, and ``wide`` ones of the slack that is the default."""

    close: GatePolicy
    wide: GatePolicy


def calibrated(judging: Judging, seeds: Sequence[int] = CALIBRATION_SEEDS) -> Gates:
    """The gates that honest servers propose, each kind under every seed.

    Those that speculate and those that are asked several prompts at once stay out: how their tokens
    come in is not how a track streams that asks one at a time and allows no speculation, and their
    text is the others'.
    """
    kinds_asked = [kind for kind in HONEST if not kind.in_bursts and kind.streams == 1]
    runs = [one for kind in kinds_asked for one in judging.run(kind, seeds)]
    gates = GatePolicy(min_model_top1_ppm=MIN_MODEL_TOP1_PPM)
    return Gates(
        calibrate(runs, FACTS, gates=gates, slack_ppm=SLACK_PPM).gates,
        calibrate(runs, FACTS, gates=gates).gates,
    )


def verdicts(
    found: EntrantEvidence, gates: Gates, *, speculation_allowed: bool = True
) -> tuple[EntrantVerdict, EntrantVerdict, EntrantVerdict]:
    """Under both of ``gates`` and under the default ones, from the evidence as it is read back."""
    policies = [gates.close, gates.wide, GatePolicy()]
    if not speculation_allowed:
        policies = [msgspec.structs.replace(one, allowed=()) for one in policies]
    kept = read_evidence(canonical(found))
    close, wide, default = (judge(kept, one) for one in policies)
    if close != judge(found, policies[0]):
        msg = f"the evidence on {found.entrant_id} gives another verdict when it is read back"
        raise RuntimeError(msg)
    return close, wide, default


def cheat_rows(
    judging: Judging,
    gates: Gates,
    seeds: Sequence[int],
    tell: Tell,
    cheats: Sequence[Cheat] = CHEATS,
) -> list[Row]:
    """Every cheat under every seed."""
    rows = []
    for cheat in cheats:
        row = Row(cheat.name, str(cheat.code))
        # A server that is honest at first must be new to every contest.
        parts = [[seed] for seed in seeds] if isinstance(cheat.config, kinds.Turncoat) else [seeds]
        for part in parts:
            for found in judging.run(cheat, part):
                row.note(*verdicts(found, gates, speculation_allowed=cheat.speculation_allowed))
        rows.append(row)
        tell(line_of(row))
    return rows


def honest_rows(
    judging: Judging, gates: Gates, seeds: Sequence[int], resamples: int, tell: Tell
) -> tuple[list[Row], list[Row]]:
    """Honest servers live, a new process for every run, and resampled from their evidence.

    The seeds go round the kinds; ``resamples`` are drawn from each run.
    """
    live = {kind.name: Row(kind.name, "") for kind in HONEST}
    drawn = {kind.name: Row(kind.name, "") for kind in HONEST}
    for place, seed in enumerate(seeds):
        kind = HONEST[place % len(HONEST)]
        most_ppm = gates.close.max_repeat_gain_ppm
        for found in judging.run(kind, [seed], all_rounds=True):
            # What a contest would have asked and judged: no more rounds than it needs.
            live[kind.name].note(*verdicts(as_asked(found, most_ppm), gates))
            stream = draws(f"{kind.name}:{seed}")
            for _ in range(resamples):
                again = resampled(found, stream, max_repeat_gain_ppm=most_ppm)
                drawn[kind.name].note(*verdicts(again, gates))
    for row in live.values():
        tell(line_of(row))
    return list(live.values()), list(drawn.values())


def as_asked(found: EntrantEvidence, max_repeat_gain_ppm: int) -> EntrantEvidence:
    """The evidence with the rounds of repeats alone that a contest would have asked."""
    step = max(1, len(found.repeated))
    for asked in range(step, len(found.repeats) + 1, step):
        gain_ppm = repeat_gain_ppm((*found.answers, *found.controls[:asked]), found.repeats[:asked])
        if gain_ppm is None or gain_ppm <= max_repeat_gain_ppm:
            return msgspec.structs.replace(
                found, repeats=found.repeats[:asked], controls=found.controls[:asked]
            )
    return found


def line_of(row: Row) -> str:
    """One line of the table: name, caught of runs, and the codes under each of the gates."""
    return (
        f"{row.name:34} | {row.caught:3} of {row.runs:3} | {_codes(row.codes):40} | "
        f"{_codes(row.by_wide):40} | {_codes(row.by_default)}"
    )


def _codes(codes: Counter[str]) -> str:
    return ", ".join(f"{code or 'scored'} {count}" for code, count in codes.most_common())
