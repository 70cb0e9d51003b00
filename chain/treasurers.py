"""Treasurers' signatures: made and checked through the SDK, which ``ledger/`` must not import.

The canonical texts are those of :mod:`ledger.rules.buybacks`; a signature is sr25519 over the
text's UTF-8 bytes, in ``0x`` hex, and stands in the log beside its key.
"""

from __future__ import annotations

from typing import Final, Protocol

from ledger.application import Ledger
from ledger.decisions.base import DecisionRefusedError
from ledger.decisions.buybacks import Buyback
from ledger.rules.buybacks import Signed, approval_text, plan_text

SR25519: Final = 1
_SIGNATURE_BYTES: Final = 64


class SigningKey(Protocol):
    """A key that signs, as :class:`chain.wallets.Signer`."""

    @property
    def ss58_address(self) -> str:
        """The account, SS58 format 42."""
        ...

    @property
    def crypto_type(self) -> int:
        """0 is ed25519, 1 is sr25519."""
        ...

    def sign(self, payload: bytes) -> bytes:
        """The signature of exactly these bytes."""
        ...


def sign(key: SigningKey, text: str) -> Signed:
    """A treasurer's signature of a text."""
    if key.crypto_type != SR25519:
        msg = f"{key.ss58_address} is no sr25519 key, and treasurers sign with those"
        raise DecisionRefusedError(msg)
    return Signed(key.ss58_address, "0x" + bytes(key.sign(text.encode())).hex())


def holds(text: str, signed: Signed) -> bool:
    """Whether a signature is that of its key over ``text``."""
    from bittensor.keyfiles import Keypair

    try:
        signature = bytes.fromhex(signed.signature.removeprefix("0x"))
        if len(signature) != _SIGNATURE_BYTES:
            return False
        key = Keypair(ss58_address=signed.key)
        return bool(key.verify(text.encode(), signature))
    except (ValueError, TypeError):  # no hex, or no address
        return False


def check(text: str, signed: Signed | None, what: str) -> None:
    """Raise ``DecisionRefusedError`` for a signature that does not hold; none at all is fine."""
    if signed is not None and not holds(text, signed):
        msg = f"the signature of {what} is not one of {signed.key} over its text"
        raise DecisionRefusedError(msg)


def check_signatures(ledger: Ledger, buyback: Buyback) -> None:
    """Check what a log says again before money follows from it: anybody may have written it."""
    planned, approved = buyback.planned, buyback.approved
    text = plan_text(ledger.arena, planned.terms, planned.actor)
    check(text, _signed(planned.key, planned.signature), f"the plan of buyback {buyback.number}")
    if approved is not None:
        text = approval_text(ledger.arena, buyback.number, planned.terms, approved.actor)
        signed = _signed(approved.key, approved.signature)
        check(text, signed, f"the approval of buyback {buyback.number}")


def _signed(key: str | None, signature: str | None) -> Signed | None:
    return None if key is None else Signed(key, signature or "")
