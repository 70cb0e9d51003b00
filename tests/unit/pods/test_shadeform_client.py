"""What is Shadeform's own: names of two parts, cents, volumes that stay busy."""

from __future__ import annotations

from uuid import uuid4

import pytest

from evaluation.pods.port import (
    Offer,
    RefusedError,
    StillInUseError,
    UnansweredError,
    tag_of,
)
from evaluation.pods.shadeform import STATES, VOLUME_BUSY, Shadeform
from tests.unit.pods.clients import Bench

TYPES = "GET /instances/types"


def an_offer(found: Bench, gpu: str = "H200") -> Offer:
    return next(one for one in found.provider.offers(8) if one.gpu == gpu)


def test_an_offer_is_a_cloud_and_its_own_word_in_each_region_that_has_it(
    shadeform_bench: Bench,
) -> None:
    assert an_offer(shadeform_bench) == Offer(
        "shadeform", "hyperstack/H200x8", "H200", 8, "hyperstack/canada-1", 23_920_000
    )
    where = ["instance_types", 0, "availability", 1, "available"]
    shadeform_bench.do("fault", on=TYPES, kind="edit", path=where, value=True)
    assert {one.region for one in shadeform_bench.provider.offers(8)} == {
        "hyperstack/canada-1",
        "hyperstack/elsewhere-1",
        "nebius/eu-north1",
    }


def test_what_is_asked_for_names_both_and_carries_our_tag(shadeform_bench: Bench) -> None:
    request = uuid4()
    provider = Shadeform(
        shadeform_bench.there.url, shadeform_bench.there.key, ssh_key_id="key-1", shade_cloud=False
    )
    made = provider.create(an_offer(shadeform_bench), request, volume="volume-1")
    assert shadeform_bench.do("machines")[made.instance]["sent"] == {
        "cloud": "hyperstack",
        "region": "canada-1",
        "shade_instance_type": "H200x8",
        "shade_cloud": False,
        "name": tag_of(request),
        "tags": [tag_of(request)],
        "volume_ids": ["volume-1"],
        "ssh_key_id": "key-1",
    }
    provider.close()


@pytest.mark.parametrize(
    ("offer", "region"),
    [
        ("hyperstack/H200x8", "nebius/eu-north1"),
        ("H200x8", "hyperstack/canada-1"),
        ("hyperstack/H200x8", "canada-1"),
        ("", ""),
        ("hyperstack/", "hyperstack/canada-1"),
    ],
)
def test_an_offer_of_two_clouds_or_none_is_refused_unasked(
    shadeform_bench: Bench, offer: str, region: str
) -> None:
    wrong = Offer("shadeform", offer, "H200", 8, region, 1)
    with pytest.raises(RefusedError):
        shadeform_bench.provider.create(wrong, uuid4())
    assert shadeform_bench.do("requests") == []


def test_a_machine_that_is_itself_a_container_is_not_offered(shadeform_bench: Bench) -> None:
    everything = shadeform_bench.provider.offers(8)
    where = ["instance_types", 0, "deployment_type"]
    shadeform_bench.do("fault", on=TYPES, kind="edit", path=where, value="container")
    assert list(shadeform_bench.provider.offers(8)) == everything[1:]


def test_a_price_in_cents_is_whole(shadeform_bench: Bench) -> None:
    where = ["instance_types", 0, "hourly_price"]
    shadeform_bench.do("fault", on=TYPES, kind="edit", path=where, value=2392.5)
    with pytest.raises(UnansweredError, match="whole number of cents"):
        shadeform_bench.provider.offers(8)


def test_odd_rows_of_other_machines_cost_no_offer(shadeform_bench: Bench) -> None:
    for field, value in (("num_gpus", 4), ("gpu_type", "??"), ("gpu_type", None)):
        where = ["instance_types", 0, "configuration", field]
        shadeform_bench.do("fault", on=TYPES, kind="edit", path=where, value=value)
        assert len(shadeform_bench.provider.offers(8)) == 2


@pytest.mark.parametrize(("word", "state"), sorted(STATES.items()))
def test_every_word_for_a_state(shadeform_bench: Bench, word: str, state: str) -> None:
    made = shadeform_bench.provider.create(an_offer(shadeform_bench), uuid4())
    on = "GET /instances/*/info"
    shadeform_bench.do("fault", on=on, kind="edit", path=["status"], value=word.lower())
    assert shadeform_bench.provider.state(made.instance).state == state


