"""`miner claim` and the treasurer's answers: signed, recorded or handed in, granted, sent back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.claim_files import document_of
from api.cli import policies
from chain.claims import sign_claim
from chain.simulated import Transfer, account
from ledger.decisions.unclaimed import PaymentClaimed, PaymentRefunded
from tests.unit.api.cli.chained import OneKey, keys, put_in_place
from tests.unit.api.cli.conftest import Run, failed
from tests.unit.following.support import MINER_COLD, OPENS_AT, TAO, TREASURY, follow

PAYER = keys("Payer")
WALLETS = {
    "payer": OneKey({"coldkey": PAYER.ss58_address}, PAYER),
    "thief": OneKey({"coldkey": keys("Thief").ss58_address}, keys("Thief")),
}
MINER = account("miner")
SCRIPT = {
    OPENS_AT + 1: [Transfer(source=MINER_COLD, destination=PAYER.ss58_address, rao=5 * TAO)],
    OPENS_AT + 2: [Transfer(source=PAYER.ss58_address, destination=TREASURY, rao=TAO)],
    OPENS_AT + 3: [Transfer(source=PAYER.ss58_address, destination=TREASURY, rao=2 * TAO)],
    OPENS_AT + 6: [Transfer(source=TREASURY, destination=PAYER.ss58_address, rao=TAO)],
}


@pytest.fixture
def place(tmp_path: Path, environment: pytest.MonkeyPatch) -> Iterator[Any]:
    found = follow(tmp_path, SCRIPT)
    environment.setenv("LEDGER_NETWORK", "test")
    environment.setenv("LEDGER_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    environment.setenv("LEDGER_ACTOR", "ann")
    put_in_place(environment, found, WALLETS)
    found.advance(4)
    yield found
    found.chain.close()


def listed(run: Run, *words: str) -> list[dict[str, Any]]:
    result = run(*words, "--format", "json")
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["items"]
    return found


def unclaimed(run: Run) -> list[dict[str, Any]]:
    return listed(run, "treasury", "--payments", "--unclaimed")


def said(run: Run, *words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_refund_is_claimed_granted_sent_and_matched(place: Any, run: Run) -> None:
    first, _ = unclaimed(run)
    claim = ("miner", "claim", first["extrinsic_hash"], "--wants", "refund", "--wallet", "payer")
    assert "claim 1 of payment 0x" in said(run, *claim)
    (line,) = listed(run, "treasury", "claims", "--open")
    assert (line["claim_state"], line["sender"]) == ("open", PAYER.ss58_address)
    assert "every claim" in said(run, "treasury", "claims", "check")
    granted = said(run, "treasury", "claim", "grant", first["extrinsic_hash"], "--reason", "ok")
    assert granted.startswith(f"a refund of 1.000000000 TAO to {PAYER.ss58_address} is decided")
    place.advance(3)
    (refunded,) = [place.ledger.newest(PaymentRefunded)]
    assert refunded is not None
    assert (refunded.amount_rao, refunded.actor, refunded.reason) == (TAO, "ann", "ok")
    assert "0 refunds are matched" in said(run, "treasury", "refund", "--match")
    (line,) = listed(run, "treasury", "claims")
    assert (line["status"], line["claim_state"]) == ("refunded", "granted")
    assert "refunded" in said(run, "treasury", "claims")


def test_only_who_paid_claims(place: Any, run: Run) -> None:
    first, _ = unclaimed(run)
    result = run(
        "miner", "claim", first["extrinsic_hash"], "--wants", "refund", "--wallet", "thief"
    )
    failed(result, 8, f"payment {first['extrinsic_hash']} came from")
    assert place.ledger.newest(PaymentClaimed) is None


def test_a_claim_is_refused_with_a_reason(place: Any, run: Run) -> None:
    first, _ = unclaimed(run)
    name = f"{first['block']}-{first['extrinsic_index']}"
    said(
        run,
        *("miner", "claim", name, "--wants", "credit", "--hotkey", MINER, "--wallet", "payer"),
    )
    refused = said(run, "treasury", "claim", "refuse", name, "--reason", "ask for a refund")
    assert "is refused: ask for a refund" in refused
    (line,) = listed(run, "treasury", "claims")
    assert (line["claim_state"], line["status"]) == ("refused", "unclaimed")
    again = run("treasury", "claim", "grant", name, "--reason", "ok")
    failed(again, 8, f"payment {first['extrinsic_hash']} has no open claim; see")


def test_a_claim_is_handed_in_as_json(place: Any, run: Run, tmp_path: Path) -> None:
    first, second = unclaimed(run)
    arena = place.ledger.arena
    documents = []
    for line in (first, second):
        signed = sign_claim(PAYER, arena, line["extrinsic_hash"], "credit", MINER)
        documents.append(msgspec.to_builtins(document_of(signed)))
    file = tmp_path / "claims.json"
    file.write_text(json.dumps(documents))
    for _ in range(2):  # again is a no-op
        result = said(run, "treasury", "claims", "import", str(file))
        assert result.count("is recorded") == 2
    assert len(listed(run, "treasury", "claims", "--open")) == 2
    forged = {**documents[0], "hotkey": account("other")}
    file.write_text(json.dumps(forged))
    failed(run("treasury", "claims", "import", str(file)), 8, "let that coldkey sign it")
    file.write_text('{"arena": 3}')
    failed(run("treasury", "claims", "import", str(file)), 7, "holds no claims")
    file.write_text("[]")
    nothing = said(run, "treasury", "claims", "import", str(file))
    assert nothing == f"the list in '{file}' is empty, so no claim is recorded\n"


def test_a_refund_and_a_credit_by_hand(place: Any, run: Run) -> None:
    first, second = unclaimed(run)
    decided = said(
        run, "treasury", "refund", first["extrinsic_hash"], "--reason", "sent by mistake"
    )
    assert "send exactly that" in decided
    name = second["extrinsic_hash"]
    given = said(run, *("treasury", "credit", name, "--hotkey", MINER, "--reason", "our fault"))
    assert given.startswith(f"{MINER} has a credit: its next commit names payment_tx {name}")
    by_name = {line["extrinsic_hash"]: line for line in listed(run, "treasury", "--payments")}
    assert by_name[first["extrinsic_hash"]]["status"] == "refund decided"
    credited = by_name[name]
    assert (credited["status"], credited["credit_of"]) == ("credited", MINER)
    assert (credited["decided_by"], credited["reason"]) == ("ann", "our fault")
    assert unclaimed(run) == []
    taken = run("treasury", "refund", name, "--reason", "the other way")
    failed(taken, 8, f"payment {name} is credited already, so it cannot be refunded")
    shown = said(run, "treasury", "--payments").splitlines()
    place_of = (str(first["block"]), str(first["extrinsic_index"]))
    (own,) = [line for line in shown if first["extrinsic_hash"] in line]
    assert tuple(own.split()[:2]) == place_of
    quoted = run(
        *("miner", "quote", "--image", "r/m:v1", "--digest", "sha256:" + "ab" * 32),
        *("--hotkey", MINER, "--format", "json"),
    )
    assert json.loads(quoted.stdout)["credits"] == [
        {"payment_tx": name, "payment_block": second["block_hash"]}
    ]


def test_without_a_database_the_signed_claim_is_printed(
    place: Any, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    genesis = place.ledger.arena.genesis
    monkeypatch.setattr(policies, "policy_from_api", lambda *_, **__: (None, genesis))
    first, _ = unclaimed(run)
    printed = said(
        run,
        *("miner", "claim", first["extrinsic_hash"], "--wants", "refund"),
        *("--wallet", "payer", "--ledger", "http://127.0.0.1:1"),
    )
    assert place.ledger.newest(PaymentClaimed) is None
    file = tmp_path / "claim.json"
    file.write_text(printed)
    assert "is recorded" in said(run, "treasury", "claims", "import", str(file))
    by_place = run(
        *("miner", "claim", "102-1", "--wants", "refund"),
        *("--wallet", "payer", "--ledger", "http://127.0.0.1:1"),
    )
    assert by_place.exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("miner", "claim", "0x", "--wants", "credit", "--wallet", "payer"),
        ("miner", "claim", "0x", "--wants", "refund", "--hotkey", MINER, "--wallet", "payer"),
        ("treasury", "refund", "0x"),
        ("treasury", "refund"),
        ("treasury", "refund", "0x", "--reason", "x", "--match"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(place: Any, run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_an_unknown_payment_is_one_sentence(place: Any, run: Run) -> None:
    result = run("treasury", "credit", "9-9", "--hotkey", MINER, "--reason", "x")
    failed(result, 8, "no payment to the treasury is named '9-9'")
