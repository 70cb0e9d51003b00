"""What is Targon's own: two calls for a machine, dollars, pages, and where SSH is."""

from __future__ import annotations

from uuid import uuid4

import pytest

from evaluation.pods.http import TRIES
from evaluation.pods.port import Address, Offer, RefusedError, UnansweredError, tag_of
from evaluation.pods.targon import DEPLOY_TRIES, MAX_PAGES, STATES, Targon
from tests.unit.pods.clients import Bench

DEPLOY = "POST /workloads/*/deploy"
STATE = "GET /workloads/*/state"
LIST = "GET /workloads"


def deployments(found: Bench) -> int:
    return sum(one.endswith("/deploy") for one in found.do("requests"))


def test_an_offer_has_its_price_to_the_millionth(targon_bench: Bench) -> None:
    assert targon_bench.offer() == Offer("targon", "h200-xlarge", "H200", 8, "any", 19_200_000)


@pytest.mark.parametrize(
    ("written", "usd_micros"),
    [
        ("0.1", 100_000),
        ("19.2", 19_200_000),
        ("19", 19_000_000),
        ("2.675", 2_675_000),
        ("1.9200005e1", 19_200_005),
        ("0.0000001", 1),  # rounded up, never to 0
        ("19.2000001", 19_200_001),
        ("19.200000000000000000000000000001", 19_200_001),
        ("10000", 10_000_000_000),
    ],
)
def test_dollars_are_read_exactly_and_rounded_up(
    targon_bench: Bench, written: str, usd_micros: int
) -> None:
    body = (
        '[{"name": "h200-xlarge", "spec": {"gpu_type": "NVIDIA-H200", "gpu_count": 8}, '
        f'"cost_per_hour": {written}, "available": 1}}]'
    )
    targon_bench.do("fault", on="GET /inventory", kind="garbage", body=body)
    assert targon_bench.offer().usd_micros_per_hour == usd_micros


@pytest.mark.parametrize(
    "written", ["1e999999999", "10000.01", "1" + "0" * 4_000 + ".5", "-1e-9", "0e5", "0.0", "1e400"]
)
def test_a_price_that_no_machine_has_is_not_believed(targon_bench: Bench, written: str) -> None:
    body = (
        '[{"name": "h200-xlarge", "spec": {"gpu_type": "NVIDIA-H200", "gpu_count": 8}, '
        f'"cost_per_hour": {written}, "available": 1}}]'
    )
    targon_bench.do("fault", on="GET /inventory", kind="garbage", body=body)
    with pytest.raises(UnansweredError, match="cost_per_hour"):
        targon_bench.offer()


def test_a_number_that_cannot_be_is_no_json(targon_bench: Bench) -> None:
    body = '[{"cost_per_hour": 1e99999999999999999999}]'
    targon_bench.do("fault", on="GET /inventory", kind="garbage", body=body, times=9)
    with pytest.raises(UnansweredError, match="no JSON"):
        targon_bench.offer()


def test_what_is_not_available_is_not_offered(targon_bench: Bench) -> None:
    for value in (0, -1, None):
        where = [0, "available"]
        targon_bench.do("fault", on="GET /inventory", kind="edit", path=where, value=value)
        assert [one.gpu for one in targon_bench.provider.offers(8)] == ["B200"]


def test_a_machine_is_registered_once_and_deployed(targon_bench: Bench) -> None:
    request = uuid4()
    provider = Targon(
        targon_bench.there.url,
        targon_bench.there.key,
        ssh_keys=["shk-1"],
        image="registry.example/host:1",
        project="prj-1",
    )
    made = provider.create(targon_bench.offer(), request)
    sent = targon_bench.do("machines")[made.instance]["sent"]
    assert sent == {
        "name": tag_of(request),
        "image": "registry.example/host:1",
        "resource_name": "h200-xlarge",
        "type": "RENTAL",
        "ports": [{"port": 22, "protocol": "TCP", "routing": "DIRECT"}],
        "ssh_keys": ["shk-1"],
        "project_id": "prj-1",
    }
    assert made.usd_micros_per_hour == 19_200_000
    assert targon_bench.do("requests")[-2:] == [
        "POST /workloads",
        f"POST /workloads/{made.instance}/deploy",
    ]
    provider.close()


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_deployment_that_was_done_is_not_sent_again(targon_bench: Bench, status: int) -> None:
    targon_bench.do("fault", on=DEPLOY, kind="status_after", status=status)
    made = targon_bench.provider.create(targon_bench.offer(), uuid4())
    assert deployments(targon_bench) == 1
    assert targon_bench.do("requests")[-1] == f"GET /workloads/{made.instance}/state"
    assert targon_bench.provider.state(made.instance).state == "running"


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_deployment_that_was_not_done_is_sent_again_after_a_look(
    targon_bench: Bench, status: int
) -> None:
    targon_bench.do("fault", on=DEPLOY, kind="status", status=status, times=DEPLOY_TRIES - 1)
    made = targon_bench.provider.create(targon_bench.offer(), uuid4())
    after = targon_bench.do("requests")
    after = after[after.index("POST /workloads") + 1 :]
    deploy = f"POST /workloads/{made.instance}/deploy"
    look = f"GET /workloads/{made.instance}/state"
    assert after == [deploy, look] * (DEPLOY_TRIES - 1) + [deploy]
    assert targon_bench.provider.state(made.instance).state == "running"


