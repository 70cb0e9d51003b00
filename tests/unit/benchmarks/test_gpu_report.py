"""From bundles to the page, tried on the bundles of the reference servers in ``tests/data``."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from gpu_summaries import GPU, drawn, summary

from benchmarks.gpu import power
from benchmarks.gpu.beside import Asked, Forced, Price, references_of
from benchmarks.gpu.calibrations import Gathering, calibration_for, facts_of, read_calibrations
from benchmarks.gpu.catalogue import (
    CATALOGUE,
    CatalogueError,
    Entry,
    read_catalogue,
    write_catalogue,
)
from benchmarks.gpu.extract import evidence_in, summary_of
from benchmarks.gpu.kept import KEPT
from benchmarks.gpu.measured import read_measured
from benchmarks.gpu.page import PAGE, PLOTS, WRITTEN, page_of, plots_of
from benchmarks.gpu.report import gates_text, main, write_page
from benchmarks.gpu.summary import MARGINS_MILLI, read_summaries, write_summary
from evaluation.blocks import blocks_of
from evaluation.bundle import read_bundle
from evaluation.calibrated_gates import CALIBRATED
from evaluation.calibration import calibration_digest
from evaluation.entrant import ForcedAnswer
from evaluation.forcing import ForcedToken
from ledger.gate_policy import GatePolicy
from ledger.rules.interval import block_log_ratios_ppm

CATALOGUES = Path(power.__file__).with_name("catalogues")
NAMES = ("reference-aa", "reference-cheats")
LISTED = """
[reference-aa]
what = "aa"
about = "the KV cache against itself"
engine = "reference"
names = { entrant-1 = "copy 1" }

