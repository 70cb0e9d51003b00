"""Reading: the JSON is the HTTP API's, and the tables show the numbers that are in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import open_services
from api.http.app import create_app
from api.settings import Settings
from ledger.queries.weights import vector_view
from ledger.units import decimal_text
from tests.unit.api.cli.conftest import Run
from tests.unit.api.season import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    FEE_RAO,
    HEAD,
    LOST_RAO,
    NETUID,
    NETWORK,
    Season,
    coldkey_of,
)

ARENA = f"/v1/arenas/{NETWORK}/{NETUID}"

SAME: list[tuple[list[str], str]] = [
    (["status"], f"{ARENA}/status"),
    (["weights"], f"{ARENA}/weights"),
    (["weights", "--sent"], f"{ARENA}/weights/sent"),
    (["weights", "compare"], f"{ARENA}/weights/compare"),
    (["weights", "explain"], f"{ARENA}/weights/explain"),
    (["weights", "status"], f"{ARENA}/weights/status"),
    (["emissions"], f"{ARENA}/emissions"),
    (["treasury"], f"{ARENA}/treasury"),
    (["treasury", "reconcile"], f"{ARENA}/treasury/reconcile"),
    (["treasury", "reconcile", "--period", "1"], f"{ARENA}/treasury/reconcile?period=1"),
    (
        ["treasury", "reconcile", "--from-block", "100", "--to-block", "140"],
        f"{ARENA}/treasury/reconcile?from_block=100&to_block=140",
    ),
    (
        ["treasury", "reconcile", "--known-at", "130"],
        f"{ARENA}/treasury/reconcile?at_block=130",
    ),
    (["treasury", "journal"], f"{ARENA}/treasury/journal"),
    (
        ["treasury", "journal", "--account", "assets:treasury", "--from-block", "105"],
        f"{ARENA}/treasury/journal?account=assets:treasury&from_block=105",
    ),
    (["treasury", "periods"], f"{ARENA}/treasury/periods"),
    (["treasury", "costs"], f"{ARENA}/treasury/costs"),
    (["treasury", "--payments"], f"{ARENA}/payments"),
    (["treasury", "--payments", "--unclaimed"], f"{ARENA}/payments?unclaimed=true"),
    (["payouts", ALICE], f"{ARENA}/payouts/{ALICE}"),
    (["payouts", ALICE, "--by", "period"], f"{ARENA}/payouts/{ALICE}?by=period"),
    (["payouts", coldkey_of(DAVE)], f"{ARENA}/payouts/{coldkey_of(DAVE)}"),
    (["submissions", "--details"], f"{ARENA}/submissions"),
    (["submissions", BOB, "--details"], f"{ARENA}/submissions?hotkey={BOB}"),
    (
        ["submissions", "--details", "--limit", "2", "--offset", "1"],
        f"{ARENA}/submissions?limit=2&offset=1",
    ),
    (["reigns"], f"{ARENA}/reigns"),
    (["contests"], f"{ARENA}/contests"),
    (["queue"], f"{ARENA}/queue"),
    (["arenas"], "/v1/arenas"),
    (["arena", "policy", "show"], f"{ARENA}/policy"),
]


@pytest.fixture(scope="module")
def http(recorded: tuple[str, Season]) -> Any:
    """The HTTP API over the same season."""
    services = open_services(Settings(database_url=recorded[0]))
    with TestClient(create_app(services)) as client:
        yield client
    services.close()


@pytest.mark.parametrize(("words", "path"), SAME, ids=[" ".join(words) for words, _ in SAME])
def test_json_is_the_body_that_http_sends(
    run: Run, season_url: str, http: TestClient, words: list[str], path: str
) -> None:
    result = run(*words, "--format", "json", url=season_url)
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == http.get(path).content + b"\n"


def test_json_at_an_earlier_block_is_the_body_that_http_sends(
    run: Run, season_url: str, http: TestClient
) -> None:
    result = run("status", "--at-block", 120, "--format", "json", url=season_url)
    assert result.stdout_bytes == http.get(f"{ARENA}/status?at_block=120").content + b"\n"
    assert json.loads(result.stdout)["thrones"][0]["king_hotkey"] == ALICE


def test_a_book_of_the_treasury_is_that_list_of_the_http_answer(
    run: Run, season_url: str, http: TestClient
) -> None:
    books = http.get(f"{ARENA}/treasury").json()
    for option, name in (
        ("--accounts", "balances"),
        ("--rentals", "rentals"),
        ("--buybacks", "buybacks"),
    ):
        result = run("treasury", option, "--format", "json", url=season_url)
        assert json.loads(result.stdout) == books[name]
        assert books[name]["total"] > 0


def test_the_table_of_weights_shows_every_share_with_its_u16_and_reason(
    run: Run, season_url: str
) -> None:
    services = open_services(Settings(database_url=season_url))
    with services.at(NETWORK, NETUID) as scope:
        vector = vector_view(scope)
    services.close()
    lines = run("weights", url=season_url).stdout.splitlines()
    u16 = dict(zip(vector.uids, vector.values, strict=True))
    assert len(vector.shares) == 3
    for share in vector.shares:
        percent = f"{share.ppm // 10_000}.{share.ppm % 10_000:04d} %"
        found = [line for line in lines if share.hotkey and share.hotkey in line]
        assert [line.split()[:5] for line in found] == [
            [str(share.uid), str(u16[share.uid]), *percent.split(), share.reason]
        ]
    assert any(vector.digest in line for line in lines)


def test_the_table_of_the_treasury_shows_amounts_in_their_asset_and_names_the_break(
    run: Run, season_url: str
) -> None:
    data = json.loads(run("treasury", "--format", "json", url=season_url).stdout)
    table = run("treasury", url=season_url).stdout
    tao = next(line for line in data["lines"]["items"] if line["asset"] == "TAO")
    row = next(line for line in table.splitlines() if " TAO " in line and tao["status"] in line)
    for name in ("opening", "inflows", "outflows", "residual", "closing"):
        assert decimal_text(tao[name], "TAO") in row
    assert tao["residual"] == -LOST_RAO
    assert "on_chain_not_in_books" in table
    assert tao["breaks"][0]["reference"] in table


def test_a_balance_nobody_observed_is_not_shown_as_zero(run: Run, season_url: str) -> None:
    table = run("treasury", url=season_url).stdout
    row = next(line for line in table.splitlines() if "ALPHA:14" in line and "unresolved" in line)
    assert row.split()[4] == "-"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["status"], [NETWORK, str(HEAD), DAVE, ALICE, "evaluation"]),
        (["weights", "--sent"], ["results changed", "110", "125"]),
        (["emissions"], ["120", "140", "675.000000000"]),
        (["payouts", ALICE], [ALICE, "165.000000000", "65.000000000"]),
        (["treasury", "--accounts"], ["income:fees", "-0.400000000"]),
        (["treasury", "--rentals"], ["lium", "24.000000"]),
        (["treasury", "--buybacks"], ["executed", "0.150000000", "8.000000000"]),
        (["treasury", "--payments"], [coldkey_of(ALICE), "consumed", "cacheon:"]),
        (["treasury", "--payments", "--unclaimed"], [coldkey_of(CAROL), "unclaimed"]),
        (["submissions"], [CAROL, "payment_block_unknown", "R2", "exited_at_start"]),
        (["submissions"], ["is not a finalized block"]),
        (["submissions", BOB], ["--kv-cache-dtype", "exited_at_start"]),
        (["reigns"], [ALICE, DAVE, "overtaken", "21.0000 %"]),
        (["contests"], ["baseline_failed", "12.0000 %", "challenger"]),
        (["queue"], [ERIN, "145"]),
        (["arenas"], ["0x" + "5e" * 32, str(HEAD)]),
        (["arena", "policy", "show"], ["fee.fee_rao", decimal_text(FEE_RAO, "TAO"), "season"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_tables_have_the_numbers(
    run: Run, season_url: str, words: list[str], shown: list[str]
) -> None:
    result = run(*words, url=season_url)
    assert result.exit_code == 0, result.output
    for text in shown:
        assert text in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_a_narrow_terminal_shortens_addresses_and_a_pipe_does_not(
    run: Run, season_url: str, environment: pytest.MonkeyPatch
) -> None:
    assert ERIN in run("queue", url=season_url).stdout
    environment.setenv("COLUMNS", "110")
    narrow = run("queue", url=season_url).stdout
    assert ERIN not in narrow
    assert f"{ERIN[:6]}…{ERIN[-4:]}" in narrow
    assert max(map(len, narrow.splitlines())) <= 110


def test_a_very_narrow_terminal_loses_nothing(
    run: Run, season_url: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("COLUMNS", "40")
    shown = run("queue", url=season_url).stdout
    assert max(map(len, shown.splitlines())) <= 40
    assert ERIN in "".join(part.strip().split("  ")[-1].strip() for part in shown.splitlines())


def test_hostile_text_cannot_command_the_terminal() -> None:
    from api.cli.cells import printable

    hostile = "ok\x1b]0;owned\x07\x1b[31mred\x9b2J\u202egnp\r\nnext"
    shown = printable(hostile)
    assert shown.startswith("ok\\x1b]0;owned\\x07\\x1b[31mred\\x9b2J\\u202egnp\\r\nnext")


def test_a_cut_list_says_so_on_stderr(run: Run, season_url: str) -> None:
    for further in ((), ("--details",)):
        result = run("submissions", "--limit", 2, "--format", "json", *further, url=season_url)
        shown = json.loads(result.stdout)
        assert len(shown["items"] if further else shown) == 2
        assert "2 of 5 items" in result.stderr


def test_submissions_as_json_are_one_short_object_for_every_commit(
    run: Run, season_url: str
) -> None:
    short = json.loads(run("submissions", "--format", "json", url=season_url).stdout)
    full = json.loads(run("submissions", "--details", "--format", "json", url=season_url).stdout)
    assert len(short) == full["total"] == 5
    for line, known in zip(short, full["items"], strict=True):
        refusals = known["codes"] if known["status"] == "refused" else []
        assert line == {
            **{name: known[name] for name in ("hotkey", "uid", "coldkey", "image", "digest")},
            **{name: known[name] for name in ("payment_tx", "payment_block")},
            "reveal_block": known["block"],
            "state": known["status"],
            "refusal": refusals[0] if refusals else None,
            "refusals": refusals,
        }
    assert {line["refusal"] for line in short} == {None, "payment_block_unknown"}
    assert "disqualified" in {line["state"] for line in short}


def test_an_empty_list_says_none(run: Run, season_url: str) -> None:
    result = run("reigns", "--at-block", 105, url=season_url)
    assert result.stdout == "Reigns: none\n"


def test_the_policy_shown_is_the_one_in_force_at_the_block(run: Run, season_url: str) -> None:
    shown = json.loads(
        run("arena", "policy", "show", "--at-block", 120, "--format", "json", url=season_url).stdout
    )
    vector = json.loads(run("weights", "--format", "json", url=season_url).stdout)
    assert (shown["block"], shown["from_block"]) == (120, 100)
    assert shown["digest"] == vector["policy_digest"]
    assert shown["policy"]["fee"]["fee_rao"] == FEE_RAO


@pytest.mark.parametrize(
    "words",
    [
        ["treasury", "--accounts", "--rentals"],
        ["treasury", "--unclaimed"],
        ["weights", "--format", "yaml"],
        ["weights", "--at-block", "-1"],
        ["weights", "--at-block", "soon"],
        ["weights", "--netuid", "70000"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2_and_gives_no_result(
    run: Run, season_url: str, words: list[str]
) -> None:
    result = run(*words, url=season_url)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_an_option_before_a_commands_name_is_refused_and_behind_it_heard(
    run: Run, season_url: str
) -> None:
    refused = run("weights", "--at-block", 130, "status", url=season_url)
    assert refused.exit_code == 2
    assert "give --at-block behind 'status'" in refused.stderr
    heard = run("weights", "status", "--at-block", 130, "--format", "json", url=season_url)
    assert json.loads(heard.stdout)["block"] == 130


@pytest.mark.parametrize("command", ["compare", "explain", "status"])
def test_the_weights_commands_show_tables(run: Run, season_url: str, command: str) -> None:
    shown = run("weights", command, url=season_url)
    assert shown.exit_code == 0, shown.output
    assert "digest" in shown.stdout
    assert "('" not in shown.stdout  # reasons in words, not a tuple of them
