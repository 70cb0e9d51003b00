"""What is Lium's own: executors of strangers, two ways to write a price, SSH as a command."""

from __future__ import annotations

from uuid import uuid4

import pytest

from evaluation.pods.lium import STATES
from evaluation.pods.port import Address, Offer, RefusedError, UnansweredError, tag_of
from tests.unit.pods.clients import PUBLIC_KEY, Bench

EXECUTORS = "GET /executors"
POD = "GET /pods/*"


def test_an_offer_is_an_executor(lium_bench: Bench) -> None:
    assert lium_bench.offer() == Offer(
        "lium", "5f0c6f0e-0000-4000-8000-000000000002", "H100", 8, "Norway", 12_345_678
    )


def executor(**fields: object) -> dict[str, object]:
    found: dict[str, object] = {
        "id": "executor-1",
        "machine_name": "NVIDIA H200",
        "price_per_hour": 18,
        "specs": {"gpu": {"count": 8}, "sysbox_runtime": True},
        "location": {"country": "Canada"},
    }
    return {key: value for key, value in (found | fields).items() if value is not None}


def offered(found: Bench, row: dict[str, object]) -> list[Offer]:
    import json

    found.do("fault", on=EXECUTORS, kind="garbage", body=json.dumps([row]))
    return list(found.provider.offers(8))


def test_a_price_by_the_gpu_is_taken_times_their_number(lium_bench: Bench) -> None:
    (offer,) = offered(lium_bench, executor(price_per_hour=None, price_per_gpu=2.2500001))
    assert offer.usd_micros_per_hour == 18_000_001  # rounded up once, after multiplying
    with pytest.raises(UnansweredError, match="price_per_hour is missing"):
        offered(lium_bench, executor(price_per_hour=None))
    for wrong in (0, -2, "2.25"):
        with pytest.raises(UnansweredError, match="price_per_gpu"):
            offered(lium_bench, executor(price_per_hour=None, price_per_gpu=wrong))


def test_the_whole_machines_own_price_comes_first(lium_bench: Bench) -> None:
    (offer,) = offered(lium_bench, executor(price_per_gpu=9))
    assert offer.usd_micros_per_hour == 18_000_000


def test_only_executors_that_let_docker_run_are_offered(lium_bench: Bench) -> None:
    gpu = {"gpu": {"count": 8}}
    for specs in (gpu, gpu | {"sysbox_runtime": False}, gpu | {"sysbox_runtime": None}):
        assert offered(lium_bench, executor(specs=specs)) == []
    assert offered(lium_bench, executor(rented=True)) == []
    assert offered(lium_bench, executor(gpu_count=4)) == []
    assert offered(lium_bench, executor(machine_name="NVIDIA GH200"))[0].gpu == "GH200"
    assert offered(lium_bench, executor(location=None))[0].region == "unknown"


def test_what_is_asked_for_carries_our_tag(lium_bench: Bench) -> None:
    request = uuid4()
    made = lium_bench.provider.create(lium_bench.offer(), request)
    assert lium_bench.do("machines")[made.instance]["sent"] == {
        "pod_name": tag_of(request),
        "template_id": "template-1",
        "user_public_key": [PUBLIC_KEY],
    }


def test_every_way_to_answer_a_rent(lium_bench: Bench) -> None:
    offer = lium_bench.offer()
    rent = "POST /executors/*/rent"

    def answered(body: str) -> str:
        lium_bench.do("fault", on=rent, kind="garbage", body=body)
        return lium_bench.provider.create(offer, uuid4()).instance

    assert answered('{"success": true, "pod_id": "pod-1"}') == "pod-1"
    assert answered('{"id": "pod-2", "pod_name": "x"}') == "pod-2"
    with pytest.raises(RefusedError):
        answered('{"success": false}')
    with pytest.raises(UnansweredError, match="id is missing"):
        answered('{"success": true}')
    with pytest.raises(UnansweredError, match="id is no text"):
        answered('{"id": 7}')


def test_an_executors_name_is_one_part_of_a_path(lium_bench: Bench) -> None:
    wrong = Offer("lium", "../pods", "H200", 8, "x", 1)
    with pytest.raises(RefusedError):
        lium_bench.provider.create(wrong, uuid4())
    assert lium_bench.do("requests") == ["POST /executors/..%2Fpods/rent"]
    for name in ("", ".", ".."):
        with pytest.raises(RefusedError, match="no name"):
            lium_bench.provider.create(Offer("lium", name, "H200", 8, "x", 1), uuid4())


