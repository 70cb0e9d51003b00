"""From a bundle that was found whole and true to its summary; pure, no file is read here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.gpu.catalogue import Entry
from benchmarks.gpu.summary import (
    BASELINE,
    MARGINS_MILLI,
    ArmTimes,
    ArmVerdict,
    BlockTimes,
    Plan,
    Step,
    Summary,
)
from evaluation.blocks import blocks_of
from evaluation.bundle import Bundle
from evaluation.client import Answer
from evaluation.entrant import EntrantEvidence, ForcedAnswer
from evaluation.evidence import read_evidence
from evaluation.figures import GateFigures, gate_figures
from evaluation.gpu_lines import engine_of, gpu_lines, named_gpus
from evaluation.judge import EntrantVerdict, judge
from evaluation.manifest import BaselineEvidence, read_baseline
from evaluation.records import ArmRecord
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy
from ledger.rules.interval import block_log_ratios_ppm, rounded_mean, saved_ppm


def evidence_in(bundle: Bundle) -> dict[str, EntrantEvidence]:
    """The evidence on every entrant, by entrant id, in the plan's order."""
    return {
        part.entrant_id: read_evidence(bundle.get(part.evidence_digest))
        for part in bundle.manifest.entrants
    }


def summary_of(name: str, entry: Entry, bundle: Bundle, calibrated: GatePolicy | None) -> Summary:
    """What is kept of a bundle; ``calibrated`` are the gates of the calibration for it, if any."""
    manifest = bundle.manifest
    plan, outcome = manifest.plan, manifest.outcome
    baseline = _baseline(bundle)
    evidence = evidence_in(bundle)
    records = _records(baseline, evidence.values())
    return Summary(
        name=name,
        what=entry.what,
        about=entry.about,
        manifest_digest=bundle.manifest_digest,
        track=plan.track,
        model=plan.model_name,
        engine=_engine(entry, baseline),
        host=_host(bundle),
        plan=_plan(plan.policy.contest),
        gates=plan.policy.gates,
        status=outcome.status,
        void=f"{outcome.void_cause}: {outcome.detail}" if outcome.void_cause else "",
        conditions=manifest.conditions,
        gpus=gpu_lines(records),
        strangers=_strangers(records),
        arms=(
            *_baseline_times(entry, plan.policy.contest, baseline, plan.baseline.digest),
            *(
                _times(entry, plan.policy.contest, one, plan.policy.gates)
                for one in evidence.values()
            ),
        ),
        verdicts=_verdicts(entry, bundle, evidence, calibrated),
        steps=tuple(
            Step(
                what=step.what,
                arm=step.entrant_id,
                undecided=step.undecided,
                needed_ppm=step.needed_ppm,
                reached_ppm=step.reached_ppm,
            )
            for step in bundle.rejudged.throne.steps
        ),
        king=bundle.rejudged.throne.king,
    )


def _host(bundle: Bundle) -> dict[str, str]:
    host = bundle.manifest.host_before
    said = {"cpu": host.cpu, "cores": host.usable_cores, "kernel": host.kernel}
    known = {name: str(value) for name, value in said.items() if value is not None}
    return known | {
        "runner": bundle.manifest.runner.get("runner", ""),
        "client": bundle.manifest.client,
    }


def _plan(contest: ContestPolicy) -> Plan:
    return Plan(
        order=contest.order,
        restart_each_block=contest.restart_each_block,
        streams=contest.streams,
        prompts=contest.prompts,
        prompts_per_block=contest.prompts_per_block,
        context_tokens=contest.context_tokens,
        output_tokens=contest.output_tokens,
        gpus=contest.limits.gpus,
        start_together=contest.start_together,
        ask_logprobs=contest.ask_logprobs,
    )


# -- times -----------------------------------------------------------------------------------


def _baseline_times(
    entry: Entry, contest: ContestPolicy, baseline: BaselineEvidence, image: str
) -> Iterable[ArmTimes]:
    runs = [answers for answers in (baseline.before, baseline.after) if answers]
    for number, (answers, record) in enumerate(zip(runs, baseline.records, strict=False)):
        arm = BASELINE if number == 0 else f"{BASELINE}-after"
        yield ArmTimes(
            arm=arm,
            name=entry.names.get(arm, "baseline"),
            image=image,
            ready_ms=tuple(start.ready_ms for start in record.starts),
            gpu_ms=record.gpu_ms,
            repeats_ms=0,
            blocks=_blocks(contest, answers, (), record, 0),
        )


def _times(
    entry: Entry, contest: ContestPolicy, evidence: EntrantEvidence, gates: GatePolicy
) -> ArmTimes:
    record, arm = evidence.record, evidence.entrant_id
    return ArmTimes(
        arm=arm,
        name=entry.names.get(arm, arm),
        image=evidence.image_digest,
        ready_ms=() if record is None else tuple(start.ready_ms for start in record.starts),
        gpu_ms=0 if record is None else record.gpu_ms,
        repeats_ms=sum(one.end_us for one in (*evidence.repeats, *evidence.controls)) // 1_000,
        blocks=_blocks(contest, evidence.answers, evidence.forced, record, gates.margin_clip_milli),
    )


