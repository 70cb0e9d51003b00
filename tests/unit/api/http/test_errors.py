"""Every error is one code and one sentence; a defect never shows its traceback."""

from __future__ import annotations

import pathlib
from typing import Annotated

import pytest
from fastapi import FastAPI, Path
from fastapi.exceptions import RequestValidationError
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from starlette.testclient import TestClient
from structlog.testing import capture_logs

import api.http.routes.health as health_routes
from api.app import Services, open_services
from api.http.app import create_app
from api.http.guard import on_error
from api.http.parameters import MAX_SHOWN_CHARS
from api.http.reading import MAX_NETWORK_CHARS
from api.limits import MAX_BLOCK, MAX_LIMIT, MAX_NETUID, MAX_OFFSET
from api.settings import Settings
from ledger.keys import KeyFormError
from ledger.store.database import open_engine
from tests.unit.api.season import (
    DAVE,
    ERIN,
    NETUID,
    NETWORK,
    Season,
    address,
    record_blocks,
    record_season,
)

ARENA = "/v1/arenas/demo/14"


@pytest.fixture(scope="module")
def client(services: Services, season: Season) -> TestClient:
    return TestClient(create_app(services))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/arenas/demo/15/status", 404, "unknown_arena"),
        ("/v1/arenas/nowhere/14/weights", 404, "unknown_arena"),
        (f"{ARENA}/status?at_block=99", 404, "block_out_of_range"),
        (f"{ARENA}/status?at_block=151", 404, "block_out_of_range"),
        (f"{ARENA}/payouts/{address('a stranger')}", 404, "unknown_address"),
        (f"{ARENA}/status?at_block=newest", 422, "malformed_parameter"),
        (f"{ARENA}/status?at_block=-1", 422, "malformed_parameter"),
        (f"{ARENA}/status?at_block=99999999999999999999", 422, "malformed_parameter"),
        (f"{ARENA}/status?atblock=120", 422, "malformed_parameter"),
        (f"{ARENA}/status?at_block=120&at_block=130", 422, "malformed_parameter"),
        (f"{ARENA}/treasury/journal?account=assets:tresury", 404, "unknown_account"),
        (f"{ARENA}/treasury/journal?asset=EUR", 404, "unknown_account"),
        (f"{ARENA}/treasury/journal?account=assets:provider:tragon", 404, "unknown_account"),
        (f"{ARENA}/treasury/journal?from_block=130&to_block=120", 404, "block_out_of_range"),
        ("/v1/arenas/demo/fourteen/status", 422, "malformed_parameter"),
        ("/v1/arenas/demo/65536/status", 422, "malformed_parameter"),
        (f"{ARENA}/payments?unclaimed=perhaps", 422, "malformed_parameter"),
        (f"{ARENA}/submissions?limit=0", 422, "malformed_parameter"),
        (f"{ARENA}/submissions?limit=10001", 422, "malformed_parameter"),
        (f"{ARENA}/submissions?offset=-1", 422, "malformed_parameter"),
        (f"{ARENA}/payouts/not-an-address", 422, "malformed_parameter"),
        (f"{ARENA}/payouts/{'1' * 200}", 422, "malformed_parameter"),
        (f"{ARENA}/submissions?hotkey=UNKNOWN", 422, "malformed_parameter"),
        (f"{ARENA}/submissions?hotkey={address('a stranger')}", 404, "unknown_address"),
        (f"{ARENA}/status?limit=5", 422, "malformed_parameter"),
        (f"{ARENA}/status?at_block={MAX_BLOCK}", 404, "block_out_of_range"),
        (f"{ARENA}/status?at_block={MAX_BLOCK + 1}", 422, "malformed_parameter"),
        (f"{ARENA}/submissions?limit={MAX_LIMIT + 1}", 422, "malformed_parameter"),
        (f"{ARENA}/submissions?offset={MAX_OFFSET + 1}", 422, "malformed_parameter"),
        (f"/v1/arenas/demo/{MAX_NETUID}/status", 404, "unknown_arena"),
        (f"/v1/arenas/{'n' * MAX_NETWORK_CHARS}/14/status", 404, "unknown_arena"),
        (f"/v1/arenas/{'n' * (MAX_NETWORK_CHARS + 1)}/14/status", 422, "malformed_parameter"),
        ("/v1/nothing", 404, "not_found"),
    ],
)
def test_an_error_has_a_code_and_one_sentence(
    client: TestClient, path: str, status: int, code: str
) -> None:
    found = client.get(path)
    body = found.json()
    assert (found.status_code, body["error"]["code"]) == (status, code)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    assert body["error"]["message"].strip()
    assert "\n" not in body["error"]["message"]
    assert found.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "said", "listed_in"),
    [
        ("treasury/journal?account=assets:tresury", "no account 'assets:tresury' by", "treasury"),
        ("treasury/journal?asset=EUR", "no asset 'EUR' by block", "treasury"),
        ("treasury/journal?account=a%0Ab", "no account 'a b' by block", "treasury"),
        ("treasury/costs/contests/77", "no contest 77 is in the log by", "contests"),
        ("treasury/costs/submissions/77", "no submission 77 is in the log by", "submissions"),
    ],
)
def test_what_is_not_known_is_looked_up_by_http_and_not_by_a_command(
    client: TestClient, path: str, said: str, listed_in: str
) -> None:
    found = client.get(f"{ARENA}/{path}")
    message = found.json()["error"]["message"]
    assert found.status_code == 404
    assert said in message
    assert f"the arena's /{listed_in} lists those" in message
    for word in ("cacheon-ledger", "--", "'treasury "):
        assert word not in message
    assert client.get(f"{ARENA}/{listed_in}").status_code == 200