@pytest.mark.parametrize(("word", "state"), sorted(STATES.items()))
def test_every_word_for_a_state(lium_bench: Bench, word: str, state: str) -> None:
    made = lium_bench.provider.create(lium_bench.offer(), uuid4())
    lium_bench.do("fault", on=POD, kind="edit", path=["status"], value=word)
    assert lium_bench.provider.state(made.instance).state == state


@pytest.mark.parametrize(
    ("command", "address"),
    [
        ("ssh root@192.0.2.30 -p 40022", Address("root", "192.0.2.30", 40_022)),
        ("ssh root@192.0.2.30", Address("root", "192.0.2.30", 22)),
        ("ssh root@pod.example -p 1", Address("root", "pod.example", 1)),
        (None, None),
        ("", None),
    ],
)
def test_where_ssh_listens(lium_bench: Bench, command: str | None, address: Address | None) -> None:
    made = lium_bench.provider.create(lium_bench.offer(), uuid4())
    lium_bench.do("fault", on=POD, kind="edit", path=["ssh_connect_cmd"], value=command)
    assert lium_bench.provider.state(made.instance).address == address


@pytest.mark.parametrize(
    "command",
    [
        "ssh -oProxyCommand=x root@192.0.2.30",
        "ssh root@192.0.2.30 -p 40022; id",
        "ssh root@192.0.2.30 -p 0",
        "ssh root@192.0.2.30 -p 65536",
        "ssh root@192.0.2.30 -p 999999999999",
        "ssh root@192.0.2.30 -L 80",
        "ssh -root@192.0.2.30",
        "ssh 192.0.2.30",
        "ssh root@-p -p 22",
        "ssh 'root@192.0.2.30",
        "rm -rf x y",
        17,
    ],
)
def test_no_command_is_taken_for_an_address(lium_bench: Bench, command: object) -> None:
    made = lium_bench.provider.create(lium_bench.offer(), uuid4())
    lium_bench.do("fault", on=POD, kind="edit", path=["ssh_connect_cmd"], value=command)
    with pytest.raises(UnansweredError):
        lium_bench.provider.state(made.instance)


def test_a_pods_price_is_its_own_else_its_executors(lium_bench: Bench) -> None:
    made = lium_bench.provider.create(lium_bench.offer(), uuid4())
    lium_bench.do("fault", on=POD, kind="edit", path=["price"], value=11.5)
    assert lium_bench.provider.state(made.instance).usd_micros_per_hour == 11_500_000
    lium_bench.do("fault", on=POD, kind="edit", path=["price"], value=None)
    assert lium_bench.provider.state(made.instance).usd_micros_per_hour == 12_345_678
    lium_bench.do("fault", on=POD, kind="edit", path=["price"], value=0)
    with pytest.raises(UnansweredError, match="price is not above 0"):
        lium_bench.provider.state(made.instance)


def test_a_time_without_a_zone_is_utc(lium_bench: Bench) -> None:
    made = lium_bench.provider.create(lium_bench.offer(), uuid4())
    for written, seconds in (
        ("2026-11-26T07:00:00", 1_795_676_400),
        ("2026-11-26 07:00:00.999999999 UTC", 1_795_676_400),
        ("2026-11-26T07:00:00Z", 1_795_676_400),
        ("2026-11-26T08:00:00+01:00", 1_795_676_400),
        ("0001-01-01T00:00:00Z", None),
        (None, None),
    ):
        lium_bench.do("fault", on=POD, kind="edit", path=["created_at"], value=written)
        assert lium_bench.provider.state(made.instance).started_at_s == seconds
    for wrong in ("yesterday", 1_795_676_400, "9999-99-99T00:00:00Z", "x" * 100):
        lium_bench.do("fault", on=POD, kind="edit", path=["created_at"], value=wrong)
        with pytest.raises(UnansweredError, match="created_at is no time"):
            lium_bench.provider.state(made.instance)


def test_another_pods_page_is_no_answer(lium_bench: Bench) -> None:
    made = lium_bench.provider.create(lium_bench.offer(), uuid4())
    lium_bench.do("fault", on=POD, kind="edit", path=["id"], value="pod-other")
    with pytest.raises(UnansweredError, match="another pod"):
        lium_bench.provider.state(made.instance)
