"""The weight vector: sums, departures, order of inputs, explanations (DOMAIN 5)."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import policies
from ledger.policy import (
    BlockRamp,
    EmissionPolicy,
    FeePolicy,
    KingTakesAll,
    Policy,
    ScorePool,
    ScoreV2,
    TrackPolicy,
    parse_policy_toml,
)
from ledger.rules.weights import (
    ShareReason,
    Throne,
    WeightVector,
    compute_vector,
    largest_remainder,
    vector_digest,
)
from ledger.units import PPM, U16_MAX

HOTKEYS = ["alice", "bob", "carol", "dave", "erin"]
Situation = tuple[Policy, dict[str, Throne], dict[str, int], int, bool, int]


def policy(**tracks: tuple[int, EmissionPolicy]) -> Policy:
    return Policy(
        name="test",
        fee=FeePolicy(treasury_ss58="5FS2fhWa5PAGcDgarXc1ow4ES5JcMGgNhsAB8QVgwHcCzFuo"),
        tracks={
            name: TrackPolicy(
                model=name, emission_share_ppm=share_ppm, emission=emission, scoring=ScoreV2()
            )
            for name, (share_ppm, emission) in tracks.items()
        },
    )


emissions: st.SearchStrategy[EmissionPolicy] = st.one_of(
    st.just(KingTakesAll()),
    st.builds(
        ScorePool,
        king_share_ppm=st.integers(0, PPM),
        full_pool_score_ppm=st.integers(1, PPM),
    ),
    st.builds(
        BlockRamp,
        king_share_ppm=st.integers(0, PPM),
        override_ppm=st.none() | st.integers(-5, PPM + 5),
    ),
)


@st.composite
def thrones_for(draw: st.DrawFn, track: str) -> Throne:
    king, runner_up = draw(st.permutations([*HOTKEYS, None, None]))[:2]
    score_ppm = draw(st.integers(0, 2 * PPM))
    return Throne(track, king, score_ppm, runner_up, draw(st.none() | st.integers(0, PPM)))


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    first_ppm = draw(st.integers(0, PPM))
    rules = policy(large=(first_ppm, draw(emissions)), small=(PPM - first_ppm, draw(emissions)))
    names = draw(st.lists(st.sampled_from(["large", "small"]), unique=True))
    thrones = {name: draw(thrones_for(name)) for name in names}
    registered = draw(st.lists(st.sampled_from(HOTKEYS), unique=True))
    uids = draw(
        st.lists(st.integers(0, 8), unique=True, min_size=len(registered), max_size=len(registered))
    )
    uid_of = dict(zip(registered, uids, strict=True))
    paused = draw(st.sampled_from([False, False, False, True]))
    block = draw(st.integers(8_360_000, 9_680_000))
    return rules, thrones, uid_of, draw(st.integers(0, 8)), paused, block


def vector_of(situation: Situation) -> WeightVector:
    rules, thrones, uid_of, burn_uid, paused, block = situation
    return compute_vector(block, rules, thrones, uid_of, burn_uid=burn_uid, emission_paused=paused)


@given(situations())
def test_shares_sum_to_one_and_the_largest_value_is_65535(situation: Situation) -> None:
    vector = vector_of(situation)
    assert sum(ppm for _, ppm in vector.shares) == PPM
    assert all(ppm > 0 for _, ppm in vector.shares)
    assert max(vector.values) == U16_MAX
    assert min(vector.values) > 0
    assert all(earlier < later for earlier, later in pairwise(vector.uids))
    assert len(vector.uids) == len(vector.values)


@given(situations())
def test_every_share_is_explained_to_the_ppm(situation: Situation) -> None:
    vector = vector_of(situation)
    explained: Counter[int] = Counter()
    for row in vector.explained:
        assert row.ppm > 0
        explained[row.uid] += row.ppm
    assert dict(explained) == dict(vector.shares)


@given(situations())
def test_only_registered_winners_and_the_burn_uid_are_paid(situation: Situation) -> None:
    _, thrones, uid_of, burn_uid, paused, _ = situation
    winners = {
        hotkey
        for throne in thrones.values()
        if throne.king_hotkey is not None
        for hotkey in (throne.king_hotkey, throne.runner_up_hotkey)
        if hotkey is not None
    }
    allowed = {burn_uid} | {uid_of[hotkey] for hotkey in winners if hotkey in uid_of}
    vector = vector_of(situation)
    assert {uid for uid, _ in vector.shares} <= ({burn_uid} if paused else allowed)


@given(situations())
def test_the_order_of_the_metagraph_and_of_the_thrones_does_not_matter(
    situation: Situation,
) -> None:
    rules, thrones, uid_of, burn_uid, paused, block = situation
    turned = dict(reversed(list(uid_of.items())))
    thrones_turned = dict(reversed(list(thrones.items())))
    other = vector_of((rules, thrones_turned, turned, burn_uid, paused, block))
    assert other == vector_of(situation)


@given(situations(), st.integers(0, 8))
def test_whoever_got_a_departed_kings_uid_is_paid_nothing_for_it(
    situation: Situation, recycled_uid: int
) -> None:
    rules, thrones, uid_of, burn_uid, _, block = situation
    before = {hotkey: uid for hotkey, uid in uid_of.items() if uid != recycled_uid}
    after = {**before, "stranger": recycled_uid}
    with_stranger = vector_of((rules, thrones, after, burn_uid, False, block))
    without = vector_of((rules, thrones, before, burn_uid, False, block))
    assert with_stranger.shares == without.shares
    assert with_stranger.digest == without.digest


def test_a_departed_king_is_succeeded_and_the_explanation_says_so() -> None:
    throne = Throne("t", "gone", 50_000, "bob")
    vector = compute_vector(
        1,
        policy(t=(PPM, ScorePool())),
        {"t": throne},
        {"bob": 7},
        burn_uid=0,
        emission_paused=False,
    )
    assert [(row.uid, row.hotkey, row.ppm, row.reason, row.track) for row in vector.explained] == [
        (0, None, 500_000, ShareReason.BURN, "t"),
        (7, "bob", 500_000, ShareReason.SUCCESSOR, "t"),
    ]


@pytest.mark.parametrize(
    ("throne", "paused", "reason"),
    [
        (Throne("t", "gone", 50_000, None), False, ShareReason.KING_DEPARTED),
        (Throne("t", "gone", 50_000, "also gone"), False, ShareReason.KING_DEPARTED),
        (Throne.vacant("t"), False, ShareReason.NO_KING),
        (Throne("t", None, None, "bob"), False, ShareReason.NO_KING),
        (Throne("t", "bob", 50_000, None), True, ShareReason.EMISSION_PAUSED),
    ],
)
def test_a_burned_whole_says_why(throne: Throne, paused: bool, reason: ShareReason) -> None:
    vector = compute_vector(
        1,
        policy(t=(PPM, KingTakesAll())),
        {"t": throne},
        {"bob": 7, "owner": 0},
        burn_uid=0,
        emission_paused=paused,
    )
    assert vector.shares == ((0, PPM),)
    assert [(row.hotkey, row.reason) for row in vector.explained] == [("owner", reason)]


def test_ties_of_the_remainder_go_to_the_lower_uid() -> None:
    third = policy(t=(PPM, BlockRamp(king_share_ppm=500_000, override_ppm=1)))
    throne = Throne("t", "high", 1, "low")
    vector = compute_vector(
        1, third, {"t": throne}, {"high": 9, "low": 4}, burn_uid=0, emission_paused=False
    )
    assert vector.shares == ((0, 999_999), (4, 1))


def test_a_share_too_small_for_u16_stays_a_share_and_is_not_submitted() -> None:
    tiny = policy(t=(PPM, BlockRamp(override_ppm=1)))
    vector = compute_vector(
        1,
        tiny,
        {"t": Throne("t", "alice", 1, None)},
        {"alice": 3},
        burn_uid=0,
        emission_paused=False,
    )
    assert vector.shares == ((0, 999_999), (3, 1))
    assert (vector.uids, vector.values) == ((0,), (U16_MAX,))


def test_two_hotkeys_on_one_uid_are_refused() -> None:
    rules = parse_policy_toml(policies.load("phase1"))
    with pytest.raises(ValueError, match="UID 3 is held by two hotkeys"):
        compute_vector(1, rules, {}, {"alice": 3, "bob": 3}, burn_uid=0, emission_paused=False)


def test_a_uid_outside_u16_is_refused() -> None:
    rules = parse_policy_toml(policies.load("phase1"))
    with pytest.raises(ValueError, match="UID 65536 is outside"):
        compute_vector(1, rules, {}, {}, burn_uid=65_536, emission_paused=False)


def test_a_throne_under_another_tracks_name_is_refused() -> None:
    rules = parse_policy_toml(policies.load("phase1"))
    with pytest.raises(ValueError, match="is given for track"):
        compute_vector(1, rules, {"a": Throne.vacant("b")}, {}, burn_uid=0, emission_paused=False)


def test_nobody_is_king_and_runner_up_at_once() -> None:
    with pytest.raises(ValueError, match="king and runner-up"):
        Throne("t", "alice", 1, "alice")


def test_the_digest_is_over_the_documented_bytes() -> None:
    written = b"cacheon-weights/1\n" + bytes([0, 0, 0xFF, 0xFF, 0x03, 0x01, 0x72, 0x1C])
    expected = "sha256:" + hashlib.sha256(written).hexdigest()
    assert vector_digest([0, 259], [65_535, 7_282]) == expected
    assert vector_digest([259, 0], [7_282, 65_535]) == expected


@given(st.lists(st.integers(0, 10**18), min_size=1, max_size=12).filter(any), st.integers(0, PPM))
def test_largest_remainder_gives_out_everything_within_one_of_the_exact_part(
    parts: list[int], total: int
) -> None:
    given_out = largest_remainder(parts, total)
    assert sum(given_out) == total
    for part, units in zip(parts, given_out, strict=True):
        assert part * total // sum(parts) <= units <= part * total // sum(parts) + 1


def test_nothing_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match="in proportion"):
        largest_remainder([0, 0], 5)