@pytest.mark.parametrize(
    "account",
    [
        *("assets:provider:targon", "liabilities:payable:targon", "liabilities:payable:lium"),
        "expenses:gpu_rental:{unused}",
    ],
)
def test_a_known_account_without_a_posting_is_an_empty_page(
    client: TestClient, season: Season, account: str
) -> None:
    account = account.format(unused=season.first_contest)
    found = client.get(f"{ARENA}/treasury/journal", params={"account": account})
    assert (found.status_code, found.json()["items"], found.json()["total"]) == (200, [], 0)


def test_a_parameter_given_twice_is_refused_only_where_its_values_differ(
    client: TestClient,
) -> None:
    once = client.get(f"{ARENA}/status?at_block=120")
    assert client.get(f"{ARENA}/status?at_block=120&at_block=120").json() == once.json()
    message = client.get(f"{ARENA}/status?at_block=120&at_block=9").json()["error"]["message"]
    assert message == "query parameter 'at_block' is given with different values; give it once"


def test_the_sentence_about_a_block_before_the_log_names_the_first(client: TestClient) -> None:
    message = client.get(f"{ARENA}/status?at_block=99").json()["error"]["message"]
    assert message.startswith("the log of demo/14 begins at block 100, so nothing is known at")
    assert message.endswith("block 99; ask at 100 or later")


def test_the_sentence_about_an_unknown_parameter_names_those_of_the_endpoint(
    client: TestClient,
) -> None:
    def said(path: str) -> str:
        return str(client.get(path).json()["error"]["message"])

    assert said(f"{ARENA}/status?atblock=1").endswith("'atblock' is unknown; there are: at_block")
    assert said(f"{ARENA}/submissions?x=1").endswith("there are: at_block, hotkey, limit, offset")
    assert said("/v1/health?x=1").endswith("'x' is unknown; there are none here")
    assert f"'{'x' * MAX_SHOWN_CHARS}'" in said(f"{ARENA}/status?{'x' * 100}=1")


def test_a_sentence_keeps_the_case_of_what_it_quotes() -> None:
    app = FastAPI()
    app.add_exception_handler(RequestValidationError, on_error)

    @app.get("/v1/{letters}")
    def letters(letters: Annotated[str, Path(pattern="^[A-HJ-N]+$")]) -> str:
        return letters

    message = TestClient(app).get("/v1/o").json()["error"]["message"]
    assert message.startswith("path parameter 'letters' is malformed: string should")
    assert "^[A-HJ-N]+$" in message


