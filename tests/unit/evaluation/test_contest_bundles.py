"""A bundle is read back whole and true, or refused with a sentence that says what is wrong."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from entrant_evidence import answer
from hypothesis import given, settings
from hypothesis import strategies as st
from imagined_contest import PROMPTS, PROMPTS_KEPT, SEED, changed, plan, record, stored

from evaluation import bundle as module
from evaluation.blocks import arm_order
from evaluation.bundle import (
    BundleError,
    Seal,
    Signature,
    open_bundle,
    pack,
    read_bundle,
    seal_over,
    write_bundle,
)
from evaluation.evidence import EvidenceError, digest_of
from evaluation.manifest import ContestEvidence, read_manifest, rejudge_contest, spelled_part
from evaluation.prompts import PromptSet, digest_of_prompts
from evaluation.records import ArmRecord
from evaluation.wholeness import order_differs, prompts_differ


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("bundle")
    store, _, digest = stored(root / "evidence")
    write_bundle(root / "bundle", store, digest)
    return (root / "bundle").read_bytes()


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def sealed(members: dict[str, bytes]) -> bytes:
    """A bundle by somebody who knows how seals and comments are made."""
    rest = {name: content for name, content in members.items() if name != "seal.json"}
    return pack({"seal.json": msgspec.json.encode(seal_over(rest)), **rest})


def refused(data: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        open_bundle(data)
    assert "\n" not in str(caught.value)


def test_what_was_written_is_read_and_judged_again(tmp_path: Path) -> None:
    store, manifest, digest = stored(tmp_path / "evidence")
    write_bundle(tmp_path / "bundle", store, digest)
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.manifest == manifest
    assert bundle.manifest_digest == digest
    assert bundle.rejudged == rejudge_contest(store, digest)
    assert bundle.get(manifest.prompts_evidence) == PROMPTS_KEPT
    with pytest.raises(EvidenceError, match="no evidence"):
        bundle.get("sha256:" + "9" * 64)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["bundle"]


@settings(max_examples=300, deadline=None)
@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_any_flipped_bit_is_refused(data: bytes, at: int, bit: int) -> None:
    flipped = bytearray(data)
    flipped[at % len(data)] ^= 1 << bit
    with pytest.raises(BundleError):
        open_bundle(bytes(flipped))


@settings(max_examples=100, deadline=None)
@given(kept=st.integers(min_value=0))
def test_any_truncation_is_refused(data: bytes, kept: int) -> None:
    with pytest.raises(BundleError, match="damaged or cut short"):
        open_bundle(data[: kept % len(data)])
    with pytest.raises(BundleError, match="damaged or cut short"):
        open_bundle(data + b"\0")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_bytes_that_are_no_bundle_are_refused(noise: bytes) -> None:
    for found in (noise, noise + digest_of(noise).encode()):
        with pytest.raises(BundleError):
            open_bundle(found)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_any_flipped_bit_is_refused_under_a_mended_comment(data: bytes, at: int, bit: int) -> None:
    """Only what changes nothing that is read may pass: a zip has bytes that mean nothing."""
    body = bytearray(data[:-71])
    body[at % len(body)] ^= 1 << bit
    try:
        bundle = open_bundle(bytes(body) + digest_of(bytes(body)).encode())
    except BundleError:
        return
    whole = open_bundle(data)
    assert (bundle.seal, bundle.blobs, bundle.manifest) == (
        whole.seal,
        whole.blobs,
        whole.manifest,
    )


def test_a_missing_member_is_refused_even_if_the_seal_is_made_anew(data: bytes) -> None:
    members = members_of(data)
    for name in members:
        rest = {other: content for other, content in members.items() if other != name}
        refused(pack(rest), "incomplete")
        if name != "seal.json":
            refused(sealed(rest), "incomplete")


@pytest.mark.parametrize(
    "name",
    [
        "evidence/" + "9" * 64,
        "../outside",
        "/etc/passwd",
        "evidence/../manifest.json",
        "evidence/" + "A" * 64,
        "readme.txt",
        "evidence/",
    ],
)
def test_an_added_member_is_refused(data: bytes, name: str) -> None:
    members = members_of(data) | {name: b"more"}
    refused(sealed(members), "does not name|belongs to no contest")


def test_a_link_and_a_member_twice_are_refused(data: bytes) -> None:
    def zipped(change: Callable[[zipfile.ZipFile], None]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            change(archive)
            archive.comment = b"." * 71
        body = buffer.getvalue()[:-71]
        return body + digest_of(body).encode()

    def link(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("manifest.json")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")

    def twice(archive: zipfile.ZipFile) -> None:
        for _ in range(2):
            info = zipfile.ZipInfo("manifest.json")
            info.external_attr = 0o100644 << 16
            archive.writestr(info, "{}")

    refused(zipped(link), "no plain file")
    with pytest.warns(UserWarning, match="Duplicate name"):
        duplicated = zipped(twice)
    refused(duplicated, "twice")


def test_changed_evidence_is_refused_however_well_it_is_sealed(data: bytes) -> None:
    for name, content in members_of(data).items():
        if name == "seal.json":
            continue
        other = members_of(data) | {name: content + b" "}
        refused(pack(other), "is not the one that was sealed")
        if name != "manifest.json":
            refused(sealed(other), "has been changed|is not the policy")


def lying(data: bytes, change: Callable[[ContestEvidence], ContestEvidence]) -> bytes:
    members = members_of(data)
    manifest = change(read_manifest(members["manifest.json"]))
    return sealed(members | {"manifest.json": spelled_part(manifest)})


def with_verdict(manifest: ContestEvidence, **fields: object) -> ContestEvidence:
    first, *rest = manifest.outcome.verdicts
    verdicts = (changed(first, **fields), *rest)
    return changed(manifest, outcome=changed(manifest.outcome, verdicts=verdicts))


def test_a_manifest_that_lies_is_refused_by_what_follows_from_the_evidence(data: bytes) -> None:
    for change, message in (
        (lambda m: with_verdict(m, status="disqualified", code="flushed"), "verdict on fast"),
        (lambda m: with_verdict(m, e2e_us=(1, 1)), "verdict on fast"),
        (lambda m: changed(m, seed=1), "seed does not follow"),
        (lambda m: changed(m, policy_digest="sha256:" + "3" * 64), "policy's digest"),
        (lambda m: changed(m, entrants=m.entrants[::-1]), "not on the plan's entrants"),
        (lambda m: changed(m, conditions=changed(m.conditions, drift_ppm=5)), "conditions"),
        (lambda m: changed(m, outcome=changed(m.outcome, verdicts=())), "stated otherwise"),
        (lambda m: changed(m, outcome=changed(m.outcome, baseline=None)), "baseline's figures"),
        (lambda m: changed(m, outcome=changed(m.outcome, gpu_ms={"fast": 1})), "machine time"),
        (lambda m: changed(m, outcome=changed(m.outcome, status="void")), "0 follow"),
        (
            lambda m: changed(m, outcome=changed(m.outcome, status="void", verdicts=())),
            "a void round has a cause",
        ),
        (lambda m: changed(m, outcome=changed(m.outcome, contest_id="x")), "another contest's"),
        (lambda m: changed(m, plan=changed(m.plan, contest_id="x")), "another contest"),
        (
            lambda m: changed(m, plan=changed(m.plan, entrants=m.plan.entrants * 2)),
            "the plan of contest",
        ),
        (lambda m: changed(m, form="cacheon-contest-evidence/9"), "cannot be read"),
    ):
        refused(lying(data, change), message)


def test_other_prompts_than_were_asked_are_refused(tmp_path: Path) -> None:
    store, manifest, _ = stored(tmp_path)
    for other in (
        changed(PROMPTS, digest="sha256:" + "0" * 64),
        changed(PROMPTS, scored=PROMPTS.scored[::-1]),  # under the digest of those asked
    ):
        lying = changed(manifest, prompts_evidence=store.put(msgspec.json.encode(other)))
        found = rejudge_contest(store, store.put(spelled_part(lying))).differences
        assert found == ("the prompts kept are not those that were asked",)
    broken = changed(manifest, prompts_evidence=store.put(b"no prompts"))
    with pytest.raises(EvidenceError, match="no contest's prompts"):
        rejudge_contest(store, store.put(spelled_part(broken)))


def named(prompts: PromptSet) -> PromptSet:
    """Prompts that say their own digest."""
    return changed(prompts, digest=digest_of_prompts(prompts))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (changed(PROMPTS, seed=1), "drawn from another seed"),
        (changed(PROMPTS, repeated=(1 - PROMPTS.repeated[0],)), "not those that the seed draws"),
        (changed(PROMPTS, scored=PROMPTS.scored[:1]), "1 scored prompts are kept"),
        (changed(PROMPTS, warmup=()), "0 warm-up prompts are kept"),
        (changed(PROMPTS, controls=PROMPTS.controls[1:]), "3 control prompts are kept"),
        (changed(PROMPTS, scored=(PROMPTS.scored[0],) * 2), "a prompt is kept twice"),
    ],
    ids=["seed", "repeated", "scored", "warm-up", "controls", "twice"],
)
def test_prompts_that_the_seed_and_the_policy_do_not_give_are_refused(
    prompts: PromptSet, message: str
) -> None:
    contest = plan().policy.contest
    prompts = named(prompts)
    assert any(message in one for one in prompts_differ(prompts, contest, SEED, prompts.digest))
    assert prompts_differ(PROMPTS, contest, SEED, PROMPTS.digest) == []


ONE = answer(20, step_us=1_000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"entrant": {"repeats": (), "controls": ()}}, "answered 0 repeats where 1"),
        ({"entrant": {"repeats": (ONE,) * 5, "controls": (ONE,) * 5}}, "answered 5 repeats"),
        ({"entrant": {"controls": ()}}, "0 controls beside 1 repeats"),
        ({"entrant": {"repeated": ()}}, "other prompts again than those drawn"),
        ({"entrant": {"streams": 7}}, "asked 7 prompts at once where the policy asks 1"),
        (
            {"entrant": {"record": changed(record("king"), blocks=())}},
            "a record of 0 prompts in block 0, which has 1",
        ),
        (
            {"entrant": {"record": record("king", contest=plan(prompts=200).policy.contest)}},
            "more than the 2 blocks there are",
        ),
        ({"contest": {"prompts": 10}}, "gave 2 answers to 10 prompts"),
        ({"contest": {"order": "bracketed"}}, "the baseline gave 0 answers to 2 prompts"),
    ],
)
def test_a_completed_round_that_lacks_what_its_policy_asks_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    store, _, digest = stored(tmp_path / "evidence", **fields)
    found = rejudge_contest(store, digest).differences
    assert any(message in line for line in found), found
    write_bundle(tmp_path / "bundle", store, digest)
    with pytest.raises(BundleError, match="what does not follow"):
        read_bundle(tmp_path / "bundle")


def test_interleaved_arms_answer_in_the_order_that_the_seed_draws() -> None:
    planned = plan(order="interleaved", prompts=4, prompts_per_block=2)
    contest = planned.policy.contest
    orders = [arm_order(SEED, block, 3) for block in range(2)]

    def arm(name: str, at: int) -> ArmRecord:
        whole = record(name, contest=contest)
        places = [orders[block].index(at) for block in range(2)]
        return changed(
            whole,
            blocks=tuple(
                changed(one, place=place) for one, place in zip(whole.blocks, places, strict=True)
            ),
        )

    baseline, fast, faster = arm("baseline", 0), arm("king", 1), arm("challenger", 2)
    whole = {"fast": fast, "faster": faster}
    assert order_differs(planned, SEED, baseline, whole) == []
    assert order_differs(planned, SEED, baseline, {"faster": faster}) == []
    (found,) = order_differs(planned, SEED, baseline, {"fast": faster, "faster": fast})
    assert "another order than the seed draws" in found


def test_a_manifest_spelled_otherwise_is_imported_as_the_bytes_it_was(data: bytes) -> None:
    members = members_of(data)
    other = members["manifest.json"] + b" "
    bundle = open_bundle(sealed(members | {"manifest.json": other}))
    assert bundle.manifest_bytes == other
    assert bundle.manifest_digest == digest_of(other)


def test_a_round_that_counts_in_spite_of_its_conditions_is_refused(tmp_path: Path) -> None:
    store, manifest, _ = stored(tmp_path)
    contest = changed(manifest.plan.policy.contest, max_client_lag_us=100)  # it was 500
    policy = changed(manifest.plan.policy, contest=contest)
    strict = changed(manifest, plan=changed(manifest.plan, policy=policy))
    found = rejudge_contest(store, store.put(spelled_part(strict))).differences
    assert any("the round counts although the client was late" in line for line in found)


def test_a_bundle_larger_than_its_bounds_is_refused(
    data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").write_bytes(data)
    for name, value, message in (
        ("MAX_MEMBERS", 3, "at most 3 can belong"),
        ("MAX_EVIDENCE_BYTES", 100, "larger than 100"),
        ("MAX_UNPACKED_BYTES", 100, "unpacks to more than 100"),
        ("MAX_BUNDLE_BYTES", 100, "larger than 100"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            with pytest.raises(BundleError, match=message):
                read_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path / "nowhere")


def test_a_bundle_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, digest = stored(tmp_path / "evidence")
    monkeypatch.setattr(module, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(BundleError, match="at most 100 can be read again"):
        write_bundle(tmp_path / "bundle", store, digest)
    assert not (tmp_path / "bundle").exists()


def test_a_signature_is_asked_for_and_checked(tmp_path: Path) -> None:
    store, _, digest = stored(tmp_path / "evidence")

    def sign(signed: bytes) -> Signature:
        return Signature(signer="5F", scheme="test", signature=signed[::-1].hex())

    def verify(signed: bytes, found: Signature) -> bool:
        return found == sign(signed)

    path = tmp_path / "bundle"
    seal = write_bundle(path, store, digest, sign=sign)
    assert seal.signature == sign(seal.digest.encode())
    assert read_bundle(path, verify=verify).seal == seal
    with pytest.raises(BundleError, match="signature is not one of '5F'"):
        read_bundle(path, verify=lambda *_: False)
    write_bundle(path, store, digest)
    with pytest.raises(BundleError, match="is not signed"):
        read_bundle(path, verify=verify)


def test_a_seal_of_another_form_is_refused(data: bytes) -> None:
    members = members_of(data)
    seal = msgspec.json.decode(members["seal.json"], type=Seal)
    for other, message in (
        (msgspec.json.encode(changed(seal, form="x/9")), "form 'x/9'"),
        (msgspec.json.encode(changed(seal, digest="sha256:" + "0" * 64)), "digest of its own"),
        (b"{", "seal cannot be read"),
        (b'{"more": 1}', "seal cannot be read"),
    ):
        refused(pack(members | {"seal.json": other}), message)
