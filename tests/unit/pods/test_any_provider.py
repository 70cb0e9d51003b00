"""What every provider's client promises, whatever the provider does."""

from __future__ import annotations

import logging
import time
from uuid import uuid4

import pytest

from evaluation.pods.http import MAX_BODY_BYTES, TRIES
from evaluation.pods.port import (
    ProviderError,
    RefusedError,
    UnansweredError,
    request_of,
    tag_of,
)
from evaluation.pods.reading import MAX_ROWS
from tests.standins.serving import KEY
from tests.unit.pods.clients import Bench


def wait_for_machines(found: Bench, count: int) -> list[str]:
    """The machines made, once there are so many: a request may be served after it was given up."""
    for _ in range(500):
        made = list(found.do("machines"))
        if len(made) >= count:
            return made
        time.sleep(0.02)
    pytest.fail(f"there were never {count} machines")


def test_a_machine_is_found_by_its_tag_from_request_to_gone(any_bench: Bench) -> None:
    request = uuid4()
    any_bench.do("settings", boot_s=60, stop_s=30)
    made = any_bench.provider.create(any_bench.offer(), request)
    assert (made.state, made.tag) == ("starting", tag_of(request))

    starting = any_bench.provider.state(made.instance)
    assert (starting.state, starting.address) == ("starting", None)
    now = any_bench.do("advance", seconds=60)
    running = any_bench.provider.state(made.instance)
    assert running.state == "running"
    assert running.address is not None
    assert running.started_at_s == now - 60
    assert running.usd_micros_per_hour == any_bench.offer().usd_micros_per_hour
    (listed,) = any_bench.provider.listed()
    assert (listed.instance, request_of(listed.tag)) == (made.instance, request)
    assert listed == running

    any_bench.provider.stop(made.instance)
    assert any_bench.provider.state(made.instance).state == "stopping"
    assert [one.state for one in any_bench.provider.listed()] == ["stopping"]
    any_bench.do("advance", seconds=30)
    assert any_bench.provider.state(made.instance).state == "gone"
    assert any_bench.provider.listed() == ()
    any_bench.provider.stop(made.instance)  # gone already: no error


def test_a_machine_of_somebody_else_is_listed_without_a_request(any_bench: Bench) -> None:
    made = any_bench.provider.create(any_bench.offer(), uuid4())
    way = [*any_bench.wire.row, any_bench.wire.tag]
    any_bench.do("fault", on=any_bench.wire.listing, kind="edit", path=way, value="training-7")
    (listed,) = any_bench.provider.listed()
    assert (listed.instance, listed.tag, request_of(listed.tag)) == (
        made.instance,
        "training-7",
        None,
    )


def test_offers_have_the_count_asked_for_the_cheapest_first(any_bench: Bench) -> None:
    offers = any_bench.provider.offers(8)
    prices = [one.usd_micros_per_hour for one in offers]
    assert offers
    assert {one.count for one in offers} == {8}
    assert {one.provider for one in offers} == {any_bench.wire.name}
    assert prices == sorted(prices)
    assert any_bench.provider.offers(5) == []


SILENT = ("lost_slow", "hang", "drip", "drip_head")


@pytest.mark.parametrize("kind", ["lost", "reset", "endless", *SILENT])
def test_a_machine_is_asked_for_once_and_a_lost_answer_is_found_by_its_tag(
    any_bench: Bench, kind: str
) -> None:
    request = uuid4()
    offer = any_bench.offer()
    any_bench.do("fault", on=any_bench.wire.create, kind=kind)
    client = any_bench.hurried() if kind in SILENT else any_bench.provider
    try:
        client.create(offer, request)
    except UnansweredError:
        pass
    else:
        # Targon looks for what it registered by itself, and goes on with what it finds.
        assert any_bench.wire.name == "targon"
        assert kind.startswith("lost")
    finally:
        if client is not any_bench.provider:
            client.close()
    creating = [
        one
        for one in any_bench.do("requests")
        if one.startswith("POST /") and not one.endswith("/deploy")
    ]
    assert len(creating) == 1
    made = wait_for_machines(any_bench, 1 if kind.startswith("lost") else 0)
    listed = any_bench.provider.listed()
    assert [(one.instance, request_of(one.tag)) for one in listed] == [
        (one, request) for one in made
    ]