[reference-cheats]
what = "cheats"
about = "four of them"
engine = "reference"
names = { entrant-1 = "fp8 weights", entrant-2 = "truncated by half" }
codes = { entrant-1 = "quantised", entrant-2 = "truncated", entrant-3 = "other_weights" }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("bundles") / "cpu"
    found.mkdir()
    for name in NAMES:
        shutil.copy(KEPT / f"{name}.zip", found)
    (found / CATALOGUE).write_text(LISTED, encoding="utf-8")
    asked = [Asked(ask_logprobs=one, wall_us=100, tokens=9, payload_bytes=1) for one in (True,) * 2]
    asked += [Asked(ask_logprobs=False, wall_us=80, tokens=9, payload_bytes=1)] * 2
    (found / "price.json").write_bytes(msgspec.json.encode(asked))
    return found


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of the folder, with one simulated contest of a short hour."""
    found = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(power, "HOUR", 1)
        words = [str(folder), "--contests", "1", "--data", str(found)]
        assert main([*words, "--page", str(found / "page.md")]) == 0
    return found


def test_the_page_says_what_the_bundles_came_to(data: Path) -> None:
    page = (data / "page.md").read_text(encoding="utf-8")
    assert "| cpu-reference-aa | the KV cache against itself |" in page
    # of entrant-4 of the cheats the catalogue does not say that it cheats: it had to be scored
    assert "Honest: 3 of 4 scored, 3 of 4 under the calibration." in page
    assert "| scored | **logprobs_forged** | **logprobs_forged** |" in page
    assert "- entrant-4 (cpu-reference-cheats): the tokens are the model's, but" in page
    assert "Cheats: 3 of 3 refused with their own code, 3 of 3 under the calibration." in page
    assert "| fp8 weights | cpu-reference-cheats |" in page
    assert "| **limit of the calibration** |" in page
    assert "| the baseline | 0.00 | 0.00 to 0.00 |" in page
    assert "| cpu | 4 | 90,000 | 112,500 |" in page
    assert "makes of 1 GPU minutes for a challenger" in page
    assert "None" not in page


def test_the_page_and_its_plots_follow_from_the_data_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "margins-9.svg").write_text("of before", encoding="utf-8")
    write_page(data, tmp_path / "page.md")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"page.md", *plots_of(read_measured(data))}
    assert {"margins-1.svg", "block-noise.svg", "speed.svg", "gpu-power.svg"} < names
    shown = re.findall(r"\]\(([a-z0-9-]+\.svg)\)", (tmp_path / "page.md").read_text("utf-8"))
    assert sorted(shown) == sorted(names - {"page.md"})
    for name in names:
        assert (tmp_path / name).read_bytes() == (data / name).read_bytes()
        if name.endswith(".svg"):
            ElementTree.fromstring((tmp_path / name).read_text(encoding="utf-8"))  # noqa: S314


def test_a_summary_says_what_the_bundle_says(data: Path) -> None:
    for name in NAMES:
        bundle = read_bundle(KEPT / f"{name}.zip")
        (found,) = [one for one in read_summaries(data) if one.name == f"cpu-{name}"]
        contest = bundle.manifest.plan.policy.contest
        evidence = evidence_in(bundle)
        assert found.manifest_digest == bundle.manifest_digest
        assert [arm.arm for arm in found.arms] == ["baseline", *evidence]
        for verdict, again in zip(found.verdicts, bundle.rejudged.verdicts, strict=True):
            assert (verdict.code, verdict.status) == (again.code, again.status)
            forced = [one for own in evidence[verdict.arm].forced for one in own.tokens if one]
            assert verdict.tokens == len(forced)
            assert verdict.beyond == tuple(
                len([one for one in forced if one.margin_milli > edge]) for edge in MARGINS_MILLI
            )
        base, *arms = found.arms
        for arm in arms:
            own = evidence[arm.arm].answers
            assert len(arm.blocks) == len(blocks_of(contest)) == len(arm.ready_ms)
            assert [us for block in arm.blocks for us in block.e2e_us] == [
                one.wall_us for one in own
            ]
            assert [block.start for block in arm.blocks] == list(range(len(arm.blocks)))
            assert all(block.wall_us >= max(block.e2e_us) for block in arm.blocks)
        verdict = bundle.rejudged.verdicts[0]
        if verdict.status == "scored":
            ratios = block_log_ratios_ppm(
                [us for block in base.blocks for us in block.e2e_us],
                [us for block in arms[0].blocks for us in block.e2e_us],
                contest.prompts_per_block,
            )
            paired = block_log_ratios_ppm(
                verdict.baseline_e2e_us, verdict.e2e_us, contest.prompts_per_block
            )
            assert ratios == paired  # what the noise is taken of is what the rule sees


def test_the_calibration_is_that_of_the_honest_runs(data: Path) -> None:
    ((digest, found),) = read_calibrations(data).items()
    aa = read_bundle(KEPT / "reference-aa.zip")
    assert len(found.runs) == len(aa.manifest.entrants)
    said = gates_text(data)
    assert f'calibration = "{digest}"' in said
    body = said.split(f'[tracks."{found.track}".gates]\n')[1]
    limits = msgspec.toml.decode(body, type=dict[str, int])
    assert set(limits) == set(CALIBRATED)
    assert msgspec.structs.replace(GatePolicy(), **limits) == found.gates


def test_an_entry_says_whose_runs_calibrate(folder: Path) -> None:
    entries = read_catalogue(folder)
    (name,) = [name for name, entry in entries.items() if entry.what == "aa"]
    bundle = read_bundle(folder / f"{name}.zip")
    ids = [part.entrant_id for part in bundle.manifest.entrants]

    def runs(**fields: Any) -> list[int]:
        gathering = Gathering()
        gathering.add(msgspec.structs.replace(entries[name], **fields), bundle)
        return [len(one.runs) for one in gathering.calibrations()]

    assert runs() == [len(ids)]
    assert runs(calibrates=()) == runs(what="rounds") == runs(calibrates=(ids[0],)) == []
    assert runs(what="rounds", calibrates=tuple(ids[:2])) == [2]
    with pytest.raises(CatalogueError, match="lets nobody calibrate, which the bundle does not"):
        runs(calibrates=("nobody",))


def test_the_command_calibrates_from_the_runs_that_an_entry_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = [name for name, entry in read_catalogue(folder).items() if entry.what == "aa"]
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    shutil.copy(folder / f"{name}.zip", chosen)
    text = f'["{name}"]\nwhat = "rounds"\nabout = ""\nengine = "e"\n'
    text += 'calibrates = ["entrant-1", "entrant-2"]\n'
    (chosen / CATALOGUE).write_text(text, encoding="utf-8")
    monkeypatch.setattr(power, "HOUR", 1)
    words = [str(chosen), "--contests", "1", "--data", str(tmp_path / "data")]
    assert main([*words, "--page", str(tmp_path / "page.md")]) == 0
    (found,) = read_calibrations(tmp_path / "data").values()
    assert len(found.runs) == 2


def test_the_shipped_calibration_follows_from_the_kept_bundle() -> None:
    folder = KEPT / "gpu" / "h100-7b"
    gathering = Gathering()
    for name, entry in read_catalogue(folder).items():
        gathering.add(entry, read_bundle(folder / f"{name}.zip"))
    (found,) = gathering.calibrations()
    assert found == read_calibrations()[calibration_digest(found)]


def test_the_shipped_summaries_follow_from_the_kept_bundles() -> None:
    shipped = {one.name: one for one in read_summaries()}
    calibrations = list(read_calibrations().values())
    for path in sorted(KEPT.glob(f"gpu/*/{CATALOGUE}")):
        for name, entry in read_catalogue(path.parent).items():
            bundle = read_bundle(path.with_name(f"{name}.zip"))
            held = calibration_for(facts_of(entry, bundle), calibrations)
            known_as = f"{path.parent.name}-{name}"
            found = summary_of(known_as, entry, bundle, None if held is None else held.gates)
            assert found == shipped.pop(known_as)
    for path in CATALOGUES.glob("*.toml"):  # of bundles that are too large to be kept
        entries = msgspec.toml.decode(path.read_bytes(), type=dict[str, Entry])
        for name, entry in entries.items():
            left = shipped.pop(f"{path.stem}-{name}")
            assert (left.what, left.about, left.engine) == (entry.what, entry.about, entry.engine)
            named = {one.arm: one.name for one in left.verdicts}
            expected = {one.arm: one.expected for one in left.verdicts if one.expected}
            assert (named, expected) == (entry.names, entry.codes)
    assert shipped == {}


def test_the_shipped_page_is_the_one_generated_from_the_shipped_data() -> None:
    found = read_measured()
    assert PAGE.read_text(encoding="utf-8") == page_of(found, WRITTEN.read_text(encoding="utf-8"))
    lie = {path.name: path for pattern in PLOTS for path in PAGE.parent.glob(pattern)}
    assert {name: path.read_text(encoding="utf-8") for name, path in lie.items()} == plots_of(found)


def test_what_must_be_known_of_gpus_and_rounds_is_on_the_page(tmp_path: Path) -> None:
    run = summary("two", drawn(3, 4, 16), gpus=2, what="parallel")
    write_summary(run, tmp_path)
    page = page_of(read_measured(tmp_path), "By hand.\n")
    assert "| two | H100 | 1 | 1,700 to 1,980 | 40 / 60 / 55 | 70,000 of 81,559 | power" in page
    assert "| power limit | – | – | unknown |" in page
    assert "| two | 2 x H100 | copy 1 | 60.0 |" in page
    assert page.endswith("## Where the figures contradict what was assumed\n\nBy hand.\n")
    assert run.gpu == "2 x H100"
    assert msgspec.structs.replace(run, gpus=()).gpu == ""
    assert GPU.name == "H100"


def test_a_catalogue_is_begun_for_whoever_made_the_bundles(folder: Path, tmp_path: Path) -> None:
    for name in NAMES:
        shutil.copy(folder / f"{name}.zip", tmp_path)
    write_catalogue(tmp_path)
    found = read_catalogue(tmp_path)
    assert list(found) == list(NAMES)
    assert found["reference-cheats"].codes["entrant-1"] == "quantised"
    assert found["reference-aa"].codes == {}
    (tmp_path / CATALOGUE).unlink()
    (tmp_path / "reference-cheats.zip").rename(tmp_path / "honest.zip")  # of four arms: no step's
    shutil.copy(tmp_path / "reference-aa.zip", tmp_path / "cheats.zip")  # of three, as rehearsed
    write_catalogue(tmp_path)
    found = read_catalogue(tmp_path)
    assert (found["honest"].what, found["honest"].names["entrant-1"]) == ("honest", "entrant-1")
    assert (found["cheats"].what, found["cheats"].names["entrant-1"]) == ("cheats", "fp8-weights")
    assert found["cheats"].codes["entrant-1"] == "quantised"
    with pytest.raises(CatalogueError, match="not written over"):
        write_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no bundles.toml"),
        ("[a", "cannot be read"),
        ('[other]\nwhat = "aa"\nabout = ""\nengine = ""\n', r"does not say what reference-aa\.zip"),
        (LISTED, "there is no reference-cheats.zip"),
        (LISTED.replace('"aa"', '"best"'), "cannot be read"),
        (LISTED.replace('"quantised"', '"slow"'), "cannot be read"),
    ],
)
def test_a_catalogue_that_does_not_fit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    shutil.copy(KEPT / "reference-aa.zip", tmp_path)
    if text is not None:
        (tmp_path / CATALOGUE).write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=message):
        read_catalogue(tmp_path)
    assert main([str(tmp_path), "--data", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) >= 1
    assert list(tmp_path.glob("*.json")) == []


def test_a_summary_that_is_too_large_or_of_another_form_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = summary("a", drawn(3, 2, 4))
    write_summary(msgspec.structs.replace(run, form="cacheon-gpu-summary/9"), tmp_path)
    with pytest.raises(ValueError, match="summary/9"):
        read_summaries(tmp_path)
    path = write_summary(run, tmp_path)
    assert read_summaries(tmp_path) == [run]
    monkeypatch.setattr("benchmarks.gpu.summary.MAX_SUMMARY_BYTES", path.stat().st_size - 1)
    with pytest.raises(ValueError, match="is larger than"):
        read_summaries(tmp_path)
    with pytest.raises(ValueError, match="the summary of a has"):
        write_summary(run, tmp_path)


def test_a_price_is_the_ratio_of_times_a_token() -> None:
    def asked(wanted: bool, wall_us: int) -> Asked:
        return Asked(ask_logprobs=wanted, wall_us=wall_us, tokens=10, payload_bytes=1)

    price = Price(name="p", blocks=(asked(True, 110), asked(False, 100)))
    assert price.ratio() == (pytest.approx(1.1), None)
    assert price.rate(ask_logprobs=False) == pytest.approx(100_000)
    assert Price(name="p", blocks=(asked(True, 110),)).ratio() is None
    four = Price(name="p", blocks=(*price.blocks, asked(True, 110), asked(False, 100)))
    assert four.ratio() == (pytest.approx(1.1), pytest.approx(0.0))


def test_references_are_held_against_the_first_one() -> None:
    def forced(reference: str, *tokens: ForcedToken | None) -> Forced:
        answers = (ForcedAnswer(tokens=tokens),)
        twice = (ForcedAnswer(tokens=(*tokens[:-1], ForcedToken(9, 2, -9))),)
        return Forced(reference=reference, arm="a", once=answers, twice=twice)

    same = forced("same", ForcedToken(0, 1, -100), ForcedToken(30, 2, -200), None)
    other = forced("other", ForcedToken(0, 1, -101), ForcedToken(20, 2, -204), None)
    first, second = references_of([same, other])
    assert (first.top1_ppm, first.mean_margin_micro, first.p99_margin_milli) == (
        500_000,
        15_000,
        30,
    )
    assert (first.apart_micro, second.apart_micro) == (0, 2_500)
    assert (first.tokens, first.unlike_twice) == (2, 1)


def test_an_entrant_that_was_not_forced_has_no_margins(folder: Path) -> None:
    entry = read_catalogue(folder)["reference-cheats"]
    bundle = read_bundle(folder / "reference-cheats.zip")
    found = summary_of("x", entry, bundle, None)
    assert [one.calibrated_code for one in found.verdicts] == [None] * 4
    by_arm = {one.arm: one for one in found.verdicts}
    assert by_arm["entrant-2"].tokens == 0
    assert by_arm["entrant-2"].figures is not None
    assert by_arm["entrant-2"].figures.top1_ppm is None
    assert by_arm["entrant-1"].name == "fp8 weights"
    assert by_arm["entrant-4"].name == "entrant-4"
