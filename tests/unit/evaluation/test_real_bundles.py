"""Bundles of contests between real servers, kept whole: they are read, judged again, and refused
when anything of them was touched.

Whatever lies in ``tests/data`` is tested; ``python -m benchmarks.gpu.kept BUNDLE`` puts it there.
"""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import msgspec
import pytest

from benchmarks.gpu.kept import (
    KEPT,
    MAX_ALL_KEPT_BYTES,
    MAX_KEPT_BYTES,
    VERDICTS,
    bundles_in,
    keep,
    read_recorded,
    recorded_of,
)
from evaluation.bundle import BundleError, open_bundle, pack, read_bundle, seal_over
from evaluation.manifest import read_manifest, spelled_part
from ledger.codes import DisqualificationCode

BUNDLES = bundles_in()
JUDGED = [one for one in BUNDLES if read_recorded(one).verdicts]
VOID = [one for one in BUNDLES if one not in JUDGED]
FLIPS = 24


@pytest.fixture(params=BUNDLES, ids=lambda path: str(path.relative_to(KEPT)))
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def resealed(data: bytes, manifest: bytes) -> bytes:
    """The bundle with another manifest, by somebody who knows how seals are made."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members = {name: held for name, held in members.items() if name != "seal.json"}
    members["manifest.json"] = manifest
    return pack({"seal.json": msgspec.json.encode(seal_over(members)), **members})


def test_bundles_are_kept_with_what_they_came_to() -> None:
    assert len(BUNDLES) >= 2
    beside = {one.with_name(one.name.removesuffix(VERDICTS)) for one in KEPT.rglob(f"*{VERDICTS}")}
    assert beside == {one.with_suffix("") for one in BUNDLES}


def test_scored_and_refused_servers_are_among_them() -> None:
    codes = [verdict.code for one in BUNDLES for verdict in read_recorded(one).verdicts]
    assert "" in codes
    assert len({code for code in codes if code in set(DisqualificationCode)}) >= 4


def test_no_bundle_is_larger_than_a_repository_can_hold() -> None:
    sizes = [one.stat().st_size for one in BUNDLES]
    assert max(sizes) <= MAX_KEPT_BYTES == 2 * 2**20
    assert sum(sizes) <= MAX_ALL_KEPT_BYTES == 6 * 2**20


def test_it_is_judged_again_as_it_was(path: Path) -> None:
    bundle = read_bundle(path)
    assert bundle.rejudged.differences == ()
    assert recorded_of(bundle) == read_recorded(path)
    judged = bundle.manifest.plan.entrants if bundle.manifest.outcome.status == "completed" else ()
    assert len(bundle.rejudged.verdicts) == len(judged)


def test_a_flipped_bit_anywhere_is_refused(path: Path) -> None:
    data = path.read_bytes()
    chance = random.Random(path.stem)
    places = [
        0,
        len(data) // 2,
        len(data) - 1,
        *(chance.randrange(len(data)) for _ in range(FLIPS)),
    ]
    for at in places:
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        with pytest.raises(BundleError):
            open_bundle(bytes(flipped))


def test_another_verdict_under_a_new_seal_is_refused(path: Path) -> None:
    data = path.read_bytes()
    manifest = read_manifest(open_bundle(data).manifest_bytes)
    assert open_bundle(resealed(data, spelled_part(manifest))).rejudged.differences == ()
    for at, verdict in enumerate(manifest.outcome.verdicts):
        code = "" if verdict.code else "replayed"
        status = "disqualified" if code else "scored"
        changed = msgspec.structs.replace(verdict, code=code, status=status)
        verdicts = list(manifest.outcome.verdicts)
        verdicts[at] = changed
        outcome = msgspec.structs.replace(manifest.outcome, verdicts=tuple(verdicts))
        false = spelled_part(msgspec.structs.replace(manifest, outcome=outcome))
        with pytest.raises(BundleError, match=f"the verdict on {verdict.entrant_id} follows as"):
            open_bundle(resealed(data, false))


@pytest.mark.parametrize("path", JUDGED, ids=lambda path: str(path.relative_to(KEPT)))
def test_a_faster_time_under_a_new_seal_is_refused(path: Path) -> None:
    data = path.read_bytes()
    manifest = read_manifest(open_bundle(data).manifest_bytes)
    first = manifest.outcome.verdicts[0]
    faster = msgspec.structs.replace(first, e2e_us=(first.e2e_us[0] - 1, *first.e2e_us[1:]))
    outcome = msgspec.structs.replace(
        manifest.outcome, verdicts=(faster, *manifest.outcome.verdicts[1:])
    )
    with pytest.raises(BundleError, match="follows as"):
        open_bundle(
            resealed(data, spelled_part(msgspec.structs.replace(manifest, outcome=outcome)))
        )


@pytest.mark.parametrize("path", VOID, ids=lambda path: str(path.relative_to(KEPT)))
def test_a_void_contest_that_is_said_to_count_is_refused(path: Path) -> None:
    manifest = read_manifest(open_bundle(path.read_bytes()).manifest_bytes)
    assert manifest.outcome.void_cause in {"drifted", "scoring_failed"}
    counted = msgspec.structs.replace(
        manifest.outcome, status="completed", void_cause=None, detail=""
    )
    false = spelled_part(msgspec.structs.replace(manifest, outcome=counted))
    with pytest.raises(
        BundleError, match=r"cannot be judged again: .* 0 forced answers to 96 prompts"
    ):
        open_bundle(resealed(path.read_bytes(), false))


def test_a_bundle_is_kept_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = keep(BUNDLES[0], root=tmp_path)
    assert kept.read_bytes() == BUNDLES[0].read_bytes()
    assert read_recorded(kept) == read_recorded(BUNDLES[0])
    assert keep(BUNDLES[0], root=tmp_path) == kept  # again, in its own place
    size = BUNDLES[1].stat().st_size
    monkeypatch.setattr("benchmarks.gpu.kept.MAX_ALL_KEPT_BYTES", size)
    with pytest.raises(ValueError, match="with all others has"):
        keep(BUNDLES[1], "gpu/h100", tmp_path)
    monkeypatch.setattr("benchmarks.gpu.kept.MAX_KEPT_BYTES", size - 1)
    with pytest.raises(ValueError, match=f"{BUNDLES[1].name} has {size} bytes"):
        keep(BUNDLES[1], root=tmp_path)
    assert bundles_in(tmp_path) == [kept]
    monkeypatch.undo()
    other = keep(BUNDLES[1], "gpu/h100", tmp_path)
    assert other == tmp_path / "gpu" / "h100" / BUNDLES[1].name
    assert bundles_in(tmp_path) == sorted([kept, other])