@pytest.mark.parametrize("status", [408, 409, 500, 502, 503, 504])
def test_an_answer_that_leaves_open_what_was_done_is_unanswered(
    any_bench: Bench, status: int
) -> None:
    offer = any_bench.offer()
    any_bench.do("fault", on=any_bench.wire.create, kind="status", status=status)
    with pytest.raises(UnansweredError, match=f"HTTP {status}"):
        any_bench.provider.create(offer, uuid4())
    assert any_bench.do("machines") == {}
    assert sum(one.startswith("POST") for one in any_bench.do("requests")) == 1


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429])
def test_a_clear_no_is_refused(any_bench: Bench, status: int) -> None:
    offer = any_bench.offer()
    any_bench.do("fault", on=any_bench.wire.create, kind="status", status=status)
    with pytest.raises(RefusedError, match="as it was told to"):
        any_bench.provider.create(offer, uuid4())
    assert sum(one.startswith("POST") for one in any_bench.do("requests")) == 1


def test_capacity_that_is_gone_is_refused_and_leaves_nothing(any_bench: Bench) -> None:
    offer = any_bench.offer()
    any_bench.do("settings", no_capacity=True)
    with pytest.raises(RefusedError):
        any_bench.provider.create(offer, uuid4())
    assert any_bench.provider.listed() == ()


def test_a_price_that_changes_after_the_offer_is_stated(any_bench: Bench) -> None:
    offer = any_bench.offer()
    dearer = offer.usd_micros_per_hour + 1_230_000
    any_bench.do("reprice_offer", offer=offer.offer, usd_micros=dearer)
    made = any_bench.provider.create(offer, uuid4())
    assert any_bench.provider.state(made.instance).usd_micros_per_hour == dearer
    any_bench.do("reprice", machine=made.instance, usd_micros=dearer + 770_000)
    assert any_bench.provider.state(made.instance).usd_micros_per_hour == dearer + 770_000
    (listed,) = any_bench.provider.listed()
    assert listed.usd_micros_per_hour == dearer + 770_000


def test_what_is_deleted_and_still_listed_is_gone_only_when_it_says_so(any_bench: Bench) -> None:
    made = any_bench.provider.create(any_bench.offer(), uuid4())
    any_bench.do("settings", list_gone=True, ignore_deletes=1)
    any_bench.provider.stop(made.instance)  # answered as done, and nothing was
    assert any_bench.provider.state(made.instance).state == "running"
    assert [one.instance for one in any_bench.provider.listed()] == [made.instance]
    any_bench.provider.stop(made.instance)
    assert any_bench.provider.state(made.instance).state == "gone"
    assert any_bench.provider.listed() == ()


def test_an_unknown_page_is_no_proof_that_a_machine_is_gone(any_bench: Bench) -> None:
    made = any_bench.provider.create(any_bench.offer(), uuid4())
    any_bench.do("fault", on=any_bench.wire.one, kind="status", status=404, times=9)
    assert any_bench.provider.state(made.instance).state == "running"
    any_bench.do("fault", on=any_bench.wire.delete, kind="status", status=404, times=9)
    with pytest.raises(RefusedError, match="404"):
        any_bench.provider.stop(made.instance)
    # Nor is a wrong address of the whole interface, where everything is unknown.
    any_bench.do("fault", on="GET *", kind="status", status=404, times=99)
    with pytest.raises(RefusedError, match="404"):
        any_bench.provider.state(made.instance)