def test_an_address_is_unknown_until_the_log_names_it(client: TestClient) -> None:
    # The hotkeys are registered in block 101; the log begins at block 100.
    assert client.get(f"{ARENA}/payouts/{ERIN}?at_block=100").status_code == 404
    assert client.get(f"{ARENA}/payouts/{ERIN}?at_block=101").status_code == 200


def test_a_defect_is_logged_and_not_shown(
    services: Services, season: Season, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Services) -> None:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(health_routes, "health_of", broken)
    with capture_logs() as logs:
        found = TestClient(create_app(services)).get("/v1/health")
    assert (found.status_code, found.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in found.text
    assert "Traceback" not in found.text
    (line,) = logs
    assert (line["log_level"], line["path"]) == ("error", "/v1/health")
    assert line["exc_info"]


def test_a_database_that_is_gone_is_said_so(tmp_path: pathlib.Path) -> None:
    # An engine over a folder that does not exist: every connection fails.
    engine = open_engine(f"sqlite:///{tmp_path / 'gone' / 'ledger.db'}")
    client = TestClient(create_app(Services(Settings(), engine)))
    for path in ("/v1/health", f"{ARENA}/status"):
        found = client.get(path)
        assert (found.status_code, found.json()["error"]["code"]) == (503, "database_unreachable")
        assert found.headers["Retry-After"] == "1"
        assert str(tmp_path) not in found.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (IntegrityError("INSERT", {}, Exception("UNIQUE secret")), 500, "internal_error"),
        (
            OperationalError("SELECT", {}, Exception("locked by secret")),
            503,
            "database_unreachable",
        ),
        (
            InterfaceError("SELECT", {}, Exception("the connection is closed: secret")),
            503,
            "database_unreachable",
        ),
        (KeyFormError("a key in the log is secret"), 500, "internal_error"),
        (BrokenPipeError("secret"), 500, "internal_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_only_the_operator_may_know_goes_to_the_log_alone(
    services: Services,
    season: Season,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def broken(_: Services) -> None:
        raise error

    monkeypatch.setattr(health_routes, "health_of", broken)
    with capture_logs() as logs:
        found = TestClient(create_app(services)).get("/v1/health")
    assert (found.status_code, found.json()["error"]["code"]) == (status, code)
    assert "secret" not in found.text
    (line,) = logs
    assert (line["log_level"], line["path"], line["code"]) == ("error", "/v1/health", code)


def test_one_connection_serves_a_request(tmp_path: pathlib.Path) -> None:
    # With a pool of one, a request that took a second connection would wait for itself.
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    services = open_services(Settings(database_url=url))
    record_season(services)
    services.close()
    alone = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=30)
    client = TestClient(create_app(Services(Settings(), alone)))
    for path in ("/", "/demo/14", "/v1/health", "/v1/arenas", f"{ARENA}/status"):
        assert client.get(path).status_code == 200, path
    alone.dispose()


def test_an_empty_database_has_no_arena_to_show(tmp_path: pathlib.Path) -> None:
    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'empty.db'}"))
    client = TestClient(create_app(services))
    assert client.get("/v1/arenas").json() == {"arenas": []}
    page = client.get("/")
    assert page.status_code == 404
    assert "no arena is open" in page.text
    services.close()


def test_an_answer_never_lags_the_log(tmp_path: pathlib.Path) -> None:
    services = open_services(Settings(database_url=f"sqlite:///{tmp_path / 'ledger.db'}"))
    season = record_season(services)
    client = TestClient(create_app(services))
    assert client.get(f"{ARENA}/status").json()["block"] == 150
    record_blocks(season.ledger, 152)  # recorded, and no view was told
    behind = client.get("/v1/health").json()["arenas"][0]["views"]
    assert {view["behind"] for view in behind} == {2}
    now = client.get(f"{ARENA}/status")
    assert now.json()["block"] == 152
    assert now.json()["thrones"][0]["king_hotkey"] == DAVE
    assert "max-age" in client.get(f"{ARENA}/weights?at_block=150").headers["Cache-Control"]
    assert services.ledger(NETWORK, NETUID).head().effective_block == 152
    services.close()
