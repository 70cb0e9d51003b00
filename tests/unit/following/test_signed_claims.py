"""A claim is signed by the coldkey that paid, checked before it is recorded and by any reader."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bittensor.keyfiles import Keypair

from chain.claims import check_claim, false_claims, sign_claim
from chain.simulated.accounts import account
from ledger.commands.claims import record_claim
from ledger.decisions.base import DecisionRefusedError
from ledger.keys import ArenaKey
from ledger.rules.claims import SignedClaim, claim_text, payment_name
from tests.contract.stores import quick_engine
from tests.unit.ledger.scenes import ARENA, OTHER_ARENA, Paid, Scene

PAYER, THIEF = (Keypair.create_from_uri(f"//{name}") for name in ("Payer", "Thief"))
MINER = account("miner")
TX = "0x" + "5a" * 32


@pytest.fixture
def scene(tmp_path: Any) -> Any:
    engine = quick_engine(tmp_path)
    yield Scene(engine)
    engine.dispose()


def paid_by(scene: Scene, key: Keypair, index: int = 3) -> Paid:
    paid = Paid(MINER, "sha256:" + "aa" * 32, scene.head + 1, index, 100)
    scene.block(deposits=(replace(paid.deposit, sender=key.ss58_address),))
    return paid


def test_the_text_is_canonical() -> None:
    assert claim_text(ArenaKey("0x" + "14" * 32, 14), TX, "credit", MINER) == (
        "cacheon-ledger payment claim v1\n"
        f"arena: {ARENA}\n"
        f"payment: {TX}\n"
        "wants: credit\n"
        f"hotkey: {MINER}\n"
    )
    assert claim_text(ARENA, TX, "refund", None).endswith("wants: refund\nhotkey: none\n")
    assert payment_name(TX, 8, 3) == TX
    assert payment_name("", 8, -3) == "8--3"


def test_a_signed_claim_holds_for_exactly_what_it_says() -> None:
    claim = sign_claim(PAYER, ARENA, TX, "credit", MINER)
    check_claim(claim)
    for changed in (
        replace(claim, arena=OTHER_ARENA),
        replace(claim, payment="0x" + "00" * 32),
        replace(claim, wants="refund", hotkey=None),
        replace(claim, hotkey=account("other")),
        replace(claim, claimant=THIEF.ss58_address),
        replace(claim, signature="0x" + "00" * 64),
        replace(claim, signature="nothing"),
    ):
        with pytest.raises(DecisionRefusedError, match="let that coldkey sign it"):
            check_claim(changed)


def test_only_sr25519_keys_sign() -> None:
    key = Keypair.create_from_uri("//Payer", crypto_type=0)
    with pytest.raises(DecisionRefusedError, match="no sr25519 key"):
        sign_claim(key, ARENA, TX, "refund", None)


def test_any_reader_of_the_log_finds_a_false_claim(scene: Scene) -> None:
    sound, forged = paid_by(scene, PAYER), paid_by(scene, PAYER, index=4)
    for paid in (sound, forged):
        claim = sign_claim(PAYER, ARENA, paid.tx, "refund", None)
        check_claim(claim)
        if paid is forged:  # whoever writes the log need not have checked
            claim = SignedClaim(
                claim.arena, claim.payment, "refund", None, claim.claimant, "0x" + "01" * 64
            )
        record_claim(scene.ledger, paid.id, claim)
    assert [fact.originator_id for fact in false_claims(scene.ledger)] == [forged.id]