def test_a_word_for_a_state_that_is_not_known_is_never_gone(any_bench: Bench) -> None:
    any_bench.provider.create(any_bench.offer(), uuid4())
    way = [*any_bench.wire.row, *any_bench.wire.state_at]
    for word in ("hibernating", "", None, 7, ["deleted"]):
        any_bench.do("fault", on=any_bench.wire.listing, kind="edit", path=way, value=word)
        (listed,) = any_bench.provider.listed()
        assert listed.state in ("running", "starting")


def test_a_machine_that_failed_is_listed_as_such(any_bench: Bench) -> None:
    made = any_bench.provider.create(any_bench.offer(), uuid4())
    any_bench.do("fail", machine=made.instance)
    assert any_bench.provider.state(made.instance).state == "failed"
    assert [one.state for one in any_bench.provider.listed()] == ["failed"]


def test_each_machine_is_listed_once(any_bench: Bench) -> None:
    any_bench.do("settings", duplicate_listing=True)
    for _ in range(3):
        any_bench.provider.create(any_bench.offer(), uuid4())
    listed = [one.instance for one in any_bench.provider.listed()]
    assert sorted(listed) == sorted(any_bench.do("machines"))


def test_one_odd_row_hides_no_other_machine(any_bench: Bench) -> None:
    made = [any_bench.provider.create(any_bench.offer(), uuid4()).instance for _ in range(2)]
    way = [*any_bench.wire.row, any_bench.wire.price]
    for price in (-1, 0, "free", None, [1], 10**12, True):
        any_bench.do("fault", on=any_bench.wire.listing, kind="edit", path=way, value=price)
        listed = any_bench.provider.listed()
        assert sorted(one.instance for one in listed) == sorted(made)
        odd = [
            one
            for one in listed
            if one.usd_micros_per_hour != any_bench.offer().usd_micros_per_hour
        ]
        # Lium says the executor's price beside the pod's own: None there is no odd price.
        assert [one.usd_micros_per_hour for one in odd] in ([None], [])
        assert odd or price is None


@pytest.mark.parametrize("price", [-1, 0, -0.5, "12", None, [], {}, True, 10**12])
def test_no_offer_has_a_price_that_is_none(any_bench: Bench, price: object) -> None:
    way = list(any_bench.wire.offer_price)
    # The first row of Shadeform and Lium has eight GPUs, as has Targon's.
    any_bench.do("fault", on=any_bench.wire.offers, kind="edit", path=way, value=price)
    with pytest.raises(UnansweredError, match=str(way[-1])):
        any_bench.provider.offers(8)


def test_no_price_is_taken_in_another_currency(any_bench: Bench) -> None:
    way = [*any_bench.wire.offer_price[:-1], "currency"]
    any_bench.do("fault", on=any_bench.wire.offers, kind="edit", path=way, value="EUR")
    with pytest.raises(UnansweredError, match="not in US dollars"):
        any_bench.provider.offers(8)
    any_bench.do("fault", on=any_bench.wire.offers, kind="edit", path=way, value="usd")
    assert any_bench.provider.offers(8)


GARBAGE = [
    "<html><body>We will be back soon</body></html>",
    "[[",
    '"a text"',
    "17",
    "null",
    "",
    "{}",
    "[1, 2]",
    '{"instances": {}, "items": "x", "instance_types": [null]}',
    '{"price": NaN}',
    "[" * 100_000,
    "9" * 10_000,
    '{"a": 1, "a": 2}',
    "\x00\x1b[2J",
]


@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_an_error_of_one_line_for_every_call(any_bench: Bench, body: str) -> None:
    provider = any_bench.provider
    offer = any_bench.offer()
    instance = provider.create(offer, uuid4()).instance
    any_bench.do("fault", on="*", kind="garbage", body=body, times=99)
    calls = (
        lambda: provider.offers(8),
        lambda: provider.create(offer, uuid4()),
        lambda: provider.state(instance),
        provider.listed,
    )
    for call in calls:
        with pytest.raises(ProviderError) as error:
            call()
        said = str(error.value)
        assert said.isprintable()
        assert len(said) < 1_000
        assert any_bench.wire.name in said