def test_deployments_are_bounded_and_leave_it_open(targon_bench: Bench) -> None:
    request = uuid4()
    targon_bench.do("fault", on=DEPLOY, kind="status", status=503, times=99)
    with pytest.raises(UnansweredError, match=f"{DEPLOY_TRIES} tries"):
        targon_bench.provider.create(targon_bench.offer(), request)
    assert deployments(targon_bench) == DEPLOY_TRIES
    (left,) = targon_bench.provider.listed()
    assert (left.tag, left.state) == (tag_of(request), "starting")


def test_what_cannot_be_looked_at_is_not_deployed_again(targon_bench: Bench) -> None:
    targon_bench.do("fault", on=DEPLOY, kind="status", status=502)
    targon_bench.do("fault", on=STATE, kind="status", status=500, times=TRIES)
    with pytest.raises(UnansweredError, match=r"502.*500"):
        targon_bench.provider.create(targon_bench.offer(), uuid4())
    assert deployments(targon_bench) == 1


def test_a_refused_deployment_is_cleared_away(targon_bench: Bench) -> None:
    offer = targon_bench.offer()
    targon_bench.do("settings", no_capacity=True)
    with pytest.raises(RefusedError, match="insufficient capacity"):
        targon_bench.provider.create(offer, uuid4())
    assert [one["state"] for one in targon_bench.do("machines").values()] == ["gone"]


def test_a_refused_deployment_that_may_be_left_is_unanswered(targon_bench: Bench) -> None:
    offer, request = targon_bench.offer(), uuid4()
    targon_bench.do("settings", no_capacity=True)
    targon_bench.do("fault", on="DELETE *", kind="status", status=500, times=TRIES)
    with pytest.raises(UnansweredError, match="may be left"):
        targon_bench.provider.create(offer, request)
    assert [one.tag for one in targon_bench.provider.listed()] == [tag_of(request)]


def test_a_lost_registration_is_found_by_its_tag_and_deployed(targon_bench: Bench) -> None:
    request = uuid4()
    for _ in range(3):
        targon_bench.provider.create(targon_bench.offer(), uuid4())
    targon_bench.do("settings", page_rows=1)
    targon_bench.do("fault", on="POST /workloads", kind="lost")
    made = targon_bench.provider.create(targon_bench.offer(), request)
    assert targon_bench.do("machines")[made.instance]["tag"] == tag_of(request)
    assert targon_bench.provider.state(made.instance).state == "running"
    assert targon_bench.asked("POST /workloads") == 4


def test_a_lost_registration_that_cannot_be_looked_for_is_unanswered(targon_bench: Bench) -> None:
    offer = targon_bench.offer()
    targon_bench.do("fault", on="POST /workloads", kind="lost")
    targon_bench.do("fault", on=LIST, kind="status", status=500, times=TRIES)
    with pytest.raises(UnansweredError, match="nor can be seen"):
        targon_bench.provider.create(offer, uuid4())
    assert targon_bench.asked("POST /workloads") == 1


def test_a_registration_that_is_listed_late_is_unanswered(targon_bench: Bench) -> None:
    offer, request = targon_bench.offer(), uuid4()
    targon_bench.do("settings", listing_delay_s=60)
    targon_bench.do("fault", on="POST /workloads", kind="lost")
    with pytest.raises(UnansweredError):
        targon_bench.provider.create(offer, request)
    assert targon_bench.provider.listed() == ()
    targon_bench.do("advance", seconds=60)
    assert [one.tag for one in targon_bench.provider.listed()] == [tag_of(request)]


