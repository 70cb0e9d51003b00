"""Gates are the widest that calibrations propose; shipped policies have what theirs proposes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from imagined_calibration import calibration

import benchmarks.gpu
from benchmarks.gpu.calibrations import read_calibrations
from evaluation.calibrated_gates import CALIBRATED, gates_of, must_be_named, unlike
from evaluation.calibration import Calibration, CalibrationError, calibration_digest
from ledger import policies
from ledger.gate_policy import GatePolicy
from ledger.policy import KingTakesAll, ScoreV2, TrackPolicy, parse_policy_toml

TRIAL = Path(benchmarks.gpu.__file__).with_name("trial.toml")


def otherwise(track: TrackPolicy, documents: Mapping[str, Calibration]) -> str | None:
    """What is wrong with the calibration that a track names; None where nothing is."""
    if not track.calibration:
        return None
    if track.calibration not in documents:
        return f"there is no document {track.calibration}"
    if track.gates != gates_of([documents[track.calibration]]):
        return "the gates are not those that the calibration proposes"
    return None


def test_a_single_calibrations_gates_are_its_own() -> None:
    one = calibration(max_mean_margin_milli=7, min_top1_ppm=990_000)
    assert gates_of([one]) == one.gates


def test_of_several_engines_every_widest_limit_counts() -> None:
    one = calibration(engine="a", max_mean_margin_milli=7, min_top1_ppm=990_000, max_burst_ppm=1)
    other = calibration(engine="b", max_mean_margin_milli=5, min_top1_ppm=980_000, max_burst_ppm=2)
    found = gates_of([one, other])
    assert (found.max_mean_margin_milli, found.min_top1_ppm, found.max_burst_ppm) == (7, 980_000, 2)
    assert found == gates_of([other, one])
    for own in (one.gates, other.gates):
        for name in CALIBRATED:
            wide, narrow = getattr(found, name), getattr(own, name)
            assert wide <= narrow if name.startswith("min_") else wide >= narrow


def test_every_limit_of_noise_is_calibrated_and_no_rule_is() -> None:
    rules = {
        *("min_length_ppm", "max_length_ppm", "max_recut_ppm", "margin_clip_milli", "burst_gap_us"),
        *("max_repeat_gain_ppm", "min_coverage_ppm", "allowed", "require_logprobs"),
        *("quantised_kv_factor", "quantised_weights_factor"),
        *("min_claims_fit_ppm", "min_claims_ppm"),
    }
    assert rules | set(CALIBRATED) == set(GatePolicy.__struct_fields__)
    assert not rules & set(CALIBRATED)


@pytest.mark.parametrize(
    ("calibrations", "message"),
    [
        ([], "no calibration, no gates"),
        ([calibration("H100"), calibration("H200")], "the gpus H100, H200"),
        ([calibration(model="a"), calibration(model="b")], "the models a, b"),
        ([calibration(), calibration(margin_clip_milli=9)], "different rules"),
    ],
)
def test_calibrations_that_do_not_belong_together_are_refused(
    calibrations: list[Calibration], message: str
) -> None:
    with pytest.raises(CalibrationError, match=message):
        gates_of(calibrations)


@pytest.mark.parametrize("name", policies.names())
def test_a_shipped_policy_has_the_gates_of_the_calibration_it_names(name: str) -> None:
    documents = read_calibrations()
    for track in parse_policy_toml(policies.load(name)).tracks.values():
        assert otherwise(track, documents) is None


def test_the_trials_policy_has_the_gates_of_the_calibration_it_names() -> None:
    documents = read_calibrations()
    (track,) = parse_policy_toml(TRIAL.read_text(encoding="utf-8")).tracks.values()
    assert otherwise(track, documents) is None
    facts = documents[track.calibration].facts
    assert (facts.model, facts.gpu, facts.engine) == (
        track.model,
        "NVIDIA H100 80GB HBM3",
        "vLLM 0.25.1",
    )


def test_gates_that_do_not_follow_would_be_noticed() -> None:
    one = calibration(max_mean_margin_milli=7)
    documents = {calibration_digest(one): one}
    track = next(iter(parse_policy_toml(policies.load("interval")).tracks.values()))
    named = msgspec.structs.replace(track, calibration=calibration_digest(one), gates=one.gates)
    assert otherwise(named, documents) is None
    assert "not those" in str(
        otherwise(msgspec.structs.replace(named, gates=GatePolicy()), documents)
    )
    assert "no document" in str(otherwise(named, {}))


NAMED = "sha256:" + "a" * 64


def track(**fields: Any) -> TrackPolicy:
    return TrackPolicy(
        **({"model": "m", "emission": KingTakesAll(), "scoring": ScoreV2()} | fields)
    )


def test_the_document_must_be_the_one_that_the_track_names() -> None:
    one = calibration()
    must_be_named(NAMED, one, track(calibration=NAMED), "m")
    for other in ("", "sha256:" + "b" * 64):
        with pytest.raises(CalibrationError, match="give the document that it names"):
            must_be_named(NAMED, one, track(calibration=other), "m")
    with pytest.raises(CalibrationError, match="made with the model 'm' and the contest asks for"):
        must_be_named(NAMED, one, track(calibration=NAMED), "another")


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_track_judges_by_the_limits_of_the_calibration_that_it_names(name: str) -> None:
    gates = msgspec.structs.replace(GatePolicy(), **{name: getattr(GatePolicy(), name) + 1})
    with pytest.raises(CalibrationError, match=f"the track's {name} is .* proposes"):
        must_be_named(NAMED, calibration(), track(calibration=NAMED, gates=gates), "m")
    rules = msgspec.structs.replace(GatePolicy(), max_repeat_gain_ppm=1)  # a rule and no noise
    must_be_named(NAMED, calibration(), track(calibration=NAMED, gates=rules), "m")


def test_what_a_calibration_was_not_measured_on_is_told() -> None:
    held = msgspec.structs.replace(calibration(gpu="2 x H100"), engine_version="0.25.1")
    assert unlike(held, gpu="2 x H100", version="0.25.1") == ()
    for other in ("2 x H200", "H100", "4 x H100"):
        (told,) = unlike(held, gpu=other, version="0.25.1")
        assert f"measured on 2 x H100 and this contest ran on {other};" in told
    for other in ("0.25.10", "0.25", "25.1"):
        (told,) = unlike(held, gpu="2 x H100", version=other)
        assert f"engine's version 0.25.1 and the baseline says that it is {other};" in told


@pytest.mark.parametrize(("gpu", "version"), [("", None), ("H100", None), ("", "0.25.1")])
def test_where_either_side_is_unknown_it_cannot_be_told(gpu: str, version: str | None) -> None:
    known = msgspec.structs.replace(calibration(gpu="H100"), engine_version="0.25.1")
    silent = calibration(gpu="")
    told = unlike(known, gpu=gpu, version=version)
    assert len(told) == (not gpu) + (version is None)
    assert all("cannot be told" in one for one in told)
    nothing = unlike(silent, gpu=gpu, version=version)
    assert ["cannot be told" in one for one in nothing] == [True, True]
