"""A block's duration a token is compared with the same block under other servers of the image."""

from __future__ import annotations

from typing import Any

import msgspec
from entrant_evidence import answer, evidence

from evaluation.block_noise import block_noise
from evaluation.calibration import CalibrationFacts, calibrate, canonical_calibration
from evaluation.client import Answer
from evaluation.entrant import EntrantEvidence
from evaluation.records import ArmRecord, BlockRecord, StartRecord

TOKENS = 20


def one_after_another(step_us: int, prompts: int = 2) -> tuple[Answer, ...]:
    """Answers of a block on one stream: each takes ``TOKENS`` steps and is sent when free."""
    whole = answer(TOKENS, first_us=step_us, step_us=step_us)
    return tuple(
        msgspec.structs.replace(whole, sent_us=at * TOKENS * step_us) for at in range(prompts)
    )


def run(*steps_us: int, starts: tuple[int, ...] = (0,), **fields: Any) -> EntrantEvidence:
    """A run with a block for each of ``steps_us``, its servers started before the blocks named."""
    place = fields.pop("place", 0)
    blocks = tuple(
        BlockRecord(phase="prompts", block=at, place=place, since_start_ms=at, prompts=2)
        for at in range(len(steps_us))
    )
    record = ArmRecord(
        arm="king",
        image=None,
        gpu_ms=1,
        starts=tuple(StartRecord(first_block=at) for at in starts),
        blocks=fields.pop("blocks", blocks),
    )
    answers = tuple(one for step_us in steps_us for one in one_after_another(step_us))
    return evidence(**({"answers": answers, "record": record} | fields))


def test_blocks_that_differ_by_their_prompts_alone_are_no_noise() -> None:
    assert block_noise([run(100, 300), run(100, 300)]) == ((0, 0), (0, 0))


def test_a_start_that_is_slower_as_a_whole_is_noise_between_starts() -> None:
    assert block_noise([run(90, 270), run(110, 330)]) == ((0, 0), (100_000, 100_000))


def test_the_baseline_counts_where_an_entrant_has_its_image_and_both_were_asked_in_turn() -> None:
    slower = run(110, 330)
    fields: dict[str, Any] = {"image_digest": slower.baseline_image, "baseline": slower.answers}
    alone = run(90, 270, place=1, **fields)
    assert block_noise([alone]) == ((0, 0), (100_000, 100_000))
    # One that ran before and after all others: its two runs' mean is no start's time.
    assert block_noise([run(90, 270, **fields)]) == ((), ())
    assert block_noise([run(90, 270, place=1, baseline=slower.answers)]) == ((), ())
    undated = tuple(msgspec.structs.replace(one, sent_us=0) for one in slower.answers)
    assert block_noise([msgspec.structs.replace(alone, baseline=undated)]) == ((), ())
    assert block_noise([msgspec.structs.replace(alone, baseline=())]) == ((), ())


def test_the_baseline_counts_once_however_many_entrants_it_stands_beside() -> None:
    slower = run(110, 330)
    fields: dict[str, Any] = {"image_digest": slower.baseline_image, "baseline": slower.answers}
    alone = run(90, 270, place=1, **fields)
    other = run(100, 300, **fields)
    assert len(block_noise([alone, other]).between_ppm) == 3
    silent = msgspec.structs.replace(other, record=None)
    assert block_noise([silent, alone]) == block_noise([alone, silent]) == block_noise([alone])
    cut = run(90, **fields)
    assert sorted(block_noise([cut, alone]).between_ppm) == sorted(
        block_noise([alone, cut]).between_ppm
    )


def test_blocks_of_one_start_that_fall_apart_are_noise_within_it() -> None:
    found = block_noise([run(90, 110), run(110, 90)])
    assert found == ((100_000, 100_000), (0, 0))


def test_servers_that_start_anew_in_each_block_are_starts_of_their_own() -> None:
    found = block_noise([run(90, 110, starts=(0, 1)), run(110, 90, starts=(0, 1))])
    assert found == ((), (100_000,) * 4)


def test_several_streams_are_timed_from_the_first_send_to_the_last_token() -> None:
    def both(step_us: int) -> EntrantEvidence:
        whole = answer(TOKENS, first_us=step_us, step_us=step_us)
        sent = msgspec.structs.replace(whole, sent_us=TOKENS * step_us // 2)
        return run(1, answers=(whole, sent))

    # Each lasts one and a half answers for the tokens of two.
    assert block_noise([both(90), both(110)]).between_ppm == (100_000, 100_000)
    mixed = [both(100), run(100)]
    assert block_noise(mixed).between_ppm == (142_858, 142_857)  # 75 and 100 of a mean of 87.5


def test_what_was_set_aside_or_repeated_does_not_count() -> None:
    def with_more(step_us: int) -> EntrantEvidence:
        plain = run(step_us, step_us)
        assert plain.record is not None
        first, second = plain.record.blocks
        aside = msgspec.structs.replace(first, set_aside=True)
        repeats = msgspec.structs.replace(second, phase="repeats")
        return run(step_us, step_us, blocks=(aside, first, second, repeats))

    assert block_noise([with_more(90), with_more(110)]) == ((0, 0), (100_000, 100_000))


def test_runs_are_compared_only_with_the_same_image_in_the_same_contest() -> None:
    other = "sha256:" + "3" * 64
    assert block_noise([run(100), run(300, image_digest=other)]) == ((), ())
    assert block_noise([run(100), run(300, contest_id="another")]) == ((), ())
    assert block_noise([run(100)]) == block_noise([]) == ((), ())


def test_evidence_that_does_not_say_when_it_sent_says_nothing_of_blocks() -> None:
    undated = tuple(msgspec.structs.replace(one, sent_us=0) for one in one_after_another(100))
    assert block_noise([run(100, answers=undated), run(300, answers=undated)]) == ((), ())
    assert block_noise([evidence(), evidence(log_tail="")]) == ((), ())


def test_a_calibration_holds_the_noise_of_blocks_where_it_is_known() -> None:
    facts = CalibrationFacts(model="m", gpu="H100", engine="vllm")

    def whole(step_us: int) -> EntrantEvidence:
        return run(step_us, baseline=one_after_another(200))

    found = calibrate([whole(90), whole(110)], facts)
    assert found.wall_block_within_ppm is None
    assert found.wall_block_between_ppm is not None
    assert found.wall_block_between_ppm.samples == 2
    assert found.wall_block_between_ppm.greatest == 100_000
    unknown = calibrate([evidence(), evidence(log_tail="")], facts)
    assert unknown.wall_block_between_ppm is None
    assert b'"wall_block_between_ppm":null' in canonical_calibration(unknown)
