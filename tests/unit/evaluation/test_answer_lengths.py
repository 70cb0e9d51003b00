"""An answer whose text is cut anew counts other pieces than its model wrote; nobody is to blame."""

from __future__ import annotations

import msgspec
import pytest
from entrant_evidence import answer, evidence, forced

from evaluation.client import Answer
from evaluation.judge import judge
from evaluation.lengths import at_most_tokens, baseline_tokens, time_to_us
from ledger.codes import DisqualificationCode as Code
from ledger.gate_policy import GatePolicy

GATES = GatePolicy()
DIGEST = "sha256:" + "3" * 64


def recut(pieces: int, named: int | None, *, end: str = "length") -> Answer:
    """An answer of ``named`` tokens by its server's word, in ``pieces`` of our cutting."""
    return msgspec.structs.replace(
        answer(pieces, step_us=4_000, end=end), named_tokens=named, ids_from_server=False
    )


def named(tokens: int) -> Answer:
    return msgspec.structs.replace(
        answer(tokens, step_us=4_000), named_tokens=tokens, ids_from_server=True
    )


def code_of(baseline: Answer, own: Answer) -> str:
    whole = evidence(
        baseline=(baseline, named(256)),
        answers=(own, named(256)),
        forced=(forced(len(own.tokens)), forced(256)),
        repeats=(named(256),),
        controls=(named(256),),
    )
    return judge(whole, GATES, evidence_digest=DIGEST).code


def test_the_baseline_is_as_long_as_it_says_itself() -> None:
    assert code_of(recut(289, 256), named(256)) == ""
    assert code_of(recut(289, None), named(256)) == Code.TRUNCATED  # evidence of before


def test_an_entrant_is_not_overlong_by_our_cutting() -> None:
    assert code_of(named(256), recut(289, 256)) == ""
    assert code_of(named(256), recut(289, None)) == Code.OVERLONG


def test_what_an_entrant_names_is_believed_within_a_bound() -> None:
    assert at_most_tokens(recut(320, 256)) == 256
    assert at_most_tokens(recut(321, 256)) == 257
    assert at_most_tokens(recut(1_000, 1)) == 800
    assert code_of(named(256), recut(400, 256)) == Code.OVERLONG


@pytest.mark.parametrize("claimed", [256, 1_000])
def test_naming_more_than_the_text_has_makes_no_answer_longer(claimed: int) -> None:
    assert at_most_tokens(recut(128, claimed)) == 128
    assert code_of(named(256), recut(128, claimed)) == Code.TRUNCATED


def test_both_sides_are_timed_to_the_same_share_of_what_they_wrote() -> None:
    verdict = judge(
        evidence(
            baseline=(recut(289, 256), named(256)),
            answers=(named(256), recut(300, 256)),
            forced=(forced(256), forced(300)),
            repeats=(named(256),),
            controls=(named(256),),
        ),
        GATES,
        evidence_digest=DIGEST,
    )
    assert verdict.tokens == (256, 256)
    assert verdict.baseline_tokens == (256, 256)
    assert verdict.baseline_e2e_us == (1_000 + 288 * 4_000, 1_000 + 255 * 4_000)
    assert verdict.e2e_us == (1_000 + 255 * 4_000, 1_000 + 299 * 4_000)


def test_a_share_of_an_answer_is_timed_by_the_piece_that_completes_it() -> None:
    whole = recut(300, 200)
    assert time_to_us(whole, 100, 200) == whole.arrival_us[149]
    assert time_to_us(whole, 1, 200) == whole.arrival_us[1]
    assert time_to_us(whole, 0, 200) == whole.end_us
    assert baseline_tokens(whole) == 200