def test_more_than_the_bound_is_not_read(any_bench: Bench) -> None:
    any_bench.do("fault", on="GET *", kind="endless", times=9)
    with pytest.raises(UnansweredError, match=str(MAX_BODY_BYTES)):
        any_bench.provider.listed()


def test_a_list_has_a_bound(any_bench: Bench) -> None:
    way = list(any_bench.wire.row[:-1])
    rows = "[" + ",".join(["{}"] * (MAX_ROWS + 1)) + "]"
    body = f'{{"{way[0]}": {rows}}}' if way else rows
    any_bench.do("fault", on=any_bench.wire.listing, kind="garbage", body=body)
    with pytest.raises(UnansweredError, match=str(MAX_ROWS)):
        any_bench.provider.listed()


def test_a_question_is_asked_again_a_bounded_number_of_times(any_bench: Bench) -> None:
    any_bench.do("fault", on=any_bench.wire.listing, kind="status", status=503, times=TRIES - 1)
    assert any_bench.provider.listed() == ()
    assert any_bench.naps == [1.0, 2.0]
    any_bench.do("fault", on=any_bench.wire.listing, kind="status", status=503, times=99)
    with pytest.raises(UnansweredError, match="503"):
        any_bench.provider.listed()
    assert any_bench.asked(any_bench.wire.listing) == 2 * TRIES


def test_a_wrong_key_is_refused_and_not_tried_again(any_bench: Bench) -> None:
    wrong = any_bench.wire.client(any_bench.there.url, "another-key", sleep=any_bench.naps.append)
    for call in (wrong.listed, lambda: wrong.offers(8), lambda: wrong.state("x")):
        with pytest.raises(RefusedError, match="401"):
            call()
    wrong.close()
    assert any_bench.naps == []


def test_the_key_is_in_no_error_no_log_and_no_repr(
    any_bench: Bench, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    offer = any_bench.offer()
    said = [repr(any_bench.provider), str(any_bench.provider)]
    # A provider that sends the key back, in every way it has.
    echo = f'{{"error": "the key {KEY} is not allowed"}}'
    pad = "x" * 190
    for kind in (
        {"kind": "status", "status": 403, "body": echo},
        {"kind": "status", "status": 500, "body": f"{pad}{KEY}{KEY}"},
        {"kind": "garbage", "body": f"<p>{pad}{KEY}</p>"},
        {"kind": "reset"},
    ):
        any_bench.do("fault", on="*", times=99, **kind)
        for call in (
            lambda: any_bench.provider.offers(8),
            lambda: any_bench.provider.create(offer, uuid4()),
            any_bench.provider.listed,
            lambda: any_bench.provider.stop("x"),
        ):
            try:
                call()
            except ProviderError as error:
                seen: BaseException | None = error
                while seen is not None:
                    said += [str(seen), repr(seen), repr(seen.args)]
                    seen = seen.__cause__ or (
                        None if seen.__suppress_context__ else seen.__context__
                    )
        any_bench.do("clear_faults")
    assert len(said) > 20
    everything = "\n".join([*said, caplog.text, *capfd.readouterr()])
    assert KEY not in everything
    assert KEY[:12] not in everything  # nor a part of it, where what was quoted is cut


def test_volumes_are_refused_where_there_are_none(any_bench: Bench) -> None:
    if any_bench.provider.has_volumes:
        pytest.skip("this provider has volumes; its own tests are about them")
    with pytest.raises(RefusedError):
        any_bench.provider.create_volume(100, "any", uuid4())
    with pytest.raises(RefusedError):
        any_bench.provider.delete_volume("x")
    with pytest.raises(RefusedError):
        any_bench.provider.create(any_bench.offer(), uuid4(), volume="x")
    assert any_bench.provider.volumes() == ()
