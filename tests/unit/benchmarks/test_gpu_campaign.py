"""The campaign on real GPUs: its policies, sizes, tables and figures, without a server."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import campaign
from benchmarks.gpu.policies import TRACK, Manner, Size, policy_of, policy_toml, prompts_for_block
from benchmarks.gpu.program import Clock, Program, StepError
from benchmarks.gpu.settings import PROXIED, Arm, Engines, parameters_of
from benchmarks.gpu.steps import price
from benchmarks.gpu.steps.cheating import CHEATS
from benchmarks.gpu.steps.honest import expectations
from benchmarks.gpu.steps.references import percentile
from benchmarks.gpu.tables import contest_table, speed_order, table_of
from benchmarks.gpu.throughput import block_walls_us
from benchmarks.gpu.toml_text import toml_of
from evaluation.client import Answer
from evaluation.engines.profile import parse_launch
from ledger.codes import DisqualificationCode
from ledger.policy import PolicyError, parse_policy_toml

SIZE = Size(blocks=6, prompts_per_block=32, context_tokens=512, output_tokens=128, streams=16)


@pytest.mark.parametrize(
    "manner",
    [Manner(), Manner(restart=True, together=False, gpus=2, require_logprobs=False)],
)
def test_a_policy_is_read_from_its_file_as_it_was_made(manner: Manner) -> None:
    policy = policy_of("m", SIZE, manner)
    assert parse_policy_toml(policy_toml(policy)) == policy
    contest = policy.tracks[TRACK].contest
    assert (contest.prompts, contest.limits.gpus) == (192, manner.gpus)
    assert contest.restart_each_block is manner.restart
    assert contest.start_together is manner.together


def test_a_policy_of_too_few_blocks_is_refused() -> None:
    few = Size(blocks=5, prompts_per_block=2, context_tokens=64, output_tokens=8, streams=2)
    with pytest.raises(PolicyError, match="needs at least 6"):
        policy_of("m", few, Manner())


def test_logprobs_that_are_required_must_be_asked_for() -> None:
    with pytest.raises(PolicyError, match="logprobs"):
        policy_of("m", SIZE, Manner(ask_logprobs=False))


def test_toml_keeps_every_kind_of_value_and_leaves_nothing_out_but_null() -> None:
    document = {
        "text": 'a "quoted" \\ line\nand another',
        "yes": True,
        "number": -3,
        "many": ["a", "b"],
        "none": None,
        "below": {"key with blanks": 1, "deeper": {"x": []}},
    }
    expected = {name: value for name, value in document.items() if name != "none"}
    assert tomllib.loads(toml_of(document)) == expected
    with pytest.raises(TypeError, match=r"0\.5"):
        toml_of({"x": 0.5})


@pytest.mark.parametrize(
    ("rate", "seconds", "prompts"),
    [(4_700, 10, 192), (10, 1, 16), (4_096, 1, 16), (4_097, 1, 32)],
)
def test_a_block_is_whole_rounds_of_the_streams_and_lasts_long_enough(
    rate: float, seconds: float, prompts: int
) -> None:
    found = prompts_for_block(rate, seconds, output_tokens=256, streams=16)
    assert found == prompts
    assert found * 256 >= rate * seconds


def test_more_prompts_than_a_policy_allows_are_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["aa", "--out", str(tmp_path), "--model", str(tmp_path), "--rate", "100000"]
    assert campaign.main(words) == 2
    assert "more than the 1000" in capsys.readouterr().err


def asked_for(folder: Path, *words: str) -> int:
    return campaign.main([*words, "--out", str(folder), "--model", str(folder)])


@pytest.mark.parametrize(
    ("steps", "only", "said"),
    [
        ("honest", "triton tritn", "--only names tritn, which honest do not have; there are: "),
        (
            "field",
            "eager fp8 x",
            "--only names fp8, x, which field do not have; there are: batched",
        ),
        ("honest cheats", "triton copy", "copy, which honest and cheats do not have; there are: "),
        ("tp", "eager", "which tp do not have; there are: copy, seqs-8"),
        ("proxies", "flush proxy", "--only names proxy, which proxies do not have; there are: "),
        ("aa", "triton", "aa have no arms to choose; leave --only out"),
        ("price hill", "x", "price and hill have no arms to choose; leave --only out"),
    ],
)
def test_an_arm_that_no_step_has_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], steps: str, only: str, said: str
) -> None:
    words = [word for name in only.split() for word in ("--only", name)]
    assert asked_for(tmp_path, *steps.split(), *words) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert (told.out, list(tmp_path.iterdir())) == ("", [])


def test_arms_of_several_steps_are_named_together() -> None:
    words = ["honest", "price", "cheats", "--only", "eager", "--only", "fp8-kv"]
    asked = campaign.parser().parse_args([*words, "--out", "x", "--model", "m"])
    found = campaign.campaign_of(asked, Path("x"))
    wanted = [arm.name for arm in found.engines.field() if found.wanted(arm.name)]
    assert wanted == ["eager", "fp8-kv"]


KEPT = Path(__file__).parents[2] / "data/gpu/h100-1.5b-short/cheats.zip"


def test_an_arm_that_a_bundle_has_not_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["references", "--bundle", str(KEPT), "--only", "baseline", "--only", "nobody"]
    assert asked_for(tmp_path, *words) == 2
    said = "--only names nobody, which references do not have; there are: baseline, "
    assert said in capsys.readouterr().err
    asked = campaign.parser().parse_args([*words[:-2], "--out", "x", "--model", "m"])
    assert campaign.campaign_of(asked, tmp_path).only == {"baseline"}


def test_an_arm_of_a_bundle_that_an_earlier_step_makes_is_told_by_the_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def makes(_: object) -> str:
        (tmp_path / "aa.zip").write_bytes(KEPT.read_bytes())
        return "made"

    steps = {"honest": makes, "references": campaign._steps()["references"]}
    monkeypatch.setattr(campaign, "_steps", lambda: steps)
    words = ["honest", "references", "--only", "triton", "--only", "baseline", "--only", "nobody"]
    assert asked_for(tmp_path, *words) == 1
    told = capsys.readouterr().out
    assert "references: FAILED: the bundle has no arm named nobody; it has: baseline, " in told


@pytest.mark.parametrize(("kind", "folder"), [("vllm", CHEATS), ("reference", campaign.PROFILES)])
def test_whatever_a_step_starts_is_a_launch_of_a_profile(kind: Any, folder: Path) -> None:
    common = parameters_of(campaign.VLLM_COMMON) if kind == "vllm" else {}
    engines = Engines(kind, common)
    texts = {engines.baseline(), *engines.climbers(), *engines.references().values()}
    arms = (*engines.honest(), *engines.coarse(), *engines.without_logprobs())
    texts |= {arm.image for arm in arms}
    proxies = [arm.image for arm in engines.proxied(8_000)]
    digests = {parse_launch(one, folder).digest() for one in texts}
    digests |= {parse_launch(one, CHEATS).digest() for one in proxies}
    assert len(digests) == len(texts) + len(proxies)
    assert len(set(engines.climbers())) == 4
    for text in (engines.baseline(), *engines.references().values()):
        assert parse_launch(text, folder).profile.teacher_forcing


def test_own_parameters_stand_in_the_place_of_the_common_ones() -> None:
    engines = Engines("vllm", {"max_num_seqs": "16", "max_model_len": "2048"})
    launch = engines.launch(max_num_seqs="4")
    assert launch == "profile:vllm?max_num_seqs=4&max_model_len=2048"
    assert engines.launch(profile="cheat-proxy", cheat="flush") == "profile:cheat-proxy?cheat=flush"


def test_every_expected_code_is_one() -> None:
    engines = Engines("vllm", {})
    expected = {*PROXIED.values(), *(arm.expected for arm in engines.coarse())} - {""}
    assert expected <= {code.value for code in DisqualificationCode}


def test_what_came_otherwise_than_expected_is_marked() -> None:
    arms = [Arm("eager", "i"), Arm("fp8", "i", "quantised"), Arm("flush", "i", "flushed")]
    lines = [
        {"status": "scored", "code": ""},
        {"status": "scored", "code": ""},
        {"status": "disqualified", "code": "flushed"},
    ]
    marked = [line.split() for line in expectations(arms, {"entrants": lines}).splitlines()[2:]]
    assert marked == [
        ["eager", "scored", "scored"],
        ["fp8", "quantised", "scored", "OTHERWISE"],
        ["flush", "flushed", "flushed"],
    ]


def test_a_table_of_a_void_contest_says_why() -> None:
    report = {
        **{"status": "void", "void_cause": "drifted", "drift_ppm": 123_456},
        **{"baseline_e2e_us": None, "entrants": []},
    }
    told = contest_table("aa", [], report)
    assert told.startswith("aa: void (drifted), drift 12.346 %")
    assert table_of("t", ("a",), [[None]]).splitlines()[-1].strip() == "-"


def test_the_order_of_speed_is_undecided_where_intervals_overlap() -> None:
    intervals = [(100, 200), (150, 400), (-90, -10), (-20, 30), (None, None)]
    lines = [{"lower_ppm": lower, "upper_ppm": upper} for lower, upper in intervals]
    told = speed_order(["a", "b", "c", "d", "refused"], {"entrants": lines})
    assert told.endswith(": b ~ a > d ~ baseline > c")


def test_nothing_is_begun_after_the_deadline(tmp_path: Path) -> None:
    Clock(None).must_not_be_over("aa")
    Clock(3_600.0).must_not_be_over("aa")
    program = Program(folder=tmp_path, model=tmp_path, clock=Clock(0.0))
    with pytest.raises(StepError, match="aa was not begun"):
        program.contest("aa", policy_of("m", SIZE, Manner()), "b", [], "0x" + "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_cannot_go_on_is_told_and_the_next_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: object) -> str:
        msg = "the server did not start"
        raise StepError(msg)

    def defect(_: object) -> str:
        return str(1 // 0)

    steps = {"aa": breaks, "honest": defect, "price": lambda _: "a table"}
    monkeypatch.setattr(campaign, "_steps", lambda: steps)
    words = ["aa", "honest", "price", "--out", str(tmp_path / "new"), "--model", "m"]
    assert campaign.main(words) == 1
    told = capsys.readouterr().out
    assert "aa: FAILED: the server did not start" in told
    assert "ZeroDivisionError" in told
    assert told.rstrip().endswith("a table")
    assert (tmp_path / "new" / "price.txt").read_text("utf-8") == "a table\n"
    assert campaign.main(["price", *words[3:]]) == 0


def timed(*walls_us: int) -> list[price.Timed]:
    return [
        price.Timed(ask_logprobs=asked, wall_us=wall_us, tokens=10, payload_bytes=100)
        for asked, wall_us in zip(price.ROUND * 2, walls_us, strict=False)
    ]


def test_the_price_is_the_ratio_within_each_round_whatever_the_machine_drifts() -> None:
    assert price.ratios(timed(1_100, 1_000, 1_000, 1_100)) == pytest.approx([1.1])
    drifting = timed(1_100, 2_000, 4_000, 8_800, 500, 500, 500, 500)
    assert price.ratios(drifting) == pytest.approx([1.1, 1.0])
    assert price.ratios(timed(1, 2, 3)) == []


@pytest.mark.parametrize("blocks", [2, 20])
@pytest.mark.parametrize("asked", [True, False])
def test_a_round_of_the_price_has_its_four_blocks_whatever_a_contest_has(
    blocks: int, asked: bool
) -> None:
    size = Size(blocks, prompts_per_block=250, context_tokens=64, output_tokens=8, streams=2)
    track = price.track_of("m", size, Manner(), asked)
    assert (track.contest.prompts, track.contest.prompts_per_block) == (1_000, 250)
    assert track.contest.ask_logprobs is asked


def test_a_block_ends_with_the_last_token_of_its_last_answer() -> None:
    answers = [
        Answer(tokens=(1, 2), arrival_us=(5, 10), end_us=99, finish_reason="length", sent_us=sent)
        for sent in (0, 7, 0, 100)
    ]
    assert block_walls_us(answers, 2) == [17, 110]


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (75, 3), (76, 4), (99, 4), (100, 4)])
def test_a_percentile_is_a_value_that_was_seen(percent: int, expected: int) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected
