"""Which offer is taken, and why no other: tiers, caps, and what was seen of each."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from evaluation.pods.choosing import (
    KNOWN_RENTALS,
    KNOWN_SUCCESSES,
    Record,
    best_first,
    choose,
    dollars,
    expected_usd_micros,
)
from evaluation.pods.port import Offer
from ledger.rental_policy import RentalTier

BEST = RentalTier(name="best", gpus=("H200", "B200", "B300"), max_usd_micros_per_hour=30_000_000)
SPARE = RentalTier(name="spare", gpus=("H100",), max_usd_micros_per_hour=16_000_000)
TIERS = (BEST, SPARE)


def offer(name: str, gpu: str, usd: int, *, count: int = 8, provider: str = "targon") -> Offer:
    return Offer(provider, name, gpu, count, "any", usd * 1_000_000)


H200 = offer("h200", "H200", 20)
B200 = offer("b200", "B200", 24)
H100 = offer("h100", "H100", 12)


def test_the_first_tier_that_has_a_machine_is_taken_though_it_costs_more() -> None:
    choice = choose(TIERS, [H100, B200, H200], {})
    assert (choice.offer, choice.tier) == (H200, BEST)
    why = {one.offer: one.why for one in choice.passed_over}
    assert why == {
        B200: "an hour of it is expected to cost $32.00, of targon h200 $26.666667",
        H100: "it is of tier spare, and tier best comes first",
    }


def test_the_next_tier_is_taken_where_the_first_has_none() -> None:
    dear = offer("h200", "H200", 31)
    choice = choose(TIERS, [dear, H100], {})
    assert (choice.offer, choice.tier) == (H100, SPARE)
    (over,) = choice.passed_over
    assert over.why == "$31.00 an hour is over the $30.00 of tier best"


def test_a_price_at_the_cap_is_taken() -> None:
    assert choose(TIERS, [offer("h200", "H200", 30)], {}).offer is not None
    over = Offer("targon", "h200", "H200", 8, "any", 30_000_001)
    choice = choose(TIERS, [over], {})
    assert choice.offer is None
    assert choice.passed_over[0].why == "$30.000001 an hour is over the $30.00 of tier best"


def test_another_kind_or_number_of_gpus_is_none_of_the_policys() -> None:
    choice = choose(TIERS, [offer("a100", "A100", 1), offer("h200-4", "H200", 1, count=4)], {})
    assert (choice.offer, choice.tier) == (None, None)
    assert {one.why for one in choice.passed_over} == {
        "tier best asks for 8x H200, 8x B200, 8x B300; tier spare asks for 8x H100"
    }
    assert choose((), [H200], {}).passed_over[0].why == "the policy has no tier"
    assert choose(TIERS, [], {}).passed_over == ()


def test_what_was_asked_for_in_vain_is_not_asked_for_again_at_any_price() -> None:
    cheaper = offer("h200", "H200", 19)
    choice = choose(TIERS, [cheaper, B200], {}, tried=[H200])
    assert choice.offer == B200
    assert choice.passed_over[0].why == "it was asked for in vain"
    every = choose(TIERS, [cheaper], {}, tried=[H200])
    assert every.offer is None
    assert every.passed_over[0].why == "it was asked for in vain"


def seen(name: str, **record: int) -> dict[tuple[str, str], Record]:
    return {("targon", name): Record(**record)}


def test_what_nobody_knows_is_neither_best_nor_worst() -> None:
    unknown = expected_usd_micros(H200, {})
    assert unknown == 20_000_000 * KNOWN_RENTALS // KNOWN_SUCCESSES + 1  # rounded up
    assert expected_usd_micros(H200, seen("h200", successes=5)) < unknown
    assert expected_usd_micros(H200, seen("h200", failures=1)) > unknown
    assert expected_usd_micros(H200, seen("h200", lost=1)) > expected_usd_micros(
        H200, seen("h200", failures=1)
    )
    assert expected_usd_micros(H200, seen("other", lost=9)) == unknown
    # However good its record, nothing is expected to cost less than its price.
    assert expected_usd_micros(H200, seen("h200", successes=10**9)) > 20_000_000


def test_an_unreliable_offer_is_passed_over_for_a_dearer_one() -> None:
    assert choose(TIERS, [H200, B200], {}).offer == H200
    bad = seen("h200", failures=1)
    assert choose(TIERS, [H200, B200], bad).offer == B200
    # And one that is proven wins over one that is slightly cheaper and unknown.
    slightly = offer("b300", "B300", 23)
    assert choose(TIERS, [slightly, B200], seen("b200", successes=9)).offer == B200


def test_a_record_is_of_one_providers_offer() -> None:
    other = offer("h200", "H200", 20, provider="lium")
    record = {("targon", "h200"): Record(lost=3)}
    assert choose(TIERS, [H200, other], record).offer == other


def test_the_same_offers_give_the_same_choice_in_any_order() -> None:
    offers = [
        H200,
        offer("h200", "H200", 20, provider="lium"),
        Offer("targon", "h200", "H200", 8, "elsewhere", 20_000_000),
        H100,
        H200,
    ]
    found = {choose(TIERS, order, {}) for order in permutations(offers)}
    assert len(found) == 1
    (choice,) = found
    assert choice.offer is not None
    assert choice.offer.provider == "lium"
    assert len(choice.passed_over) == 3  # each once


def test_best_first_are_those_of_one_tier_in_the_order_of_the_choice() -> None:
    offers = [B200, H100, H200, offer("dear", "H200", 31), H200]
    assert best_first(BEST, offers, {}) == [H200, B200]
    assert best_first(SPARE, offers, {}) == [H100]
    assert best_first(BEST, offers, seen("h200", lost=2)) == [B200, H200]


def test_every_offer_is_taken_or_has_a_reason() -> None:
    draw = random.Random(28)
    for _ in range(300):
        offers = [
            offer(
                draw.choice("abc"),
                draw.choice(("H100", "H200", "B300", "A100")),
                draw.randrange(1, 40),
                count=draw.choice((4, 8)),
            )
            for _ in range(draw.randrange(8))
        ]
        record = {
            ("targon", name): Record(*(draw.randrange(4) for _ in range(3))) for name in "abc"
        }
        tried = draw.sample(offers, draw.randrange(len(offers) + 1))
        choice = choose(TIERS, offers, record, tried=tried)
        named = [one.offer for one in choice.passed_over]
        assert len(named) == len(set(named))
        assert {*named, *([choice.offer] if choice.offer else [])} == set(offers)
        assert all(one.why for one in choice.passed_over)
        if choice.offer is not None and choice.tier is not None:
            assert choice.offer.gpu in choice.tier.gpus
            assert choice.offer.usd_micros_per_hour <= choice.tier.max_usd_micros_per_hour
            assert choice.offer not in tried


@pytest.mark.parametrize(
    ("micros", "written"),
    [(23_920_000, "$23.92"), (10_000, "$0.01"), (1, "$0.000001"), (12_345_678, "$12.345678")],
)
def test_dollars_for_people(micros: int, written: str) -> None:
    assert dollars(micros) == written