def test_all_pages_are_listed(targon_bench: Bench) -> None:
    targon_bench.do("settings", page_rows=2)
    made = {targon_bench.provider.create(targon_bench.offer(), uuid4()).instance for _ in range(5)}
    before = targon_bench.asked(LIST)
    assert {one.instance for one in targon_bench.provider.listed()} == made
    assert targon_bench.asked(LIST) == before + 3


def test_pages_that_lead_to_themselves_or_nowhere_end(targon_bench: Bench) -> None:
    page = '{"items": [], "next_cursor": "again"}'
    targon_bench.do("fault", on=LIST, kind="garbage", body=page, times=99)
    with pytest.raises(UnansweredError, match="leads to itself"):
        targon_bench.provider.listed()


def test_pages_have_a_bound(targon_bench: Bench) -> None:
    for number in range(MAX_PAGES):
        page = f'{{"items": [], "next_cursor": "{number}"}}'
        targon_bench.do("fault", on=LIST, kind="garbage", body=page)
    with pytest.raises(UnansweredError, match=str(MAX_PAGES)):
        targon_bench.provider.listed()
    assert targon_bench.asked(LIST) == MAX_PAGES


@pytest.mark.parametrize(("word", "state"), sorted(STATES.items()))
def test_every_word_for_a_state(targon_bench: Bench, word: str, state: str) -> None:
    made = targon_bench.provider.create(targon_bench.offer(), uuid4())
    targon_bench.do("fault", on=STATE, kind="edit", path=["status"], value=word.lower())
    assert targon_bench.provider.state(made.instance).state == state


def test_where_ssh_listens(targon_bench: Bench) -> None:
    made = targon_bench.provider.create(targon_bench.offer(), uuid4())

    def address(**said: object) -> Address | None:
        for key, value in said.items():
            targon_bench.do("fault", on=STATE, kind="edit", path=[key], value=value)
        return targon_bench.provider.state(made.instance).address

    assert address() == Address("root", "192.0.2.20", 31_022)
    web = [{"port": 22, "url": f"https://{made.instance}-22.caas.example"}]
    gateway = Address(made.instance, "ssh.deployments.targon.com", 22)
    assert address(urls=web) == gateway
    assert address(urls=[]) == gateway
    assert address(urls=None) == gateway
    targon_bench.do(
        "fault", on=STATE, kind="edit", path=["urls"], value=[{"port": 22, "url": "x://[y"}]
    )
    with pytest.raises(UnansweredError, match="url is no address"):
        targon_bench.provider.state(made.instance)


def test_an_address_of_its_own_comes_first(targon_bench: Bench) -> None:
    made = targon_bench.provider.create(targon_bench.offer(), uuid4())
    body = (
        f'{{"uid": "{made.instance}", "status": "running", "public_ip": "198.51.100.7", '
        '"ssh_port": 2222, "urls": [{"port": 22, "url": "tcp://192.0.2.20:31022"}]}'
    )
    targon_bench.do("fault", on=STATE, kind="garbage", body=body)
    assert targon_bench.provider.state(made.instance).address == Address(
        "root", "198.51.100.7", 2222
    )


def test_without_a_gateway_a_machine_may_have_no_address(targon_bench: Bench) -> None:
    provider = Targon(targon_bench.there.url, targon_bench.there.key, ssh_gateway=None)
    made = provider.create(targon_bench.offer(), uuid4())
    targon_bench.do("fault", on=STATE, kind="edit", path=["urls"], value=[])
    assert provider.state(made.instance).address is None
    provider.close()


def test_a_deletion_is_asked_again_until_it_is_answered(targon_bench: Bench) -> None:
    made = targon_bench.provider.create(targon_bench.offer(), uuid4())
    delete = f"DELETE /workloads/{made.instance}"
    # The first was done and its answer lost: the second finds nothing, which is what was wanted.
    targon_bench.do("fault", on=delete, kind="status_after", status=502)
    targon_bench.provider.stop(made.instance)
    assert targon_bench.asked(delete) == 2
    assert targon_bench.provider.state(made.instance).state == "gone"


def test_another_workloads_page_is_no_answer(targon_bench: Bench) -> None:
    made = targon_bench.provider.create(targon_bench.offer(), uuid4())
    targon_bench.do("fault", on=STATE, kind="edit", path=["uid"], value="wrk-other")
    with pytest.raises(UnansweredError, match="another workload"):
        targon_bench.provider.state(made.instance)
