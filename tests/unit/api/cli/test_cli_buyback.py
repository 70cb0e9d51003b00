"""`treasury buyback`: planned, approved by a second, sent once, settled, listed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from api import chains
from chain.buyback import Desk
from chain.port import MORTAL_BLOCKS, OutcomeUnknownError
from ledger.application import Unit
from ledger.decisions.base import DecisionRefusedError
from ledger.observations import AlertRaised, PriceObserved
from ledger.store.logs import head_of
from tests.unit.api.cli.chained import OneKey, keys, put_in_place
from tests.unit.api.cli.conftest import Run, failed
from tests.unit.following.support import (
    MINER_COLD,
    OPENS_AT,
    POLICY,
    TREASURY,
    Following,
    follow,
)

NODE = ("--node", "ws://127.0.0.1:1")
PLAN = ("--max-tao", "1", "--max-slippage", "2.5")
WALLETS = {
    "treasury": OneKey({"coldkey": TREASURY}),
    "other": OneKey({"coldkey": MINER_COLD}),
    "ann": OneKey({}, keys("Ann")),
    "bob": OneKey({}, keys("Bob")),
}
SIGNED_RULES = POLICY + (
    f'[treasury]\ntreasurers = ["{keys("Ann").ss58_address}", "{keys("Bob").ss58_address}"]\n'
)

Buyback = Callable[..., Any]


def begun(
    tmp_path: Path, environment: pytest.MonkeyPatch, rules: str = POLICY
) -> tuple[Following, list[str]]:
    place = follow(tmp_path, {}, rules=rules)
    environment.setenv("LEDGER_NETWORK", "test")
    environment.setenv("LEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    return place, put_in_place(environment, place, WALLETS)


@pytest.fixture
def place(tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[Following]:
    found, _ = begun(tmp_path, environment)
    yield found
    found.chain.close()


@pytest.fixture
def buyback(run: Run) -> Buyback:
    def words(*said: object) -> Any:
        return run("treasury", "buyback", *said)

    return words


def lines(buyback: Buyback) -> list[dict[str, Any]]:
    result = buyback("list", "--format", "json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["items"]
    return found


def position(place: Following) -> int:
    with place.services.engine.connect() as connection:
        head = head_of(connection, place.ledger.arena)
    assert head is not None
    return head.position


def test_it_is_planned_approved_sent_and_listed(place: Following, buyback: Buyback) -> None:
    planned = buyback(*PLAN, "--actor", "ann", *NODE)
    assert planned.exit_code == 0, planned.output
    assert planned.stdout.splitlines() == [
        "buyback 1 is planned by ann: at most 1.000000000 TAO, at no more than 0.051250000 TAO "
        "per alpha (0.050000000 TAO at block 100, plus 2.5000 %)",
        "a second person approves it: cacheon-ledger treasury buyback approve 1 --actor NAME",
    ]
    assert "planning under request r-" in planned.stderr
    approved = buyback("approve", 1, "--actor", "bob")
    assert "buyback 1 is approved by bob: at most 1.000000000 TAO" in approved.stdout
    sent = buyback("send", 1, *NODE, "--wallet", "treasury")
    assert sent.exit_code == 0, sent.output
    assert sent.stdout == "buyback 1 is executed\n"
    (line,) = lines(buyback)
    assert (line["status"], line["spent_rao"], line["price_rao"]) == (
        "executed",
        10**9,
        50_000_000,
    )
    assert (line["price_block"], line["max_slippage_ppm"]) == (OPENS_AT, 25_000)
    assert (line["signer"], line["nonce"], line["how"]) == (TREASURY, 0, "add_stake_burn")
    again = buyback("send", 1, *NODE, "--wallet", "treasury")
    assert again.stdout == "buyback 1 is executed\n"
    assert place.chain.finalized_head().number == OPENS_AT + 1
    table = buyback("list")
    assert "0.051250000" in table.stdout


def test_every_step_answers_in_json(place: Following, buyback: Buyback) -> None:
    def asked(*words: object) -> dict[str, Any]:
        result = buyback(*words, "--format", "json")
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    plan = (*PLAN, "--actor", "ann", "--request", "june", *NODE)
    sending = ("send", 1, *NODE, "--wallet", "treasury")
    rehearsed = asked(*plan, "--dry-run")
    assert (rehearsed["dry_run"], rehearsed["buyback"]) == (True, None)
    assert rehearsed["terms"]["max_price_rao"] == 51_250_000
    planned = asked(*plan)
    assert (planned["buyback"]["number"], planned["buyback"]["status"]) == (1, "planned")
    assert planned["terms"] == rehearsed["terms"]
    approved = asked("approve", 1, "--actor", "bob")["buyback"]
    assert (approved["status"], approved["approved_by"]) == ("approved", "bob")
    assert "would be sent" in asked(*sending, "--dry-run")["said"][0]
    sent = asked(*sending)["buyback"]
    assert (sent["status"], sent["signer"], sent["nonce"]) == ("executed", TREASURY, 0)
    assert asked("settle", 1, *NODE)["buyback"] == sent
    assert place.chain.finalized_head().number == OPENS_AT + 1


def test_the_same_request_is_one_plan(place: Following, buyback: Buyback) -> None:
    for _ in range(2):
        result = buyback(*PLAN, "--actor", "ann", "--request", "june", *NODE)
        assert "buyback 1 is planned by ann" in result.stdout
        place.advance()
    assert [line["request"] for line in lines(buyback)] == ["june"]
    failed(
        buyback(
            "--max-tao", "2", "--max-slippage", "1", "--actor", "ann", "--request", "june", *NODE
        ),
        8,
        "request 'june' is buyback 1 already",
    )


def test_a_lost_answer_is_looked_up_and_never_sent_again(
    place: Following, buyback: Buyback
) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"), after=True)
    lost = buyback("send", 1, *NODE, "--wallet", "treasury")
    assert lost.exit_code == 12
    assert "the answer was lost" in lost.stderr
    assert lines(buyback)[0]["status"] == "sent"
    head = place.chain.finalized_head()
    assert buyback("settle", 1, *NODE).stdout == "buyback 1 is executed\n"
    assert place.chain.finalized_head() == head


@pytest.mark.parametrize("word", ["send", "settle"])
def test_a_buyback_that_failed_is_an_alert_and_a_failure_of_the_command(
    place: Following, buyback: Buyback, word: str
) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"))
    buyback("send", 1, *NODE, "--wallet", "treasury")
    place.advance(MORTAL_BLOCKS)
    wallet = ("--wallet", "treasury") if word == "send" else ()
    for _ in range(2):
        result = buyback(word, 1, *NODE, *wallet)
        assert result.exit_code == 19, result.output
        assert result.stdout.startswith("buyback 1 is failed: not found up to block 164")
    alert = place.ledger.newest(AlertRaised, where=lambda fact: fact.kind == "buyback_failed")
    assert alert is not None
    assert "too late to land" in alert.detail


def test_a_price_in_the_log_counts_as_long_as_ingest_may_lag_and_the_newest_first(
    place: Following, buyback: Buyback
) -> None:
    place.advance(7)
    seen = place.ledger.newest(PriceObserved)
    assert seen is not None
    assert seen.about_block > OPENS_AT

    def late(unit: Unit) -> None:
        """A gap that is filled late tells an older price last."""
        before = seen.about_block - 1
        key = f"price:{unit.context.arena}:ALPHA/TAO:chain:{before}"
        told = {"pair": "ALPHA/TAO", "price": 1, "source": "chain", "about_block": before}
        unit.observe(PriceObserved, key, **told)

    place.ledger.decide(late)
    planned = buyback(*PLAN, "--actor", "ann")
    assert planned.exit_code == 0, planned.output
    assert f"at block {seen.about_block}, plus" in planned.stdout
    place.advance(seen.about_block + 6 - place.ledger.head().effective_block)
    assert place.ledger.newest(PriceObserved, where=lambda fact: fact.price != 1) == seen
    stale = buyback(*PLAN, "--actor", "ann")
    failed(stale, 8, f"no price of alpha of block {seen.about_block + 1} or later")


def test_whoever_planned_it_cannot_approve_it(place: Following, buyback: Buyback) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    failed(buyback("approve", 1, "--actor", "ann"), 8, "a second person must approve it")
    failed(buyback("approve", 2, "--actor", "bob"), 8, "there is no buyback 2; 1 are planned")
    failed(buyback("send", 1, *NODE, "--wallet", "treasury"), 8)
    assert place.chain.finalized_head().number == OPENS_AT


def test_another_wallet_is_refused_before_its_key_is_opened(
    tmp_path: Path, environment: pytest.MonkeyPatch, buyback: Buyback
) -> None:
    place, opened = begun(tmp_path, environment)
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    failed(buyback("send", 1, *NODE, "--wallet", "other"), 8, "open the treasury's wallet")
    assert opened == ["other"]
    assert place.chain.finalized_head().number == OPENS_AT


def test_a_dry_run_records_and_sends_nothing(place: Following, buyback: Buyback) -> None:
    before = position(place)
    planned = buyback(*PLAN, "--actor", "ann", *NODE, "--dry-run")
    assert "this would be planned: at most 1.000000000 TAO" in planned.stdout
    assert position(place) == before
    buyback(*PLAN, "--actor", "ann", *NODE)
    before = position(place)
    assert "this would be approved" in buyback("approve", 1, "--actor", "bob", "--dry-run").stdout
    assert position(place) == before
    buyback("approve", 1, "--actor", "bob")
    before = position(place)
    sent = buyback("send", 1, *NODE, "--wallet", "treasury", "--dry-run")
    assert "buyback 1 would be sent: add_stake_burn of 1.000000000 TAO" in sent.stdout
    assert "with nonce 0, in a block after 100; nothing was sent" in sent.stdout
    place.chain.advance_to(OPENS_AT + 6)
    sent = buyback("send", 1, *NODE, "--wallet", "treasury", "--dry-run")
    assert "would not be sent: ingest lags 6 blocks" in sent.stdout
    buyback("settle", 1, *NODE, "--dry-run")
    assert position(place) == before
    assert place.chain.finalized_head().number == OPENS_AT + 6


@pytest.mark.parametrize("word", ["send", "settle"])
def test_several_nodes_and_an_archive_are_asked_for_the_arenas_chain_alone(
    place: Following, buyback: Buyback, environment: pytest.MonkeyPatch, word: str
) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    asked: list[tuple[list[str], dict[str, Any]]] = []
    wallet = ("--wallet", "treasury") if word == "send" else ()
    name = "writing" if word == "send" else "reading"
    real = getattr(chains, name)

    def opened(nodes: list[str], *rest: Any, **which: Any) -> Any:
        asked.append((nodes, which))
        return real(nodes, *rest, **which)

    environment.setattr(chains, name, opened)
    others = ("--node", "ws://127.0.0.1:2", "--archive-node", "ws://127.0.0.1:3")
    result = buyback(word, 1, *NODE, *others, *wallet)
    assert result.exit_code == 0, result.output
    assert asked
    for nodes, which in asked:
        assert nodes == ["ws://127.0.0.1:1", "ws://127.0.0.1:2"]
        genesis = place.chain.genesis_hash()
        assert which == {"archive": "ws://127.0.0.1:3", "genesis": genesis}


@pytest.mark.parametrize(
    "before",
    [
        ("treasury", "buyback", "--dry-run"),
        ("treasury", "buyback", "--netuid", "77"),
        ("treasury", "--netuid", "77", "buyback"),
        ("treasury", "--database", "sqlite:///other.db", "buyback"),
    ],
    ids=" ".join,
)
def test_an_option_before_the_command_is_refused_and_nothing_is_sent(
    place: Following, buyback: Buyback, run: Run, before: tuple[str, ...]
) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    option = next(word for word in before if word.startswith("--"))
    refused = run(*before, "send", 1, *NODE, "--wallet", "treasury")
    assert refused.exit_code == 2, refused.output
    assert f"give {option} behind" in refused.stderr
    assert place.chain.finalized_head().number == OPENS_AT


def test_ingest_that_lags_holds_it_back_with_an_alert(place: Following, buyback: Buyback) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    place.chain.advance_to(OPENS_AT + 6)
    held = buyback("send", 1, *NODE, "--wallet", "treasury")
    assert held.exit_code == 8
    assert "buyback 1 not sent: ingest lags 6 blocks, 5 are allowed" in held.stderr
    alert = place.ledger.newest(AlertRaised)
    assert alert is not None
    assert alert.kind == "ingest_lag"


def test_treasurers_sign_with_their_wallets(
    tmp_path: Path, environment: pytest.MonkeyPatch, buyback: Buyback
) -> None:
    place, _ = begun(tmp_path, environment, SIGNED_RULES)
    plan = (*PLAN, "--actor", "ann", "--request", "june", *NODE)
    failed(buyback(*plan), 8, "give --wallet NAME")
    rehearsed = buyback(*plan, "--dry-run")
    assert "cacheon-ledger buyback plan v1\n" in rehearsed.stdout
    assert buyback(*plan, "--wallet", "ann").exit_code == 0
    same = buyback("approve", 1, "--actor", "bob", "--wallet", "ann")
    failed(same, 8, "another must approve it")
    assert buyback("approve", 1, "--actor", "bob", "--wallet", "bob").exit_code == 0
    sent = buyback("send", 1, *NODE, "--wallet", "treasury")
    assert sent.exit_code == 0, sent.output
    (line,) = lines(buyback)
    assert line["planned_key"] == keys("Ann").ss58_address
    assert line["approved_key"] == keys("Bob").ss58_address
    assert keys("Bob").verify(
        f"cacheon-ledger buyback approval v1\narena: {place.ledger.arena}\nnumber: 1\n"
        "request: june\nmax_rao: 1000000000\nmax_price_rao_per_alpha: 51250000\n"
        "approved_by: bob\n".encode(),
        bytes.fromhex(line["approved_signature"][2:]),
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-tao", "1e3", "--max-slippage", "1", *NODE), "is not an amount of TAO"),
        (("--max-tao", "1", "--max-slippage", "0.00001", *NODE), "is not a percentage"),
        (("--max-tao", "1", "--max-slippage", "101", *NODE), "give 0 to 100 percent"),
        (("--max-tao", "0", "--max-slippage", "1", *NODE), "max_rao from 1 to"),
        (("--max-tao", "1", "--max-slippage", "1"), "the log holds no price of alpha"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(
    place: Following, buyback: Buyback, words: tuple[str, ...], said: str
) -> None:
    before = position(place)
    result = buyback(*words, "--actor", "ann")
    assert result.exit_code in {2, 8}, result.output
    assert said in result.stderr
    assert position(place) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-tao", "1", "--max-slippage", "500", "--actor", "ann"), "give 0 to 100 percent"),
        (("--max-tao", "0", "--max-slippage", "1", "--actor", "ann"), "max_rao from 1 to"),
        ((*PLAN, "--actor", ""), "an actor's name must be"),
        ((*PLAN, "--actor", "ann", "--request", "7"), "is no name of a request"),
    ],
)
def test_a_dry_run_of_a_plan_refuses_what_the_plan_would(
    place: Following, buyback: Buyback, words: tuple[str, ...], said: str
) -> None:
    before = position(place)
    refused = buyback(*words, *NODE, "--dry-run")
    failed(refused, 8)
    assert said in refused.stderr
    assert position(place) == before


def test_a_dry_run_of_an_approval_refuses_what_the_approval_would(
    place: Following, buyback: Buyback
) -> None:
    buyback(*PLAN, "--actor", "ann", "--request", "june", *NODE)
    same = buyback("approve", 1, "--actor", "Ann", "--dry-run")
    failed(same, 8, "a second person must approve it")
    again = buyback(*PLAN, "--actor", "ann", "--request", "june", *NODE, "--dry-run")
    assert "this is buyback 1 already" in again.stdout
    buyback("approve", 1, "--actor", "bob")
    again = buyback("approve", 1, "--actor", "bob", "--dry-run")
    assert again.stdout == "buyback 1 is approved already\n"
    assert place.chain.finalized_head().number == OPENS_AT


def test_a_dry_run_of_a_sending_refuses_another_chain(
    place: Following, buyback: Buyback, environment: pytest.MonkeyPatch
) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    desk = Desk(place.chain, place.ledger, TREASURY)
    assert "would be sent" in desk.rehearse(1)
    environment.setattr(place.chain, "genesis_hash", lambda: "0x" + "77" * 32)
    with pytest.raises(DecisionRefusedError, match="name a node of the arena's chain"):
        desk.rehearse(1)


def test_a_dry_run_of_settling_looks_and_records_nothing(
    place: Following, buyback: Buyback
) -> None:
    buyback(*PLAN, "--actor", "ann", *NODE)
    buyback("approve", 1, "--actor", "bob")
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"))
    buyback("send", 1, *NODE, "--wallet", "treasury")
    before = position(place)
    words = ("settle", 1, *NODE, "--dry-run")
    assert "is in no block up to 100 and may still land" in buyback(*words).stdout
    buyback("send", 1, *NODE, "--wallet", "treasury", "--dry-run")
    assert position(place) == before
    place.chain.fail_next("send", OutcomeUnknownError("the answer was lost"), after=True)
    buyback("send", 1, *NODE, "--wallet", "treasury")
    before = position(place)
    assert "landed in block 101, and would be matched to it" in buyback(*words).stdout
    assert position(place) == before
    place.advance(MORTAL_BLOCKS)
    assert buyback("settle", 1, *NODE).stdout == "buyback 1 is executed\n"
    assert "there is nothing to settle" in buyback(*words).stdout


def test_plain_treasury_shows_the_books_as_ever(place: Following, run: Run) -> None:
    assert place.ledger is not None
    result = run("treasury", "--buybacks", "--format", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["total"] == 0
