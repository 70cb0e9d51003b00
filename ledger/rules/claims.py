"""The text that a payer signs to claim money that no submission took (DOMAIN 2).

Pure and canonical as the texts of :mod:`ledger.rules.buybacks`: one claim has one text, so that
anybody can check a recorded signature (sr25519 over the text's UTF-8 bytes) with the coldkey that
paid. The arena is in it, so that a claim holds in one log only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from ledger.keys import ArenaKey

CLAIM_TITLE: Final = "cacheon-ledger payment claim v1"

Wants = Literal["refund", "credit"]


@dataclass(frozen=True, slots=True)
class SignedClaim:
    """A claim as it is handed in. ``payment`` is its name (:func:`payment_name`), ``claimant`` the
    coldkey that paid and signed; ``hotkey`` is None for a refund."""

    arena: ArenaKey
    payment: str
    wants: Wants
    hotkey: str | None
    claimant: str
    signature: str

    @property
    def text(self) -> str:
        """What was signed."""
        return claim_text(self.arena, self.payment, self.wants, self.hotkey)


def payment_name(extrinsic_hash: str, block: int, extrinsic_index: int) -> str:
    """How people name a payment: its extrinsic's hash; block and index where it has none."""
    return extrinsic_hash or f"{block}-{extrinsic_index}"


def claim_text(arena: ArenaKey, payment: str, wants: Wants, hotkey: str | None) -> str:
    """What the coldkey that paid signs."""
    lines = {
        "arena": arena,
        "payment": payment,
        "wants": wants,
        "hotkey": "none" if hotkey is None else hotkey,
    }
    return "\n".join([CLAIM_TITLE, *(f"{name}: {value}" for name, value in lines.items())]) + "\n"