def test_no_price_is_said_by_a_machine_that_is_being_made(shadeform_bench: Bench) -> None:
    shadeform_bench.do("settings", boot_s=60)
    made = shadeform_bench.provider.create(an_offer(shadeform_bench), uuid4())
    on = "GET /instances/*/info"
    shadeform_bench.do("fault", on=on, kind="edit", path=["hourly_price"], value=0)
    assert shadeform_bench.provider.state(made.instance).usd_micros_per_hour is None
    shadeform_bench.do("advance", seconds=60)
    shadeform_bench.do("fault", on=on, kind="edit", path=["hourly_price"], value=0)
    with pytest.raises(UnansweredError, match="not above 0"):
        shadeform_bench.provider.state(made.instance)


def test_when_a_machine_was_deleted_is_the_providers_word(shadeform_bench: Bench) -> None:
    shadeform_bench.do("settings", list_gone=True)
    made = shadeform_bench.provider.create(an_offer(shadeform_bench), uuid4())
    assert shadeform_bench.provider.state(made.instance).ended_at_s is None
    end = shadeform_bench.do("advance", seconds=90)
    shadeform_bench.provider.stop(made.instance)
    shadeform_bench.do("advance", seconds=1_000)
    gone = shadeform_bench.provider.state(made.instance)
    assert (gone.state, gone.started_at_s, gone.ended_at_s) == ("gone", end - 90, end)


def test_another_machines_page_is_no_answer(shadeform_bench: Bench) -> None:
    made = shadeform_bench.provider.create(an_offer(shadeform_bench), uuid4())
    on = "GET /instances/*/info"
    shadeform_bench.do("fault", on=on, kind="edit", path=["id"], value=str(uuid4()))
    with pytest.raises(UnansweredError, match="another machine"):
        shadeform_bench.provider.state(made.instance)


def test_deleting_is_sent_once_a_call(shadeform_bench: Bench) -> None:
    made = shadeform_bench.provider.create(an_offer(shadeform_bench), uuid4())
    delete = f"POST /instances/{made.instance}/delete"
    shadeform_bench.do("fault", on=delete, kind="status", status=502)
    with pytest.raises(UnansweredError, match="502"):
        shadeform_bench.provider.stop(made.instance)
    assert shadeform_bench.asked(delete) == 1


def test_a_volume_is_made_listed_and_deleted_once_it_is_free(shadeform_bench: Bench) -> None:
    request, provider = uuid4(), shadeform_bench.provider
    shadeform_bench.do("settings", stop_s=60, volume_busy_s=300)
    offer = an_offer(shadeform_bench)
    volume = provider.create_volume(2_000, offer.region, request)
    assert (volume.tag, volume.gigabytes) == (tag_of(request), 2_000)
    assert provider.volumes() == (volume,)
    made = provider.create(offer, request, volume=volume.volume)
    provider.stop(made.instance)
    shadeform_bench.do("advance", seconds=60)
    assert provider.state(made.instance).state == "gone"
    said = set()
    for _ in VOLUME_BUSY:  # the stand-in answers with each of them in turn
        with pytest.raises(StillInUseError) as error:
            provider.delete_volume(volume.volume)
        said.add(str(error.value))
    assert len(said) == len(VOLUME_BUSY)
    assert all(any(str(status) in one for one in said) for status in VOLUME_BUSY)
    assert provider.volumes() == (volume,)
    shadeform_bench.do("advance", seconds=300)
    provider.delete_volume(volume.volume)
    assert provider.volumes() == ()
    provider.delete_volume(volume.volume)  # gone already: no error


def test_a_volume_that_may_have_been_made_is_found_by_its_tag(shadeform_bench: Bench) -> None:
    request = uuid4()
    shadeform_bench.do("fault", on="POST /volumes/create", kind="lost")
    with pytest.raises(UnansweredError):
        shadeform_bench.provider.create_volume(100, "hyperstack/canada-1", request)
    assert [one.tag for one in shadeform_bench.provider.volumes()] == [tag_of(request)]
    assert shadeform_bench.asked("POST /volumes/create") == 1


@pytest.mark.parametrize("status", [500, 502, 504, 403])
def test_only_a_busy_volume_is_still_in_use(shadeform_bench: Bench, status: int) -> None:
    volume = shadeform_bench.provider.create_volume(100, "hyperstack/canada-1", uuid4())
    on = "POST /volumes/*/delete"
    shadeform_bench.do("fault", on=on, kind="status", status=status)
    with pytest.raises((UnansweredError, RefusedError)) as error:
        shadeform_bench.provider.delete_volume(volume.volume)
    assert not isinstance(error.value, StillInUseError)


def test_an_unknown_page_is_no_proof_that_a_volume_is_gone(shadeform_bench: Bench) -> None:
    volume = shadeform_bench.provider.create_volume(100, "hyperstack/canada-1", uuid4())
    shadeform_bench.do("fault", on="POST /volumes/*/delete", kind="status", status=404)
    with pytest.raises(RefusedError, match="404"):
        shadeform_bench.provider.delete_volume(volume.volume)
