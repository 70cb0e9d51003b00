"""`miner quote` and `miner commit`: what it costs, and paying and committing once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from api.http.app import create_app
from chain.port import MORTAL_BLOCKS, OutcomeUnknownError
from ledger.commands.arena import adopt_policy
from ledger.policy import parse_policy_toml
from ledger.queries.submissions import submissions
from tests.unit.api.cli.chained import OneKey, put_in_place
from tests.unit.api.cli.conftest import Run, failed
from tests.unit.following.support import (
    DIGEST,
    MINER,
    MINER_COLD,
    NETUID,
    OPENS_AT,
    OWNER_COLD,
    POLICY,
    TREASURY,
    Following,
    follow,
)

IMAGE = "ghcr.io/miner/engine:v1"
NODE = ("--node", "ws://127.0.0.1:1")
WHAT = ("--image", IMAGE, "--digest", DIGEST)
WALLETS = {
    "miner": OneKey({"coldkey": MINER_COLD, "hotkey": MINER}),
    "thief": OneKey({"coldkey": OWNER_COLD, "hotkey": MINER}),
}


@pytest.fixture
def place(tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[Following]:
    found = follow(tmp_path, {})
    environment.setenv("LEDGER_NETWORK", "test")
    environment.setenv("LEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    environment.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    put_in_place(environment, found, WALLETS)
    yield found
    found.chain.close()


def quoted(run: Run, *words: object) -> dict[str, Any]:
    result = run("miner", "quote", *words, "--format", "json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def commit(run: Run, *words: object, wallet: str = "miner") -> Any:
    return run("miner", "commit", *WHAT, *NODE, "--wallet", wallet, "--hotkey", "hot", *words)


def test_a_quote_says_fee_address_remark_and_payload(place: Following, run: Run) -> None:
    answer = quoted(run, *WHAT, "--hotkey", MINER)
    assert answer["fee_rao"] == 100_000_000
    assert answer["treasury_ss58"] == TREASURY
    assert answer["window_blocks"] == 7_200
    assert answer["remark"] == f"cacheon:{MINER}:{DIGEST}"
    assert answer["passes"] is True
    assert answer["hotkey"] is None
    payload = json.loads(answer["payload"])
    assert (payload["image"], payload["digest"]) == (IMAGE, DIGEST)
    assert answer["payload_bytes"] == len(answer["payload"])
    table = run("miner", "quote", *WHAT)
    assert "0.100000000" in table.stdout
    assert place.chain.finalized_head().number == OPENS_AT


@pytest.mark.parametrize(
    ("image", "digest", "said"),
    [("No/Such", DIGEST, "lower-case image name"), (IMAGE, "sha256:1", "64 lower-case hex")],
)
def test_a_quote_says_what_would_be_refused(
    place: Following, run: Run, image: str, digest: str, said: str
) -> None:
    assert place.ledger is not None
    answer = quoted(run, "--image", image, "--digest", digest)
    assert answer["passes"] is False
    assert said in answer["detail"]


def test_a_quote_asks_a_node_who_must_sign_and_whether_it_can_pay(
    place: Following, run: Run
) -> None:
    head = place.chain.finalized_head().number
    answer = quoted(run, *WHAT, "--hotkey", MINER, *NODE)["hotkey"]
    assert answer == {
        "hotkey": MINER,
        "block": head,
        "registered": True,
        "owner": MINER_COLD,
        "owner_balance_rao": 10 * 10**9,
        "needed_rao": 101_000_000,
        "balance_suffices": True,
    }
    stranger = quoted(run, *WHAT, "--hotkey", TREASURY, *NODE)["hotkey"]
    assert (stranger["registered"], stranger["owner"]) == (False, None)
    assert stranger["balance_suffices"] is None


def test_a_quote_needs_no_database_with_a_policy_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(POLICY + "", encoding="utf-8")
    assert quoted(run, *WHAT, "--policy", file)["treasury_ss58"] == TREASURY


def over_http(place: Following, patch: pytest.MonkeyPatch) -> None:
    """Let httpx reach the ledger's own API without a socket."""
    client = TestClient(create_app(place.services), base_url="http://ledger.test")

    def stream(method: str, url: str, **_: object) -> Any:
        return client.stream(method, url)

    patch.setattr(httpx, "stream", stream)


