"""A policy document is one meaning: refused in one sentence, or the same digest however spelled."""

from __future__ import annotations

import msgspec
import pytest

from ledger.policies import load, names
from ledger.policy import (
    MAX_POLICY_BYTES,
    MAX_TRACKS,
    Policy,
    PolicyError,
    PolicyFrom,
    parse_policy_json,
    parse_policy_toml,
    policy_at,
)

TREASURY = "5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo"
SECOND = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
QUOTED = f'"{TREASURY}"'
GOOD = f"""
name = "p"
[fee]
treasury_ss58 = {QUOTED}
[tracks.qwen]
model = "Qwen"
[tracks.qwen.emission]
phase = "king_takes_all"
[tracks.qwen.scoring]
formula = "v2"
"""


def tracks(count: int, share: int) -> str:
    head = GOOD[: GOOD.index("[tracks")]
    body = GOOD[GOOD.index("[tracks") :].replace(
        'model = "Qwen"', f'model = "Qwen"\nemission_share_ppm = {share}'
    )
    return head + "".join(body.replace("qwen", f"t{number}") for number in range(count))


def fee(line: str) -> str:
    return GOOD.replace(QUOTED, f"{QUOTED}\n{line}")


def ramp(line: str) -> str:
    return GOOD.replace('"king_takes_all"', f'"block_ramp"\n{line}')


def part(name: str, lines: str) -> str:
    return GOOD + f"[tracks.qwen.{name}]\n{lines}"


def interval(scoring: str, contest: str) -> str:
    rules = GOOD.replace('formula = "v2"', f'formula = "interval"\n{scoring}')
    return f"{rules}\n[tracks.qwen.contest]\n{contest}"


def image(name: str) -> str:
    return GOOD.replace('model = "Qwen"', f'model = "Qwen"\nbaseline_image = "{name}"')


def treasurers(*addresses: str) -> str:
    return GOOD + f"[treasury]\ntreasurers = {list(addresses)}"


