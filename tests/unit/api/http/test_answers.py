"""The API answers what the log says at a block, and says what the answer rests on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import Services, open_services
from api.http.app import create_app
from api.settings import Settings
from ledger.commands.arena import open_arena
from ledger.keys import ArenaKey
from ledger.policy import parse_policy_toml
from ledger.projections.all import PROJECTIONS
from tests.unit.api.season import (
    ALICE,
    ALPHA,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    FEE_RAO,
    HEAD,
    HOSTILE_LOG,
    HOSTILE_REASON,
    LOST_RAO,
    OVERPAID_RAO,
    POLICY,
    TRACK,
    UIDS,
    VALIDATOR,
    Season,
    address,
    coldkey_of,
)

ARENA = "/v1/arenas/demo/14"
LISTS = (
    "weights/sent",
    "treasury/journal",
    "treasury/periods",
    "payments",
    "submissions",
    "queue",
    "reigns",
    "contests",
)
ENDPOINTS = (
    "status",
    "weights",
    "weights/explain",
    "weights/compare",
    "policy",
    "emissions",
    "treasury",
    "treasury/reconcile",
    "treasury/costs",
    f"payouts/{DAVE}",
    *LISTS,
)


@pytest.fixture(scope="module")
def client(services: Services, season: Season) -> Iterator[TestClient]:
    with TestClient(create_app(services)) as found:
        yield found


def answer(client: TestClient, path: str, at_block: int | None = None, **query: object) -> Any:
    parameters = {**query, **({} if at_block is None else {"at_block": at_block})}
    found = client.get(f"{ARENA}/{path}", params=parameters)
    assert found.status_code == 200, found.text
    return found.json()


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_answer_names_its_prefix_of_the_log(client: TestClient, path: str) -> None:
    now = client.get(f"{ARENA}/{path}")
    then = client.get(f"{ARENA}/{path}", params={"at_block": 130})
    assert now.headers["X-Ledger-Block"] == str(HEAD)
    assert then.headers["X-Ledger-Block"] == "130"
    assert int(then.headers["X-Ledger-Position"]) < int(now.headers["X-Ledger-Position"])
    assert then.json()["block"] == 130


@pytest.mark.parametrize("path", ENDPOINTS[1:])
def test_only_an_answer_that_cannot_change_is_cached(client: TestClient, path: str) -> None:
    def caching(**query: int) -> str:
        return str(client.get(f"{ARENA}/{path}", params=query).headers["Cache-Control"])

    # Not for good: the same address may be another chain's answer tomorrow.
    assert caching(at_block=130) == "public, max-age=3600"
    # More facts can still be recorded at the newest block.
    assert caching(at_block=HEAD) == caching() == "no-cache"


def test_a_status_names_the_head_and_is_never_cached(client: TestClient) -> None:
    found = client.get(f"{ARENA}/status", params={"at_block": 130})
    assert found.json()["head_block"] == HEAD
    assert found.headers["Cache-Control"] == "no-cache"


def test_an_answer_the_client_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get(f"{ARENA}/weights")
    again = client.get(f"{ARENA}/weights", headers={"If-None-Match": first.headers["ETag"]})
    other = client.get(f"{ARENA}/weights", headers={"If-None-Match": '"another"'})
    assert (again.status_code, again.content) == (304, b"")
    assert (other.status_code, other.content) == (200, first.content)


def test_two_chains_under_one_name_never_share_a_tag(client: TestClient, tmp_path: Path) -> None:
    policy = parse_policy_toml(POLICY)
    tags = []
    for number, digits in enumerate(("5e", "5f")):
        services = open_services(Settings(database_url=f"sqlite:///{tmp_path / str(number)}.db"))
        genesis = ArenaKey("0x" + digits * 32, 14)
        open_arena(
            services.engine, genesis, network="demo", at_block=100, policy=policy, actor="alice"
        )
        found = TestClient(create_app(services)).get(f"{ARENA}/weights")
        tags.append((found.headers["ETag"], found.content))
        services.close()
    (first, first_body), (second, second_body) = tags
    assert first_body == second_body
    assert first.strip('"').startswith("5e5e5e5e5e5e-")
    assert second.strip('"').startswith("5f5f5f5f5f5f-")


def test_the_policy_is_the_one_in_force_with_its_defaults_written_out(client: TestClient) -> None:
    found = answer(client, "policy", 120)
    assert (found["block"], found["from_block"]) == (120, 100)
    assert found["digest"] == answer(client, "status", 120)["policy_digest"]
    assert found["policy"]["fee"]["fee_rao"] == FEE_RAO  # not in the season's TOML


def test_status_tells_king_pool_pause_and_queue_at_its_block(client: TestClient) -> None:
    first, second, now = (answer(client, "status", block) for block in (115, 130, None))
    assert [one["thrones"][0]["king_hotkey"] for one in (first, second, now)] == [ALICE, DAVE, DAVE]
    assert [one["thrones"][0]["since_block"] for one in (first, second)] == [110, 125]
    assert [one["ramp"][0]["pool_ppm"] for one in (first, second)] == [100_000, 235_000]
    assert [one["paused"] for one in (second, now)] == [{}, {"evaluation": HOSTILE_REASON}]
    assert [one["queue_length"] for one in (second, now)] == [0, 1]
    vacant = answer(client, "status", 105)["thrones"]
    assert vacant == [
        {
            "track": TRACK,
            "king_hotkey": None,
            "king_score_ppm": None,
            "since_block": None,
            "runner_up_hotkey": None,
            "runner_up_score_ppm": None,
        }
    ]


def test_weights_change_with_the_throne(client: TestClient) -> None:
    def shares(block: int) -> dict[int, tuple[int, str]]:
        lines = answer(client, "weights", block)["shares"]
        return {line["uid"]: (line["ppm"], line["reason"]) for line in lines}

    assert shares(105) == {0: (1_000_000, "no_king")}
    assert shares(115) == {0: (900_000, "burn"), UIDS[ALICE]: (100_000, "king")}
    assert shares(130)[UIDS[DAVE]] == (188_000, "king")
    assert shares(130)[UIDS[ALICE]] == (47_000, "runner_up")


def test_sent_vectors_appear_when_they_were_sent(client: TestClient) -> None:
    assert answer(client, "weights/sent", 105)["total"] == 0
    (first,) = answer(client, "weights/sent", 115)["items"]
    assert (first["block"], first["success"], first["landed_block"]) == (110, True, 111)
    assert first["digest"] == answer(client, "weights", 110)["digest"]
    assert answer(client, "weights/sent")["total"] == 2


def test_emissions_hold_the_epochs_up_to_the_block(client: TestClient) -> None:
    then, now = answer(client, "emissions", 130), answer(client, "emissions")
    assert [line["epoch_block"] for line in then["epochs"]["items"]] == [120]
    assert [line["epoch_block"] for line in now["epochs"]["items"]] == [120, 140]
    assert now["epochs"]["items"][0]["burned_alpha"] == 900 * ALPHA


def test_the_treasury_names_what_left_without_a_booking(client: TestClient) -> None:
    assert answer(client, "treasury", 139)["lines"]["total"] == 0
    lines = {line["asset"]: line for line in answer(client, "treasury")["lines"]["items"]}
    assert (lines["TAO"]["residual"], lines["TAO"]["status"]) == (-LOST_RAO, "explained")
    assert [found["kind"] for found in lines["TAO"]["breaks"]] == ["on_chain_not_in_books"]
    assert (lines["USD"]["residual"], lines["USD"]["status"]) == (0, "reconciled")
    # Nobody observed an alpha balance: unknown is not zero.
    assert (lines["ALPHA:14"]["closing"], lines["ALPHA:14"]["status"]) == (None, "unresolved")


def test_a_reconciliation_has_each_account_with_its_light(client: TestClient) -> None:
    found = answer(client, "treasury/reconcile", period=1)
    assert (found["period"], found["closed"], found["light"]) == (1, True, "unresolved")
    lights = {(line["account"], line["asset"]): line["light"] for line in found["accounts"]}
    assert lights == {
        ("assets:provider:lium", "USD"): "green",
        ("assets:treasury", "ALPHA:14"): "unresolved",
        ("assets:treasury", "TAO"): "yellow",
    }
    (lost,) = [item for line in found["accounts"] for item in line["breaks"]]
    assert (lost["kind"], lost["amount"], lost["seen"]) == (
        "on_chain_not_in_books",
        -LOST_RAO,
        -LOST_RAO,
    )
    # The last balance was of the closing, ten blocks ago at the chain's own time.
    (tao,) = [
        one for one in answer(client, "treasury/reconcile")["totals"] if one["asset"] == "TAO"
    ]
    assert (tao["behind_blocks"], tao["observed_block"]) == (10, 140)
    assert tao["observed_at_ms"] == 1_780_000_000_000 + 12_000 * 140


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"period": 9}, "there is no period 9"),
        ({"from_block": 130, "to_block": 130}, "is no stretch of these books"),
        ({"to_block": 151}, "is no stretch of these books"),
    ],
)
def test_a_stretch_of_the_books_that_is_none_is_not_found(
    client: TestClient, query: dict[str, int], said: str
) -> None:
    found = client.get(f"{ARENA}/treasury/reconcile", params=query)
    assert (found.status_code, found.json()["error"]["code"]) == (404, "block_out_of_range")
    assert said in found.json()["error"]["message"]


def test_the_journal_names_the_event_of_each_posting(client: TestClient) -> None:
    rent = answer(client, "treasury/journal", account="expenses:gpu_rental")["items"]
    assert [line["event"] for line in rent] == ["rental.cost_booked.v2"]
    assert rent[0]["fact_key"] == f"rental-booked:{rent[0]['reference']}"
    assert [line["balance"] for line in rent] == [24_000_000]


def test_unclaimed_payments_stay_visible(client: TestClient) -> None:
    every = answer(client, "payments")["items"]
    (lone,) = answer(client, "payments", unclaimed="true")["items"]
    assert len(every) == 5
    assert (lone["sender"], lone["status"]) == (coldkey_of(CAROL), "unclaimed")
    assert {line["overpaid_rao"] for line in every if line["hotkey"] == BOB} == {OVERPAID_RAO}


def test_statements_are_by_hotkey_or_coldkey(client: TestClient) -> None:
    by_hotkey = answer(client, f"payouts/{DAVE}")
    by_coldkey = answer(client, f"payouts/{coldkey_of(DAVE)}")
    assert by_hotkey["paid_alpha"] == by_coldkey["paid_alpha"] == 260 * ALPHA
    assert by_hotkey["lines"] == by_coldkey["lines"]
    assert answer(client, f"payouts/{ALICE}", 130)["paid_alpha"] == 100 * ALPHA
    assert answer(client, f"payouts/{ALICE}")["paid_alpha"] == 165 * ALPHA


@pytest.mark.parametrize("known", [CAROL, coldkey_of(ERIN), address("owner")])
def test_who_is_in_the_log_and_was_never_paid_has_an_empty_statement(
    client: TestClient, known: str
) -> None:
    found = answer(client, f"payouts/{known}", 105)
    assert (found["total"], found["paid_alpha"], found["lines"]) == (0, 0, [])


def test_submissions_carry_codes_and_the_rules_they_stand_for(
    client: TestClient, season: Season
) -> None:
    lines = {line["hotkey"]: line for line in answer(client, "submissions")["items"]}
    assert lines[CAROL]["status"] == "refused"
    assert (lines[CAROL]["codes"], lines[CAROL]["rules"]) == (["payment_block_unknown"], ["R2"])
    assert (lines[BOB]["status"], lines[BOB]["codes"]) == ("disqualified", ["exited_at_start"])
    assert lines[BOB]["log_tail"] == HOSTILE_LOG
    assert lines[ALICE]["fee_rao"] == FEE_RAO
    (only,) = answer(client, "submissions", hotkey=ALICE)["items"]
    assert only["submission_id"] == str(season.submissions[ALICE])
    assert answer(client, "submissions", 105)["total"] == 2


def test_the_queue_is_who_waits_at_the_block(client: TestClient) -> None:
    waiting = {
        block: [line["hotkey"] for line in answer(client, "queue", block)["items"]]
        for block in (105, 130, HEAD)
    }
    assert waiting == {105: [ALICE, BOB], 130: [], HEAD: [ERIN]}


def test_reigns_and_contests_end_when_they_end(client: TestClient, season: Season) -> None:
    (running,) = answer(client, "reigns", 124)["items"]
    assert running["ended_at_block"] is None
    ended, _ = answer(client, "reigns")["items"]
    assert (ended["ended_at_block"], ended["ended_by"]) == (125, "overtaken")
    contests = {line["contest_id"]: line for line in answer(client, "contests")["items"]}
    assert contests[str(season.void_round)]["void_cause"] == "baseline_failed"
    judged = contests[str(season.first_contest)]["entrants"]
    assert [(line["hotkey"], line["status"]) for line in judged] == [
        (ALICE, "scored"),
        (BOB, "disqualified"),
    ]


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_cut_and_says_how_long_it_is(client: TestClient, path: str) -> None:
    whole = answer(client, path)
    assert (whole["limit"], whole["offset"]) == (1_000, 0)
    pages = [answer(client, path, limit=1, offset=place) for place in range(whole["total"] + 1)]
    assert [item for page in pages for item in page["items"]] == whole["items"]
    assert {page["total"] for page in pages} == {whole["total"]}


def test_health_says_how_far_each_view_is(client: TestClient) -> None:
    found = client.get("/v1/health").json()
    (arena,) = found["arenas"]
    assert (found["status"], arena["arena"]["head_block"]) == ("ok", HEAD)
    assert {view["behind"] for view in arena["views"]} == {0}
    assert len(arena["views"]) == len(PROJECTIONS)
    assert client.get("/v1/arenas").json()["arenas"] == [arena["arena"]]


def test_keys_come_in_one_order(client: TestClient) -> None:
    first, second = (client.get(f"{ARENA}/status").content for _ in range(2))
    assert first == second
    names = list(answer(client, "status"))
    assert names[:5] == ["network", "netuid", "genesis", "block", "position"]


def test_the_openapi_document_describes_every_endpoint(client: TestClient) -> None:
    document = client.get("/v1/openapi.json").json()
    described = {f"{ARENA}/{path}" for path in (*ENDPOINTS, "weights/status")}
    described |= {"/v1/health", "/v1/arenas"}
    described |= {f"{ARENA}/treasury/costs/{what}/77" for what in ("contests", "submissions")}
    ids = {"contest_id": 77, "submission_id": 77}
    paths = {
        path.format(network="demo", netuid=14, address=DAVE, **ids): item["get"]
        for path, item in document["paths"].items()
    }
    assert set(paths) == described
    schemas = document["components"]["schemas"]
    parameters = set()
    for operation in paths.values():
        assert operation["summary"]
        assert operation["description"]
        shape = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert shape["$ref"].removeprefix("#/components/schemas/") in schemas
        parameters |= (
            {p["name"] for p in operation["parameters"] if p["in"] == "query"}
            if ("parameters" in operation)
            else set()
        )
    asked = {"at_block", "by", "limit", "offset", "hotkey", "unclaimed"}
    of_the_books = {"period", "from_block", "to_block", "account", "asset"}
    assert parameters == asked | of_the_books
    assert "provisional" in document["info"]["description"]
    assert schemas["PaymentLine"]["properties"]["amount_rao"]["description"] == "rao: 10^-9 TAO"


def test_no_endpoint_writes(client: TestClient) -> None:
    for path in (*(f"{ARENA}/{path}" for path in ENDPOINTS), "/demo/14", "/v1/health"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            found = client.request(method, path, json={})
            assert found.status_code == 405, (method, path)
            assert found.headers["Allow"] == "GET, HEAD"


def test_head_is_answered_as_get_without_its_body(client: TestClient) -> None:
    for path in (f"{ARENA}/status", f"{ARENA}/status?at_block=9", "/demo/14", "/v1/nothing"):
        full, bare = client.get(path), client.head(path)
        assert bare.status_code == full.status_code, path
        assert bare.content == b""
        assert dict(bare.headers) == dict(full.headers), path


def test_other_sites_may_read(client: TestClient) -> None:
    found = client.get(f"{ARENA}/status", headers={"Origin": "https://elsewhere.example"})
    assert found.headers["Access-Control-Allow-Origin"] == "*"
    assert "X-Ledger-Position" in found.headers["Access-Control-Expose-Headers"]
    asked = client.options(
        f"{ARENA}/status",
        headers={
            "Origin": "https://elsewhere.example",
            "Access-Control-Request-Method": "POST",
        },
    )
    assert asked.status_code == 400


def test_validators_are_known_addresses(client: TestClient) -> None:
    assert answer(client, f"payouts/{VALIDATOR}")["dividends_alpha"] == 82 * ALPHA


def test_the_cost_of_a_contest_and_of_a_submission_are_those_of_the_list(
    client: TestClient,
) -> None:
    listed = answer(client, "treasury/costs")
    rented = [one for one in listed["contests"]["items"] if one["usd_micros"] is not None]
    assert [one["usd_micros"] for one in rented] == [24_000_000]
    one = answer(client, f"treasury/costs/contests/{rented[0]['contest_id']}")
    assert rented[0] in one["attempts"]
    arm = next(arm for arm in rented[0]["arms"] if arm["submission_id"])
    own = answer(client, f"treasury/costs/submissions/{arm['submission_id']}")["submission"]
    assert arm["usd_micros"] in [part["usd_micros"] for part in own["parts"]]
    assert own["fee_rao"] == FEE_RAO
    assert own["fee_usd_micros"] is None  # no price is known


@pytest.mark.parametrize("what", ["contests", "submissions"])
def test_a_cost_of_what_is_not_there_is_not_found(client: TestClient, what: str) -> None:
    found = client.get(f"{ARENA}/treasury/costs/{what}/77")
    assert found.status_code == 404
    assert found.json()["error"]["code"] == "unknown_contest"