def _blocks(
    contest: ContestPolicy,
    answers: Sequence[Answer],
    forced: Sequence[ForcedAnswer],
    record: ArmRecord | None,
    clip_milli: int,
) -> tuple[BlockTimes, ...]:
    """The blocks that were answered whole."""
    found = []
    for block, places in enumerate(blocks_of(contest)):
        if places.stop > len(answers):
            break
        own = answers[places.start : places.stop]
        times = BlockTimes(
            block=block,
            start=0 if record is None else record.start_of(block),
            tokens=sum(len(one.tokens) for one in own),
            wall_us=max(one.sent_us + one.end_us for one in own) - min(one.sent_us for one in own),
            e2e_us=tuple(one.wall_us for one in own),
            place=_place_of(block, record),
        )
        if forced:
            times = _with_margins(times, own, forced[places.start : places.stop], clip_milli)
        found.append(times)
    return tuple(found)


def _place_of(block: int, record: ArmRecord | None) -> int | None:
    if record is None:
        return None
    places = [
        one.place
        for one in record.blocks
        if one.phase == "prompts" and one.block == block and not one.set_aside
    ]
    return places[-1] if places else None


def _with_margins(
    times: BlockTimes, own: Sequence[Answer], forced: Sequence[ForcedAnswer], clip_milli: int
) -> BlockTimes:
    known = [token for answer in forced for token in answer.tokens if token is not None]
    off = [
        abs(claimed - token.logprob_milli)
        for answer, under in zip(own, forced, strict=True)
        for claimed, token in zip(answer.logprobs_milli, under.tokens, strict=False)
        if token is not None and token.logprob_milli is not None
    ]
    return BlockTimes(
        block=times.block,
        start=times.start,
        tokens=times.tokens,
        wall_us=times.wall_us,
        e2e_us=times.e2e_us,
        place=times.place,
        margin_milli=sum(min(token.margin_milli, clip_milli) for token in known),
        first_choices=sum(token.is_first_choice for token in known),
        forced=len(known),
        delta_milli=sum(off),
        claims=len(off),
    )


# -- verdicts --------------------------------------------------------------------------------


def _verdicts(
    entry: Entry,
    bundle: Bundle,
    evidence: Mapping[str, EntrantEvidence],
    calibrated: GatePolicy | None,
) -> tuple[ArmVerdict, ...]:
    scores = {one.entrant_id: one for one in bundle.rejudged.throne.scores}
    policy = bundle.manifest.plan.policy
    gates, per_block = policy.gates, policy.contest.prompts_per_block
    found = []
    for verdict in bundle.rejudged.verdicts:
        arm = verdict.entrant_id
        own, score = evidence[arm], scores.get(arm)
        tokens = [one for answer in own.forced for one in answer.tokens if one is not None]
        found.append(
            ArmVerdict(
                arm=arm,
                name=entry.names.get(arm, arm),
                role=own.role,
                expected=str(entry.codes.get(arm, "")),
                status=verdict.status,
                code=verdict.code,
                calibrated_code=None if calibrated is None else judge(own, calibrated).code,
                detail=verdict.detail,
                figures=_figures(own, gates),
                tokens=len(tokens),
                beyond=tuple(
                    sum(token.margin_milli > edge for token in tokens) for edge in MARGINS_MILLI
                ),
                score_ppm=None if score is None else score.score_ppm,
                saved_ppm=None if score is None else _saved_ppm(verdict, per_block),
                lower_ppm=None if score is None else score.lower_ppm,
                upper_ppm=None if score is None else score.upper_ppm,
            )
        )
    return tuple(found)


def _saved_ppm(verdict: EntrantVerdict, per_block: int) -> int:
    """As the interval rule's score, which stops at 0."""
    ratios = block_log_ratios_ppm(verdict.baseline_e2e_us, verdict.e2e_us, per_block)
    return saved_ppm(rounded_mean(sum(ratios), len(ratios)))


def _figures(evidence: EntrantEvidence, gates: GatePolicy) -> GateFigures | None:
    """None for a run that a fault ended: it has holes."""
    return None if evidence.fault is not None else gate_figures(evidence, gates)


# -- GPUs ------------------------------------------------------------------------------------


def gpu_name(bundle: Bundle) -> str:
    """The GPUs of a server, as :attr:`Summary.gpu` says it."""
    records = _records(_baseline(bundle), evidence_in(bundle).values())
    return named_gpus(bundle.manifest.plan.policy.contest.limits.gpus, gpu_lines(records))


def version_in(bundle: Bundle) -> str:
    """What the baseline's server said of its version; empty where it said nothing."""
    return engine_of(_baseline(bundle).records) or ""


def engine_in(entry: Entry, bundle: Bundle) -> str:
    """The engine as the catalogue calls it, with the version that the baseline's server said."""
    return _engine(entry, _baseline(bundle))


def _engine(entry: Entry, baseline: BaselineEvidence) -> str:
    version = engine_of(baseline.records)
    if version is None or version in entry.engine:
        return entry.engine
    return f"{entry.engine} {version}".strip()


def _baseline(bundle: Bundle) -> BaselineEvidence:
    return read_baseline(bundle.get(bundle.manifest.baseline_evidence))


def _records(baseline: BaselineEvidence, evidence: Iterable[EntrantEvidence]) -> list[ArmRecord]:
    own = [one.record for one in evidence]
    return [*baseline.records, *(record for record in own if record is not None)]


def _strangers(records: Sequence[ArmRecord]) -> tuple[str, ...] | None:
    """The names of programs, without the paths of one machine; None where no moment tells."""
    moments = [start.strangers for record in records for start in record.starts]
    moments += [block.strangers for record in records for block in record.blocks]
    known = [one for one in moments if one is not None]
    names = {stranger.name.rsplit("/", 1)[-1] for one in known for stranger in one}
    return tuple(sorted(names)) if known else None
