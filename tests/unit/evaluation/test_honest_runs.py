"""Honest runs out of sealed contests: which are taken, what they hold for, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from imagined_contest import changed, record, stored
from typer.testing import CliRunner, Result

from api.cli.main import app
from api.errors import ExitCode
from evaluation.bundle import write_bundle
from evaluation.calibration import CalibrationError, read_calibration
from evaluation.calibration import calibrate as calibrated
from evaluation.evidence import EvidenceStore, digest_of, read_evidence
from evaluation.gpus import GpuFacts, read_gpus
from evaluation.honest_runs import HonestContest, HonestRuns, engine_words, honest_runs
from evaluation.judge import Fault
from evaluation.manifest import ContestEvidence, read_baseline, spelled_part
from evaluation.records import StartRecord
from ledger.codes import DisqualificationCode, VoidCause
from tests.standins.nvidia_smi import IDLE

FAULT = Fault(disqualified=DisqualificationCode.FLUSHED, detail="it flushed")
IMAGE = "sha256:" + "2" * 64


def measured(
    root: Path, *, gpu: str = "NVIDIA H200", version: str | None = "0.25.1", **fields: Any
) -> tuple[EvidenceStore, ContestEvidence, str]:
    """A contest whose baseline ran on that GPU and said that version."""
    store, manifest, _ = stored(root, **fields)
    start = StartRecord(
        first_block=0,
        gpus_before=GpuFacts(gpus=read_gpus(IDLE.replace("NVIDIA H200", gpu)), unknown=""),
        engine_version=version,
    )
    baseline = read_baseline(store.get(manifest.baseline_evidence))
    baseline = changed(baseline, records=(changed(record("baseline"), starts=(start,)),))
    manifest = changed(manifest, baseline_evidence=store.put(spelled_part(baseline)))
    return store, manifest, store.put(spelled_part(manifest))


def honest(root: Path, **fields: Any) -> HonestContest:
    store, manifest, _ = measured(root, **fields)
    return HonestContest(root.name, manifest, store)


def names(found: HonestRuns) -> list[str]:
    return [one.entrant_id for one in found.runs]


def test_every_entrant_that_ended_whole_is_taken_with_what_it_ran_on(tmp_path: Path) -> None:
    found = honest_runs([honest(tmp_path / "a")])
    assert names(found) == ["fast", "faster"]
    assert (found.facts.model, found.facts.gpu) == ("qwen", "NVIDIA H200")
    assert (found.facts.engine, found.version) == (f"{IMAGE}, version 0.25.1", "0.25.1")
    assert found.left_out == ()
    assert len(found.gates) == 1


def test_what_is_not_known_stays_empty_and_flags_override(tmp_path: Path) -> None:
    store, manifest, _ = stored(tmp_path)
    contest = HonestContest("plain", manifest, store)
    found = honest_runs([contest])
    assert (found.facts.gpu, found.facts.engine, found.version) == ("", IMAGE, None)
    said = honest_runs([contest], gpu="H100", engine="vllm 0.25.1").facts
    assert (said.gpu, said.engine) == ("H100", "vllm 0.25.1")
    assert engine_words("profile:vllm", "0.25.1") == "profile:vllm, version 0.25.1"
    assert engine_words("profile:vllm", None) == "profile:vllm"


def test_one_with_a_fault_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    contest = honest(tmp_path / "a")
    store = contest.evidence
    assert isinstance(store, EvidenceStore)
    first, second = contest.manifest.entrants
    failed = changed(read_evidence(store.get(first.evidence_digest)), fault=FAULT)
    from evaluation.evidence import canonical

    parts = (changed(first, evidence_digest=store.put(canonical(failed))), second)
    contest = contest._replace(manifest=changed(contest.manifest, entrants=parts))
    found = honest_runs([contest])
    assert names(found) == ["faster"]
    assert found.left_out == ("fast of 'a' is left out: it flushed",)
    named = honest_runs([contest], ["fast"])
    assert (names(named), named.left_out) == (["fast"], ())
    with pytest.raises(CalibrationError, match="no contest here has slow; they have fast, faster"):
        honest_runs([contest], ["slow", "fast"])


def test_evidence_of_an_older_program_keeps_the_digest_it_is_stored_under(tmp_path: Path) -> None:
    contest = honest(tmp_path / "a")
    store = contest.evidence
    assert isinstance(store, EvidenceStore)
    first, second = contest.manifest.entrants
    older = json.loads(store.get(first.evidence_digest))
    for answer in older["answers"]:
        del answer["named_tokens"]
    parts = (changed(first, evidence_digest=store.put(json.dumps(older).encode())), second)
    found = honest_runs(
        [contest._replace(manifest=changed(contest.manifest, entrants=parts))],
    )
    stored_under = (parts[0].evidence_digest, second.evidence_digest)
    assert found.digests == stored_under
    assert calibrated(found.runs, found.facts, digests=found.digests).runs == stored_under
    assert calibrated(found.runs, found.facts).runs != stored_under


def test_runs_of_different_machines_or_versions_are_not_mixed(tmp_path: Path) -> None:
    one = honest(tmp_path / "a")
    h100 = honest(tmp_path / "b", gpu="NVIDIA H100 80GB HBM3")
    newer = honest(tmp_path / "c", version="0.26.0")
    silent = honest(tmp_path / "d", version=None)
    with pytest.raises(
        CalibrationError, match="different GPUs: NVIDIA H100 80GB HBM3; NVIDIA H200"
    ):
        honest_runs([one, h100])
    with pytest.raises(CalibrationError, match=r"different versions of the engine: 0\.25\.1; 0\.2"):
        honest_runs([one, newer])
    # Unknown is not the same as another's.
    with pytest.raises(CalibrationError, match=r"some runs are unknown and those of others 0\.25"):
        honest_runs([one, silent])
    store, manifest, _ = stored(tmp_path / "e")
    with pytest.raises(CalibrationError, match=r"the GPUs of some runs are unknown .* by --gpu"):
        honest_runs([one, HonestContest("plain", manifest, store)])
    assert honest_runs([one, silent], engine="vllm 0.25.1").facts.engine == "vllm 0.25.1"
    assert honest_runs([silent, silent]).version is None
    assert honest_runs([one, h100], gpu="Hopper").facts.gpu == "Hopper"
    assert honest_runs([one, newer], engine="vllm").facts.engine == "vllm"


def test_a_void_contest_calibrates_nothing(tmp_path: Path) -> None:
    contest = honest(tmp_path / "a")
    outcome = changed(contest.manifest.outcome, status="void", void_cause=VoidCause.DRIFTED)
    with pytest.raises(CalibrationError, match=r"'a' is void \(drifted\); leave it out"):
        honest_runs([contest._replace(manifest=changed(contest.manifest, outcome=outcome))])


def sealed(folder: Path, name: str, **fields: Any) -> Path:
    store, _, digest = measured(folder / f"{name}-evidence", **fields)
    path = folder / f"{name}.zip"
    write_bundle(path, store, digest)
    return path


def calibrate(folder: Path, *words: str) -> Result:
    out = ["--out", str(folder / "calibration.json")]
    return CliRunner().invoke(app, ["contest", "calibrate", *out, *words])


def test_the_command_calibrates_from_bundles_and_shows_what_the_digest_names(
    tmp_path: Path,
) -> None:
    bundle = sealed(tmp_path, "a")
    said = calibrate(tmp_path, "--bundle", str(bundle))
    assert (said.exit_code, said.stderr) == (0, "")
    data = (tmp_path / "calibration.json").read_bytes()
    found = read_calibration(data)
    assert said.stdout == f"{digest_of(data)}\n"
    assert (len(found.runs), found.facts.gpu) == (2, "NVIDIA H200")

    shown = CliRunner().invoke(app, ["contest", "calibration", str(tmp_path / "calibration.json")])
    assert shown.exit_code == 0
    for words in (digest_of(data), "NVIDIA H200", "between starts", "min_top1_ppm"):
        assert words in shown.stdout
    as_json = CliRunner().invoke(
        app, ["contest", "calibration", str(tmp_path / "calibration.json"), "--format", "json"]
    )
    assert json.loads(as_json.stdout)["digest"] == digest_of(data)
    assert json.loads(as_json.stdout)["calibration"] == json.loads(data)


def test_an_older_document_is_shown_under_its_own_digest(tmp_path: Path) -> None:
    calibrate(tmp_path, "--bundle", str(sealed(tmp_path, "a")))
    document = json.loads((tmp_path / "calibration.json").read_bytes())
    for name in ("wall_block_within_ppm", "wall_block_between_ppm"):
        del document[name]
    old = tmp_path / "old.json"
    old.write_text(json.dumps(document))
    shown = CliRunner().invoke(app, ["contest", "calibration", str(old)])
    assert shown.exit_code == 0
    assert digest_of(old.read_bytes()) in shown.stdout
    broken = CliRunner().invoke(app, ["contest", "calibration", str(tmp_path / "a.zip")])
    assert broken.exit_code != 0


def test_single_runs_of_several_bundles_and_flags_of_their_own(tmp_path: Path) -> None:
    bundles = []
    for name in ("a", "b"):
        entrant = {"log_tail": f"listening in {name}\n"}  # else it is the same evidence twice
        bundles += ["--bundle", str(sealed(tmp_path, name, entrant=entrant))]
    said = calibrate(
        tmp_path, *bundles, "--entrant", "fast", "--gpu", "H200", "--engine-name", "vllm 0.25.1"
    )
    assert (said.exit_code, said.stderr) == (0, "")
    found = read_calibration((tmp_path / "calibration.json").read_bytes())
    assert len(found.runs) == 2
    assert (found.facts.gpu, found.facts.engine) == ("H200", "vllm 0.25.1")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["profile:vllm"], 2, "with --bundle nothing is run"),
        (["--model", "."], 2, "with --bundle nothing is run"),
        (["--keep", "kept.zip"], 2, "with --bundle nothing is run"),
        (["--track", "tiny"], 2, "give its file with --policy"),
        (["--entrant", "nobody"], ExitCode.REFUSED, "no contest here has nobody"),
    ],
)
def test_what_means_nothing_beside_bundles_is_refused(
    words: list[str], code: int, sentence: str, tmp_path: Path
) -> None:
    said = calibrate(tmp_path, "--bundle", str(sealed(tmp_path, "a")), *words)
    assert said.exit_code == code
    assert sentence in " ".join(said.stderr.replace("│", " ").split())
    assert not (tmp_path / "calibration.json").exists()


def test_something_to_calibrate_from_has_to_be_named(tmp_path: Path) -> None:
    for words in ([], ["profile:vllm"], ["--entrant", "fast"]):
        said = calibrate(tmp_path, *words)
        assert said.exit_code == 2
        assert "--bundle" in said.stderr
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(b"no bundle")
    said = calibrate(tmp_path, "--bundle", str(damaged))
    assert said.exit_code == ExitCode.UNREADABLE_FILE


def test_bundles_judged_by_different_gates_need_to_be_told_which(tmp_path: Path) -> None:
    contest = honest(tmp_path / "a")
    policy = contest.manifest.plan.policy
    gates = changed(policy.gates, max_mean_margin_milli=77)
    plan = changed(contest.manifest.plan, policy=changed(policy, gates=gates))
    other = contest._replace(manifest=changed(contest.manifest, plan=plan))
    assert len(honest_runs([contest, other]).gates) == 2
    assert len(honest_runs([contest, contest]).gates) == 1
