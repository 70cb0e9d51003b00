"""Signatures of claims: made and checked through the SDK, which ``ledger/`` must not import.

The canonical text is :func:`ledger.rules.claims.claim_text`. A claim is checked before it is
recorded, and every claim of a log can be checked again by whoever reads it.
"""

from __future__ import annotations

from chain.treasurers import SR25519, SigningKey, holds
from ledger.application import Ledger
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.payment import Payment
from ledger.decisions.unclaimed import PaymentClaimed
from ledger.keys import ArenaKey
from ledger.rules.buybacks import Signed
from ledger.rules.claims import SignedClaim, Wants, claim_text, payment_name


def sign_claim(
    key: SigningKey, arena: ArenaKey, payment: str, wants: Wants, hotkey: str | None
) -> SignedClaim:
    """A claim signed by the coldkey that paid; only sr25519 keys sign claims."""
    if key.crypto_type != SR25519:
        msg = f"{key.ss58_address} is no sr25519 key, and claims are signed with those"
        raise DecisionRefusedError(msg)
    text = claim_text(arena, payment, wants, hotkey)
    signature = "0x" + bytes(key.sign(text.encode())).hex()
    return SignedClaim(arena, payment, wants, hotkey, key.ss58_address, signature)


def check_claim(claim: SignedClaim) -> None:
    """Raise ``DecisionRefusedError`` for a claim that its claimant did not sign."""
    if not holds(claim.text, Signed(claim.claimant, claim.signature)):
        msg = (
            f"the signature of the claim of payment {claim.payment} is not one of "
            f"{claim.claimant} over its text; let that coldkey sign it"
        )
        raise DecisionRefusedError(msg)


def false_claims(ledger: Ledger) -> list[PaymentClaimed]:
    """The claims of a log that were not signed by the coldkey that paid: anybody may have
    written it. The newest first; none in a sound log."""

    def is_signed(fact: PaymentClaimed) -> bool:
        deposit = ledger.load(Payment, fact.originator_id).deposits.get(fact.arena)
        if deposit is None or deposit.sender != fact.claimant:
            return False
        name = payment_name(deposit.extrinsic_hash, deposit.block, deposit.extrinsic_index)
        text = claim_text(fact.arena_key, name, fact.wants, fact.hotkey)
        return holds(text, Signed(fact.claimant, fact.signature))

    return [fact for fact in ledger.every(PaymentClaimed) if not is_signed(fact)]
