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

GOOD = """
name = "p"
[fee]
treasury_ss58 = "5FS2"
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


BAD = {
    "not TOML": ("name = ", "is not TOML"),
    "empty": ("", "does not fit: .*name"),
    "no fee": (GOOD.replace('[fee]\ntreasury_ss58 = "5FS2"', ""), "fee"),
    "unknown field": (GOOD.replace('name = "p"', 'name = "p"\ncolour = 1'), "colour"),
    "unknown phase": (GOOD.replace("king_takes_all", "phase9"), "phase9"),
    "unknown formula": (GOOD.replace('"v2"', '"v9"'), "v9"),
    "fractional fee": (GOOD.replace('"5FS2"', '"5FS2"\nfee_rao = 0.1'), "fee_rao"),
    "negative fee": (GOOD.replace('"5FS2"', '"5FS2"\nfee_rao = -1'), "fee_rao"),
    "share over one": (tracks(1, 1_000_001), "emission_share_ppm"),
    "shares short of one": (tracks(2, 400_000), "sum to 800000 ppm"),
    "no tracks": (GOOD[: GOOD.index("[tracks")] + "[tracks]", "1 to 16 tracks, it has 0"),
    "too many tracks": (tracks(MAX_TRACKS + 1, 1), "it has 17"),
    "no treasury": (GOOD.replace('"5FS2"', '""'), "names no treasury"),
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


def test_recorded_json_passes_the_same_checks() -> None:
    good = parse_policy_toml(GOOD).canonical_json().decode()
    short = good.replace('"emission_share_ppm":1000000', '"emission_share_ppm":5')
    assert short != good
    for text in ("", "[]", "{}", short):
        with pytest.raises(PolicyError):
            parse_policy_json(text)


def test_two_spellings_of_the_same_rules_have_one_digest() -> None:
    respelled = """
    # the same, otherwise written
    tracks = { qwen = { scoring = { formula = "v2" }, model = "Qwen", emission_share_ppm = 1000000,
        emission = { phase = "king_takes_all" }, contest = { prompts = 10 } } }
    fee.fee_rao = 100_000_000
    fee.treasury_ss58 = '5FS2'
    name = 'p'
    """.replace("1000000,\n        ", "1000000, ")
    assert parse_policy_toml(respelled) == parse_policy_toml(GOOD)
    assert parse_policy_toml(respelled).digest() == parse_policy_toml(GOOD).digest()


def test_another_rule_has_another_digest() -> None:
    other = parse_policy_toml(GOOD.replace('"5FS2"', '"5FS2"\nfee_rao = 100_000_001'))
    assert other.digest() != parse_policy_toml(GOOD).digest()


@pytest.mark.parametrize("name", names())
def test_the_recorded_form_reads_back_to_the_same_policy(name: str) -> None:
    policy = parse_policy_toml(load(name))
    again = parse_policy_json(policy.canonical_json())
    assert again == policy
    assert again.digest() == policy.digest()
    assert again.canonical_json() == policy.canonical_json()


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