BAD = {
    "not TOML": ("name = ", "is not TOML"),
    "empty": ("", "does not fit: .*name"),
    "no fee": (GOOD.replace(f"[fee]\ntreasury_ss58 = {QUOTED}", ""), "fee"),
    "unknown field": (GOOD.replace('name = "p"', 'name = "p"\ncolour = 1'), "colour"),
    "unknown phase": (GOOD.replace("king_takes_all", "phase9"), "phase9"),
    "unknown formula": (GOOD.replace('"v2"', '"v9"'), "v9"),
    "fractional fee": (GOOD.replace(QUOTED, f"{QUOTED}\nfee_rao = 0.1"), "fee_rao"),
    "negative fee": (GOOD.replace(QUOTED, f"{QUOTED}\nfee_rao = -1"), "fee_rao"),
    "share over one": (tracks(1, 1_000_001), "emission_share_ppm"),
    "shares short of one": (tracks(2, 400_000), "sum to 800000 ppm"),
    "no tracks": (GOOD[: GOOD.index("[tracks")] + "[tracks]", "1 to 16 tracks, it has 0"),
    "too many tracks": (tracks(MAX_TRACKS + 1, 1), "it has 17"),
    "no treasury": (GOOD.replace(TREASURY, ""), "names no treasury"),
    "treasury mistyped": (GOOD.replace("5FS2f", "5FS2g"), "no SS58 address of format 42"),
    "treasury of another format": (
        GOOD.replace(TREASURY, "15oF4uVJwmo4TdGW7VfQxNLavjCXviqxT9S1MgbjMNHr6Sp5"),
        "no SS58 address of format 42",
    ),
    "fee nobody can count": (fee(f"fee_rao = {2**63}"), "fee_rao"),
    "burn UID beyond the subnet": (GOOD + "[weights]\nburn_uid = 256", "burn_uid"),
    "staleness beyond a block number": (
        GOOD + f"[weights]\nstale_after_blocks = {2**32}",
        "stale_after_blocks",
    ),
    "rate limit beyond a block number": (
        GOOD + f"[weights]\nrate_limit_blocks = {2**32}",
        "rate_limit_blocks",
    ),
    "payment age beyond a block number": (
        fee(f"payment_max_age_blocks = {2**32}"),
        "payment_max_age_blocks",
    ),
    "start beyond a block number": (ramp(f"start_block = {2**32}"), "start_block"),
    "length beyond a block number": (ramp(f"length_blocks = {2**32}"), "length_blocks"),
    "override by a slip": (ramp("override_ppm = 1_000_000_001"), "override_ppm"),
    "override below by a slip": (ramp("override_ppm = -1_000_000_001"), "override_ppm"),
    "decay beyond a block number": (part("margin", f"decay_blocks = {2**32}"), "decay_blocks"),
    "margin nobody can count": (
        part("gates", f"margin_clip_milli = {2**63}"),
        "margin_clip_milli",
    ),
    "length without an end": (part("gates", f"max_length_ppm = {2**63}"), "max_length_ppm"),
    "timeout beyond a day": (part("contest", "pull_timeout_s = 86_401"), "pull_timeout_s"),
    "more repeats than prompts": (
        part("contest", "prompts = 5\nrepeated_prompts = 6"),
        "repeats 6 prompts and asks only 5",
    ),
    "more streams than a block holds": (
        part("contest", "streams = 4\nprompts_per_block = 3"),
        "asks 4 streams of blocks of 3",
    ),
    "one interleaved block": (
        part("contest", 'order = "interleaved"\nprompts = 5\nprompts_per_block = 3'),
        "interleaves 1 blocks of prompts; at least 2",
    ),
    "servers together in an order without blocks": (
        part("contest", 'order = "bracketed"\nstart_together = true'),
        "starts servers together in the order bracketed",
    ),
    "servers together in no order": (
        part("contest", "start_together = true"),
        "starts servers together in the order baseline_once",
    ),
    "logprobs required and not asked for": (
        part("contest", "ask_logprobs = false"),
        "requires logprobs and does not ask for them",
    ),
    "an order unheard of": (part("contest", 'order = "shuffled"'), "order"),
    "prompts of a file without its digest": (
        part("contest", 'source = {source = "jsonl", digest = "sha256:00"}'),
        "must be named by sha256: and 64 hex digits",
    ),
    "prompts of a moving branch": (
        part("contest", 'source = {source = "hugging_face", dataset = "d", revision = "main"}'),
        "a branch can move",
    ),
    "prompts of no field": (
        part("contest", f'source = {{source = "jsonl", digest = "sha256:{"0" * 64}", field = ""}}'),
        "the prompts' field",
    ),
    "calibration without its digest": (
        GOOD.replace('model = "Qwen"', 'model = "Qwen"\ncalibration = "ours"'),
        "the calibration of track 'qwen'",
    ),
    "too few blocks for an interval": (
        interval("", "prompts = 59\nprompts_per_block = 10"),
        "measures 5 blocks of prompts, and an interval at 950000 ppm needs at least 6",
    ),
    "too few blocks for a round's error": (
        interval('error_of = "round"\nconfidence_ppm = 990_000', "prompts = 15"),
        "ppm for a round of up to 256 challengers needs at least 16",
    ),
    "error of nobody": (interval('error_of = "miner"', ""), "error_of"),
    "nameless": (GOOD.replace('"p"', '""'), "a policy's name must be 1 to 64"),
    "name too long": (GOOD.replace('"p"', f'"{"p" * 65}"'), "a policy's name must be 1 to 64"),
    "name that rings": (GOOD.replace('"p"', '"p\\u0007"'), "a policy's name must be 1 to 64"),
    "model of blanks": (GOOD.replace('"Qwen"', '"  "'), "the model of track 'qwen' must be 1 to"),
    "model too long": (GOOD.replace("Qwen", "Q" * 65), "the model of track 'qwen' must be 1 to"),
    "digest cut short": (image("sha256:" + "0" * 63), "the baseline_image of track 'qwen'"),
    "image too long": (image("i" * 256), "the baseline_image of track 'qwen'"),
    "image of two words": (image("my image"), "the baseline_image of track 'qwen'"),
    "track in capitals": (GOOD.replace("qwen", "Qwen"), "'Qwen' is no name of a track"),
    "track of nothing": (GOOD.replace("tracks.qwen", 'tracks.""'), "'' is no name of a track"),
    "track too long": (GOOD.replace("qwen", "q" * 65), "is no name of a track"),
    "track with a slash": (GOOD.replace("tracks.qwen", 'tracks."a/b"'), "'a/b' is no name"),
    "treasurer mistyped": (
        treasurers(TREASURY, TREASURY[:-1] + "p"),
        "a treasurer of policy 'p' is",
    ),
    "one treasurer": (treasurers(TREASURY), "names 1 treasurers; name 2 to 16"),
    "treasurer twice": (treasurers(TREASURY, TREASURY), "names a treasurer twice"),
    "too large": (GOOD + "#" * MAX_POLICY_BYTES, f"larger than {MAX_POLICY_BYTES}"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_document_that_means_nothing_is_refused_in_one_sentence(case: str) -> None:
    text, expected = BAD[case]
    with pytest.raises(PolicyError, match=expected) as refused:
        parse_policy_toml(text)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert ". " not in sentence


EDGES = {
    "fee": fee(f"fee_rao = {2**63 - 1}"),
    "blocks": fee(f"payment_max_age_blocks = {2**32 - 1}"),
    "burn UID": GOOD + "[weights]\nburn_uid = 255",
    "override": ramp("override_ppm = 1_000_000_000"),
    "override below": ramp("override_ppm = -1_000_000_000"),
    "timeout": part("contest", "pull_timeout_s = 86_400"),
    "blocks of an interval": interval("", "prompts = 60\nprompts_per_block = 10"),
    "blocks of a round": interval(
        'error_of = "round"\nconfidence_ppm = 990_000', "prompts = 16\nrepeated_prompts = 0"
    ),
    "repeats": part("contest", "prompts = 5\nrepeated_prompts = 5"),
    "streams": part("contest", "streams = 3\nprompts_per_block = 3"),
    "interleaved": part("contest", 'order = "interleaved"\nprompts = 6\nprompts_per_block = 3'),
    "servers together": part("contest", 'order = "interleaved"\nstart_together = true'),
    "no logprobs": part("gates", "require_logprobs = false")
    + "\n[tracks.qwen.contest]\nask_logprobs = false",
    "prompts by digest": part(
        "contest", f'source = {{source = "jsonl", digest = "sha256:{"0" * 64}"}}'
    ),
    "prompts by revision": part(
        "contest",
        f'source = {{source = "hugging_face", dataset = "d", revision = "{"0" * 40}"}}',
    ),
    "calibration": GOOD.replace(
        'model = "Qwen"', f'model = "Qwen"\ncalibration = "sha256:{"0" * 64}"'
    ),
    "name": GOOD.replace('"p"', f'"{"p" * 64}"'),
    "name in another script": GOOD.replace('"p"', '"Fase três – Ünïted"'),
    "image by digest": image("sha256:" + "0" * 64),
    "image by reference": image("ghcr.io/vllm/vllm-openai:v0.9@sha256:" + "0" * 64),
    "track": GOOD.replace("tracks.qwen", 'tracks."2.5_qwen-72b"'),
    "tracks": tracks(10, 100_000),
    "treasurers": treasurers(TREASURY, SECOND),
}


@pytest.mark.parametrize("case", EDGES)
def test_the_largest_of_what_can_be_meant_is_accepted(case: str) -> None:
    policy = parse_policy_toml(EDGES[case])
    assert parse_policy_json(policy.canonical_json()) == policy


def test_recorded_json_passes_the_same_checks() -> None:
    good = parse_policy_toml(GOOD).canonical_json().decode()
    short = good.replace('"emission_share_ppm":1000000', '"emission_share_ppm":5')
    assert short != good
    for text in ("", "[]", "{}", short):
        with pytest.raises(PolicyError):
            parse_policy_json(text)


def test_two_spellings_of_the_same_rules_have_one_digest() -> None:
    respelled = f"""
    # the same, otherwise written
    tracks.qwen.model = 'Qwen'
    tracks.qwen.scoring.formula = 'v2'
    tracks.qwen.contest = {{ prompts = 10 }}
    tracks.qwen.emission.phase = 'king_takes_all'
    tracks.qwen.emission_share_ppm = 1000000
    fee = {{ treasury_ss58 = '{TREASURY}', fee_rao = 100_000_000 }}
    name = 'p'
    """
    assert parse_policy_toml(respelled) == parse_policy_toml(GOOD)
    assert parse_policy_toml(respelled).digest() == parse_policy_toml(GOOD).digest()


def test_another_rule_has_another_digest() -> None:
    other = parse_policy_toml(GOOD.replace(QUOTED, f"{QUOTED}\nfee_rao = 100_000_001"))
    assert other.digest() != parse_policy_toml(GOOD).digest()


@pytest.mark.parametrize("name", names())
def test_the_recorded_form_reads_back_to_the_same_policy(name: str) -> None:
    policy = parse_policy_toml(load(name))
    again = parse_policy_json(policy.canonical_json())
    assert again == policy
    assert again.digest() == policy.digest()
    assert again.canonical_json() == policy.canonical_json()


RECORDED = {
    "interval": "sha256:828c7675a12c4ba74389f7be7b2300bbc352ad0893b85976d8b7cc4411a22776",
    "phase1": "sha256:d9847325f0bb265b74287645f46cc3e81d6ae3c4ef8e2503fdf113ed9e40ca74",
    "phase2": "sha256:e5e151a66cc1161c39755e1b5cfc27927cf6844f3933a2fcba1c35178d875579",
    "phase3": "sha256:23ad4e236325da31009d7d9577378ca801c4b492eafc4bcc3d112e47ecd871c2",
}
"""The digests that logs hold of the shipped policies: never to be changed."""


@pytest.mark.parametrize("name", names())
def test_a_policy_recorded_before_a_field_existed_keeps_its_digest(name: str) -> None:
    assert parse_policy_toml(load(name)).digest() == RECORDED[name]


def test_a_field_added_later_is_in_the_digest_where_it_says_something() -> None:
    said = parse_policy_toml(treasurers(TREASURY, SECOND))
    assert said.digest() != parse_policy_toml(GOOD).digest()
    assert b'"treasurers"' in said.canonical_json()
    assert b'"treasury":' not in parse_policy_toml(GOOD).canonical_json()


def test_an_interval_recorded_before_errors_were_shared_keeps_its_digest() -> None:
    each, whole = (
        parse_policy_toml(interval(f'error_of = "{whose}"', "prompts = 20"))
        for whose in ("comparison", "round")
    )
    unsaid = parse_policy_toml(interval("", "prompts = 20"))
    assert each.digest() == unsaid.digest() != whole.digest()
    assert b"error_of" not in unsaid.canonical_json()


def named(name: str) -> Policy:
    return msgspec.structs.replace(parse_policy_toml(GOOD), name=name)


def test_the_policy_in_force_is_the_latest_that_has_started() -> None:
    timeline = [
        PolicyFrom(10, named("first")),
        PolicyFrom(30, named("announced")),
        PolicyFrom(20, named("second")),
        PolicyFrom(20, named("corrected")),
    ]
    in_force = {block: policy_at(timeline, block).name for block in (10, 19, 20, 29, 30, 99)}
    assert in_force == {
        10: "first",
        19: "first",
        20: "corrected",
        29: "corrected",
        30: "announced",
        99: "announced",
    }
    with pytest.raises(PolicyError, match="no policy was in force at block 9"):
        policy_at(timeline, 9)


def test_an_unknown_track_is_named_with_those_there_are() -> None:
    with pytest.raises(PolicyError, match="has no track 'llama'; it has: qwen"):
        named("p").track("llama")


def test_an_unknown_example_is_named_with_those_there_are() -> None:
    with pytest.raises(PolicyError, match="phase1, phase2, phase3"):
        load("phase9")
