"""A verdict can be recomputed from its evidence alone, and changed evidence is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from entrant_evidence import answer, evidence
from hypothesis import given
from hypothesis import strategies as st

from evaluation.answers import MAX_LOGPROB_MILLI, Answer, tokens_kept
from evaluation.evidence import (
    EvidenceError,
    EvidenceStore,
    canonical,
    most_evidence_bytes,
    must_be_kept,
    read_evidence,
    rejudge,
)
from evaluation.forcing import ForcedToken
from evaluation.judge import ForcedAnswer, judge
from evaluation.plan import PlanError
from evaluation.prompts import MAX_REPEAT_ROUNDS
from evaluation.runners.port import LOG_TAIL_BYTES
from ledger.contest_policy import ContestPolicy
from ledger.gate_policy import GatePolicy


def only_file(root: Path) -> Path:
    (path,) = [path for path in root.rglob("*") if path.is_file()]
    return path


def test_what_was_put_is_what_is_got(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path / "evidence")
    digest = store.put(b"bytes")
    assert store.put(b"bytes") == digest
    assert store.get(digest) == b"bytes"
    assert only_file(tmp_path).read_bytes() == b"bytes"


def test_evidence_nested_without_end_is_refused() -> None:
    with pytest.raises(EvidenceError, match="no entrant's evidence"):
        read_evidence(b'{"form":' + b"[" * 200_000 + b"]" * 200_000 + b"}")


def test_no_entrant_can_answer_so_much_that_it_cannot_be_kept() -> None:
    contest = ContestPolicy(prompts=40, output_tokens=64, repeated_prompts=2)
    kept = tokens_kept(contest.output_tokens)

    def longest(tokens: int) -> Answer:
        return Answer(
            tokens=(1_048_575,) * tokens,
            arrival_us=(3_600_000_000,) * tokens,
            end_us=3_600_000_000,
            finish_reason="length",
            logprobs_milli=(-MAX_LOGPROB_MILLI,) * tokens,
        )

    again = (longest(kept),) * (2 * MAX_REPEAT_ROUNDS)
    forced = ForcedAnswer(tokens=(ForcedToken(9_999_999, 1_048_575, -9_999_999),) * kept)
    largest = evidence(
        baseline=(longest(64),) * 40,
        answers=(longest(kept),) * 40,
        forced=(forced,) * 40,
        repeats=again,
        controls=again,
        log_tail="\x00" * LOG_TAIL_BYTES,
    )
    assert len(canonical(largest)) <= most_evidence_bytes(contest)


def test_a_policy_whose_evidence_could_not_be_stored_is_refused() -> None:
    must_be_kept(ContestPolicy(prompts=576, output_tokens=2_048))
    with pytest.raises(PlanError, match="bytes of evidence on an entrant, and at most"):
        must_be_kept(ContestPolicy(prompts=1_000, output_tokens=8_192))


def test_rejudging_gives_the_same_verdict(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    for found in (evidence(), evidence(answers=(answer(20), answer(3)))):
        digest = store.put(canonical(found))
        assert rejudge(store, digest, GatePolicy()) == judge(
            found, GatePolicy(), evidence_digest=digest
        )


def test_other_gates_give_another_verdict_on_the_same_evidence(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    ended = (answer(20), answer(18, end="stop"))
    digest = store.put(canonical(evidence(answers=ended)))
    assert rejudge(store, digest, GatePolicy()).status == "scored"
    assert rejudge(store, digest, GatePolicy(min_length_ppm=950_000)).code == "truncated"


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    data = canonical(evidence())
    digest = store.put(data)
    path = only_file(tmp_path)
    for at in range(0, len(data), 97):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(EvidenceError, match="has been changed"):
            rejudge(store, digest, GatePolicy())
    path.write_bytes(data[:-1])
    with pytest.raises(EvidenceError, match="has been changed"):
        rejudge(store, digest, GatePolicy())


def test_putting_again_restores_changed_evidence(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    digest = store.put(b"bytes")
    only_file(tmp_path).write_bytes(b"other")
    assert store.put(b"bytes") == digest
    assert store.get(digest) == b"bytes"


def test_missing_evidence_and_no_digests_are_refused(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    with pytest.raises(EvidenceError, match="there is no evidence"):
        store.get("sha256:" + "0" * 64)
    for name in ("sha256:../../etc/passwd", "0" * 64, "sha256:" + "A" * 64):
        with pytest.raises(EvidenceError, match="no evidence digest"):
            store.get(name)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_evidence_are_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        read_evidence(data)


def test_evidence_of_an_unknown_form_is_refused() -> None:
    with pytest.raises(EvidenceError, match="cannot be read"):
        read_evidence(canonical(evidence(form="cacheon-entrant-evidence/9")))


def test_evidence_of_the_first_form_is_still_judged(tmp_path: Path) -> None:
    found = evidence(form="cacheon-entrant-evidence/1")
    fields = msgspec.json.decode(canonical(found))
    for later in ("record",):
        del fields[later]
    for answers in ("baseline", "answers", "repeats", "controls"):
        for one in fields[answers]:
            for later in ("logprobs_milli", "ids_from_server", "sent_us"):
                del one[later]
    store = EvidenceStore(tmp_path)
    digest = store.put(msgspec.json.encode(fields))
    assert read_evidence(store.get(digest)) == found
    assert rejudge(store, digest, GatePolicy()).status == "scored"