def test_a_quote_needs_no_database_with_a_ledger(
    place: Following, run: Run, environment: pytest.MonkeyPatch
) -> None:
    over_http(place, environment)
    environment.setenv("LEDGER_DATABASE_URL", "sqlite:///nowhere.db")
    answer = quoted(run, *WHAT, "--ledger", "http://ledger.test/")
    assert answer["treasury_ss58"] == TREASURY
    other = run("miner", "quote", *WHAT, "--ledger", "http://ledger.test", "--network", "none")
    failed(other, 21, "the ledger at http://ledger.test answers 404")


def test_a_ledger_that_does_not_answer_is_told_without_its_secrets(run: Run) -> None:
    result = run("miner", "quote", *WHAT, "--ledger", "http://me:secret@127.0.0.1:1/key/path")
    failed(result, 21, "the ledger at http://127.0.0.1:1 does not answer")
    assert "secret" not in result.stderr
    assert "key" not in result.stderr
    failed(run("miner", "quote", *WHAT, "--ledger", "ftp://x"), 21, "must be http:// or https://")


def test_a_commit_is_paid_sent_and_accepted(place: Following, run: Run) -> None:
    done = commit(run)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("paid in block 101, extrinsic 0x")
    assert "committed in block 102" in done.stdout
    assert "remembering in" in done.stderr
    again = commit(run)
    assert again.stdout == done.stdout
    assert place.chain.finalized_head().number == OPENS_AT + 2
    place.follower.catch_up()
    with place.services.at("test", NETUID) as scope:
        assert [line["accepted"] for line in submissions(scope)] == [True]


def test_a_commit_answers_in_json(place: Following, run: Run) -> None:
    rehearsed = json.loads(commit(run, "--dry-run", "--format", "json").stdout)
    assert (rehearsed["dry_run"], rehearsed["progress"]) == (True, None)
    assert "would be paid now" in rehearsed["said"][0]
    done = json.loads(commit(run, "--format", "json").stdout)
    assert done["dry_run"] is False
    assert done["progress"]["paid"]["block"] == OPENS_AT + 1
    assert done["progress"]["committed"]["block"] == OPENS_AT + 2
    assert place.chain.finalized_head().number == OPENS_AT + 2


def test_a_timelocked_commit_is_accepted_at_its_reveal(place: Following, run: Run) -> None:
    done = commit(run, "--timelocked", "--reveal-in-blocks", 3)
    assert "it is revealed later" in done.stdout
    place.advance(4)
    with place.services.at("test", NETUID) as scope:
        found = [(line["form"], line["accepted"]) for line in submissions(scope)]
    assert found == [("timelocked", True)]


def test_an_interrupted_commit_is_gone_on_with_and_never_paid_twice(
    place: Following, run: Run
) -> None:
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"), after=True)
    lost = commit(run)
    assert lost.exit_code == 12
    assert "the answer was lost" in lost.stderr
    done = commit(run)
    assert done.exit_code == 0, done.output
    assert "paid in block 101" in done.stdout
    assert place.chain.finalized_head().number == OPENS_AT + 2


def test_nothing_is_paid_shortly_before_the_fee_changes(place: Following, run: Run) -> None:
    dearer = POLICY.replace("[fee]", "[fee]\nfee_rao = 200_000_000")
    change = OPENS_AT + MORTAL_BLOCKS
    rules = parse_policy_toml(dearer)
    adopt_policy(place.ledger, rules, from_block=change, actor="test")
    failed(commit(run), 8, f"the fee or its address changes at block {change}")
    assert place.chain.finalized_head().number == OPENS_AT
    place.advance(MORTAL_BLOCKS)
    done = commit(run)
    assert done.exit_code == 0, done.output


def test_a_dry_run_says_what_would_be_done(place: Following, run: Run, tmp_path: Path) -> None:
    result = commit(run, "--dry-run")
    assert "the fee of 0.100000000 TAO would be paid now" in result.stdout
    assert place.chain.finalized_head().number == OPENS_AT
    assert not (tmp_path / "state").exists()


def test_the_wallet_of_another_is_refused_before_anything(place: Following, run: Run) -> None:
    result = commit(run, wallet="thief")
    assert result.exit_code == 8
    assert "open the owner's wallet" in result.stderr
    assert place.chain.finalized_head().number == OPENS_AT
